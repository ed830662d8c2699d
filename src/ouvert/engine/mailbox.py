"""What other threads ask of the engine's thread: requests to answer, and tasks to run between two steps."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import TypeVar

from ouvert.engine.interface import EngineBusyError, EngineFailedError
from ouvert.engine.request import Request

LONGEST_WAIT = 3600.0  # seconds; longer ones overflow in some systems

Result = TypeVar("Result")
Task = Callable[[], object]


class EngineClosedError(EngineFailedError):
    """The engine was closed before or while it was used."""


class Mailbox:
    """Starts the engine's `thread` with the first thing that is asked of it. `failure`: what ended the thread, if
    something did."""

    def __init__(self, work: Callable[[], None]) -> None:
        """`work` is what the thread does: it takes what is here until `closing`."""
        self.failure: str | None = None
        self.closing = False
        self._work = work
        self._requests: deque[Request] = deque()
        self._tasks: deque[Task] = deque()
        self._changed = threading.Condition()
        self._woken = False
        self.thread: threading.Thread | None = None

    # --- from any thread ----------------------------------------------------------------------------------------------

    @property
    def requests_waiting(self) -> int:
        return len(self._requests)

    def submit(self, request: Request, waiting: int, most_waiting: int) -> None:
        """`waiting`: how many wait already that were taken from here. Raises EngineBusyError where too many do, and as
        `refuse_if_closed`."""
        with self._changed:
            self.refuse_if_closed()
            waiting += len(self._requests)
            if waiting >= most_waiting:
                raise EngineBusyError(
                    f"taking in a request: {waiting} wait already, and this engine lets {most_waiting} wait. "
                    "Ask again in a while."
                )
            self._start_or_wake()
            self._requests.append(request)

    def call(self, work: Callable[[], Result]) -> Result:
        """Run `work` in the engine's thread, between two steps. Returns what it returns, or raises what it raises."""
        done: Future[Result] = Future()

        def task() -> None:
            try:
                if self.failure is not None:
                    raise failed(self.failure)
                done.set_result(work())
            except BaseException as problem:  # raised again in the caller's thread
                done.set_exception(problem)

        with self._changed:
            self.refuse_if_closed()
            self._start_or_wake()
            self._tasks.append(task)
        return done.result()

    def post(self, task: Task) -> bool:
        """Have a task run between two steps, or when the engine is closed. False where it is closing: then nobody waits
        for more."""
        with self._changed:
            self._tasks.append(task)
            self._wake()
            return not self.closing

    def wake(self) -> None:
        with self._changed:
            self._wake()

    def close(self) -> bool:
        """Refuse everything from now on, and end the thread. False if it was closed before, or failed."""
        with self._changed:
            first, self.closing = not self.closing, True
            self._wake()
            return first

    def refuse_if_closed(self) -> None:
        """Raises EngineFailedError, and EngineClosedError."""
        if self.failure is not None:
            raise failed(self.failure)
        if self.closing:
            raise closed()

    def _start_or_wake(self) -> None:
        """The caller holds the condition. Raises EngineBusyError where the system gives no thread now."""
        if self.thread is None:
            thread = threading.Thread(target=self._work, name="ouvert-engine", daemon=True)
            try:
                thread.start()
            except (RuntimeError, MemoryError) as problem:
                raise EngineBusyError(
                    f"beginning to compute: the system gives no thread for it ({problem}). Ask again in a while, close "
                    "other programs, or raise the limit of processes."
                ) from problem
            self.thread = thread
        self._wake()

    def _wake(self) -> None:
        """The caller holds the condition."""
        self._woken = True
        self._changed.notify()

    # --- in the engine's thread ---------------------------------------------------------------------------------------

    def take_requests(self) -> Iterator[Request]:
        return taken(self._requests)

    def take_tasks(self) -> Iterator[Task]:
        return taken(self._tasks)

    def do_tasks(self) -> bool:
        """Run those that are there now. False if there were none."""
        did = False
        for task in self.take_tasks():
            task()
            did = True
        return did

    def wait(self, seconds: float | None) -> None:
        """Wait until something is asked, or for so many seconds."""
        timeout = None if seconds is None else min(LONGEST_WAIT, max(0.0, seconds))
        with self._changed:
            if not (self._woken or self._requests or self._tasks or self.closing):
                self._changed.wait(timeout)
            self._woken = False

    def fail(self, problem: BaseException) -> EngineFailedError:
        """The thread ends for this: everything is refused from now on, with what is returned."""
        with self._changed:
            self.failure = f"{type(problem).__name__}: {problem!s:.300}"
            self.closing = True
        return problem if isinstance(problem, EngineFailedError) else failed(self.failure)


Item = TypeVar("Item")


def taken(queue: deque[Item]) -> Iterator[Item]:
    """What is in it now, one by one: what is not asked for stays in it. Others may go on adding to it."""
    for _ in range(len(queue)):
        yield queue.popleft()


def failed(failure: str) -> EngineFailedError:
    return EngineFailedError(
        f"using an engine: it failed ({failure}), and has to be loaded again. A server does that by itself: ask again "
        "in a few seconds. The log says where it failed."
    )


def closed() -> EngineClosedError:
    return EngineClosedError("using an engine: it was closed. Load the model again.")
