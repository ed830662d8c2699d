"""What a hub or a package says of itself: text by somebody else, which a terminal must not obey."""

import unicodedata

LONGEST = 200  # characters of a licence's or a version's name


def foreign_text(value: object) -> str | None:
    """A line of text as people may be shown it: without control characters and marks that turn text round. A list is
    its texts with commas between; None for what is no text."""
    if isinstance(value, list):
        value = ", ".join(each for each in value if isinstance(each, str))
    if not isinstance(value, str):
        return None
    line = "".join(sign if unicodedata.category(sign) not in UNSHOWN else " " for sign in value)
    return " ".join(line.split())[:LONGEST] or None


# Control characters (escapes among them), marks of direction and of format, halves of surrogate pairs, private use.
UNSHOWN = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
