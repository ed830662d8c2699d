"""From threads to the event loop: what threads put, one reader in the loop takes."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class EventQueue(Generic[Item]):
    """Any thread puts and never waits; the reader is woken once for all that has come. Belongs to one event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._items: deque[Item] = deque()
        self._waiting = asyncio.Event()
        self._woken = False  # whether the reader has been called and has not taken yet
        self._lock = threading.Lock()

    def put(self, item: Item) -> None:
        self._put(item, clears=False)

    def put_instead(self, item: Item) -> None:
        """This item takes the place of all that has not been taken yet."""
        self._put(item, clears=True)

    def _put(self, item: Item, *, clears: bool) -> None:
        with self._lock:
            if clears:
                self._items.clear()
            self._items.append(item)
            wake, self._woken = not self._woken, True
        if wake:
            self.call(self._waiting.set)

    async def take(self) -> tuple[Item, ...]:
        """All that has come, in its order; waits for the first where nothing has."""
        await self._waiting.wait()
        self._waiting.clear()
        with self._lock:
            self._woken = False
            items = tuple(self._items)
            self._items.clear()
        return items

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Call a function in the event loop, from any thread. A loop that is closed has no reader: nothing happens."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *arguments)
