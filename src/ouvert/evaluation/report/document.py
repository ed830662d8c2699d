"""A report before it is written anywhere: sections of blocks, in one language.

The same code makes the tree in English and in French, so that the two have the same shape. Everything here is plain
text; the writers (`page`, `markdown`) escape it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

MARKS = "●■▲◆▼✚★⬟"  # of contestants, in their order: the shapes tell them apart without colour


@dataclass(frozen=True, slots=True)
class Link:
    """Words that lead to their evidence: `to` is the anchor of a section or of a row of a table."""

    text: str
    to: str


@dataclass(frozen=True, slots=True)
class Strong:
    text: str


@dataclass(frozen=True, slots=True)
class Data:
    """What a file or a model says: digests, names, commands, answers. It has no language. `left` is ours: how much of
    it is not shown, or that it is empty."""

    text: str
    left: str = ""


@dataclass(frozen=True, slots=True)
class Who:
    """A contestant by its label, with its mark: `place` is its number in the comparison, from 0."""

    label: str
    place: int
    leaves: str = ""  # words that say that the question leaves the machine, at every place where it is named


@dataclass(frozen=True, slots=True)
class Badge:
    """A short verdict: `kind` decides the colour, and the words say the same."""

    text: str
    kind: Literal["right", "wrong", "shown", "quiet", "leaves"] = "quiet"


Inline = str | Link | Strong | Data | Who | Badge
Text = tuple[Inline, ...]


@dataclass(frozen=True, slots=True)
class Paragraph:
    text: Text
    kind: Literal["", "note", "lead"] = ""


@dataclass(frozen=True, slots=True)
class Bullets:
    items: tuple[Text, ...]


@dataclass(frozen=True, slots=True)
class TableRow:
    cells: tuple[Text, ...]
    anchor: str = ""
    quiet: bool = False  # it decides nothing: a floor, an exploratory row
    span: int = 1  # how many rows its first cell stands for; 0: the first cell of a row above stands for it too


@dataclass(frozen=True, slots=True)
class Table:
    """`numbers`: which columns hold numbers. The first column names the row."""

    caption: str
    head: tuple[Text, ...]
    rows: tuple[TableRow, ...]
    numbers: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart as SVG. `description`: the same in words, for whoever does not see it."""

    name: str
    svg: str
    caption: Text
    description: str
    plain: str = ""  # the chart in letters, where it can be


@dataclass(frozen=True, slots=True)
class ContestantCard:
    who: Who
    facts: tuple[tuple[str, Text], ...]
    warning: str = ""  # of one that is not on this machine


@dataclass(frozen=True, slots=True)
class Cards:
    cards: tuple[ContestantCard, ...]


@dataclass(frozen=True, slots=True)
class Box:
    """One idea in a few lines, and an exercise of two."""

    title: str
    text: str
    exercise: str
    answer: str


@dataclass(frozen=True, slots=True)
class Boxes:
    exercise: str
    answer: str
    boxes: tuple[Box, ...]


@dataclass(frozen=True, slots=True)
class Said:
    """One contestant's answer. From `differs` on to `until`, characters are marked: where two answers part."""

    who: Who
    badge: Badge
    text: Data
    note: Text = ()
    verdict: Literal["right", "wrong", "malformed", "refused"] = "wrong"
    differs: int = -1
    until: int = -1


@dataclass(frozen=True, slots=True)
class Example:
    """An item, and what contestants said to it, side by side."""

    name: Data
    question: Data
    expected: Data
    answers: tuple[Said, ...]


@dataclass(frozen=True, slots=True)
class Examples:
    """`folded`: they open when asked for."""

    title: Text
    question: str  # the words "question" and "expected"
    expected: str
    examples: tuple[Example, ...]
    folded: bool = False


@dataclass(frozen=True, slots=True)
class Commands:
    text: Data


@dataclass(frozen=True, slots=True)
class Heading:
    """Of a part of a section."""

    text: Text
    anchor: str


Block = Paragraph | Bullets | Table | Figure | Cards | Boxes | Examples | Commands | Heading


@dataclass(frozen=True, slots=True)
class Section:
    anchor: str
    title: str
    blocks: tuple[Block, ...]
    brief: bool = True  # it stands in the shortened report too


@dataclass(frozen=True, slots=True)
class Document:
    title: str
    under: Text  # the line below the title
    language: str
    contents: str  # the word for the list of sections
    sections: tuple[Section, ...]

    def __iter__(self) -> Iterator[Section]:
        return iter(self.sections)
