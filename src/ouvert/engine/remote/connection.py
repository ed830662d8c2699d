"""HTTP to one address that the owner named: requests with JSON, answers as JSON or as a stream of lines.

Every request has a connection of its own, so that closing it says to the other side that nobody wants the rest.
"""

import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from ouvert.engine.interface import EngineBusyError, EngineError, EngineUnreachableError

MOST_LINE = 16 << 20  # bytes of one line of a stream: a token with log-probabilities has some thousand
MOST_BODY = 512 << 20  # bytes of an answer that is no stream
MOST_SHOWN = 600  # characters of another server's error
PIECE = 1 << 20

# The kernel asks a silent peer whether it is still there: one that is cut off is noticed after 40 seconds.
KEEPALIVE = {"TCP_KEEPIDLE": 20, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4}

# Around each connecting: where a guard is up, it lets this connection through, and counts it.
Connecting = Callable[[], AbstractContextManager[object]]

NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class NothingThereError(EngineError):
    """The other server answers, and has nothing at that address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds: to `connect`; to the first line of a `reply`, which comes before anything is computed; of `silence` in a
    stream, None for no limit: a long prompt takes as long as it takes, and a peer that is gone is noticed anyway."""

    connect: float = 10.0
    reply: float = 60.0
    silence: float | None = None


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is. `path` comes before every request's own, without a slash at its end."""

    host: str
    port: int
    secure: bool = False
    path: str = ""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.secure else 'http'}://{host}:{self.port}{self.path}"

    @classmethod
    def of(cls, url: str) -> "Address":
        """Raises EngineError for what is no address of a server."""
        try:
            parts = urlsplit(url.strip())
            port, host = parts.port, parts.hostname or ""
            host.encode("idna")  # as names are looked up; one that cannot be is no name
        except ValueError:
            parts, port, host = urlsplit(""), None, ""
        plain = parts.scheme in ("http", "https") and host.isprintable() and not set(host) & set(" \\")
        if not plain or not host or parts.query or parts.fragment or "@" in parts.netloc:
            raise EngineError(
                f"reaching a server: its address is {url!r:.200}, expected http://HOST:PORT or https://HOST:PORT, "
                "without a name, a key or a question in it. The key has a setting of its own."
            )
        secure = parts.scheme == "https"
        return cls(host, port or (443 if secure else 80), secure, parts.path.rstrip("/"))


class Connection:
    """Makes requests to one address. Safe from any thread. Redirects and the system's proxies are not followed."""

    def __init__(
        self,
        address: Address,
        *,
        key: str | None = None,
        headers: Mapping[str, str] = NO_HEADERS,
        timeouts: Timeouts = Timeouts(),
        connecting: Connecting = contextlib.nullcontext,
    ) -> None:
        """`key` is sent as `Authorization: Bearer <key>`; `headers` as they are, for servers whose keys have another
        header. Raises EngineError for a key that no header can hold."""
        named = dict(headers) if key is None else {**headers, "authorization": f"Bearer {key}"}
        if key == "" or not all(map(fits_in_a_header, named.values())):
            raise EngineError(
                f"reaching {address}: its key has characters that no header can hold, or is empty. Give the key as the "
                "other server has it, without spaces around it."
            )
        self.address, self.timeouts = address, timeouts
        self._headers = {"content-type": "application/json", "accept": "application/json, text/event-stream", **named}
        self._connecting = connecting

    def get(self, path: str, *, within: float | None = None) -> Any:
        """The JSON at a path; None for an answer without a body. Raises as `stream` does."""
        return self._json("GET", path, None, within)

    def post(self, path: str, body: Mapping[str, Any], *, within: float | None = None) -> Any:
        """The JSON that is answered; `within` seconds, where that is not as long as a reply may take. Raises as
        `stream` does."""
        return self._json("POST", path, body, within)

    def stream(self, path: str, body: Mapping[str, Any]) -> "Lines":
        """The lines of the answer, from its first on.

        Raises EngineUnreachableError where nobody answers or the other side failed, EngineBusyError where it has too
        much to do, and EngineError with what it says for a request that it refuses.
        """
        answer = self._asked("POST", path, body, self.timeouts.reply)
        answer.wait_at_most(self.timeouts.silence)
        return answer

    def _json(self, method: str, path: str, body: Mapping[str, Any] | None, within: float | None) -> Any:
        answer = self._asked(method, path, body, self.timeouts.reply if within is None else within)
        try:
            text = answer.rest()
        finally:
            answer.close()
        if not text.strip():
            return None
        return parsed(text, f"asking {self.address}{path}")

    def _asked(self, method: str, path: str, body: Mapping[str, Any] | None, within: float) -> "Lines":
        """The answer, whose first line says that all is well."""
        lines = self.answer(method, path, body, within=within)
        if lines.status != 200:
            try:
                raise refusal(f"{self.address}{path}", lines.status, lines.rest(PIECE))
            finally:
                lines.close()
        return lines

    def answer(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, within: float | None = None
    ) -> "Lines":
        """The answer whatever its status says, for whoever knows better than this client what another server's statuses
        mean. Its first line has come `within` seconds. Raises EngineUnreachableError where nobody answers."""
        asked = http_connection(self.address, self.timeouts.connect)
        try:
            with self._connecting():
                asked.connect()
            keep_alive(asked.sock)
            asked.sock.settimeout(self.timeouts.reply if within is None else within)
            data = None if body is None else json.dumps(body, separators=(",", ":"), allow_nan=False).encode()
            asked.request(method, self.address.path + path, data, self._headers)
            return Lines(f"{self.address}{path}", asked.sock, asked.getresponse())
        except (OSError, http.client.HTTPException) as problem:
            asked.close()
            raise unreachable(f"{self.address}{path}", problem) from problem


class Lines:
    """An answer as it comes, line by line. One thread reads; any may close it, which wakes the reader. Making one
    raises nothing."""

    def __init__(self, place: str, sock: socket.socket, response: http.client.HTTPResponse) -> None:
        self._place, self._socket, self._response = place, sock, response
        self.status = response.status
        self.closed = False
        self._reading = threading.RLock()  # held while the response is read, or let go

    def header(self, name: str) -> str:
        """What the answer says beside its body; "" where it does not. Raises nothing."""
        return self._response.headers.get(name) or ""

    def wait_at_most(self, seconds: float | None) -> None:
        """For each piece, from now on. Raises EngineUnreachableError if the connection is gone."""
        try:
            self._socket.settimeout(seconds)
        except OSError as problem:
            raise unreachable(self._place, problem) from problem

    def next(self) -> bytes | None:
        """The next line without its end; None where there are no more, or it was closed.

        Raises TimeoutError where nothing came in time, and EngineUnreachableError where the connection is lost, in the
        middle of a line too, and for a line of more than MOST_LINE bytes.
        """
        try:
            with self._reading:
                line = self._response.readline(MOST_LINE + 1)
        except TimeoutError:
            if self.closed:
                return None
            raise
        except (OSError, http.client.HTTPException, ValueError) as problem:  # ValueError: closed meanwhile
            if self.closed:
                return None
            raise unreachable(self._place, problem) from problem
        if self.closed or not line:
            return None
        if len(line) > MOST_LINE:
            raise EngineUnreachableError(
                f"reading the answer of {self._place}: a line has more than {MOST_LINE} bytes, expected a token each. "
                "Is this the server of a model?"
            )
        if not line.endswith(b"\n"):
            raise unreachable(self._place, EOFError("the answer ended in the middle of a line"))
        return line.rstrip(b"\r\n")

    def rest(self, most: int = MOST_BODY) -> bytes:
        """What is left of the answer. Raises EngineUnreachableError where the connection is lost or slow, and
        EngineError for more than `most` bytes."""
        pieces, size = [], 0
        try:
            while piece := self._response.read(PIECE):
                pieces.append(piece)
                size += len(piece)
                if size > most:
                    break
        except (OSError, http.client.HTTPException, ValueError) as problem:
            raise unreachable(self._place, problem) from problem
        if size > most:
            raise EngineError(
                f"reading the answer of {self._place}: it has more than {most} bytes, expected less. Is this the "
                "server of a model?"
            )
        return b"".join(pieces)

    def close(self) -> None:
        """The other side is told that nobody wants the rest. From any thread; may be called twice. Raises nothing."""
        self.closed = True
        with contextlib.suppress(OSError):  # not connected any more
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the reader
        with self._reading, contextlib.suppress(OSError):
            self._response.close()
        with contextlib.suppress(OSError):
            self._socket.close()


def fits_in_a_header(value: str) -> bool:
    return value.isascii() and value.isprintable() and value.strip() == value


def http_connection(address: Address, timeout: float) -> http.client.HTTPConnection:
    if address.secure:
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(address.host, address.port, timeout=timeout, context=context)
    return http.client.HTTPConnection(address.host, address.port, timeout=timeout)


def keep_alive(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE.items():
        if hasattr(socket, name):  # not every system has them by these names
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def parsed(text: bytes, operation: str, kind: type[EngineError] = EngineError) -> Any:
    """Raises an error of that kind for what is no JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise kind(
            f"{operation}: the answer is {text[:80]!r}, expected JSON. Is this the server of a model? "
            "docs/formats/engine-http.md says what is expected of one."
        ) from problem


def unreachable(place: str, problem: BaseException) -> EngineUnreachableError:
    what = str(problem) or type(problem).__name__
    return EngineUnreachableError(
        f"reaching {place}: {what:.300}. Is the engine running there, and is the address right? Ask again when it is."
    )


def refusal(place: str, status: int, body: bytes) -> EngineError:
    """What another server's answer means for whoever asked."""
    said = message_of(body)
    match status:
        case 401 | 403 if "scale-out" in said.lower():
            remedy = "Start vLLM with --enable-scale-out."
        case 401 | 403:
            remedy = "Give its key, as docs/guides/beyond-one-machine.md says."
        case 404:
            return NothingThereError(
                f"asking {place}: refused with 404: {said}. Is this the server of a model, and does it serve the one "
                "that is meant?"
            )
        case 409:
            return EngineUnreachableError(f"asking {place}: another engine is there than before ({said}).")
        case 429 | 503:
            return EngineBusyError(f"asking {place}: it has too much to do ({status}: {said}). Ask again in a while.")
        case _ if status >= 500:
            return EngineUnreachableError(
                f"asking {place}: it failed ({status}: {said}). Its own log says why; ask again when it is well."
            )
        case _:
            remedy = "Change what is named here."
    return EngineError(f"asking {place}: refused with {status}: {said}. {remedy}")


def message_of(body: bytes) -> str:
    """The sentence in another server's error, in whichever of the usual places it stands."""
    try:
        found: Any = json.loads(body)
    except (ValueError, RecursionError):
        found = body.decode("utf-8", "replace")
    for name in ("error", "message", "detail"):
        if isinstance(found, Mapping) and name in found:
            found = found[name]
    return f"{found!s:.{MOST_SHOWN}}".strip().rstrip(".") or "nothing is said"


def events(lines: Lines, deadline: float | None, silence: float | None) -> Iterator[bytes]:
    """The data of server-sent events, one after the other; comments are signs of life, and skipped.

    Raises what `until` raises.
    """
    for line in until(lines, deadline, silence):
        if line.startswith(b"data:"):
            yield line.removeprefix(b"data:").strip()


def until(lines: Lines, deadline: float | None, silence: float | None) -> Iterator[bytes]:
    """The lines of an answer up to its end. `deadline` is on time.monotonic's clock.

    Raises TimeoutError when it has come, and what `Lines.next` raises.
    """
    while True:
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            lines.wait_at_most(left if silence is None else min(left, silence))
        line = lines.next()
        if line is None:
            return
        yield line
