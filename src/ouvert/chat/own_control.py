"""Text from outside must never become a control token, whatever a template does with it.

Control tokens are looked for in a copy of the prompt in which everything that is not the template's own is blotted out:
what the template did not write itself, whole, is text.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ouvert.chat.owned_text import TEMPLATE, OwnedText, plain

if TYPE_CHECKING:
    from ouvert.tokenization import Tokenizer

# What supplied characters are blotted out with. Tokenizers ask of the character beside a token whether it is a letter,
# or white space, so these stay such.
LETTERS = tuple(map(chr, range(0xA640, 0xA66E)))
SPACES = ("\x1f", "\x1e", "\x1d", "\x1c", "\x85", "\u2028", "\u2029")
BLOTS = tuple(map(chr, range(0xFDD0, 0xFDF0)))
LETTER = re.compile(r"\w")


@dataclass(frozen=True, slots=True)
class Part:
    """Characters `start` to `stop` of a prompt: text, or the id of a control token."""

    start: int
    stop: int
    content: str | int


class OwnControl:
    """Finds the control tokens that a template wrote."""

    def __init__(self, tokenizer: "Tokenizer") -> None:
        """Raises ValueError for a vocabulary whose control tokens use up the characters that stand for others."""
        self._tokenizer = tokenizer
        used = frozenset("".join(tokenizer.control_tokens))
        self._letter, self._space, self._blot = (unused(kind, used) for kind in (LETTERS, SPACES, BLOTS))

    def blotted(self, text: OwnedText) -> str:
        """As long as `text`; nothing in it but the template's own characters can be read."""
        pieces: list[str] = []
        at = 0
        for length, owner in text.runs:
            piece = plain(text)[at : at + length]
            pieces.append(piece if owner == TEMPLATE else self._blotted(piece))
            at += length
        return "".join(pieces)

    def _blotted(self, piece: str) -> str:
        core = piece.strip()
        if not core:
            return self._space * len(piece)
        before = len(piece) - len(piece.lstrip())
        ends = [self._letter if LETTER.match(character) else self._blot for character in (core[0], core[-1])]
        middle = ends[0] if len(core) == 1 else ends[0] + self._blot * (len(core) - 2) + ends[1]
        return self._space * before + middle + self._space * (len(piece) - before - len(core))

    def parts(self, text: OwnedText) -> Iterator[Part]:
        """The prompt as control tokens and the text between them, in order. White space that belongs to a control
        token is in neither.
        """
        blotted = self.blotted(text)
        at = 0
        for piece in self._tokenizer.split_control(blotted):
            if isinstance(piece, int):
                spelled = self._tokenizer.token_bytes(piece).decode(errors="replace")
                start = blotted.index(spelled, at)
                at = start + len(spelled)
                yield Part(start, at, piece)
            else:
                start = blotted.index(piece, at)
                at = start + len(piece)
                yield Part(start, at, plain(text)[start:at])


def unused(candidates: Iterable[str], used: frozenset[str]) -> str:
    for each in candidates:
        if each not in used:
            return each
    raise ValueError(
        "guarding supplied text: this vocabulary's control tokens have all the characters in them that stand for text "
        "from outside, expected that some are free. Is its list of control tokens right?"
    )
