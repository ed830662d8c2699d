"""Token ids to text, one at a time."""

import codecs
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ouvert.tokenization.tokenizer import Tokenizer


class StreamingDecoder:
    """Shows a character once all its bytes are there; a byte that can belong to none becomes U+FFFD.

    What `push` and `flush` return, joined, is what `Tokenizer.decode` gives for the same ids. A control token, shown
    or not, ends the character before it.
    """

    def __init__(self, tokenizer: "Tokenizer", *, control: bool = False) -> None:
        self._tokenizer = tokenizer
        self._show_hidden = control
        self._characters = codecs.getincrementaldecoder("utf-8")("replace")
        self._drops_prefix = tokenizer.space_prefix != "never"

    def push(self, token: int) -> str:
        """The characters this token completes; often none, never half of one."""
        tokenizer = self._tokenizer
        if token in tokenizer.control_ids:
            text = self._characters.decode(b"", final=True)
            self._characters.reset()
            self._drops_prefix = tokenizer.space_prefix == "every piece" or (
                self._drops_prefix and token == tokenizer.bos
            )
            hidden = token in tokenizer.hidden_ids and not self._show_hidden
            return text if hidden else text + tokenizer.token_bytes(token).decode()
        piece = tokenizer.token_bytes(token)
        if self._drops_prefix and piece:
            piece = piece.removeprefix(b" ")
            self._drops_prefix = False
        return self._characters.decode(piece)

    def flush(self) -> str:
        """What is left when no more tokens come: U+FFFD for a character that was never finished, else nothing.

        The decoder is then as new.
        """
        text = self._characters.decode(b"", final=True)
        self._characters.reset()
        self._drops_prefix = self._tokenizer.space_prefix != "never"
        return text
