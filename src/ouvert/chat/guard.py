"""Text from outside must never become a control token, whatever a template does with it.

Before rendering, a noncharacter (U+FDD0) is put into every place of a supplied string that could take part in the
text of a control token. The rendered prompt is then split at the control tokens that are left, which only the
template can have written, and the noncharacters are taken out of the text between them.
"""

import re
from collections.abc import Iterable

BREAK = "\ufdd0"
ESCAPE = "\ufdd1"
FIRST_ESCAPED, LAST_ESCAPED = "\ufdd2", "\ufdef"


class Guard:
    """Breaks and mends strings, for one set of control tokens."""

    def __init__(self, control_tokens: Iterable[str]) -> None:
        texts = sorted({text for text in control_tokens if text.strip()}, key=lambda text: (-len(text), text))
        long = [text for text in texts if len(text) > 1]
        # A control token of one character cannot be broken, so it travels as an escape, as do our own two marks.
        escaped = [BREAK, ESCAPE, *(text for text in texts if len(text) == 1)]
        if len(escaped) > ord(LAST_ESCAPED) - ord(FIRST_ESCAPED) + 1:
            raise ValueError(
                f"guarding supplied text: the vocabulary has {len(escaped) - 2} control tokens of one character, "
                "at most 28 can be told apart. Is this vocabulary's list of control tokens right?"
            )
        self._escapes = {text: ESCAPE + chr(ord(FIRST_ESCAPED) + n) for n, text in enumerate(escaped)}
        self._plain = {escape: text for text, escape in self._escapes.items()}
        self._to_escape = re.compile("[" + "".join(map(re.escape, escaped)) + "]")
        self._starts = re.compile(f"(?=(?:{'|'.join(map(re.escape, long))}))." if long else r"(?!)", re.DOTALL)
        # Ends of a string that the text beside it could complete to a control token.
        self._prefixes = frozenset(text[:n] for text in long for n in range(1, len(text)))
        self._suffixes = frozenset(text[-n:] for text in long for n in range(1, len(text)))
        self._joined = BREAK.join(long)
        self._longest = max(map(len, long), default=0)
        self._marks = re.compile(f"{ESCAPE}[{FIRST_ESCAPED}-{LAST_ESCAPED}]|[{BREAK}{ESCAPE}]")

    def broken(self, text: str) -> str:
        """`text` for a template. It prints the same but can neither be, begin, end nor lie within a control token."""
        text = self._to_escape.sub(lambda match: self._escapes[match[0]], text)
        text = self._starts.sub(lambda match: match[0] + BREAK, text)
        if not text.strip():
            return text
        lengths = range(1, min(self._longest, len(text) + 1))
        inside = 0 < len(text) < self._longest and text in self._joined
        if inside or any(text[-n:] in self._prefixes for n in lengths):
            text += BREAK
        if inside or any(text[:n] in self._suffixes for n in lengths):
            text = BREAK + text
        return text

    def mended(self, text: str) -> str:
        """Undoes `broken`, also in the middle of a larger text."""
        return self._marks.sub(lambda match: self._plain.get(match[0], ""), text)
