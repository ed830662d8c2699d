"""Citations in an answer while it is written: each is resolved to a place in a document, or marked as unsupported.

A model cites `[2]`, the number of a source that was put before it, or `【3†L8-L11】`, lines of a page that it opened in
the browser. Nothing of a mark is shown before it is whole, and one that leads nowhere is never shown as if it did.
"""

import hashlib
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from ouvert.documents.browser import Browser
from ouvert.documents.found import Found, Span
from ouvert.documents.words import COMMON_WORDS, SENTENCE, UNKNOWN, language_of, stem, telling_words, words_of

UNSUPPORTED = "[unsupported]"
LONGEST_MARK = 64  # characters: what is longer is none
MARK = re.compile(
    r"【(?P<cursor>\d{1,6})(?:†(?P<lines>[^†】]{1,32}))?(?:†[^†】]*)?】|\[(?P<numbers>\d{1,4}(?:\s?[,;]\s?\d{1,4}){0,9})\]"
)
BEGUN = re.compile(r"【[^】]*$|\[(?:\d[\d,; ]*)?$")
LINES = re.compile(r"L?(\d{1,7})(?:\s?[-–]\s?L?(\d{1,7}))?$")
FENCE = "```"
NUMBER = re.compile(r"\d+(?:[.,'\u00a0\u202f]\d{3})*")
ENOUGH, SURE = 1 / 3, 1 / 2  # of the telling words: of lines that were named, of lines that were not
RUN = 400  # characters that a statement may stand on
LARGE = 3  # digits of a number that nobody spells out


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

    def lines(self, cursor: int, first: int, last: int, said: str) -> tuple[str, Span, str] | None:
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
            yield self._resolver.lines(int(match["cursor"]), first, int(lines[2] or first), said)
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

    def lines(self, cursor: int, first: int, last: int, said: str) -> tuple[str, Span, str] | None:
        return self.numbered(cursor, "")


class BrowserPages:
    """Pages that the model opened. Places are numbered as they are first cited, and lines are a place only for what
    they support. Its methods raise nothing."""

    def __init__(self, browser: Browser, text_of: Callable[[Span], str], *, attributes: bool = False) -> None:
        """`text_of`: the words of a span; it raises nothing. `attributes`: where the lines that a model names do not
        hold what it said, and another result that it read does, that one is cited; `attributed` counts these."""
        self._browser, self._text_of, self._attributes = browser, text_of, attributes
        self._numbers: dict[Span, int] = {}
        self.attributed = 0

    def numbered(self, number: int, said: str) -> tuple[str, Span, str] | None:
        return None

    def lines(self, cursor: int, first: int, last: int, said: str) -> tuple[str, Span, str] | None:
        span = self._browser.span(cursor, first, last)
        if span is None:
            return None
        run = self._run_of(span, said)
        listing = self._browser.pages[cursor].listing
        if run is None:
            run, listing = self._elsewhere(said), True
            self.attributed += run is not None
        if run is None:
            return None
        if listing:  # a result is a piece of a page: of it what was meant
            span = run
        number = self._numbers.setdefault(span, len(self._numbers) + 1)
        return f"[{number}]", span, self._text_of(span)

    def _run_of(self, span: Span, said: str) -> Span | None:
        """What of these lines holds what was said; None where nothing does."""
        start, stop = closest_run(quote := self._text_of(span), said)
        held = supports(quote[start:stop], said)
        return replace(span, start=span.start + start, stop=span.start + stop) if held else None

    def _elsewhere(self, said: str) -> Span | None:
        """The best of the results that were read, where half of the telling words stand together in one."""
        if not self._attributes:
            return None
        shown = dict.fromkeys(span for page in self._browser.pages if page.listing for span in page.spans if span)
        runs = [run for span in shown if (run := self._run_of(span, said)) is not None]
        best = max(runs, key=lambda run: share_held(self._text_of(run), said), default=None)
        return best if best is not None and share_held(self._text_of(best), said) >= SURE else None


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


def closest_run(text: str, said: str) -> tuple[int, int]:
    """The sentences and lines of a text, RUN characters together at most, that have most of the words of the last
    sentence of `said`, the fewest of those; the whole text where none has any. Raises nothing."""
    language = language_of(text)
    wanted = {stem(word, language) for word in telling_words(last_sentence(said))}
    pieces = [match.span() for match in SENTENCE.finditer(text) if match[0].strip()]
    held = [{stem(word, language) for word in words_of(text[slice(*each)])} & wanted for each in pieces]
    best, most = (0, len(text)), 0
    for first, (start, _) in enumerate(pieces):
        found: set[str] = set()
        for last in range(first, len(pieces)):
            stop = pieces[last][1]
            if last > first and stop - start > RUN:
                break
            found |= held[last]
            if len(found) > most or (len(found) == most > 0 and stop - start < best[1] - best[0]):
                best, most = (start, stop), len(found)
    shown = text[slice(*best)]
    return best[0] + len(shown) - len(shown.lstrip()), best[0] + len(shown.rstrip())


def last_sentence(said: str) -> str:
    return next((match[0] for match in reversed(list(SENTENCE.finditer(said))) if match[0].strip()), "")


def supports(quote: str, said: str) -> bool:
    """Whether lines hold what was just said, as far as words tell: a third of the telling words of its last sentence,
    and each of its numbers of three digits or more (smaller ones are often spelt out). A sentence in another language
    than the lines, or without such words, is not judged. Raises nothing."""
    spoken = last_sentence(said)
    numbers = set(map(digits, NUMBER.findall(spoken)))
    if not {each for each in numbers if len(each) >= LARGE} <= set(map(digits, NUMBER.findall(quote))):
        return False
    language, own = language_of(quote), language_of(said)
    if UNKNOWN not in (language, own) and language != own:
        return True
    return share_held(quote, said) >= ENOUGH


def share_held(quote: str, said: str) -> float:
    """The part of the telling words of the last sentence that lines have; 1 where it has no such words."""
    language = language_of(said)
    common = COMMON_WORDS.get(language, ())
    telling = {stem(word, language) for word in words_of(last_sentence(said)) if word not in common}
    held = telling & {stem(word, language) for word in words_of(quote)}
    return len(held) / len(telling) if telling else 1.0


def digits(number: str) -> str:
    return re.sub(r"\D", "", number)


def digest_of(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def listed(cited: Sequence[Cited]) -> Mapping[str, Span]:
    """Mark -> place, each once, for the list under a plain answer. Raises nothing."""
    return {each.mark: each.span for each in reversed(cited)}
