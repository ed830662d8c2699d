"""Showing one answer while it is written: text on stdout, thinking folded and facts on stderr, Ctrl-C ends it."""

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, TextIO

from ouvert.assistant import Cited, Event, Finished, Reading, ReasoningDelta, TextDelta, ToolCallDelta
from ouvert.cli.progress import seconds_in_words
from ouvert.cli.terminal import visible
from ouvert.cli.thinking import DIM, PLAIN, ThinkingWindow, thought_line

READING_SHOWN_AFTER = 0.5  # seconds: a short prompt is read before anybody wonders
CLEAR_LINE = "\x1b[K"

QUOTED = 120  # characters of what is cited, in the list under an answer


@dataclass(frozen=True, slots=True)
class Shown:
    """A whole answer, as it was shown."""

    text: str
    reasoning: str
    finished: Finished
    cited: tuple[Cited, ...] = ()


class Screen:
    """Writes the pieces of an answer where they belong. Nothing is coloured where nobody looks."""

    def __init__(
        self,
        out: TextIO,
        aside: TextIO,
        *,
        hide_thinking: bool = False,
        show_thinking: bool = False,
        silent: bool = False,
    ) -> None:
        """The answer goes to `out`, everything else to `aside`. `silent`: nothing of the answer is shown.

        Thoughts are folded into one line when they are over, if `aside` is a terminal; `show_thinking` leaves all of
        them there, `hide_thinking` shows none.
        """
        self.out, self.aside, self.hide_thinking, self.silent = out, aside, hide_thinking, silent
        self._dimmed = aside.isatty()
        self._window = ThinkingWindow(aside) if self._dimmed and not show_thinking else None
        self._thinking_since: float | None = None
        self._thought_before = 0  # tokens of the thoughts that are folded already
        self._call: int | None = None
        self._column = 0
        self._reading = False  # a line says how far the prompt is read

    def show(self, event: Event, thought_tokens: int | None = None) -> None:
        """`thought_tokens`: how many the answer has had so far, if known."""
        if not isinstance(event, Reading):
            self._end_reading()
        match event:
            case Reading():
                self._read(event)
            case ReasoningDelta(text):
                if not self.hide_thinking and not self.silent:
                    self._think(text)
            case TextDelta(text):
                self._end_thinking(thought_tokens)
                self.write(text)
            case ToolCallDelta(index, _, name, arguments):
                self._end_thinking(thought_tokens)
                if index != self._call:
                    self.end_line()
                    self._call = index
                    self.write(f"{name} ")
                self.write(arguments)
            case Finished(usage=usage):
                self._end_thinking(usage.reasoning or None)
                self._thought_before = 0
                self.end_line()

    def write(self, text: str) -> None:
        if self.silent:
            return
        self.out.write(visible(text) if self.out.isatty() else text)
        self.out.flush()
        if text:
            self._column = 0 if text.endswith("\n") else 1

    def end_line(self) -> None:
        """The next thing shown begins a line of its own."""
        if self._column:
            self.write("\n")

    def note(self, text: str) -> None:
        """A line about the answer, not of it."""
        self.aside.write(f"{DIM}{text}{PLAIN}\n" if self._dimmed else f"{text}\n")
        self.aside.flush()

    def _read(self, reading: Reading) -> None:
        """How far a long prompt is read: one line that is drawn over, where somebody looks."""
        if not self._dimmed or self.silent or reading.seconds < READING_SHOWN_AFTER:
            return
        left = reading.seconds_left
        rest = "" if left is None else f", {seconds_in_words(left)} left"
        line = f"reading the prompt: {reading.done:,} of {reading.total:,} tokens{rest}"
        self.aside.write(f"\r{CLEAR_LINE}{DIM}{line}{PLAIN}")
        self.aside.flush()
        self._reading = True

    def _end_reading(self) -> None:
        if self._reading:
            self.aside.write(f"\r{CLEAR_LINE}")
            self.aside.flush()
            self._reading = False

    def _think(self, text: str) -> None:
        if self._thinking_since is None:
            self.end_line()
            self._thinking_since = time.perf_counter()
            if self._dimmed and self._window is None:
                self.aside.write(DIM)
        if self._window is not None:
            self._window.write(text)
        else:
            self.aside.write(visible(text) if self.aside.isatty() else text)
            self.aside.flush()

    def _end_thinking(self, tokens: int | None) -> None:
        if self._thinking_since is None:
            return
        seconds = time.perf_counter() - self._thinking_since
        self._thinking_since = None
        if self._window is not None:
            self._window.close()
        else:
            self.aside.write((PLAIN if self._dimmed else "") + "\n\n")
        self.note(thought_line(seconds, None if tokens is None else tokens - self._thought_before))
        self._thought_before = tokens or 0


def show_answer(events: Iterable[Event], screen: Screen) -> Shown:
    """Show an answer to its end."""
    text: list[str] = []
    reasoning: list[str] = []
    cited: list[Cited] = []
    for event in events:
        screen.show(event, getattr(events, "thought_tokens", None))
        match event:
            case TextDelta(piece):
                text.append(piece)
            case ReasoningDelta(piece):
                reasoning.append(piece)
            case Cited():
                cited.append(event)
            case Finished():
                return Shown("".join(text), "".join(reasoning), event, tuple(cited))
    raise AssertionError("an answer ended without Finished")


def sources_in_words(cited: Sequence[Cited]) -> str:
    """Which mark of an answer means which place: a line for each, in the order in which they came."""
    places: dict[str, str] = {}
    for each in cited:
        facts = each.facts
        page = f", page {facts['page']}" if facts["paged"] else ""
        quote = " ".join(str(facts["quote"]).split())
        places.setdefault(
            str(facts["mark"]), f"{facts['name']}{page}: “{quote if len(quote) <= QUOTED else quote[:QUOTED] + '…'}”"
        )
    return "\n".join(f"{mark} {place}" for mark, place in places.items())


def facts_line(tokens: int, reasoning: int, seconds: Mapping[str, float], reason: str, reused: int = 0) -> str:
    """What one answer cost: tokens, tokens a second while writing, time to first token."""
    facts = [f"{tokens} tokens" + (f" ({reasoning} of them thinking)" if reasoning else "")]
    if tokens > 1 and seconds["decode"] > 0:
        facts.append(f"{(tokens - 1) / seconds['decode']:.1f} tokens/s")
    if tokens:
        facts.append(f"first token after {seconds['queued'] + seconds['prefill']:.2f} s")
    if reused:
        facts.append(f"{reused} tokens of the conversation were still known")
    if reason == "length":
        facts.append("cut off by the limit of tokens")
    if reason == "repetition":
        facts.append("ended because it went in circles (--repetition-guard)")
    if reason == "cancelled":
        facts.append("stopped by you")
    return ", ".join(facts)


def facts_of(finished: Finished) -> str:
    usage = finished.usage
    seconds: Mapping[str, Any] = finished.receipt["seconds"]
    return facts_line(usage.output, usage.reasoning, seconds, finished.reason, usage.reused)


@contextmanager
def ctrl_c_calls(cancel: Callable[[], None]) -> Iterator[None]:
    """Within, the first Ctrl-C calls `cancel`; a second one is what it always is, a KeyboardInterrupt."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)

    def interrupted(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        cancel()

    signal.signal(signal.SIGINT, interrupted)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def complain(text: str) -> None:
    print(visible(f"ouvert: {text}"), file=sys.stderr)
