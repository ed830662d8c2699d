"""Bits per byte of texts: what may be compared between contestants with different tokens."""

import math
from collections.abc import Sequence

from ouvert.evaluation.analysis.marks import Mark, RowMarks
from ouvert.evaluation.comparison import Bits
from ouvert.evaluation.item import Text
from ouvert.evaluation.statistics import ratio_interval


def bits_of(rows: Sequence[RowMarks]) -> tuple[Bits, ...]:
    """Of every contestant in every row of texts, over the texts that all of them have read. Raises nothing."""
    return tuple(
        _bits(label, row, marks) for row in rows if row.planned.kind == "text" for label, marks in _read_by_all(row)
    )


def _read_by_all(row: RowMarks) -> list[tuple[str, list[Mark]]]:
    """Of those that have read any: another text is another number, whoever reads it. A text without bytes, or with a
    probability of 0 or of nothing that is a number, was not read."""
    read = {label: {name: mark for name, mark in marks.items() if _is_read(mark)} for label, marks in row.marks.items()}
    readers = {label: marks for label, marks in read.items() if marks}
    common = [item.id for item in row.items if all(item.id in marks for marks in readers.values())]
    return [(label, [marks[name] for name in common]) for label, marks in readers.items() if common]


def _bits(contestant: str, row: RowMarks, marks: Sequence[Mark]) -> Bits:
    bits = [-math.fsum(mark.answers[0].outcome.logprobs) / math.log(2) for mark in marks]
    sizes = [len(_text(mark).encode("utf-8")) for mark in marks]
    tokens = sum(len(mark.answers[0].outcome.logprobs) for mark in marks)
    return Bits(
        contestant=contestant, row=row.planned.row, texts=len(marks), text_bytes=sum(sizes), tokens=tokens,
        bits_per_byte=sum(bits) / sum(sizes),
        interval=ratio_interval(bits, sizes, [mark.cluster for mark in marks]),
        perplexity=_power_of_two(sum(bits) / tokens),
    )  # fmt: skip


def _power_of_two(exponent: float) -> float:
    """Infinite where it has no number, which `analyse` refuses in a sentence."""
    return 2.0**exponent if exponent < 1024 else math.inf


def _is_read(mark: Mark) -> bool:
    logprobs = mark.answers[0].outcome.logprobs
    return bool(logprobs) and all(math.isfinite(each) for each in logprobs) and bool(_text(mark))


def _text(mark: Mark) -> str:
    assert isinstance(mark.item.ask, Text)  # noqa: S101 - the row's kind says so
    return mark.item.ask.text
