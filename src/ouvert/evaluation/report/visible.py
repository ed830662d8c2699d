"""Text of unknown origin, made safe to show: every character stays to be seen, and none acts on the page."""

import re
import unicodedata

# Written as what they are instead of doing what they do: marks that turn the direction of writing or have no width,
# tags, and variation selectors beyond the usual ones.
ACTING = re.compile(
    "[\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
CONTROLS = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\n\t"} | {0x7F: "\u2421"}
MOST_MARKS = 3  # combining marks on one letter: enough for any script in use


def visible(text: str) -> str:
    """Control characters as their pictures, acting ones as ⟨U+202E⟩; lone surrogates as \ufffd. Raises nothing."""
    text = text.replace("\r\n", "\n").translate(CONTROLS)
    text = "".join("\ufffd" if "\ud800" <= each <= "\udfff" or "\x80" <= each <= "\x9f" else each for each in text)
    return fewer_marks(ACTING.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", text))


def fewer_marks(text: str) -> str:
    """No letter carries more than MOST_MARKS combining marks: towers of them cover the lines above."""
    if text.isascii():
        return text
    kept, marks = [], 0
    for each in text:
        marks = marks + 1 if unicodedata.combining(each) else 0
        if marks <= MOST_MARKS:
            kept.append(each)
    return "".join(kept)


def one_line(text: str) -> str:
    """`visible`, with line ends as ⏎. Raises nothing."""
    return visible(text).replace("\n", " ⏎ ").replace("\t", " ")


def shortened(text: str, most: int) -> tuple[str, int]:
    """The first `most` characters, and how many were left out. Raises nothing."""
    return (text, 0) if len(text) <= most else (text[:most], len(text) - most)
