"""Citations in an answer while it is written: each is resolved to a place in a document, or marked as unsupported.

A model cites `[2]`, the number of a source that was put before it, or `【3†L8-L11】`, lines of a page that it opened in
the browser. Nothing of a mark is shown before it is whole, and one that leads nowhere is never shown as if it did.
"""

import hashlib
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ouvert.documents.browser import Browser
from ouvert.documents.found import Found, Span
from ouvert.documents.words import language_of, stem, words_of

UNSUPPORTED = "[unsupported]"
LONGEST_MARK = 64  # characters: what is longer is none
MARK = re.compile(
    r"【(?P<cursor>\d{1,6})(?:†(?P<lines>[^†】]{1,32}))?(?:†[^†】]*)?】|\[(?P<numbers>\d{1,4}(?:\s?[,;]\s?\d{1,4}){0,9})\]"
)
BEGUN = re.compile(r"【[^】]*$|\[(?:\d[\d,; ]*)?$")
LINES = re.compile(r"L?(\d{1,7})(?:\s?[-–]\s?L?(\d{1,7}))?$")
SENTENCE = re.compile(r"[^.!?\n。！？]+(?:[.!?。！？]+(?=\s|$)|\n|$|[.!?。！？])")
FENCE = "```"


@dataclass(frozen=True, slots=True)
class Cited:
    """A citation that resolves. `mark` stands at characters `first` to `last` of the answer; `quote`: what it cites."""

    mark: str
    first: int
    last: int
    span: Span
    quote: str

    @property
    def facts(self) -> dict[str, Any]:
        """As JSON: docs/formats/documents.md. Raises nothing."""
        return {
            "mark": self.mark,
            "start_index": self.first,
            "end_index": self.last,
            **self.span.facts,
            "quote": self.quote,
        }


class Resolver(Protocol):
    """Where marks lead."""

    def numbered(self, number: int, said: str) -> tuple[str, Span, str] | None:
        """Mark, place and words of source `number`, of which `said` was just said; None where there is none."""

    def lines(self, cursor: int, first: int, last: int) -> tuple[str, Span, str] | None:
        """The same for lines of a page of the browser."""


class Citations:
    """Reads an answer piece by piece. `push` and `finish` give what is to be shown: texts, and after each mark that
    resolves a Cited. Its methods and properties raise nothing."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._held, self._text = "", ""
        self.cited: list[Cited] = []
        self.given = self.invented = 0

    def push(self, text: str) -> list[str | Cited]:
        return list(self._taken(self._held + text, final=False))

    def finish(self) -> list[str | Cited]:
        """What was held back: an unfinished mark of the browser's is none, and is marked."""
        return list(self._taken(self._held, final=True))

    @property
    def facts(self) -> dict[str, Any]:
        """What receipts say: how many were given, resolved, invented, and a digest of what each one cites."""
        spans = [
            {**{name: each.span.facts[name] for name in ("collection", "document", "page", "start", "stop")},
             "digest": digest_of(each.quote)}
            for each in self.cited
        ]  # fmt: skip
        return {"given": self.given, "resolved": len(self.cited), "invented": self.invented, "spans": spans}

    def _taken(self, text: str, *, final: bool) -> Iterator[str | Cited]:
        self._held = ""
        at = 0
        for match in MARK.finditer(text):
            yield from self._said(text[at : match.start()])
            yield from self._marked(match)
            at = match.end()
        rest = text[at:]
        begun = BEGUN.search(rest)
        if begun is not None and (final or len(rest) - begun.start() <= LONGEST_MARK):
            yield from self._said(rest[: begun.start()])
            held = rest[begun.start() :]
            if not final:
                self._held = held
            elif held.startswith("【"):
                self.given, self.invented = self.given + 1, self.invented + 1
                yield from self._said(UNSUPPORTED)
            else:
                yield from self._said(held)
        else:
            yield from self._said(rest)

    def _said(self, text: str) -> Iterator[str]:
        self._text += text
        if text:
            yield text

    def _marked(self, match: re.Match[str]) -> Iterator[str | Cited]:
        if self._text.count(FENCE) % 2:  # code: brackets are brackets there
            yield from self._said(match[0])
            return
        for found in self._led_to(match):
            self.given += 1
            if found is None:
                self.invented += 1
                yield from self._said(UNSUPPORTED)
                continue
            mark, span, quote = found
            first = len(self._text)
            yield from self._said(mark)
            self.cited.append(Cited(mark, first, len(self._text), span, quote))
            yield self.cited[-1]

    def _led_to(self, match: re.Match[str]) -> Iterator[tuple[str, Span, str] | None]:
        said = self._text[-500:]
        if match["numbers"] is not None:
            for number in re.findall(r"\d+", match["numbers"]):
                yield self._resolver.numbered(int(number), said)
        elif match["lines"] is not None and (lines := LINES.match(match["lines"])) is not None:
            first = int(lines[1])
            yield self._resolver.lines(int(match["cursor"]), first, int(lines[2] or first))
        else:
            yield self._resolver.numbered(int(match["cursor"]), said)


class NumberedSources:
    """Sources that were put before the model, from 1. A citation is of the sentence that fits best what was said."""

    def __init__(self, sources: Sequence[Found]) -> None:
        self._sources = sources

    def numbered(self, number: int, said: str) -> tuple[str, Span, str] | None:
        if not 1 <= number <= len(self._sources):
            return None
        source = self._sources[number - 1]
        first, last = closest_sentence(source.text, said)
        span = Span(source.collection, source.document, source.name, source.page, source.paged,
                    source.start + first, source.start + last)  # fmt: skip
        return f"[{number}]", span, source.text[first:last]

    def lines(self, cursor: int, first: int, last: int) -> tuple[str, Span, str] | None:
        return self.numbered(cursor, "")


class BrowserPages:
    """Pages that the model opened. Places are numbered as they are first cited. Its methods raise nothing."""

    def __init__(self, browser: Browser, text_of: Callable[[Span], str]) -> None:
        """`text_of`: the words of a span. Raises nothing."""
        self._browser, self._text_of = browser, text_of
        self._numbers: dict[Span, int] = {}

    def numbered(self, number: int, said: str) -> tuple[str, Span, str] | None:
        return None

    def lines(self, cursor: int, first: int, last: int) -> tuple[str, Span, str] | None:
        span = self._browser.span(cursor, first, last)
        if span is None:
            return None
        number = self._numbers.setdefault(span, len(self._numbers) + 1)
        return f"[{number}]", span, self._text_of(span)


def closest_sentence(text: str, said: str) -> tuple[int, int]:
    """The sentence of `text` that shares most with the last sentence of `said`; the whole text where none does."""
    sentences = [match.span() for match in SENTENCE.finditer(text) if match[0].strip()]
    spoken = [match[0] for match in SENTENCE.finditer(said) if match[0].strip()]
    language = language_of(text)
    wanted = {stem(word, language) for word in words_of(spoken[-1])} if spoken else set()

    def shared(span: tuple[int, int]) -> float:
        own = {stem(word, language) for word in words_of(text[slice(*span)])}
        return len(own & wanted) / math.sqrt(len(own) + 4)

    best = max(sentences, key=shared, default=(0, len(text)))
    if not wanted or shared(best) == 0:
        return 0, len(text)
    start, stop = best
    return start + len(text[start:stop]) - len(text[start:stop].lstrip()), start + len(text[start:stop].rstrip())


def digest_of(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def listed(cited: Sequence[Cited]) -> Mapping[str, Span]:
    """Mark -> place, each once, for the list under a plain answer. Raises nothing."""
    return {each.mark: each.span for each in reversed(cited)}
