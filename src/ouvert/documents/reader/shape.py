"""What a file is once it is read: pages of blocks. The reader writes it as JSON, the collection reads it back."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

LEAST = 20  # characters of a page that is read: one with fewer is a picture
VERSION = 1


@dataclass(frozen=True, slots=True)
class Block:
    """A heading (`level` 1 to 6), or a paragraph, list item or row (`level` 0). Its text has no blank lines."""

    text: str
    level: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    """`scan`: there is a picture where its text should be, so it was not read."""

    blocks: tuple[Block, ...]
    scan: bool = False

    @property
    def text(self) -> str:
        return "\n\n".join(block.text for block in self.blocks)


@dataclass(frozen=True, slots=True)
class Reading:
    """`title`: as the file states it, or None. `paged`: its pages are those that people see and cite."""

    kind: str
    pages: tuple[Page, ...]
    title: str | None = None
    paged: bool = False
    notes: tuple[str, ...] = field(default=())

    def as_json(self) -> str:
        """Raises nothing."""
        return json.dumps({"reading": VERSION, **asdict(self)}, ensure_ascii=True)


def reading_from(text: str | bytes) -> Reading:
    """The reading that `as_json` wrote. Raises ValueError for anything else: a file may have written it."""
    try:
        stated = json.loads(text)
        if stated["reading"] != VERSION:
            raise ValueError(f"it is of version {stated['reading']!r:.20}, expected {VERSION}")
        title = stated["title"]
        return Reading(
            kind=plain(stated["kind"]),
            pages=tuple(page_from(each) for each in stated["pages"]),
            title=None if title is None else plain(title),
            paged=bool(stated["paged"]),
            notes=tuple(plain(each) for each in stated["notes"]),
        )
    except (KeyError, TypeError, RecursionError) as problem:
        raise ValueError(f"it is no reading: {problem!r:.100}") from None


def page_from(stated: Any) -> Page:
    blocks = tuple(Block(plain(each["text"]), min(max(int(each["level"]), 0), 6)) for each in stated["blocks"])
    return Page(tuple(each for each in blocks if each.text), bool(stated["scan"]))


def plain(text: Any) -> str:
    """A string without surrogates and control characters, which neither SQLite nor a screen takes. One that parts
    words, as slides have between lines, is a space."""
    if not isinstance(text, str):
        raise TypeError(f"{text!r:.40} is no string")
    text = text.replace("\t", "    ").replace("\u200b", "").replace("\ufeff", "")
    kept = (
        c if c == "\n" or (ord(c) >= 32 and not 0x7F <= ord(c) < 0xA0) else " " * c.isspace()
        for c in text
        if not 0xD800 <= ord(c) < 0xE000
    )
    return "".join(kept).strip()


def pages_of(texts: Iterable[Sequence[Block]], *, pictures: bool = False) -> tuple[Page, ...]:
    """Pages of blocks. `pictures`: one with hardly any text is a scan."""
    pages = (tuple(block for block in blocks if block.text.strip()) for blocks in texts)
    return tuple(Page(blocks, pictures and is_scan(blocks)) for blocks in pages)


def is_scan(blocks: Sequence[Block]) -> bool:
    return sum(len("".join(block.text.split())) for block in blocks) < LEAST
