"""A document as text, pages and passages: by its structure, never across pages, each with the headings above it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ouvert.documents.reader.shape import Block, Page, Reading

LEAST, MOST = 200, 400  # words of a passage: less where its section has less
BETWEEN = "\n\n"  # blocks, and pages
# Where a block that is too long may be cut: behind a sentence, a line, a word; the best that there is.
CUTS = (re.compile(r"[.!?。！？][\"')\]»”]*\s+|[。！？]"), re.compile(r"\n"), re.compile(r"\s+"))


@dataclass(frozen=True, slots=True)
class PlacedPage:
    """`start` and `stop` are characters of the document's text. `scan`: it was not read."""

    number: int
    start: int
    stop: int
    scan: bool


@dataclass(frozen=True, slots=True)
class PlacedPassage:
    """`path`: the headings above it, outermost first."""

    page: int
    start: int
    stop: int
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Laid:
    """A document's text, and where its pages and passages are in it."""

    text: str
    pages: tuple[PlacedPage, ...]
    passages: tuple[PlacedPassage, ...]


def laid_out(reading: Reading) -> Laid:
    """Raises nothing."""
    texts: list[str] = []
    pages: list[PlacedPage] = []
    passages: list[PlacedPassage] = []
    path: list[tuple[int, str]] = []
    at = 0
    for number, page in enumerate(reading.pages, 1):
        text = page.text
        pages.append(PlacedPage(number, at, at + len(text), page.scan))
        passages += passages_of(page, number, at, path)
        texts.append(text)
        at += len(text) + len(BETWEEN)
    return Laid(BETWEEN.join(texts), tuple(pages), tuple(passages))


def passages_of(page: Page, number: int, at: int, path: list[tuple[int, str]]) -> Iterator[PlacedPassage]:
    """`path` goes on from page to page: it holds (level, heading) of the section that is open."""
    gathered = Gathered(number, at)
    for block in page.blocks:
        if block.level:
            if gathered.has_body:
                yield from gathered.given(path)
            while path and path[-1][0] >= block.level:
                path.pop()
            path.append((block.level, " ".join(block.text.split())))
            gathered.take(block, at)
        else:
            for start, stop in pieces(block.text):
                words = len(block.text[start:stop].split())
                if gathered.has_body and (gathered.words >= LEAST or gathered.words + words > MOST):
                    yield from gathered.given(path)
                gathered.take(Block(block.text[start:stop]), at + start)
        at += len(block.text) + len(BETWEEN)
    yield from gathered.given(path)


class Gathered:
    """The passage that is being gathered."""

    def __init__(self, page: int, at: int) -> None:
        self.page, self.start, self.stop = page, at, at
        self.words, self.has_body, self._any = 0, False, False

    def take(self, block: Block, at: int) -> None:
        if not self._any:
            self.start, self._any = at, True
        self.stop = at + len(block.text)
        self.words += len(block.text.split())
        self.has_body |= not block.level

    def given(self, path: list[tuple[int, str]]) -> Iterator[PlacedPassage]:
        if self._any:
            yield PlacedPassage(self.page, self.start, self.stop, tuple(heading for _, heading in path))
        self.words, self.has_body, self._any = 0, False, False


def pieces(text: str) -> Iterator[tuple[int, int]]:
    """A block whole, or where it has too many words cut behind sentences."""
    start = 0
    while (cut := cut_of(text, start)) < len(text):
        yield start, cut
        start = cut
    yield start, len(text)


def cut_of(text: str, start: int) -> int:
    """The end of the piece that begins at `start`: at most MOST words, or as many characters as those have."""
    ends = [match.end() for _, match in zip(range(MOST), re.finditer(r"\S+", text[start:]), strict=False)]
    limit = start + min(ends[-1] if ends else 0, 8 * MOST)  # unspaced scripts have one word a paragraph
    if limit >= len(text.rstrip()):
        return len(text)
    for cut in CUTS:
        found = [
            match.end() for match in cut.finditer(text, start, limit + 1) if match.end() > start + (limit - start) // 2
        ]
        if found:
            return found[-1]
    return limit
