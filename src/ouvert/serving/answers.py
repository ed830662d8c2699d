"""The answers that a server is writing: how many at once, and the way of each one from its model to its reader."""

import asyncio
import math
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, Protocol, Self, TypeVar

from ouvert.assistant import Finished, Model, Reading, Usage, Variant
from ouvert.serving.callers import Caller
from ouvert.serving.errors import Refusal
from ouvert.serving.event_queue import EventQueue
from ouvert.serving.keys import KeyFileError, Keys
from ouvert.serving.loaded_models import Lease, LoadedModels
from ouvert.serving.metrics import Metrics
from ouvert.serving.receipt_store import ReceiptStore
from ouvert.store import Answering, shown_state

BUSY_SECONDS = 2  # advice to a client that was turned away
RELEASE_STATE = "ouvert-release-state"  # the header: what is known of the adapters that answer

Item = TypeVar("Item")
Written = TypeVar("Written", covariant=True)


class ChoiceInProgress(Protocol[Written]):
    """One text of an answer: iterate it in one thread, cancel it from any."""

    def __iter__(self) -> Iterator[Written]: ...

    def cancel(self) -> None: ...


class Task(Protocol[Written]):
    """What a request asks of a model."""

    @property
    def model(self) -> str:
        """What the client calls the model."""

    @property
    def choices(self) -> int:
        """How many are written."""

    @property
    def variant(self) -> Variant:
        """The variant of the model that answers."""

    def start(self, lease: Lease, number: int) -> ChoiceInProgress[Written]:
        """The choice with that number, from 0. Called in the choice's thread; may take its time, and may raise."""


class Answers:
    """What all answers of a server have in common. Belongs to one event loop."""

    def __init__(
        self, most: int, models: LoadedModels, metrics: Metrics, receipts: ReceiptStore, answering: Answering
    ) -> None:
        """`most`: how many choices are written or wait to be at once, each in a thread of its own. `answering` tells
        other processes of this machine while somebody waits for an answer."""
        self.models, self.metrics, self.receipts = models, metrics, receipts
        self.threads = ThreadPoolExecutor(most, thread_name_prefix="ouvert-answer")
        self.in_flight = 0  # choices that are written, or wait to be
        self.in_progress: set[AnswerInProgress[Any]] = set()
        self._most, self._answering = most, answering

    @property
    def somebody_waits(self) -> bool:
        """Whether an answer is being written that is no item of a job. Raises nothing."""
        return any(not answer.caller.in_background for answer in self.in_progress)

    def take_places(self, count: int) -> None:
        """Raises Refusal 503 where there are not so many left."""
        if self.in_flight + count > self._most:
            self.metrics.refused.inc(count)
            raise Refusal(
                503,
                f"{self.in_flight} answers are being written or wait, and this server takes {self._most} at once. "
                "Ask again in a few seconds.",
                code="overloaded",
                retry_after=BUSY_SECONDS,
            )
        self.in_flight += count
        self.metrics.waiting.inc(count)

    def give_places_back(self, waiting: int, running: int = 0) -> None:
        self.in_flight -= waiting + running
        self.metrics.waiting.dec(waiting)
        self.metrics.running.dec(running)

    def begin(self, answer: "AnswerInProgress[Any]") -> None:
        """It is being written from now on. Raises nothing."""
        self.in_progress.add(answer)
        if not answer.caller.in_background:
            self._answering.begin()

    def over(self, answer: "AnswerInProgress[Any]") -> None:
        """It is not written any more. Raises nothing."""
        if answer in self.in_progress and not answer.caller.in_background:
            self._answering.end()
        self.in_progress.discard(answer)

    def end(self) -> None:
        """End what is being written before its next token; the last events still come."""
        for answer in tuple(self.in_progress):
            answer.cancel()

    def end_those_of_revoked_keys(self, keys: Keys) -> None:
        for answer in tuple(self.in_progress):
            key = answer.caller.key
            try:
                revoked = key is not None and not keys.holds(key)
            except KeyFileError:  # nobody new is served meanwhile, and whoever asks is told
                continue
            if revoked:
                sentence = "The key of this request was revoked while it was answered."
                answer.refuse(Refusal(401, sentence, code="key_revoked"))


class AnswerInProgress(Generic[Item]):
    """One answer: all choices of one request. In this order:

    - `begun` takes places among the server's answers, borrows the model and starts each choice in a thread;
    - the threads write at the model's speed, whatever the reader does, and put their events into a queue;
    - whoever iterates gets (number, event) in the order in which they come, and they are counted on the way;
    - `cancel` or `refuse` may end it early;
    - `close`, in any case, waits for the threads and gives model and places back.
    """

    def __init__(
        self, answers: Answers, lease: Lease, task: Task[Item], caller: Caller, answer_id: str, asked: float
    ) -> None:
        """`begun` makes one. `asked`: when, on the monotonic clock."""
        self.id, self.created = answer_id, int(time.time())
        self.name, self.caller, self.count = lease.name, caller, task.choices
        self.notes: list[str] = []  # what was asked for and could not be promised
        self.base = "/"  # where this server is, for addresses of what is cited
        self.prompt_tokens = 0  # of an answer to a conversation
        self.keep: float | None = math.nan  # seconds the model stays from now on, if the client says so
        self._answers, self._lease, self._task, self._asked = answers, lease, task, asked
        self._events: EventQueue[tuple[int, Item] | BaseException | None] = EventQueue()  # None: a choice is over
        self._lock = threading.Lock()  # of the next two
        self._choices: list[ChoiceInProgress[Item]] = []
        self._cancelled = False
        self._refused = self._closed = False
        self._threads: list[asyncio.Future[None]] = []
        self._unread = task.choices  # choices whose last event has not been taken
        self._silent = set(range(task.choices))  # choices without an event yet

    @property
    def model(self) -> Model:
        return self._lease.model

    @property
    def fingerprint(self) -> str:
        return self.model.fingerprint_of(self.model.variant_for(self._task.variant))

    @property
    def headers(self) -> dict[str, str]:
        """What the headers of the answer say of its adapters; none where the bare model answers. Raises nothing."""
        state = self.model.adapters.state(self.model.variant)
        return {} if state is None else {RELEASE_STATE: shown_state(state)}

    @classmethod
    async def begun(cls, answers: Answers, task: Task[Item], caller: Caller, answer_id: str, owner: str) -> Self:
        """Every choice has been started: from here on only what the model does can go wrong.

        `owner`: whose kept prefixes its prompts use. Raises Refusal, and what `task.start` raises.
        """
        asked = time.monotonic()
        answers.take_places(task.choices)
        try:
            lease = await answers.models.lend(task.model, owner, caller.admits)
        except BaseException:
            answers.give_places_back(waiting=task.choices)
            raise
        answer = cls(answers, lease, task, caller, answer_id, asked)
        answers.begin(answer)
        try:
            await answer._start()
        except BaseException:
            answer.cancel()
            await answer._end()
            raise
        return answer

    async def _start(self) -> None:
        """Returns when every choice has been started; raises the error of the first that could not be."""
        loop = asyncio.get_running_loop()
        started = [loop.create_future() for _ in range(self.count)]
        for number, future in enumerate(started):
            self._threads.append(loop.run_in_executor(self._answers.threads, self._write, number, future))
        try:
            await asyncio.gather(*started)
        finally:
            for future in started:
                future.cancel()

    def _write(self, number: int, started: "asyncio.Future[None]") -> None:
        """One choice from its beginning to its end, in its thread."""
        try:
            choice = self._task.start(self._lease, number)
        except BaseException as problem:  # handed to whoever awaits `begun`
            self._events.call(settle, started, problem)
            return
        with self._lock:
            self._choices.append(choice)
            cancelled = self._cancelled
        if cancelled:
            choice.cancel()
        self._events.call(settle, started, None)
        try:
            for event in choice:
                self._events.put((number, event))
        except BaseException as problem:  # handed to the reader
            self._events.put(problem)
        else:
            self._events.put(None)

    async def __aiter__(self) -> AsyncIterator[tuple[int, Item]]:
        while self._unread:
            for arrived in await self._events.take():
                if arrived is None:
                    self._unread -= 1
                elif isinstance(arrived, BaseException):
                    raise arrived
                else:
                    self._count(*arrived)
                    yield arrived

    def _count(self, number: int, event: Item) -> None:
        metrics = self._answers.metrics
        if number in self._silent and not isinstance(event, Reading):
            self._silent.remove(number)
            metrics.waiting.dec()
            metrics.running.inc()
            metrics.first_token.labels(self.model.info.name).observe(time.monotonic() - self._asked)
        if isinstance(event, Finished):
            self.count_tokens(event.usage)
            self._answers.receipts.keep(self.id, self.caller.whose, number, event.receipt)

    def count_tokens(self, usage: Usage) -> None:
        metrics, name = self._answers.metrics, self.model.info.name
        metrics.prompt_tokens.labels(name).inc(usage.prompt)
        metrics.reused_tokens.labels(name).inc(usage.reused)
        metrics.output_tokens.labels(name).inc(usage.output)
        metrics.reasoning_tokens.labels(name).inc(usage.reasoning)

    def cancel(self) -> None:
        """End it before its next token; the last events still come. Returns at once: a thread waits for the step."""
        with self._lock:
            if self._cancelled:
                return
            self._cancelled = True
            choices = tuple(self._choices)
        for choice in choices:
            asyncio.get_running_loop().run_in_executor(None, choice.cancel)

    def refuse(self, refusal: Refusal) -> None:
        """End it before its next token; the reader is told why, instead of what was still to come. Once."""
        if not self._refused:
            self._refused = True
            self._events.put_instead(refusal)
            self.cancel()

    async def close(self) -> None:
        """Ends what still runs, and gives everything back. May be called twice."""
        if self._closed:
            return
        if self._unread:
            self._answers.metrics.cancelled.inc()
            self.cancel()
        await self._end()

    async def _end(self) -> None:
        self._closed = True
        await asyncio.shield(asyncio.ensure_future(self._give_back()))

    async def _give_back(self) -> None:
        """When no thread works for it any more."""
        if self._threads:
            await asyncio.wait(self._threads)
        self._answers.over(self)
        self._answers.give_places_back(waiting=len(self._silent), running=self.count - len(self._silent))
        self._lease.give_back(self.keep)


def settle(future: "asyncio.Future[None]", problem: BaseException | None) -> None:
    """`future` may have been given up meanwhile."""
    if future.done():
        return
    if problem is None:
        future.set_result(None)
    else:
        future.set_exception(problem)
