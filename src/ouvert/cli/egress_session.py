"""What `ouvert doctor --egress` runs in a process of its own: a real session, watched.

    python -m ouvert.cli.egress_session '{"model": ..., "store": ..., "folder": ..., "namespace": true}'

In the order of time: the namespace (if asked for), a recorder of what Python does, the guard, a connection that must
fail, a model that answers, and the same answer through the server on loopback. One JSON object on stdout.
"""

import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

TRIAL = ("192.0.2.1", 443)  # an address for documentation (RFC 5737): nobody has it
PROMPT = "Say in one sentence what the sea is."
MOST_TOKENS = 24
SECONDS = 300
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def leave_the_network() -> None:
    """Into a user and a network namespace of its own, where there is loopback and nothing else. Raises OSError.

    To be called while the process has one thread.
    """
    import ctypes
    import fcntl
    import struct

    user, group = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        asked = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(any_socket, SIOCGIFFLAGS, asked))[1]
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))


class Recorder:
    """An audit hook that writes down sockets, look-ups, programs and files opened for writing. It judges nothing."""

    def __init__(self) -> None:
        self.sockets: list[str] = []
        self.written: set[str] = set()

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if event.startswith("socket.") and event not in ("socket.__new__", "socket.gethostname"):
            address = next((each for each in args if isinstance(each, tuple | str | bytes)), "")
            self.sockets.append(f"{event.removeprefix('socket.')} {address!r:.100}")
        elif event == "open":
            path, mode, flags = args
            writes = isinstance(flags, int) and flags & WRITES != 0
            writes = writes or (isinstance(mode, str) and bool(set(mode) & set("wax+")))
            if writes and not isinstance(path, int):
                self.written.add(os.fsdecode(path))
        elif event in ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.system"):
            self.sockets.append(f"{event} {args[0]!r:.100}")


def tried() -> str:
    """What becomes of a connection to an address that nobody has."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as trial:
        trial.settimeout(3)
        try:
            trial.connect(TRIAL)
        except OSError as problem:
            return "denied" if type(problem).__name__ == "Denied" else problem.strerror or type(problem).__name__
    return "connected"


def session(order: dict[str, Any]) -> dict[str, Any]:
    """The facts. Raises what a model that cannot be loaded raises."""
    facts: dict[str, Any] = {"namespace": order["namespace"]}
    if order["namespace"]:
        leave_the_network()
        facts["interfaces"] = interfaces()
        facts["trial_without_guard"] = tried()
    recorder = Recorder()
    sys.addaudithook(recorder.__call__)

    from ouvert.safety import guard as put_up

    guard = put_up(())
    facts["trial_under_guard"] = tried()
    facts["trial_counted"] = guard.counts.denied
    before, sockets_before = guard.counts, len(recorder.sockets)

    from ouvert.assistant import Ledger, kept_prefixes, load
    from ouvert.store import Store

    store, folder = Store(Path(order["store"])), Path(order["folder"])
    options: dict[str, Any] = {
        "receipts": Ledger(folder / "receipts"),
        "prefixes": kept_prefixes(store, folder / "prefixes", quota=100_000_000),
        "guard": guard,
    }
    with load(order["model"], store=store, **options) as model:
        answer = model.chat(PROMPT, temperature=0, max_tokens=MOST_TOKENS)
        pieces = [event.text for event in answer if hasattr(event, "text")]
        engine = model.engine.facts
        facts["model"] = {"name": model.info.name, "digest": engine.weights_digest, "build": engine.build}
    facts["answer"] = "".join(pieces)
    facts["answer_served"], facts["address"] = served(order["model"], store, folder, options)
    facts["connections"] = guard.since(before)
    facts["local"] = guard.counts.local - before.local
    facts["sockets"] = recorder.sockets[sockets_before:]
    facts["written"] = sorted(recorder.written)
    facts["imported"] = sorted({name.partition(".")[0] for name in sys.modules} & set(order["packages"]))
    return facts


def interfaces() -> list[str]:
    """The network interfaces of this process's namespace."""
    return sorted(line.partition(":")[0].strip() for line in Path("/proc/self/net/dev").read_text().splitlines()[2:])


def served(model: str, store: Any, folder: Path, options: dict[str, Any]) -> tuple[str, str]:
    """(the answer through `ouvert serve`'s own application on loopback, its address)."""
    import asyncio
    import threading

    from ouvert.serving import Settings, bound_socket, make_app, make_server

    settings = Settings(port=0, models=(model,), only_these=True, load_options=options, state=folder / "server")
    app = make_app(settings, store)
    server = make_server(app, settings)
    with bound_socket("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])))
        thread.start()
        try:
            until = time.monotonic() + SECONDS
            while not server.started and thread.is_alive() and time.monotonic() < until:
                time.sleep(0.01)
            answer = asked(port)
        finally:
            server.should_exit = True
            thread.join(SECONDS)
    return answer, f"http://127.0.0.1:{port}"


def asked(port: int) -> str:
    """What the server's first model answers. Raises RuntimeError if the server refuses."""
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    connection.request("GET", "/v1/models")
    name = json.loads(connection.getresponse().read())["data"][0]["id"]
    body = {"model": name, "messages": [{"role": "user", "content": PROMPT}]}
    body |= {"temperature": 0, "max_tokens": MOST_TOKENS}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
    response = connection.getresponse()
    answer = json.loads(response.read())
    connection.close()
    if response.status != 200:
        raise RuntimeError(f"the server answered {response.status}: {answer}")
    return str(answer["choices"][0]["message"]["content"])


if __name__ == "__main__":
    print(json.dumps(session(json.loads(sys.argv[1]))))
