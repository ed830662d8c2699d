"""Values and names as a report says them, in one language."""

import re
from collections.abc import Sequence

from ouvert.evaluation.comparison import Interval
from ouvert.evaluation.report.document import Inline, Text
from ouvert.evaluation.wording import Wording

HELD = re.compile("\ue000(\\d+)\ue001")  # where a part that is more than text stands while a template is filled


def rich(words: Wording, key: str, **values: Inline | Text) -> Text:
    """A template whose values may be links, names or whole texts. Raises KeyError as Wording does."""
    parts: list[Text] = []
    held: dict[str, str] = {}
    for name, value in values.items():
        held[name] = value if isinstance(value, str) else f"\ue000{len(parts)}\ue001"
        if not isinstance(value, str):
            parts.append(value if isinstance(value, tuple) else (value,))
    pieces = HELD.split(words(key, **held))
    filled = [(piece,) if place % 2 == 0 else parts[int(piece)] for place, piece in enumerate(pieces)]
    return tuple(part for text in filled for part in text if part != "")


def joined(words: Wording, texts: Sequence[Text], last: str = "word.and") -> Text:
    """a, b and c."""
    out: list[Inline] = []
    for place, text in enumerate(texts):
        if place:
            out.append(words(last) if place == len(texts) - 1 else ", ")
        out += text
    return tuple(out)


def first_few(words: Wording, texts: Sequence[Text], most: int) -> Text:
    """The first of many, and how many more there are."""
    if len(texts) <= most:
        return joined(words, texts)
    return joined(words, [*texts[:most], (words("word.more", n=words.number(len(texts) - most)),)])


def points(words: Wording, difference: float, signed: bool = True) -> str:
    """A difference of shares in points: +45, −3, 0."""
    digits = 1 if 0 < abs(difference) < 0.0095 else 0
    text = words.number(abs(100 * difference), digits)
    sign = "" if not signed or float(f"{difference:.{digits + 2}f}") == 0 else "+" if difference > 0 else "−"
    return sign + text


def span(words: Wording, interval: Interval) -> str:
    """An interval of differences: [+30, +58]."""
    return f"[{points(words, interval.low)};\u00a0{points(words, interval.high)}]"


def shares(words: Wording, interval: Interval) -> str:
    """An interval of shares, in percent without the sign: [30; 58]."""
    return f"[{words.number(100 * interval.low)};\u00a0{words.number(100 * interval.high)}]"


def figure(words: Wording, value: float) -> str:
    """A measured value with about three digits."""
    size = abs(value)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 0.1 or size == 0 else 4
    return words.number(value, digits).replace("-", "−")


def ranged(words: Wording, interval: Interval, digits: int | None = None) -> str:
    """An interval of measured values, with these digits after the point or with about three in all."""
    ends = [
        figure(words, each) if digits is None else words.number(each, digits) for each in (interval.low, interval.high)
    ]
    return f"[{ends[0]};\u00a0{ends[1]}]"


def seconds(words: Wording, value: float) -> str:
    """4.4 s, 29 s, 12 min."""
    if value >= 600:
        return words("unit.minutes", n=words.number(value / 60))
    return words("unit.seconds", n=words.number(value, 0 if value >= 10 else 1 if value >= 1 else 2))


def size(words: Wording, count: int) -> str:
    """Bytes as MB or GB, powers of ten."""
    if count >= 1e9:
        return words("unit.gigabytes", n=words.number(count / 1e9, 1))
    return words("unit.megabytes", n=words.number(count / 1e6))


def chance(words: Wording, p: float) -> str:
    """A p-value: three digits after the point, or that it is smaller."""
    return words("unit.p_small", n=words.number(0.001, 3)) if p < 0.001 else words.number(p, 3)


def parameters(words: Wording, count: int) -> str:
    """A model's size: 135 million, 1.5 billion."""
    if count >= 1e9:
        return words("unit.billions", n=words.number(count / 1e9, 1))
    return words("unit.millions", n=words.number(count / 1e6))
