"""The `browser` tool that gpt-oss was trained on, over documents: search, open, find, in the words of its reference.

docs/formats/documents.md states the rules and where they come from. What was asked for and cannot be is a BrowserError,
whose text the model reads as the tool's result. Every call that shows something pushes a page; its place among them is
the cursor, by which the model cites: `【cursor†L8-L11】`.
"""

import re
import textwrap
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import quote, unquote

from ouvert.documents.collection import Collection
from ouvert.documents.found import Found, Span
from ouvert.documents.words import best_start

WIDTH = 80  # characters of a line
VIEW_TOKENS = 1024
LONGEST_TOKEN = 128  # characters, of the vocabulary that the reference counts with
RESULTS = 10
FOUND_LINES, MOST_FOUND = 4, 50  # of `find`: lines shown of each place, and places
SNIPPET = 240  # characters of a passage in the list of results: three lines
BEFORE = 4  # lines above the one that a result leads to
LONGEST_ADDRESS = 1024
REPLACED = str.maketrans({"【": "〖", "】": "〗", "◼": "◾", "\u200b": None})
SCHEME = "document://"

TokenLengths = Callable[[str], Sequence[int]]


class BrowserError(Exception):
    """What the model is told instead of a page."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A page. `links`: id -> (address, line to jump to or None). `spans`: what each of its lines shows of a document;
    None for lines that show nothing of one. `listing`: it lists places of others."""

    url: str
    title: str
    text: str
    links: Mapping[int, tuple[str, int | None]] = field(default_factory=dict)
    spans: tuple[Span | None, ...] = ()
    listing: bool = False

    @property
    def lines(self) -> list[str]:
        return wrapped(self.text)


class Browser:
    """One conversation's browser over some collections. Its methods raise BrowserError, and DocumentError."""

    def __init__(
        self,
        collections: Sequence[Collection],
        token_lengths: TokenLengths | None = None,
        *,
        results: int = RESULTS,
        snippet: int = SNIPPET,
    ) -> None:
        """`token_lengths`: characters of each token of a text; without it four characters count as one. `results`: how
        many a search shows, and of each `snippet` characters."""
        self._results, self._snippet = results, snippet
        self._collections = {each.name: each for each in collections}
        self._token_lengths = token_lengths or (lambda text: [4] * (len(text) // 4 + 1))
        self.pages: list[Shown] = []

    def search(self, query: str) -> str:
        """A page of what was found in all collections, the best first."""
        found = best_of_all(list(self._collections.values()), query, self._results)
        lines = ["", "URL: ", "# Search Results", ""]
        spans: list[Span | None] = [None] * len(lines)
        links: dict[int, tuple[str, int | None]] = {}
        for n, each in enumerate(found):
            page = self._page_of(each.collection, each.document)
            shown = around(each, query, self._snippet)
            links[n] = (page.url, line_at(page, shown.start))
            item = f"  * 【{n}†{plain_title(each.name)}†{each.collection}】 {snippet(each, shown, self._snippet)}"
            spans += [shown.span] * len(wrapped(item))
            lines.append(item)
        if not found:
            lines.append("  * No document holds a word of this.")
            spans.append(None)
        return self._pushed(Shown("", query, "\n".join(lines), links, tuple(spans), listing=True))

    def open(
        self,
        id: int | str = -1,  # noqa: A002 - the trained name
        cursor: int = -1,
        loc: int = -1,
        num_lines: int = -1,
    ) -> str:
        """A page by its address or by a link of a page that was shown, or another part of one."""
        line = None
        if isinstance(id, str):
            page = self._at(id)
        else:
            page = self._page(cursor)
            if id >= 0:
                if id not in page.links:
                    raise BrowserError(f"Invalid link id `{id}`.")
                address, line = page.links[id]
                page = self._at(address)
        if loc < 0:
            loc = 0 if line is None else line - BEFORE if line > BEFORE else line
        return self._pushed(page, loc, num_lines)

    def find(self, pattern: str, cursor: int = -1) -> str:
        """The places of a page where a text stands, whatever its case."""
        page, pattern = self._page(cursor), str(pattern).lower()
        if page.listing:
            raise BrowserError("Cannot run `find` on search results page or find results page")
        lines = page.lines
        chunks: list[str] = []
        links: dict[int, tuple[str, int | None]] = {}
        spans: list[Span | None] = []
        at = 0
        while at < len(lines) and len(chunks) < MOST_FOUND:
            if pattern not in lines[at].lower():
                at += 1
                continue
            n, shown = len(chunks), range(at, min(at + FOUND_LINES, len(lines)))
            chunks.append("\n".join([f"# 【{n}†match at L{at}】", *(lines[each] for each in shown)]))
            links[n] = (page.url, at)
            spans += [page.spans[at], *(page.spans[each] for each in shown), None]
            at += FOUND_LINES
        text = "\n\n".join(chunks) if chunks else f"No `find` results for pattern: `{pattern}`"
        url, title = (
            f"{page.url}/find?pattern={quote(pattern)}",
            f"Find results for text: `{pattern}` in `{page.title}`",
        )
        return self._pushed(Shown(url, title, text, links, tuple(spans[:-1]) or (None,), listing=True))

    def span(self, cursor: int, first: int, last: int) -> Span | None:
        """What of a document stands on these lines of a page that was shown; None where nothing of one does."""
        if not 0 <= cursor < len(self.pages) or not 0 <= first <= last < len(self.pages[cursor].lines):
            return None
        spans = [each for each in self.pages[cursor].spans[first : last + 1] if each is not None]
        own = [each for each in spans if each.document == spans[0].document]
        return own[0].until(max(each.stop for each in own)) if own else None

    def _page(self, cursor: int) -> Shown:
        if not self.pages:
            raise BrowserError("No pages to access!")
        try:
            return self.pages[cursor]
        except TypeError:
            raise BrowserError(f"`cursor` should be an integer, not `{type(cursor).__name__}`") from None
        except IndexError:
            raise BrowserError(
                f"Cursor `{cursor}` is out of range. Available cursor indices: [0 - {len(self.pages) - 1}]."
            ) from None

    def _at(self, address: str) -> Shown:
        name, _, document = address.removeprefix(SCHEME).partition("/")
        known = self._collections.get(name)
        if known is None or not address.startswith(SCHEME) or all(each.id != document for each in known.documents):
            raise BrowserError(f"Error fetching URL `{shortened(address)}`: there is no such document")
        return self._page_of(name, document)

    def _page_of(self, name: str, named: str) -> Shown:
        return document_page(self._collections[name], named)

    def _pushed(self, page: Shown, loc: int = 0, num_lines: int = -1) -> str:
        text = view(page, len(self.pages), loc, num_lines, self._token_lengths)
        self.pages.append(page)
        return text


def document_page(collection: Collection, named: str) -> Shown:
    """The page of a document, with the span of each line. Raises DocumentError where there is none."""
    document = collection.document(named)
    url = f"{SCHEME}{collection.name}/{document.id}"
    text = collection.text(document.id)
    lines = wrapped(text.translate(REPLACED))
    stops = [stop for _, _, stop, _ in collection.pages(document.id)]
    spans: list[Span | None] = [None, None]  # an empty line, and the address
    at = 0
    for line in lines:
        number = min(bisect_right(stops, at), len(stops) - 1) + 1
        spans.append(Span(collection.name, document.id, document.name, number, document.paged, at, at + len(line)))
        at += len(line) + (text[at + len(line) : at + len(line) + 1] == "\n")
    return Shown(url, document.title, f"\nURL: {url}\n" + text.translate(REPLACED), {}, tuple(spans))


def view(page: Shown, cursor: int, loc: int, num_lines: int, token_lengths: TokenLengths) -> str:
    """Lines of a page, as the model reads them. Raises BrowserError for a line that there is not."""
    lines = page.lines
    if loc >= len(lines):
        raise BrowserError(f"Invalid location parameter: `{loc}`. Cannot exceed page maximum of {len(lines) - 1}.")
    if num_lines <= 0:
        num_lines = lines_of_a_view("\n".join(numbered(lines[loc:], loc)), len(lines), token_lengths)
    end = min(loc + num_lines, len(lines))
    domain = shortened(unquote(page.url))
    header = page.title + (f" ({domain})" if domain else "")
    body = "\n".join(numbered(lines[loc:end], loc))
    return f"[{cursor}] {header}\n**viewing lines [{loc} - {end - 1}] of {len(lines) - 1}**\n\n{body}"


def lines_of_a_view(text: str, most: int, token_lengths: TokenLengths) -> int:
    """The lines that VIEW_TOKENS tokens reach into, the last one whole."""
    if len(text) <= VIEW_TOKENS:
        return most
    lengths = token_lengths(text[: (VIEW_TOKENS + 1) * LONGEST_TOKEN])
    if len(lengths) <= VIEW_TOKENS:
        return most
    return text[: sum(lengths[:VIEW_TOKENS])].count("\n") + 1


def numbered(lines: Sequence[str], first: int) -> list[str]:
    return [f"L{n}: {line}" for n, line in enumerate(lines, first)]


def wrapped(text: str) -> list[str]:
    """The lines of a page; empty ones stay."""
    return [
        piece
        for line in text.split("\n")
        for piece in (textwrap.wrap(line, WIDTH, replace_whitespace=False, drop_whitespace=False) if line else [""])
    ]


def line_at(page: Shown, place: int) -> int:
    """The line on which a character of the document stands."""
    return next((n for n, span in enumerate(page.spans) if span is not None and span.stop >= place), 0)


def best_of_all(collections: Sequence[Collection], question: str, most: int) -> tuple[Found, ...]:
    """One ranking of all collections. Raises DocumentError."""
    found = [each for collection in collections for each in collection.search(question, most)]
    return tuple(sorted(found, key=lambda each: -(each.score or 0.0))[:most])


def around(found: Found, query: str, size: int) -> Found:
    """The part of a passage that a list shows: so many characters, where most words of the query stand."""
    start = best_start(found.text, query, size)
    text = found.text[start : start + size]
    if start + size < len(found.text):
        text = re.sub(r"\s\S*$", "", text)
    return replace(found, start=found.start + start, stop=found.start + start + len(text), text=text)


def snippet(found: Found, shown: Found, size: int) -> str:
    text = " ".join(found.text[shown.start - found.start :].split()).translate(REPLACED)
    short = text if len(text) <= size else text[:size].rpartition(" ")[0] + " …"
    return f"page {found.page}: {short}" if found.paged else short


def plain_title(title: str) -> str:
    return title.translate(REPLACED).replace("†", "‡")


def shortened(text: str) -> str:
    return text if len(text) <= LONGEST_ADDRESS else text[: LONGEST_ADDRESS - 3] + "..."
