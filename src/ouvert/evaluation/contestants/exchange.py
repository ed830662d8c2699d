"""One question, one answer, over HTTP: asked again where the server is busy, ended in a sentence where it is gone."""

import json
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from ouvert.assistant import AnsweredLines, Connection, EngineError, lines_until, server_sent_events
from ouvert.evaluation.contestants.dialects.dialect import Dialect, ReadingError, RefusedWithinError, Request
from ouvert.evaluation.contestants.pieces import Gathering, TooLongError
from ouvert.evaluation.error import EvaluationError

BUSY = frozenset({408, 409, 425, 429, 502, 503, 504, 529})  # 529: Anthropic's "overloaded"
CANNOT = frozenset({400, 413, 422})  # this question cannot be asked
MOST_SAID = 600  # characters of what a server says of an error
MOST_ERROR = 1 << 20  # bytes of an error's body
MOST_BODY = 64 << 20  # bytes of an answer that is no stream
FAILURES = 3  # times that a server may fail at a question before it is one that it cannot be asked
GOES_ON = "When the server is well, `ouvert compare resume` goes on at this question."
NO_MONEY = ("insufficient_quota", "billing_hard_limit_reached", "credit balance is too low")

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """`attempts`: how often a question is asked where the server is busy or gone. `first`: seconds before the second
    time, doubled each time up to `most`; a server's Retry-After counts instead, up to `most`. `answer`: seconds that
    one answer may take."""

    attempts: int = 6
    first: float = 1.0
    most: float = 60.0
    answer: float = 3600.0


class RefusedError(Exception):
    """The server cannot be asked this question. The message is what it says of it."""


class BusyError(Exception):
    """Asked again it may answer. `after`: seconds that it asks to be left alone, None where it does not say."""

    def __init__(self, said: str, *, after: float | None = None) -> None:
        super().__init__(said)
        self.after = after


class FailedError(BusyError):
    """The server failed at this question (500). If it does so each time, it cannot be asked it."""


class Exchange:
    """Asks one server. Safe from several threads at once. `who`: the contestant, for errors. `secret` never stands in
    one. `closing`, set, ends waiting."""

    def __init__(self, connection: Connection, who: str, *, secret: str | None, patience: Patience) -> None:
        self.connection, self.who, self.patience = connection, who, patience
        self.closing = threading.Event()
        self._secret = secret

    def stream(self, dialect: Dialect, request: Request) -> tuple[Gathering, int]:
        """The whole answer, and how often it was asked for. Times are those of the last time.

        Raises RefusedError for a question that it cannot be asked, EvaluationError where the server is gone, busy for
        too long, says something else than an answer, or refuses whoever asks.
        """
        return self._asked(lambda: self._streamed(dialect, request), request.path, self.patience.attempts)

    def once(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The JSON that is answered, asked for once; None where there is nothing (404). Raises as `stream` does."""
        return self._asked(lambda: self._whole(method, path, body), path, 1)[0]

    def post(self, path: str, body: Mapping[str, Any]) -> tuple[Any, int]:
        """The JSON that is answered, and how often it was asked for; None where there is nothing. Raises as `stream`
        does."""
        return self._asked(lambda: self._whole("POST", path, body), path, self.patience.attempts)

    # --- asking again -------------------------------------------------------------------------------------------------

    def _asked(self, ask: Callable[[], T], path: str, attempts: int) -> tuple[T, int]:
        for attempt in range(1, attempts + 1):
            try:
                return ask(), attempt
            except FailedError as problem:
                if attempt in (FAILURES, attempts):
                    raise RefusedError(self.clean(str(problem))) from problem
                last: Exception = problem
            except (BusyError, EngineError) as problem:
                last = problem
            if attempt < attempts and self.closing.wait(self._pause(attempt, last)):
                raise self._error(path, "it was given up while it waited", GOES_ON)
        said = last.__cause__ if isinstance(last, EngineError) and last.__cause__ else last
        if attempts == 1:
            raise self._error(path, str(said), "Start the server, or correct the address.") from last
        raise self._error(path, f"asked {attempts} times: {said}", GOES_ON) from last

    def _pause(self, attempt: int, problem: Exception) -> float:
        """Spread a little, so that several threads do not come back at once."""
        asked = problem.after if isinstance(problem, BusyError) else None
        waiting = self.patience.first * 2 ** (attempt - 1) if asked is None else asked
        return min(waiting * random.uniform(1.0, 1.25), self.patience.most)  # noqa: S311 - no secret

    # --- one attempt --------------------------------------------------------------------------------------------------

    def _streamed(self, dialect: Dialect, request: Request) -> Gathering:
        gathering = Gathering()
        deadline = time.monotonic() + self.patience.answer
        lines = self._opened("POST", request.path, request.body)
        try:
            for event in events(lines, dialect, deadline):
                for piece in dialect.pieces(event):
                    gathering.take(piece)
        except (ReadingError, ValueError, RecursionError) as problem:
            raise self._error(
                request.path, f"its answer cannot be read: {problem}", f"Is this a server that speaks {self._dialect}?"
            ) from problem
        except TooLongError as problem:
            raise self._error(request.path, f"its answer has {problem}", "Look at what the server does.") from problem
        except TimeoutError as problem:
            raise self._error(
                request.path, f"its answer was not over after {self.patience.answer:.0f} s",
                GOES_ON,
            ) from problem  # fmt: skip
        except RefusedWithinError as problem:
            if problem.passing:
                raise BusyError(str(problem)) from problem
            raise RefusedError(self.clean(str(problem))) from problem
        finally:
            lines.close()
        if not gathering.reason:
            raise BusyError("its answer ended before it was over")
        return gathering

    def _whole(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        try:
            lines = self._opened(method, path, body)
        except NothingThereError:
            return None
        try:
            return json.loads(lines.rest(MOST_BODY))
        except (ValueError, RecursionError) as problem:
            raise self._error(
                path, f"what it answers is no JSON: {problem}", f"Is this a server that speaks {self._dialect}?"
            ) from problem
        finally:
            lines.close()

    def _opened(self, method: str, path: str, body: Mapping[str, Any] | None) -> AnsweredLines:
        """An answer whose status says that all is well."""
        lines = self.connection.answer(method, path, body, within=self.patience.answer)
        if lines.status == 200:
            if lines.header("content-type").startswith("text/html"):
                lines.close()
                raise self._error(path, "it answers with a web page", f"Is this a server that speaks {self._dialect}?")
            return lines
        try:
            said = message_of(lines.rest(MOST_ERROR))
        finally:
            lines.close()
        raise self._meaning(path, lines.status, said, lines.header("retry-after"))

    def _meaning(self, path: str, status: int, said: str, after: str) -> Exception:
        if any(each in said for each in NO_MONEY):
            return self._error(path, f"refused with {status}: {said}", "See to the account, and run it again.")
        if status in BUSY:
            return BusyError(f"{status}: {said}", after=seconds_of(after))
        if status >= 500:
            return FailedError(f"it failed ({status}): {said}")
        if status in CANNOT:
            return RefusedError(self.clean(said))
        if status == 404:
            return NothingThereError(self._text(path, f"refused with 404: {said}", "Is the model's name right?"))
        if status in (401, 403):
            remedy = "Give its key in the environment, as docs/guides/compare.md says."
        elif 300 <= status < 400:
            remedy = "Redirects are not followed: name the host itself."
        else:
            remedy = "Is the address right?"
        return self._error(path, f"refused with {status}: {said}", remedy)

    @property
    def _dialect(self) -> str:
        return self.who.partition(":")[0]

    def clean(self, text: str) -> str:
        """Without the key, if a server repeats it. Raises nothing."""
        shown = text if self._secret is None else text.replace(self._secret, "(the key)")
        return "".join(each if each.isprintable() else " " for each in shown[:MOST_SAID])

    def _text(self, path: str, what: str, remedy: str) -> str:
        return f"asking {self.who} ({self.connection.address}{path}): {self.clean(what).rstrip('.')}. {remedy}"

    def _error(self, path: str, what: str, remedy: str) -> EvaluationError:
        return EvaluationError(self._text(path, what, remedy))


class NothingThereError(EvaluationError):
    """The server answers, and has nothing there: another program, or another model."""


def events(lines: AnsweredLines, dialect: Dialect, deadline: float) -> Iterator[Mapping[str, Any]]:
    """The JSON objects of a stream. Raises TimeoutError, ValueError for what is no JSON, ReadingError for JSON that is
    no object, and EngineUnreachableError where the connection is lost."""
    framed = server_sent_events if dialect.framing == "events" else lines_until
    for data in framed(lines, deadline, None):
        if data in (b"", b"[DONE]"):
            continue
        event = json.loads(data)
        if not isinstance(event, Mapping):
            raise ReadingError(f"an event is {data[:80]!r}, expected a JSON object")
        yield event


def message_of(body: bytes) -> str:
    """The sentence in a server's error, in whichever of the usual places it stands; with its code, where that says
    more."""
    try:
        found: Any = json.loads(body)
    except (ValueError, RecursionError):
        found = body.decode("utf-8", "replace")
    if isinstance(found, list) and len(found) == 1:  # Gemini's, where it was asked for a stream
        found = found[0]
    code = ""
    for name in ("error", "message", "detail"):
        if isinstance(found, Mapping) and name in found:
            code = str(found.get("code") or code)
            found = found[name]
    if code in NO_MONEY:
        found = f"{found} ({code})"
    said = "".join(each if each.isprintable() else " " for each in f"{found!s:.{MOST_SAID}}")
    return said.strip().rstrip(".") or "nothing is said"


def seconds_of(header: str) -> float | None:
    """Retry-After in seconds; None where it is not said so (a date, nothing)."""
    return float(header) if header.isascii() and header.isdecimal() else None
