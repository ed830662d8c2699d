"""How likely a model found what it wrote, and the likeliest of several answers."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Protocol, Self

from ouvert.assistant.error import AssistantError
from ouvert.assistant.events import Event, Finished
from ouvert.engine import Token

MOST_CANDIDATES = 64  # answers of which the best is chosen


class Likelihood:
    """The mean log-probability of an answer's tokens: of all it wrote, thoughts, headers and ends among them.

    Its methods and properties raise nothing.
    """

    def __init__(self) -> None:
        self._logprobs: list[float] = []

    def push(self, token: Token) -> None:
        """Count one more token."""
        if token.logprob is not None:
            self._logprobs.append(token.logprob)

    @property
    def mean(self) -> float | None:
        """The mean; None if no log-probabilities were asked for, or nothing was written."""
        return math.fsum(self._logprobs) / len(self._logprobs) if self._logprobs else None


class Candidate(Protocol):
    """An answer being written: `Answer` and `Continuation` are such."""

    @property
    def likelihood(self) -> Likelihood: ...

    def __iter__(self) -> Iterator[Event]: ...

    def cancel(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Written:
    """A candidate that was read to its end."""

    events: tuple[Event, ...]
    mean_logprob: float | None

    @property
    def finished(self) -> Finished:
        """Its last event. Raises AssertionError if there is none, which is a fault of the program."""
        last = self.events[-1]
        if not isinstance(last, Finished):
            raise AssertionError("an answer ended without Finished")
        return last


class Best:
    """Several answers to the same, written side by side; they share the caches of their prompt.

    `Model.best_of` and `Model.best_text_of` make one.

    Making one raises nothing.
    """

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self._candidates = tuple(candidates)

    @classmethod
    def of(cls, make: Callable[..., Candidate], settings: Sequence[Mapping[str, Any]]) -> Self:
        """One candidate for each of the settings. If one cannot be begun, the others are ended.

        What `make` raises is raised here.
        """
        begun: list[Candidate] = []
        try:
            for each in settings:
                begun.append(make(**each))
        except BaseException:
            cls(begun).cancel()
            raise
        return cls(begun)

    def cancel(self) -> None:
        """End them all before their next token. Safe from any thread. Raises nothing."""
        for each in self._candidates:
            each.cancel()

    def read(self) -> tuple[Written, ...]:
        """All of them, the best first: the highest mean log-probability, of equal ones the earlier candidate.

        If reading one raises, the others are ended, and it is raised here.
        """
        with ThreadPoolExecutor(len(self._candidates), thread_name_prefix="ouvert-candidate") as pool:
            reading = [pool.submit(tuple, each) for each in self._candidates]
            try:
                wait(reading, return_when=FIRST_EXCEPTION)
            finally:
                if not all(each.done() for each in reading):
                    self.cancel()
            events = [each.result() for each in reading]
        written = [Written(read, each.likelihood.mean) for read, each in zip(events, self._candidates, strict=True)]
        return tuple(sorted(written, key=likeliest_first))


def likeliest_first(written: Written) -> float:
    """What wrote nothing comes last."""
    return math.inf if written.mean_logprob is None else -written.mean_logprob


def check_count(count: int, temperature: float) -> None:
    """Raises AssistantError for a number of candidates that makes no sense."""
    if not 2 <= count <= MOST_CANDIDATES:
        raise AssistantError(
            f"choosing the best of several answers: {count} were asked for, expected 2 to {MOST_CANDIDATES}. For one "
            "answer leave the number out."
        )
    if temperature == 0:
        raise AssistantError(
            f"choosing the best of {count} answers: the temperature is 0, at which all are the same. Set one above 0, "
            "or ask for one answer."
        )
