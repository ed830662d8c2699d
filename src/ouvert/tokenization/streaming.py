"""Token ids to text, one at a time."""

import codecs
from collections.abc import Set
from typing import Protocol


class Vocabulary(Protocol):
    """What a decoder needs to know of a tokenizer; `Tokenizer` says what each of these is."""

    @property
    def bos(self) -> int | None: ...
    @property
    def space_prefix(self) -> str: ...
    @property
    def control_ids(self) -> Set[int]: ...
    @property
    def hidden_ids(self) -> Set[int]: ...
    def token_bytes(self, token: int) -> bytes: ...


class StreamingDecoder:
    """Shows a character once all its bytes are there; a byte that can belong to none becomes U+FFFD.

    What `push` and `flush` return, joined, is what `Tokenizer.decode` gives for the same ids. A control token, shown
    or not, ends the character before it.

    `Tokenizer.decoder` makes one, and raises nothing.
    """

    def __init__(self, vocabulary: Vocabulary, *, control: bool = False) -> None:
        self._vocabulary = vocabulary
        self._show_hidden = control
        self._characters = codecs.getincrementaldecoder("utf-8")("replace")
        self._drops_prefix = vocabulary.space_prefix != "never"

    def push(self, token: int) -> str:
        """The characters this token completes; often none, never half of one.

        Raises TokenizerError for a negative id.
        """
        vocabulary = self._vocabulary
        if token in vocabulary.control_ids:
            text = self._characters.decode(b"", final=True)
            self._characters.reset()
            self._drops_prefix = vocabulary.space_prefix == "every piece" or (
                self._drops_prefix and token == vocabulary.bos
            )
            hidden = token in vocabulary.hidden_ids and not self._show_hidden
            return text if hidden else text + vocabulary.token_bytes(token).decode()
        piece = vocabulary.token_bytes(token)
        if self._drops_prefix and piece:
            piece = piece.removeprefix(b" ")
            self._drops_prefix = False
        return self._characters.decode(piece)

    def flush(self) -> str:
        """What is left when no more tokens come: U+FFFD for a character that was never finished, else nothing.

        The decoder is then as new. Raises nothing.
        """
        text = self._characters.decode(b"", final=True)
        self._characters.reset()
        self._drops_prefix = self._vocabulary.space_prefix != "never"
        return text
