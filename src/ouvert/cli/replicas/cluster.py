"""`--replicas N`, as the server's process has it: the driver is started, heard, and started again when it dies."""

import contextlib
import importlib.util
import json
import logging
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ouvert.cli.configuration import ConfigurationError
from ouvert.cli.pool_file import wanted_of
from ouvert.cli.replicas.places import Place
from ouvert.cli.replicas.replica import Order

if TYPE_CHECKING:
    from ouvert.assistant import Elsewhere, Meant
    from ouvert.engine import Engine, MemberAddress, PoolEngine
    from ouvert.safety import Guard

LOG = logging.getLogger("ouvert.engine")

COMMAND = (sys.executable, "-m", "ouvert.cli.replicas.driver")
INSTALL = "python -m pip install 'ray[serve]==2.60.0'"  # the extra `cluster` of pyproject.toml
PURPOSE = "engine"  # what a replica's host is allowed for, in receipts
START_SECONDS = 1800.0  # in which all replicas have to have the model, the first time
STOP_SECONDS = 12.0  # in which the driver has to have ended Ray
FIRST_REST, LONGEST_REST = 1.0, 60.0  # seconds before a driver that died is started again
WAIT_SECONDS = 120.0  # that a request waits while no replica is there


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicas:
    """What was asked for. `cluster`: the address of a Ray that runs already; None: one is started, for this machine."""

    count: int
    cluster: str | None
    serves: Order

    def elsewhere(self, guard: "Guard | None") -> "Elsewhere":
        """What makes the engine of the model: `ouvert.load(elsewhere=)`. The driver is a program that the guard admits,
        and the only one."""
        if guard is not None:
            guard.admit(COMMAND)

        def make(meant: "Meant") -> "Engine":
            from ouvert.engine import Patience, PoolRules, PoolSettings, open_moving_pool

            cluster = Cluster(self)
            settings = PoolSettings(rules=PoolRules(wait=WAIT_SECONDS), patience=Patience(failures=1, rest=FIRST_REST))
            try:
                cluster.start()
                where = {name: partial(cluster.where, name) for name in cluster.names}
                pool = open_moving_pool(where, settings, wanted_of(meant), cluster.close)
            except BaseException:
                cluster.close()
                raise
            cluster.tell(pool)
            return pool

        return make


def replicas_asked_for(count: int | None, cluster: str | None, serves: Order) -> Replicas | None:
    """None where none were asked for. Raises ConfigurationError for what cannot be had."""
    if count is None:
        if cluster is not None:
            raise ConfigurationError(
                f"--cluster {cluster} says where replicas run, and not how many: add --replicas N."
            )
        return None
    if importlib.util.find_spec("ray") is None:
        raise ConfigurationError(
            f"--replicas {count} needs Ray Serve, which is not installed here. Install it with: {INSTALL}"
        )
    return Replicas(count=count, cluster=cluster, serves=serves)


class Cluster:
    """The driver's process, and where it says that the replicas are. Safe from any thread; one of its own reads."""

    def __init__(self, asked: Replicas) -> None:
        self.names = [f"replica-{n}" for n in range(1, asked.count + 1)]
        self._asked = asked
        self._application = f"ouvert-{secrets.token_hex(4)}"
        self._folder = tempfile.mkdtemp(prefix="ouvert-ray-")
        self._log = Path(self._folder) / "driver.log"  # what Ray writes to its streams
        self._changed = threading.Condition()
        self._places: Mapping[str, Place] = {}
        self._failed: str | None = None
        self._closing = threading.Event()
        self._pool: PoolEngine | None = None
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._run, daemon=True, name="ouvert-replicas")

    def start(self) -> None:
        """Returns when every replica is there. Raises EngineError where they cannot be had."""
        from ouvert.engine import EngineError

        self._thread.start()
        with self._changed:
            there = self._changed.wait_for(
                lambda: self._failed is not None or len(self._places) == len(self.names), START_SECONDS
            )
            if self._failed is not None or not there:
                problem = self._failed or f"{len(self._places)} were there after {START_SECONDS:g} s"
                raise EngineError(f"starting {len(self.names)} replicas: {problem}")

    def where(self, name: str) -> "MemberAddress":
        """Raises EngineUnreachableError while that replica is nowhere."""
        from ouvert.engine import Address, EngineUnreachableError, MemberAddress
        from ouvert.safety import connecting

        with self._changed:
            place = self._places.get(name)
        if place is None:
            raise EngineUnreachableError(f"asking {name}: it is not started yet. It is asked again by and by.")
        address = Address.of(place.url)
        through = partial(connecting, address.host, address.port, PURPOSE)
        return MemberAddress(name=name, address=address, key=place.key, connecting=through)

    def tell(self, pool: "PoolEngine") -> None:
        """That pool hears of replicas that are somewhere else, from now on."""
        with self._changed:
            self._pool = pool

    def close(self) -> None:
        """End the driver, and with it a Ray that was started for this. May be called twice."""
        self._closing.set()
        with self._changed:
            process = self._process
            self._changed.notify_all()
        if process is not None:
            end(process)
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(STOP_SECONDS)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self) -> None:
        """One driver after another, until closed."""
        rest = FIRST_REST
        while not self._closing.is_set():
            for line in self._lines():
                if "failed" in line:
                    self._fail(line["failed"])
                else:
                    self._found({name: Place(**place) for name, place in line["replicas"].items()})
                    rest = FIRST_REST
            if self._closing.is_set():
                return
            self._fail(f"the process that speaks to Ray ended. Its last words: {last_line(self._log)}")
            LOG.error("The replicas are lost: %s. They are started again in %g s.", self._failed, rest)
            self._closing.wait(rest)
            rest = min(LONGEST_REST, 2 * rest)

    def _lines(self) -> Iterator[dict[str, Any]]:
        """What a driver says, from its start to its end."""
        asked = self._asked
        order = {
            "name": self._application,
            "count": asked.count,
            "cluster": asked.cluster,
            "folder": self._folder,
            "serves": asdict(asked.serves),
        }
        with self._changed:
            if self._closing.is_set():
                return
            self._failed = None
            with self._log.open("wb") as log:
                process = self._process = subprocess.Popen(  # noqa: S603 - ours
                    COMMAND,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    start_new_session=True,
                )
        if process.stdin is None or process.stdout is None:
            raise AssertionError("a process with pipes has none")
        with contextlib.suppress(BrokenPipeError):  # it ended at once: what follows says so
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
        with process.stdout:
            for line in process.stdout:
                yield json.loads(line)
        end(process)

    def _fail(self, why: str) -> None:
        with self._changed:
            self._failed = self._failed or why
            self._changed.notify_all()

    def _found(self, places: Mapping[str, Place]) -> None:
        with self._changed:
            before, self._places = self._places, places
            pool = self._pool
            self._changed.notify_all()
        if pool is not None:
            for name, place in places.items():
                if before.get(name) != place:
                    pool.moved(name)


def last_line(log: Path) -> str:
    """What a process wrote last."""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "none")


def end(process: "subprocess.Popen[str]") -> None:
    """Close its input, upon which it ends what it started; end it, where it does not, and what it left behind."""
    with contextlib.suppress(BrokenPipeError):
        if process.stdin is not None:
            process.stdin.close()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    with contextlib.suppress(ProcessLookupError):  # nobody is left in its group
        os.killpg(process.pid, signal.SIGKILL)
