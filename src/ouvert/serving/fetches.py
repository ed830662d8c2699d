"""Fetches that the owner asked this server for: one at a time, the same for all who ask, given up and gone on with.

`Store.pull` fetches, in a thread of its own; the loop reads how far it is. The store knows what is not finished, so
that is there after a restart too.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, Literal

from ouvert.assistant import AskedPrecision, pack_installed, packed_bytes_foreseen
from ouvert.safety import Guard
from ouvert.serving.errors import Refusal
from ouvert.serving.sentences import sentence_of
from ouvert.store import (
    HOSTS_COMMAND,
    Cancelled,
    CheckpointError,
    Hub,
    Installed,
    Offer,
    Store,
    StoreError,
    Unfinished,
    aliases,
)

LOG = logging.getLogger("ouvert.serving")

State = Literal["queued", "fetching", "packing", "stopping", "done", "cancelled", "failed"]
ENDED: frozenset[State] = frozenset({"done", "cancelled", "failed"})
LOOK_SECONDS = 0.25  # between looks at how much has arrived
SPEED_SECONDS = 8.0  # over which the speed is told
HOSTS_SECONDS = 3600.0  # for which pip's settings are listed as they were; before a fetch they are looked up
MOST_REMEMBERED = 50  # fetches that are over


class Fetch:
    """One fetch, and the progress that the store tells. Its thread writes, the loop reads.

    `arrived` of `total` bytes of what is fetched are here; `step` is what is being done, `step_done` of `step_total`.
    """

    def __init__(self, offer: Offer, store: Store, say: Callable[[str], None]) -> None:
        self.offer, self._store, self._say = offer, store, say
        self.state: State = "queued"
        self.total, self.arrived = offer.size, offer.arrived
        self.step: str | None = None
        self.step_total: int | None = None
        self.step_done = 0
        self.said: list[str] = []  # what was asked, and what a source that did not give it said
        self.fault: str | None = None
        self.connections: Mapping[str, Any] | None = None
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.holders = 0  # clients that wait for it, without whom it is given up
        self.is_kept = False  # it goes on, whoever looks
        self._samples: deque[tuple[float, int]] = deque()
        self._lock = threading.Lock()  # of what is measured
        self._looked = 0.0
        self._given_up = threading.Event()

    @property
    def name(self) -> str:
        return self.offer.name

    def give_up(self) -> None:
        """It ends soon; what has arrived is kept."""
        if self.state not in ENDED:
            self._given_up.set()
            self.state = "stopping"

    def facts(self) -> dict[str, Any]:
        """For clients. Speeds and times only while bytes come in."""
        facts: dict[str, Any] = {
            "model": self.name,
            "state": self.state,
            "source": self.offer.source,
            "hosts": list(self.offer.hosts),
            "total_bytes": self.total,
            "arrived_bytes": self.arrived,
            "said": list(self.said),
        }
        if self.step is not None:
            facts["step"] = {"name": self.step, "total_bytes": self.step_total, "done_bytes": self.step_done}
        if self.state == "fetching" and (speed := self._speed()):
            facts["bytes_per_second"] = round(speed)
            if self.total is not None:
                facts["seconds_left"] = round((self.total - self.arrived) / speed, 1)
        if self.fault is not None:
            facts["fault"] = self.fault
        if self.connections is not None:
            facts["connections"] = dict(self.connections)
        return facts

    def _speed(self) -> float:
        """Bytes a second of late; 0 where too little is known."""
        with self._lock:
            samples = list(self._samples)
        if len(samples) < 2:
            return 0.0
        (begun, before), (now, arrived) = samples[0], samples[-1]
        return max(0.0, (arrived - before) / (now - begun))

    def look(self) -> None:
        """Look on the disk how much has arrived, if nobody did of late. May be called from any thread."""
        with self._lock:
            now = time.monotonic()
            if now - self._looked < LOOK_SECONDS or self.state not in ("fetching", "stopping"):
                return
            self._looked = now
            seen = self._seen()
            if seen is None:
                return
            self.total, self.arrived = seen.total if seen.total is not None else self.total, seen.arrived
            self._samples.append((now, self.arrived))
            while now - self._samples[0][0] > SPEED_SECONDS:
                self._samples.popleft()

    def _seen(self) -> Unfinished | None:
        return next((each for each in self._store.unfinished() if each.name == self.name), None)

    def is_over(self) -> None:
        """Nothing comes any more: how much is here, for who goes on with it."""
        if (left := self._seen()) is not None:
            self.arrived = left.arrived

    # --- the progress that the store tells, in the thread that fetches ------------------------------------------------

    def say(self, text: str) -> None:
        """One line for the person who waits."""
        self.said.append(text)
        self._say(text)

    def begin(self, label: str, total: int | None, done: int = 0) -> None:
        """A step starts."""
        self.step, self.step_total, self.step_done = label, total, done
        with self._lock:
            self._samples.clear()
        self.look()

    def advance(self, count: int) -> None:
        """So many bytes more of the step."""
        self.step_done += count
        self.look()

    def end(self) -> None:
        """The step is over."""
        self.step = self.step_total = None

    def require_wanted(self) -> None:
        """Raises Cancelled once it has been given up."""
        if self._given_up.is_set():
            raise Cancelled(f"The fetch of {self.name} was given up. What has arrived is kept.")


class Fetches:
    """Those of one server. Belongs to one event loop."""

    def __init__(
        self,
        store: Store,
        hub: Hub,
        guard: Guard | None,
        say: Callable[[str], None],
        *,
        precision: AskedPrecision | None,
        only_named: bool,
    ) -> None:
        """`precision`: that to which weights are packed; `only_named`: nothing is fetched."""
        self._store, self._hub, self._guard, self._say = store, hub, guard, say
        self._precision, self._only_named = precision, only_named
        self._hosts: Mapping[str, tuple[str, ...]] | None = None
        self._hosts_found = 0.0
        self._hosts_of_others: dict[str, tuple[str, ...]] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ouvert-fetch")
        self._fetches: dict[str, Fetch] = {}
        if guard is not None:
            guard.admit(HOSTS_COMMAND)

    def every(self) -> tuple[Fetch, ...]:
        """Those that are under way, and the last ones that are over, in the order in which they were begun."""
        return tuple(self._fetches.values())

    def look(self) -> None:
        """Look how far those are that are under way. May be called from any thread."""
        for fetch in self.every():
            fetch.look()

    def under_way(self, name: str) -> Fetch | None:
        """The fetch of the model of that own name that is not over."""
        fetch = self._fetches.get(name)
        return None if fetch is None or fetch.state in ENDED else fetch

    async def offer(self, what: str) -> Offer:
        """What a fetch would ask for, and whom; `what` may be the name of one that is not finished. Raises Refusal 404
        for what names no model."""
        if self._only_named:
            raise Refusal(
                409,
                "This server offers the models that it was started with, and no others (--only), so none is fetched.",
                code="not_offered",
            )

        def find() -> Offer:
            begun = next((each for each in self._store.unfinished() if each.name == what), None)
            source, name = (what, None) if begun is None else (begun.source, begun.name)
            return self._store.offer(source, name=name, hub=self._hub)

        try:
            return await asyncio.to_thread(find)
        except StoreError as problem:
            raise Refusal(404, sentence_of(problem), code="model_not_found", param="model") from problem

    async def hosts(self) -> Mapping[str, tuple[str, ...]]:
        """For each short name that can be fetched the hosts of its sources, in the order in which they are asked."""

        def find() -> dict[str, tuple[str, ...]]:
            found = {}
            for alias in aliases():
                with suppress(StoreError):  # its name stands for another model in this store
                    found[alias.name] = self._store.offer(alias.name, hub=self._hub).hosts
            return found

        now = time.monotonic()
        if self._hosts is None or now - self._hosts_found > HOSTS_SECONDS:
            self._hosts, self._hosts_found = await asyncio.to_thread(find), now
        return self._hosts

    def forget_hosts(self) -> None:
        """They have turned out to be others: what is listed next is found out anew."""
        self._hosts, self._hosts_of_others = None, {}

    async def hosts_of(self, name: str) -> tuple[str, ...]:
        """The hosts of the sources of the model whose fetch of that name is not finished. Raises Refusal 404."""
        known = await self.hosts()
        if name not in known and name not in self._hosts_of_others:
            self._hosts_of_others[name] = (await self.offer(name)).hosts
        return known.get(name) or self._hosts_of_others[name]

    def begin(self, offer: Offer) -> Fetch:
        """The fetch of that model: the one that is under way, else a new one, which waits for those before it."""
        if (fetch := self.under_way(offer.name)) is not None:
            return fetch
        fetch = Fetch(offer, self._store, self._say)
        self._fetches.pop(offer.name, None)
        self._fetches[offer.name] = fetch
        for each in [each for each in self.every() if each.state in ENDED][:-MOST_REMEMBERED]:
            del self._fetches[each.name]
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._thread, self._run, fetch)
        future.add_done_callback(lambda done: settle(fetch, done))
        return fetch

    def forget(self, name: str) -> None:
        """Of a fetch that is over nothing is shown any more."""
        if self.under_way(name) is None:
            self._fetches.pop(name, None)

    async def close(self) -> None:
        """Give up what is under way; it can be gone on with after a restart. Raises nothing."""
        for fetch in self.every():
            fetch.give_up()
        await asyncio.gather(*(fetch.ended for fetch in self.every()), return_exceptions=True)
        self._thread.shutdown(wait=True)

    # --- in the thread ------------------------------------------------------------------------------------------------

    def _run(self, fetch: Fetch) -> State:
        """Fetch, then pack. Returns how it ended."""
        guard, counted = self._guard, None if self._guard is None else self._guard.counts
        try:
            fetch.require_wanted()
            fetch.state = "fetching"
            scope: AbstractContextManager[None] = nullcontext() if guard is None else guard.fetching()
            with scope:
                made = packed_bytes_foreseen(self._precision)
                installed = self._store.pull(
                    fetch.offer.source, name=fetch.name, hub=self._hub, progress=fetch, made=made
                )
        except Cancelled:
            return "cancelled"
        except (StoreError, CheckpointError, OSError) as problem:
            fetch.fault = sentence_of(problem)
            return "failed"
        finally:
            if guard is not None and counted is not None:
                fetch.connections = guard.since(counted)
            fetch.is_over()
        fetch.arrived = fetch.total = installed.size
        return self._pack(fetch, installed)

    def _pack(self, fetch: Fetch, installed: Installed) -> State:
        """The model is here. Where its packing is given up it takes place when the model is first used."""
        fetch.state = "packing"
        try:
            pack_installed(self._store, installed, fetch, self._precision)
        except Cancelled:
            pass
        except (StoreError, CheckpointError, OSError) as problem:
            fetch.fault = f"{fetch.name} is here, but cannot be used as it is: {sentence_of(problem)}"
            return "failed"
        return "done"


def settle(fetch: Fetch, done: "asyncio.Future[State]") -> None:
    """Say how a fetch ended, to everybody who waits for it."""
    if done.cancelled():
        fetch.state = "cancelled"
    elif (problem := done.exception()) is not None:
        LOG.error("fetching %s", fetch.name, exc_info=problem)
        fetch.fault, fetch.state = "Something went wrong here, and the server's log says what.", "failed"
    else:
        fetch.state = done.result()
    if not fetch.ended.done():
        fetch.ended.set_result(None)
