"""Responses and their items, kept in memory so that clients may refer to them. Bounded: the oldest go first."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ouvert.serving.callers import Caller
from ouvert.serving.endpoints import Call

MOST_ITEMS = 20_000
MOST_CHARACTERS = 100_000_000


@dataclass
class Stored:
    """A response as it stands now. `context` are the items the model read: those sent, and those before them."""

    response: dict[str, Any]
    input_items: list[dict[str, Any]]
    context: list[Mapping[str, Any]]
    owner: str  # `whose` of its caller
    task: "asyncio.Task[None] | None" = None
    size: int = field(default=0)


class ResponseStore:
    """Belongs to one event loop. A caller finds only what it stored itself."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._responses: OrderedDict[str, Stored] = OrderedDict()
        self._items: OrderedDict[tuple[str, str], Mapping[str, Any]] = OrderedDict()
        self._characters = 0

    def keep(self, stored: Stored) -> None:
        response_id = stored.response["id"]
        if (before := self._responses.pop(response_id, None)) is not None:
            self._characters -= before.size
        stored.size = sum(len(str(item)) for item in (*stored.input_items, *stored.response["output"]))
        self._responses[response_id] = stored
        self._characters += stored.size
        for item in (*stored.input_items, *stored.response["output"]):
            self._items[stored.owner, item["id"]] = item
            self._items.move_to_end((stored.owner, item["id"]))
        while len(self._responses) > self._most or (self._characters > MOST_CHARACTERS and len(self._responses) > 1):
            forgotten = next(
                (key for key, each in self._responses.items() if each.task is None or each.task.done()), None
            )
            if forgotten is None or forgotten == response_id:
                break
            self._forget(forgotten)
        while len(self._items) > MOST_ITEMS:
            self._items.popitem(last=False)

    def find(self, response_id: str, caller: Caller) -> Stored | None:
        stored = self._responses.get(response_id)
        return stored if stored is not None and stored.owner == caller.whose else None

    def delete(self, response_id: str) -> None:
        self._forget(response_id)

    def seen_by(self, caller: Caller) -> "OwnerItems":
        return OwnerItems(self._items, caller.whose)

    async def close(self) -> None:
        """Cancel what is written in the background, and wait until it has stopped."""
        tasks = [stored.task for stored in self._responses.values() if stored.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget(self, response_id: str) -> None:
        stored = self._responses.pop(response_id)
        self._characters -= stored.size
        for item in (*stored.input_items, *stored.response["output"]):
            self._items.pop((stored.owner, item["id"]), None)


def responses_of(call: Call) -> ResponseStore:
    """The server's; `app` makes and closes it."""
    store: ResponseStore = call.request.app.state.responses
    return store


@dataclass(frozen=True)
class OwnerItems:
    """The stored items of one owner."""

    items: Mapping[tuple[str, str], Mapping[str, Any]]
    owner: str

    def item(self, item_id: str) -> Mapping[str, Any] | None:
        return self.items.get((self.owner, item_id))


# Fields of items that tell what kind of item it is and hold nothing of what was said; and bytes written as letters.
NO_TEXT = frozenset({"type", "id", "role", "status", "call_id", "name", "object", "detail"})
NO_TEXT |= {"encrypted_content", "image_url", "file_data"}


def texts_of(items: object) -> list[str]:
    """Every text in items that says something, however deep it lies."""
    match items:
        case str():
            return [items]
        case Mapping():
            return [text for name, each in items.items() if name not in NO_TEXT for text in texts_of(each)]
        case list() | tuple():
            return [text for each in items for text in texts_of(each)]
    return []
