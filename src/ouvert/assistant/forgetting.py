"""Whether a text holds any of those that are to be forgotten.

What is kept of prompts is known by its tokens, and a text stands in a prompt as the chat format writes it: trimmed, in
the middle of others, perhaps cut off. So it is recognised by any run of its characters, white space aside. To find too
much costs time when the next prompt is read; to find too little would keep what was deleted.
"""

import re
import unicodedata
from collections.abc import Iterable

RUN = 32  # characters, about six words, by which a text is told from others; of two runs in a row one is always found
LEAST = 4  # of a beginning at which a sequence breaks off
# What stands before and after a message in chat formats: a short one is a word that other texts have, too.
BEFORE, AFTER = r"(?:^|[\n>\]:|｜\"])\s*", r"(?=\s|$|[<\[|｜\"])"


class Forgotten:
    """Texts to be forgotten; empty ones are nothing. Raises nothing."""

    def __init__(self, texts: Iterable[str]) -> None:
        squeezed = {text: squeeze(text) for text in texts}
        long = [each for each in squeezed.values() if len(each) >= RUN]
        self._runs = frozenset(
            each[n : n + RUN] for each in long for n in (*range(0, len(each) - RUN, RUN), len(each) - RUN)
        )
        self._beginnings = frozenset(each[:n] for each in long for n in range(LEAST, 2 * RUN))
        short = {" ".join(text.split()) for text, each in squeezed.items() if 0 < len(each) < RUN}
        self._short = [
            re.compile(BEFORE + r"\s+".join(map(re.escape, normal(text).split())) + AFTER) for text in sorted(short)
        ]

    def __bool__(self) -> bool:
        return bool(self._runs or self._short)

    def in_text(self, text: str) -> bool:
        """Whether it holds one of them, or so much of one that it can be told; or ends where one begins.

        Raises nothing."""
        plain = squeeze(text)
        if any(plain[n : n + RUN] in self._runs for n in range(len(plain) - RUN + 1)):
            return True
        if any(plain[-n:] in self._beginnings for n in range(LEAST, 2 * RUN)):
            return True
        wide = normal(text)
        return any(each.search(wide) for each in self._short)


def normal(text: str) -> str:
    """The text in the form (NFKC) to which some tokenizers bring it."""
    return unicodedata.normalize("NFKC", text)


def squeeze(text: str) -> str:
    return "".join(normal(text).split())
