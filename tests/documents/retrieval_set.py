"""Texts and questions written for finding: sixty sections a language, and three questions for each.

`?`: close to the section's words. NAME_more.txt, one a line: as people ask, in part in other words. `~`: on purpose in
other words altogether, which no search by words can find: what is measured of these is a limit, and is told as one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = Path(__file__).parent / "retrieval"
LANGUAGES = ("english", "french")


@dataclass(slots=True)
class Section:
    heading: str
    text: str = ""
    questions: list[str] = field(default_factory=list)
    paraphrases: list[str] = field(default_factory=list)


def documents(language: str) -> dict[str, list[Section]]:
    """Title -> its sections."""
    found: dict[str, list[Section]] = {}
    sections: list[Section] = []
    for line in (FOLDER / f"{language}.txt").read_text(encoding="utf-8").splitlines():
        mark, _, rest = line.partition(" ")
        if mark == "#":
            sections = found[rest] = []
        elif mark == "##":
            sections.append(Section(rest))
        elif mark == "?":
            sections[-1].questions.append(rest)
        elif mark == "~":
            sections[-1].paraphrases.append(rest)
        elif line:
            sections[-1].text += line
    return found


def as_markdown(title: str, sections: Sequence[Section]) -> bytes:
    parts = [f"# {title}", *(f"## {each.heading}\n\n{each.text}" for each in sections)]
    return "\n\n".join(parts).encode()


def asked(language: str) -> Iterator[tuple[str, str, str]]:
    """(question, title of its document, heading of its section): close to the words, and as people ask."""
    more = iter((FOLDER / f"{language}_more.txt").read_text(encoding="utf-8").splitlines())
    for title, sections in documents(language).items():
        for section in sections:
            yield from ((each, title, section.heading) for each in (*section.questions, next(more)))


def in_other_words(language: str) -> Iterator[tuple[str, str, str]]:
    """The same of the questions that share no telling word with their section."""
    for title, sections in documents(language).items():
        for section in sections:
            yield from ((each, title, section.heading) for each in section.paraphrases)
