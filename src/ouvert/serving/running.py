"""From blocking answers to the event loop: a thread pulls each answer, a queue hands its events over."""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, Protocol, TypeVar

Event = TypeVar("Event")
Pulls = TypeVar("Pulls", covariant=True)


class Pullable(Protocol[Pulls]):
    """An answer or a generation: iterate it in one thread, cancel it from any."""

    def __iter__(self) -> Iterator[Pulls]: ...

    def cancel(self) -> None: ...


class Pulled(Generic[Event]):
    """Several answers, pulled at once. Iterate for (number, event), in the order in which they come.

    The thread goes on at the answer's own speed, whatever the reader does: a slow client holds nothing but its own
    events. Belongs to one event loop.
    """

    def __init__(self, starts: Iterable[Callable[[], Pullable[Event]]], threads: ThreadPoolExecutor) -> None:
        """`starts` are called in the answers' threads; they may take their time, and may raise."""
        self._starts = tuple(starts)
        self._threads = threads
        self._loop = asyncio.get_running_loop()
        self._queue: deque[tuple[int, Event] | BaseException | None] = deque()
        self._waiting = asyncio.Event()
        self._scheduled = False
        self._lock = threading.Lock()
        self._cancelled = self._failed = False
        self._answers: list[Pullable[Event]] = []
        self._open = 0
        self._done: list[asyncio.Future[None]] = []

    async def begin(self) -> None:
        """Returns when all have begun; raises what the first that could not raised."""
        begun = [self._loop.create_future() for _ in self._starts]
        self._open = len(self._starts)
        for number, start in enumerate(self._starts):
            self._done.append(self._loop.run_in_executor(self._threads, self._pull, number, start, begun[number]))
        try:
            await asyncio.gather(*begun)
        except BaseException:
            for future in begun:
                future.cancel()
            self.cancel()
            raise

    def _pull(self, number: int, start: Callable[[], Pullable[Event]], begun: "asyncio.Future[None]") -> None:
        try:
            answer = start()
        except BaseException as problem:  # handed to whoever awaits `begin`
            self._call(settle, begun, problem)
            return
        with self._lock:
            self._answers.append(answer)
            cancelled = self._cancelled
        if cancelled:
            answer.cancel()
        self._call(settle, begun, None)
        try:
            for event in answer:
                self._put((number, event))
        except BaseException as problem:  # handed to the reader
            self._put(problem)
        else:
            self._put(None)

    def _put(self, item: "tuple[int, Event] | BaseException | None") -> None:
        with self._lock:
            self._queue.append(item)
            wake, self._scheduled = not self._scheduled, True
        if wake:
            self._call(self._waiting.set)

    def _call(self, function: Callable[..., object], *arguments: object) -> None:
        """In the event loop; a loop that has been closed has no reader either."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *arguments)

    @property
    def finished(self) -> bool:
        """Whether every event has been taken."""
        return not self._open

    async def __aiter__(self) -> AsyncIterator[tuple[int, Event]]:
        while self._open:
            await self._waiting.wait()
            self._waiting.clear()
            with self._lock:
                self._scheduled = False
                items = tuple(self._queue)
                self._queue.clear()
            for item in items:
                if item is None:
                    self._open -= 1
                elif isinstance(item, BaseException):
                    raise item
                else:
                    yield item

    def cancel(self) -> None:
        """End them all before their next token. Returns at once: a thread waits for the step that is under way."""
        with self._lock:
            if self._cancelled:
                return
            self._cancelled = True
            answers = tuple(self._answers)
        for answer in answers:
            self._loop.run_in_executor(None, answer.cancel)

    def fail(self, problem: BaseException) -> None:
        """`cancel`, and the reader is told this instead of what it has not taken yet. Only the first time counts."""
        with self._lock:
            if self._failed:
                return
            self._failed = True
            self._queue.clear()
        self._put(problem)
        self.cancel()

    async def ended(self) -> None:
        """Returns when no thread works for these answers any more."""
        if self._done:
            await asyncio.wait(self._done)


def settle(future: "asyncio.Future[None]", problem: BaseException | None) -> None:
    """`future` may have been given up meanwhile."""
    if future.done():
        return
    if problem is None:
        future.set_result(None)
    else:
        future.set_exception(problem)
