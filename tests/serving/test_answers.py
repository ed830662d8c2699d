"""One answer from borrowing its model to giving it back, with stand-ins for model and texts."""

import asyncio
import os
import threading
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from ouvert.assistant import Usage
from ouvert.serving.answers import AnswerInProgress, Answers
from ouvert.serving.callers import ANYBODY
from ouvert.serving.errors import Refusal
from ouvert.serving.metrics import Metrics
from ouvert.serving.receipt_store import ReceiptStore
from ouvert.store import Answering

NAME = "tiny"


class Lease:
    """Notes when it is given back."""

    name = NAME
    model = SimpleNamespace(info=SimpleNamespace(name=NAME), fingerprint="fp")

    def __init__(self):
        self.given_back = []

    def give_back(self, keep):
        self.given_back.append(keep)


class Models:
    """One model, or none."""

    def __init__(self, lease):
        self._lease = lease

    async def lend(self, name, owner, admits):
        if self._lease is None:
            raise Refusal(404, f"There is no model {name!r} here.", code="model_not_found")
        return self._lease


class Text:
    """Gives its words; where it `waits`, it then waits until it is cancelled."""

    def __init__(self, words, *, waits=False):
        self._words, self._waits = words, waits
        self.cancelled, self.over = threading.Event(), threading.Event()

    def __iter__(self):
        yield from self._words
        if self._waits:
            assert self.cancelled.wait(30)
        self.over.set()

    def cancel(self):
        self.cancelled.set()


class Task:
    """Starts these choices; a choice that is an exception cannot be started."""

    model = NAME

    def __init__(self, *choices):
        self._starts, self.choices = choices, len(choices)

    def start(self, lease, number):
        if isinstance(self._starts[number], Exception):
            raise self._starts[number]
        return self._starts[number]


@asynccontextmanager
async def answers(lease, most=8):
    metrics = Metrics(lambda: 0, lambda: 0)
    nowhere = Answering(Path(os.devnull))  # no folder: nobody is told
    every = Answers(most, Models(lease), metrics, ReceiptStore(10), nowhere)
    try:
        yield every
    finally:
        every.threads.shutdown(wait=True)


def begun(every, task):
    return AnswerInProgress.begun(every, task, ANYBODY, "an-id", owner="")


def gauges(every):
    """(waiting, running)"""
    lines = dict(line.split(" ") for line in every.metrics.text().decode().splitlines() if "#" not in line)
    return float(lines["ouvert_answers_waiting"]), float(lines["ouvert_answers_running"])


def test_events_of_all_choices_come_and_then_everything_is_given_back():
    lease = Lease()

    async def main():
        async with answers(lease) as every:
            answer = await begun(every, Task(Text("ab"), Text("cd")))
            assert (every.in_flight, gauges(every)) == (2, (2, 0))
            events = [event async for event in answer]
            assert gauges(every) == (0, 2)
            await answer.close()
            await answer.close()
            assert (every.in_flight, gauges(every), every.in_progress) == (0, (0, 0), set())
            return events

    events = asyncio.run(main())
    assert [[word for n, word in events if n == number] for number in (0, 1)] == [["a", "b"], ["c", "d"]]
    assert len(lease.given_back) == 1


def test_where_a_choice_cannot_be_started_the_model_is_kept_until_the_threads_of_the_others_have_ended():
    running = Text("a", waits=True)
    lease = Lease()
    lease.give_back = lambda keep: lease.given_back.append(running.over.is_set())

    async def main():
        async with answers(lease) as every:
            with pytest.raises(ValueError, match="too long"):
                await begun(every, Task(running, ValueError("too long")))
            assert (every.in_flight, gauges(every)) == (0, (0, 0))

    asyncio.run(main())
    assert lease.given_back == [True]


def test_without_the_model_no_place_is_taken():
    async def main():
        async with answers(None) as every:
            with pytest.raises(Refusal, match="no model"):
                await begun(every, Task(Text("a")))
            assert (every.in_flight, gauges(every)) == (0, (0, 0))

    asyncio.run(main())


def test_more_choices_than_there_are_places_are_refused():
    async def main():
        async with answers(Lease(), most=2) as every:
            answer = await begun(every, Task(Text("a", waits=True)))
            with pytest.raises(Refusal) as refused:
                await begun(every, Task(Text("b"), Text("c")))
            assert (refused.value.status, refused.value.code, every.in_flight) == (503, "overloaded", 1)
            await answer.close()
            assert every.in_flight == 0

    asyncio.run(main())


def test_a_refusal_takes_the_place_of_what_has_not_been_read():
    text = Text("abc", waits=True)

    async def main():
        async with answers(Lease()) as every:
            answer = await begun(every, Task(text))
            events = aiter(answer)
            assert await anext(events) == (0, "a")
            answer.refuse(Refusal(401, "The key was revoked."))
            answer.refuse(Refusal(401, "Said only once."))
            with pytest.raises(Refusal, match="was revoked"):
                [event async for event in events]
            await answer.close()

    asyncio.run(main())
    assert text.cancelled.is_set()


def test_a_reader_that_comes_late_finds_every_event():
    """The threads write at their own speed."""
    text = Text(range(1000))

    async def main():
        async with answers(Lease()) as every:
            answer = await begun(every, Task(text))
            assert await asyncio.to_thread(text.over.wait, 30)
            assert [event async for event in answer] == [(0, n) for n in range(1000)]
            answer.count_tokens(Usage(prompt=3, reused=0, output=1000, reasoning=0))
            await answer.close()
            return every.metrics.text().decode()

    assert 'ouvert_output_tokens_total{model="tiny"} 1000.0' in asyncio.run(main())
