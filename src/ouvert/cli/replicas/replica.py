"""What Ray runs: replicas, each an engine-only server, and the registry to which they say where they are.

Nothing here imports Ray at its top, so that the order can be made, and the rest be tested, without it.
"""

import asyncio
import contextlib
import logging
import queue
import tempfile
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ouvert.cli.replicas.places import Place, Places

if TYPE_CHECKING:
    from ouvert.serving import Refusal, Service

LOG = logging.getLogger("ouvert.serving")

AGAIN_SECONDS = 1.0  # between two signs of life to the registry
UNCHANGED_SECONDS = 1.0  # after which whoever waits for news is told that there are none
LOAD_SECONDS = 1800.0  # in which a replica has to have its model
STOP_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What every replica serves. `home`: the store's folder, None for the one of the machine it runs on. `options`:
    those of `ouvert.load` that say how it is computed. `most`: answers at once. `memory`: bytes, None for no limit.
    `scratch`: a folder that somebody removes when all is over, None where the replica's machine has none."""

    model: str
    home: str | None
    options: Mapping[str, Any]
    most: int
    memory: int | None
    scratch: str | None = None


class ReplicaError(Exception):
    """A replica cannot serve its model. The message says why."""


class Registry:
    """An actor: replicas say where they are, and the driver hears of what is new."""

    def __init__(self, count: int) -> None:
        self._places = Places(count)
        self._version = time.time_ns()  # another after the actor was started anew
        self._news = asyncio.Condition()

    async def heard(self, place: Place) -> None:
        async with self._news:
            if self._places.heard(place, time.monotonic()):
                self._version += 1
                self._news.notify_all()

    async def after(self, version: int) -> tuple[int, dict[str, Place]]:
        """The places, as soon as they are others than in that version, or after a while."""
        async with self._news:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait_for(lambda: self._version != version), UNCHANGED_SECONDS)
            return self._version, dict(self._places.every)


class EngineServer:
    """The engine of one model as token ids, on a port of `host`, behind a key that is made for it alone."""

    def __init__(self, order: Order, host: str) -> None:
        """Returns when it serves. Raises ReplicaError where it cannot."""
        from ouvert.cli.environment import guard_asked_for, open_store
        from ouvert.serving import (
            ENGINE_ENDPOINTS,
            Keys,
            Settings,
            allow_more_files,
            bound_socket,
            make_app,
            make_server,
        )
        from ouvert.store import Store

        self._folder = tempfile.TemporaryDirectory(prefix="ouvert-replica-", dir=order.scratch)
        state = Path(self._folder.name)
        _, self.key = Keys(state).create("face")
        allow_more_files()
        settings = Settings(
            host=host,
            port=0,
            models=(order.model,),
            only_these=True,
            keep=None,
            memory=order.memory,
            load_options={**order.options, "receipts": False, "prefixes": False, "guard": guard_asked_for()},
            most_answers=order.most,
            stop_seconds=STOP_SECONDS,
            key_required=True,
            state=state,
        )
        told: queue.Queue[str | None] = queue.Queue()

        async def ready(service: "Service", refusals: "Sequence[Refusal]") -> None:
            told.put("; ".join(each.message for each in refusals) or None)

        store = open_store() if order.home is None else Store(Path(order.home))
        app = make_app(settings, store, endpoints=ENGINE_ENDPOINTS, kinds=(), ready=ready)
        self._server = make_server(app, settings)
        self._listening = bound_socket(host, 0)
        at = f"[{host}]" if ":" in host else host
        self.url = f"http://{at}:{self._listening.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, args=(told,), daemon=True, name="ouvert-replica")
        self._thread.start()
        try:
            problem = told.get(timeout=LOAD_SECONDS)
        except queue.Empty:
            problem = f"the model was not loaded within {LOAD_SECONDS:g} s"
        if problem is not None:
            self.stop()
            raise ReplicaError(f"serving {order.model} from a replica: {problem}")

    @property
    def serves(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(4 * STOP_SECONDS)
        self._folder.cleanup()

    def _serve(self, told: "queue.Queue[str | None]") -> None:
        try:
            with self._listening:
                asyncio.run(self._server.serve([self._listening]))
        except Exception as problem:
            LOG.exception("the server of a replica")
            told.put(str(problem))
        else:
            told.put("its server ended")


def address_of_this_machine() -> str:
    """The one that its Ray was started with: what Ray's own function finds is another where that is loopback."""
    import ray

    here = ray.get_runtime_context().get_node_id()
    return next(str(node["NodeManagerAddress"]) for node in ray.nodes() if node["NodeID"] == here)


class Replica:
    """A deployment of Ray Serve. Serve starts as many as it was told, and another for each that dies or says that it
    is not healthy."""

    def __init__(self, registry: Any, order: Order) -> None:
        self._server = EngineServer(order, address_of_this_machine())
        self._place = Place(replica=uuid.uuid4().hex, url=self._server.url, key=self._server.key)
        self._registry, self._stopping = registry, threading.Event()
        threading.Thread(target=self._say_where, daemon=True, name="ouvert-where").start()

    def check_health(self) -> None:
        """What Serve asks by and by. Raises ReplicaError where it has to be replaced."""
        if not self._server.serves:
            raise ReplicaError("its server ended")

    def __del__(self) -> None:
        if hasattr(self, "_stopping"):
            self._stopping.set()
            self._server.stop()

    def _say_where(self) -> None:
        """Again and again: the registry may be started anew, and tells replicas apart by who still speaks."""
        from ray.exceptions import RayError

        while not self._stopping.is_set():
            try:
                import ray

                ray.get(self._registry.heard.remote(self._place), timeout=10 * AGAIN_SECONDS)
            except RayError as problem:
                LOG.warning("the registry of replicas does not answer (%s); it is told again.", problem)
            self._stopping.wait(AGAIN_SECONDS)
