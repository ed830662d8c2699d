"""Who asks: the owner of this server, a key, another user of this machine, or nobody that is known.

The owner is known without a key by the kernel: a program of the user who runs the server, on this machine, that asked
the server itself and not a proxy. docs/decisions/0006-the-owner-is-known-by-the-kernel.md says why.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from starlette.requests import Request

from ouvert.serving.errors import Refusal
from ouvert.serving.keys import Key, Keys
from ouvert.serving.origin_guard import host_name, is_local
from ouvert.serving.peers import Connection, users_can_be_told

OpenedFrom = Literal["this_machine", "network_plain", "network_tls", "unknown"]

OWNER = ""  # whose things are that no key and no other user asked for
UNKNOWN = "unknown"
# What proxies add. A request with one of these was made by somebody else than the program that is connected.
FORWARDED = (
    *("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto"),
    *("x-forwarded-server", "x-forwarded-scheme", "x-forwarded-ssl", "x-real-ip", "x-client-ip", "true-client-ip"),
    *("cf-connecting-ip", "x-original-forwarded-for", "x-envoy-external-address", "x-original-host"),
)
NO_CONNECTION = Connection(None)


@dataclass(frozen=True, slots=True)
class Caller:
    """`whose`: the name under which what this caller leaves is kept; nobody of another name is given it.

    `reads_stored`: whether what is stored on this machine may be shown to this caller, each their own.
    `in_background`: nobody waits for this answer, which is an item of a job.
    """

    whose: str
    key: Key | None = None
    reads_stored: bool = False
    in_background: bool = False

    @property
    def is_owner(self) -> bool:
        return self.reads_stored and self.whose == OWNER

    def may(self, scope: str) -> bool:
        """Whether this caller may do what keys must be granted, one of keys.SCOPES: the owner may."""
        return self.is_owner or (self.key is not None and scope in self.key.scopes)

    @property
    def keeps_models(self) -> bool:
        """Whether this caller may say how long a model stays in memory, which is so for everybody. Where this system
        does not tell whose a connection is, any program of this machine may."""
        return self.reads_stored or (self.whose == UNKNOWN and not users_can_be_told())

    @property
    def is_limited(self) -> bool:
        """Whether there are models that this caller may not know of."""
        return self.key is not None and self.key.models is not None

    def admits(self, model: str) -> bool:
        """Whether this caller may use, and know of, the model of that own name."""
        return self.key is None or self.key.admits(model)


ANYBODY = Caller(UNKNOWN)


def identify(request: Request, keys: Keys, *, counted: bool = True) -> Caller:
    """Who asks. `counted`: it is one of the requests that a key may make in a minute.

    Raises Refusal: 401 without a key where one is needed, 429 for a key that has asked too often, 503 where the keys
    cannot be read.
    """
    key = keys.caller(request.headers, counted=counted)
    if key is not None:
        return Caller(OWNER if key.owner else f"key:{key.id}", key, True)
    connection = connection_of(request)
    if not is_direct(connection, request.headers):
        return Caller(UNKNOWN)
    if connection.is_this_users:
        return Caller(OWNER, None, True)
    return Caller(UNKNOWN if connection.user is None else f"user:{connection.user}")


def caller_of_job(owner: str, keys: Keys) -> Caller | None:
    """Who asks where nobody is connected: the owner of a job, by the name under which it is kept. None if that was a
    key that is revoked. Raises KeyFileError."""
    if owner == OWNER:
        return Caller(OWNER, None, True, True)
    found = next((key for key in keys.every() if owner == f"key:{key.id}"), None)
    return None if found is None else Caller(owner, found, True, True)


def refuse_strangers(caller: Caller) -> None:
    """Raises Refusal where this caller may not be shown what is stored on this machine."""
    if not caller.reads_stored:
        raise Refusal(
            401,
            "What is stored here is shown to the user who runs this server, and to keys. No key was sent, and the "
            "request did not come straight from a program of that user on this machine. As that user, `ouvert key "
            "owner` makes a key to send as `Authorization: Bearer <key>`.",
            code="owner_only",
        )


def refuse_all_but_the_owner(caller: Caller) -> None:
    """Raises Refusal where this caller may not say which models are on this machine, nor read what its owner keeps."""
    if not caller.is_owner:
        raise Refusal(
            403,
            "Which models are on this machine, and what is learnt from, is its owner's to say: the user who runs this "
            "server, from a program of theirs on this machine, or with the owner's key (`ouvert key owner`).",
            code="owner_only",
        )


def refuse_without_scope(caller: Caller, scope: str) -> None:
    """Raises Refusal where this caller may not do what keys are granted by this scope, of keys.SCOPES."""
    if not caller.may(scope):
        raise Refusal(
            403,
            f"This needs the scope {scope}: it is for the user who runs this server, from a program of theirs on this "
            f"machine or with the owner's key, and for keys made with `ouvert key create NAME --scope {scope}`.",
            code="scope_missing",
        )


def connection_of(request: Request) -> Connection:
    connection = request.scope.get("state", {}).get("connection")
    return connection if isinstance(connection, Connection) else NO_CONNECTION


def is_direct(connection: Connection, headers: Mapping[str, str]) -> bool:
    """Whether the program at the other end, on this machine, asked for itself: proxies add headers, or keep the name
    that they were called by."""
    return (
        connection.is_within_this_machine
        and not any(name in headers for name in FORWARDED)
        and names_this_end(connection, headers.get("host", ""))
    )


def names_this_end(connection: Connection, host: str) -> bool:
    name = host_name(host)
    if name is None or is_local(name):
        return name is not None
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    ours = connection.addresses is not None and str(address) == connection.addresses[1]
    return ours or address.is_loopback or address.is_unspecified  # 0.0.0.0, as servers like to call themselves


def opened_from(request: Request) -> OpenedFrom:
    """From where the page was opened, as far as this end can tell: for the words that the page may say.

    "network_tls": a proxy says that it was asked by https; from there to here the words may travel plainly. "unknown":
    another user's program on this machine asks, and may well do so for somebody elsewhere.
    """
    connection, headers = connection_of(request), request.headers
    if is_direct(connection, headers):
        if connection.is_this_users or (connection.user is None and not users_can_be_told()):
            return "this_machine"
        return "unknown"
    return "network_tls" if says_https(headers) else "network_plain"


def says_https(headers: Mapping[str, str]) -> bool:
    for name in ("x-forwarded-proto", "x-forwarded-scheme"):
        if headers.get(name, "").partition(",")[0].strip().lower() == "https":
            return True
    if headers.get("x-forwarded-ssl", "").lower() == "on":
        return True
    first = headers.get("forwarded", "").partition(",")[0].lower()
    return any(part.strip().replace('"', "") == "proto=https" for part in first.split(";"))
