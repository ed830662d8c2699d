"""The guard of this process: no connection beyond this machine, and a count of every attempt.

It is an audit hook (PEP 578): Python asks it before a socket connects, sends a datagram or looks up a name, and before
another program is started. Such hooks cannot be taken away again, so a process has one guard, and keeps it.

Evidence, not a sandbox. It sees what goes through Python's own socket, os and subprocess modules; it does not see what
compiled code does by itself. SECURITY.md lists what holds and what does not; `ouvert doctor --egress` is the test from
outside.
"""

import functools
import os
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

from ouvert.chat import renderer_command
from ouvert.safety.hosts import Hosts, is_address, is_this_machine, plain
from ouvert.safety.programs import Programs

Kind = Literal["connect", "send", "look up", "program"]

REMEMBERED = 1000  # attempts that are listed; all are counted
PROBE = "ouvert.safety.guard"  # an event of our own, by which the guard hears that it hears
LISTED = 20  # at most so many in one receipt
DNS = 53  # a resolver on this machine asks others: speaking to it is speaking to them
# Families whose sockets stay on this machine, or whose connections are judged by their address. What can leave by other
# families (raw frames, Bluetooth, ...) is not seen when it is sent, so such sockets are not made. -1: found out from a
# socket that is there already.
FAMILIES = frozenset(
    getattr(socket, name) for name in ("AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK") if hasattr(socket, name)
) | {-1}
LOCAL_FAMILIES = frozenset(getattr(socket, name) for name in ("AF_UNIX", "AF_NETLINK") if hasattr(socket, name))


class Denied(PermissionError):  # noqa: N818 - what happened, in the words of the receipt
    """A connection beyond this machine, or a program, that nobody allowed. The message says how to allow it."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """Something that leads beyond this machine was about to happen. `host` is a program's name for kind "program".

    `purpose`: what it was allowed for, where its owner's configuration names the host for one purpose.
    """

    kind: Kind
    host: str
    port: int | None
    allowed: bool
    purpose: str | None = None

    def facts(self) -> dict[str, Any]:
        """The attempt as JSON values, for receipts; without what is None. Raises nothing."""
        facts = {
            "kind": self.kind, "host": self.host, "port": self.port, "allowed": self.allowed, "purpose": self.purpose,
        }  # fmt: skip
        return {name: value for name, value in facts.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Counts:
    """How many attempts there have been. `local` ones stayed on this machine and are not among those attempted."""

    allowed: int = 0
    denied: int = 0
    local: int = 0

    @property
    def attempted(self) -> int:
        """The attempts that led beyond this machine, allowed or denied. Raises nothing."""
        return self.allowed + self.denied


@dataclass(frozen=True, slots=True)
class Named:
    """A host that a thread may speak to now, at one port, and what for."""

    host: str
    port: int
    purpose: str

    def allows(self, host: str, port: int | None, kind: Kind) -> bool:
        return plain(host) == self.host and (port == self.port or (port is None and kind == "look up"))


class Guard:
    """Judges and counts. Made once in a process, by `guard`. Safe from any thread.

    Listening, and speaking over connections that were accepted, is not its business.

    `guard` makes it, and says what it raises.
    """

    def __init__(self, hosts: Hosts) -> None:
        self.hosts = hosts
        self.programs = Programs()  # that may be started, beside the process for templates
        self.is_up = False
        self._lock = threading.RLock()  # a signal's handler may connect while its thread is being counted
        self._scope = threading.local()
        self._found: dict[str, str] = {}  # address -> the allowed host whose look-up gave it
        self._allowed = self._denied = self._local = 0
        self._reported = Counts()  # what stands in receipts
        self._attempts: deque[Attempt] = deque(maxlen=REMEMBERED)

    # --- what has happened --------------------------------------------------------------------------------------------

    @property
    def counts(self) -> Counts:
        """How many attempts there have been so far. Raises nothing."""
        with self._lock:
            return Counts(self._allowed, self._denied, self._local)

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """The last ones, oldest first. Raises nothing."""
        with self._lock:
            return tuple(self._attempts)

    def report(self, begun: Counts) -> dict[str, Any]:
        """For the receipt of an answer that is over: every attempt of this process that stands in no receipt yet, also
        those before the answer began. `begun`: the counts when it began; of what has been attempted since, what other
        answers' receipts have is only counted, as "in_other_receipts".

        Raises nothing.
        """
        with self._lock:
            elsewhere = self._reported.attempted - begun.attempted
            facts = self.since(self._reported)
            self._reported = self.counts
            return facts | ({"in_other_receipts": elsewhere} if elsewhere > 0 else {})

    def since(self, before: Counts) -> dict[str, Any]:
        """What this process has attempted since those counts were taken. Raises nothing."""
        with self._lock:
            now = self.counts
            attempted = now.attempted - before.attempted
            facts: dict[str, Any] = {
                "attempted": attempted,
                "allowed": now.allowed - before.allowed,
                "denied": now.denied - before.denied,
            }
            if attempted:
                listed = list(self._attempts)[-min(attempted, LISTED) :]
                facts["attempts"] = [each.facts() for each in listed]
            return facts

    # --- what is allowed ----------------------------------------------------------------------------------------------

    def allow(self, hosts: Iterable[str]) -> None:
        """Hosts that the owner's configuration names. Raises ValueError for what is no host."""
        self.hosts = self.hosts | Hosts(hosts)

    def admit(self, command: tuple[str, ...]) -> None:
        """A program of ours that opens no connection, word for word as it is started. Raises nothing."""
        self.programs |= Programs(whole=[command])

    def admit_boxes(self, beginnings: Iterable[Sequence[str]]) -> None:
        """Programs that put what they start into a box without a network: `ouvert.sandbox.box_commands()` has how
        their commands begin. Raises ValueError for one without words."""
        self.programs |= Programs(beginnings=beginnings)

    @contextmanager
    def fetching(self) -> Iterator[None]:
        """Within, this thread may connect anywhere and start programs: its owner asked for a fetch. All is counted.

        Raises nothing of its own.
        """
        before = getattr(self._scope, "fetching", False)
        self._scope.fetching = True
        try:
            yield
        finally:
            self._scope.fetching = before

    @contextmanager
    def connecting(self, host: str, port: int, purpose: str) -> Iterator[None]:
        """Within, this thread may look that host up and connect to that port of it: the owner's configuration names it
        for this purpose. All is counted, with the purpose.

        Raises nothing of its own.
        """
        before = getattr(self._scope, "named", None)
        self._scope.named = Named(plain(host), port, purpose)
        try:
            yield
        finally:
            self._scope.named = before

    # --- judging ------------------------------------------------------------------------------------------------------

    def judge_address(self, kind: Kind, family: int, address: Any) -> None:
        """A connection to that address, or data sent to it, is about to happen. Counts it; raises Denied if nobody
        allowed it."""
        if family in LOCAL_FAMILIES or address is None:  # None: over a connection that was judged when it was made
            self._count_local()
            return
        if not (isinstance(address, tuple) and len(address) >= 2 and isinstance(address[0], str | bytes | bytearray)):
            self._judge(kind, f"{address!r:.80}", None, False)
            return
        host = address[0] if isinstance(address[0], str) else bytes(address[0]).decode("ascii", "backslashreplace")
        port = address[1] if isinstance(address[1], int) else None
        if is_this_machine(host):
            if port != DNS:
                self._count_local()
                return
            self._judge("look up", host, port, False)
            return
        with self._lock:
            name = self._found.get(host, host)
        self._judge(kind, name, port, (host, port) in self.hosts or (name, port) in self.hosts)

    def judge_name(self, host: Any, *, backwards: bool = False) -> None:
        """`backwards`: the name of an address is looked for. The other way round an address needs no look-up.

        Raises Denied for a name that nobody allowed.
        """
        name = (
            "" if host is None else host.decode("ascii", "backslashreplace") if isinstance(host, bytes) else str(host)
        )
        if is_this_machine(name) or (is_address(name) and not backwards):
            self._count_local()
        else:
            self._judge("look up", name, None, (name, None) in self.hosts)

    def judge_family(self, family: int) -> None:
        """A socket of that family is about to be made. Raises Denied for a family whose connections the guard cannot
        see."""
        if family not in FAMILIES:
            self._judge("connect", f"socket family {family}", None, False)

    def judge_popen(self, args: tuple[Any, ...]) -> None:
        """The arguments of the audit event: executable, words, folder, environment.

        Raises Denied for every program but ours.
        """
        words = args[1]
        if isinstance(words, list | tuple) and (tuple(words) == renderer_command() or words in self.programs):
            self._count_local()  # ours, which can open no connection: docs/decisions 0007 and 0020
            return
        self.judge_program(program_of(args))

    def judge_program(self, program: Any) -> None:
        """A program is about to be started. Raises Denied, unless this thread may fetch."""
        text = os.fsdecode(program) if isinstance(program, str | bytes | os.PathLike) else repr(program)
        self._judge("program", os.path.basename(text.split(" ")[0]), None, False)

    def _judge(self, kind: Kind, host: str, port: int | None, allowed: bool) -> None:
        named: Named | None = getattr(self._scope, "named", None)
        purpose = named.purpose if named is not None and named.allows(host, port, kind) else None
        allowed = allowed or purpose is not None or getattr(self._scope, "fetching", False)
        with self._lock:
            self._attempts.append(Attempt(kind, host, port, allowed, purpose))
            if allowed:
                self._allowed += 1
                return
            self._denied += 1
        where = host if port is None else f"{host}:{port}"
        if kind == "program":
            raise Denied(
                f"starting {where}: another program is not under this process's guard, expected none while a model "
                "answers. Start it yourself, outside Ouvert."
            )
        raise Denied(
            f"{kind} {where}: it is beyond this machine, expected only this machine and the hosts its owner allowed "
            f"({', '.join(self.hosts) or 'none'}). If you want this, allow it by name: OUVERT_ALLOW_HOSTS={where}."
        )

    def _count_local(self) -> None:
        with self._lock:
            self._local += 1

    def found(self, host: Any, answer: Iterable[Any]) -> None:
        """Remember which addresses belong to an allowed host: when they are connected to, only the address is known.

        Raises nothing.
        """
        name = host.decode("ascii", "backslashreplace") if isinstance(host, bytes) else host
        named: Named | None = getattr(self._scope, "named", None)
        meant = named is not None and isinstance(name, str) and plain(name) == named.host
        if isinstance(name, str) and (meant or (name, None) in self.hosts):
            with self._lock:
                self._found.update({each[4][0]: name for each in answer})


def program_of(args: tuple[Any, ...]) -> Any:
    """subprocess.Popen(executable, args, ...): either may be None, and args a list or a string."""
    executable, words = args[0], args[1]
    if executable is not None:
        return executable
    return words if isinstance(words, str | bytes | os.PathLike) else next(iter(words), "")


# Audit event of Python (docs: "Audit events table") -> what is asked of the guard.
JUDGES: dict[str, Callable[[Guard, tuple[Any, ...]], None]] = {
    PROBE: lambda guard, args: setattr(guard, "is_up", True),
    "socket.__new__": lambda guard, args: guard.judge_family(args[1]),
    "socket.connect": lambda guard, args: guard.judge_address("connect", args[0].family, args[1]),
    "socket.sendto": lambda guard, args: guard.judge_address("send", args[0].family, args[1]),
    "socket.sendmsg": lambda guard, args: guard.judge_address("send", args[0].family, args[1]),
    "socket.getaddrinfo": lambda guard, args: guard.judge_name(args[0]),
    "socket.gethostbyname": lambda guard, args: guard.judge_name(args[0]),
    "socket.gethostbyaddr": lambda guard, args: guard.judge_name(args[0], backwards=True),
    "socket.getnameinfo": lambda guard, args: guard.judge_name(args[0][0], backwards=True),
    "subprocess.Popen": lambda guard, args: guard.judge_popen(args),
    "os.exec": lambda guard, args: guard.judge_program(args[0]),
    "os.posix_spawn": lambda guard, args: guard.judge_program(args[0]),
    "os.spawn": lambda guard, args: guard.judge_program(args[1]),
    "os.startfile": lambda guard, args: guard.judge_program(args[0]),
    "os.system": lambda guard, args: guard.judge_program(args[0]),
    "pty.spawn": lambda guard, args: guard.judge_program(args[0][0]),
}

_of_this_process: list[Guard] = []  # an audit hook is the process's, and stays: so is this
_making = threading.Lock()


def guard(allow: Collection[str] = ()) -> Guard:
    """The guard of this process, put up if it is not yet, with the hosts in `allow` allowed beside those before.

    From here on every connection beyond this machine that nobody allowed raises Denied (an OSError, as a connection
    that fails does), and every program that would be started. Raises ValueError for what is no host.
    """
    with _making:
        if not _of_this_process:
            made = Guard(Hosts(allow))
            wrap_name_lookups(made)
            sys.addaudithook(hook_of(made))
            sys.audit(PROBE)
            if not made.is_up:  # an older hook may refuse a new one, and Python then says nothing
                raise RuntimeError(
                    "putting up the guard: an audit hook of this process does not let another one in, expected that "
                    "it does. Run Ouvert in a process of its own."
                )
            _of_this_process.append(made)
        else:
            _of_this_process[0].allow(allow)
        return _of_this_process[0]


def admit_boxes(beginnings: Iterable[Sequence[str]]) -> None:
    """`Guard.admit_boxes` of this process's guard; nothing where none is up. Raises ValueError for no words."""
    for each in _of_this_process:
        each.admit_boxes(beginnings)


def connecting(host: str, port: int, purpose: str) -> AbstractContextManager[None]:
    """`Guard.connecting` of this process's guard; nothing where none is up. Raises nothing."""
    return _of_this_process[0].connecting(host, port, purpose) if _of_this_process else nullcontext()


def hook_of(made: Guard) -> Callable[[str, tuple[Any, ...]], None]:
    """What the interpreter calls with every event. A plain function: a bound method costs 3 µs instead of 0.8."""

    def hook(event: str, args: tuple[Any, ...]) -> None:
        judge = JUDGES.get(event)
        if judge is not None:
            judge(made, args)

    return hook


def wrap_name_lookups(made: Guard) -> None:
    """What an audit hook cannot do: hear what a look-up found; and hear of a name given to a socket before it is looked
    up (Python resolves it first, and then asks)."""
    plain = socket.getaddrinfo

    def getaddrinfo(host: Any, *args: Any, **more: Any) -> Any:
        answer = plain(host, *args, **more)
        made.found(host, answer)
        return answer

    def judged_first(method: Callable[..., Any], place: int) -> Callable[..., Any]:
        @functools.wraps(method)
        def judged(self: socket.socket, *args: Any) -> Any:
            address = args[place] if -len(args) <= place < len(args) else None
            if isinstance(address, tuple) and address and not is_address(address[0]):
                made.judge_name(address[0])
            return method(self, *args)

        return judged

    socket.getaddrinfo = getaddrinfo
    for name, place in {"connect": 0, "connect_ex": 0, "sendto": -1, "sendmsg": 3}.items():
        setattr(socket.socket, name, judged_first(getattr(socket.socket, name), place))
