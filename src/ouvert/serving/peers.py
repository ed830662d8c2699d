"""Whose program is at the other end of a connection: the kernel knows, where both ends are on this Linux machine.

The question goes to the kernel's table of sockets (sock_diag(7)), by the connection's two addresses. It is answered for
sure or not at all: the socket at the other end must be open and connected to ours, and ours must still be connected
when the answer has come, so that no other socket can have taken the address meanwhile.
"""

import ipaddress
import os
import socket
import struct
from collections.abc import Collection
from functools import cached_property
from typing import Any

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
NLM_F_REQUEST = 1
ANY = 0xFFFFFFFF  # every state; and, for a cookie, none in particular
# States of TCP, as the kernel numbers them.
ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT, LISTEN = 1, 4, 5, 8, 10
# linux/netlink.h nlmsghdr; linux/inet_diag.h inet_diag_req_v2 and inet_diag_msg, the addresses apart.
MESSAGE = struct.Struct("=IHHII")  # length, type, flags, sequence, port
REQUEST = struct.Struct("=BBBBI")  # family, protocol, extensions, padding, states
PORTS = struct.Struct("!HH")
REQUEST_END = struct.Struct("=III")  # interface, cookie
REPLY = struct.Struct("=BBBB")  # family, state, timer, retransmissions
ADDRESSES_BYTES = PORTS.size + 16 + 16 + REQUEST_END.size
REPLY_END = struct.Struct("=IIIII")  # expires, read queue, write queue, user, inode
NOBODY_KNOWN = 65534  # what the kernel says for a user that this process's namespace has no number for

Address = tuple[str, int]


class Connection:
    """An accepted connection, as long as it lives. The kernel is asked only when somebody wants to know."""

    def __init__(self, accepted: Any) -> None:
        """`accepted`: the socket, or what asyncio gives for it; None where there is none (a test without a socket)."""
        self._socket = accepted

    @cached_property
    def addresses(self) -> tuple[str, str] | None:
        """(of the other end, of this one), IPv4 written as such; None if the connection is gone."""
        found = addresses_of(self._socket)
        return None if found is None else (found[0][0], found[1][0])

    @cached_property
    def user(self) -> int | None:
        """The number of the user whose program opened the other end; None where that is not certain."""
        found = addresses_of(self._socket)
        if found is None:
            return None
        user = user_of_socket(*found)
        return user if user is not None and is_connected(self._socket) else None

    @property
    def is_this_users(self) -> bool:
        return self.user is not None and self.user == this_user()

    @property
    def is_within_this_machine(self) -> bool:
        if self.addresses is None:
            return False
        there, here = self.addresses
        return there == here or ipaddress.ip_address(there).is_loopback


def this_user() -> int:
    """The number of the user who runs this process; -1, which is nobody's, where users have none. Raises nothing."""
    return os.geteuid() if hasattr(os, "geteuid") else -1


def addresses_of(accepted: Any) -> tuple[Address, Address] | None:
    """((address, port) of the other end, of this one) of an IP connection."""
    if accepted is None:
        return None
    try:
        there, here = accepted.getpeername(), accepted.getsockname()
        return (plain(there[0]), there[1]), (plain(here[0]), here[1])
    except (OSError, ValueError, IndexError):  # gone, or no IP connection
        return None


def plain(address: str) -> str:
    """An address without its zone; an IPv4 address written as IPv6 becomes IPv4 again. Raises ValueError."""
    found = ipaddress.ip_address(address.partition("%")[0])
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return str(mapped or found)


def is_connected(accepted: Any) -> bool:
    """A connection that is over never is again, so whoever was at the other end before is there now."""
    try:
        state = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    except OSError:
        return False
    return state in (ESTABLISHED, CLOSE_WAIT)


def user_of_socket(local: Address, remote: Address) -> int | None:
    """The user of the open socket of this machine that is bound to `local` and connected to `remote`, if known."""
    return user_in(answer_to(question(local, remote)), local[1], remote[1])


def user_who_listens(address: str, port: int) -> int | None:
    """The user whose program accepts connections there, on this machine; None: not known. Raises nothing."""
    nobody = "::" if ":" in address else "0.0.0.0"  # noqa: S104 - nothing is bound: a listening socket has no other end
    answer = answer_to(question((address, port), (nobody, 0)))
    return user_in(answer, port, 0, states=(LISTEN,))


def answer_to(asked: bytes) -> bytes:
    """The kernel's answer; b"" where the kernel or the container has no such table."""
    if not hasattr(socket, "AF_NETLINK"):
        return b""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as kernel:
            kernel.send(asked)
            return kernel.recv(1 << 13, socket.MSG_DONTWAIT)
    except OSError:
        return b""


def question(local: Address, remote: Address) -> bytes:
    addresses = [ipaddress.ip_address(each[0]) for each in (local, remote)]
    family = socket.AF_INET if addresses[0].version == 4 else socket.AF_INET6
    body = b"".join(
        (
            REQUEST.pack(family, socket.IPPROTO_TCP, 0, 0, ANY),
            PORTS.pack(local[1], remote[1]),
            *(address.packed.ljust(16, b"\0") for address in addresses),
            REQUEST_END.pack(0, ANY, ANY),
        )
    )
    return MESSAGE.pack(MESSAGE.size + len(body), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, 1, 0) + body


def user_in(
    answer: bytes, local_port: int, remote_port: int, states: Collection[int] = (ESTABLISHED, FIN_WAIT1, FIN_WAIT2)
) -> int | None:
    """The user in the kernel's answer; None for a socket without inode: nobody holds it, and the kernel says 0."""
    fixed = MESSAGE.size + REPLY.size
    if len(answer) < fixed + ADDRESSES_BYTES + REPLY_END.size or MESSAGE.unpack_from(answer)[1] != SOCK_DIAG_BY_FAMILY:
        return None
    state = REPLY.unpack_from(answer, MESSAGE.size)[1]
    *_, user, inode = REPLY_END.unpack_from(answer, fixed + ADDRESSES_BYTES)
    # The kernel looks among listening sockets, too, where it finds no connected one.
    open_ = state in states and inode != 0
    ours = PORTS.unpack_from(answer, fixed) == (local_port, remote_port)
    return int(user) if open_ and ours and user != NOBODY_KNOWN else None


def users_can_be_told() -> bool:
    """Whether this system tells whose a connection is; found out with a connection of our own.

    Raises OSError where not even a connection of our own can be opened.
    """
    with socket.socket() as listening, socket.socket() as asking:
        listening.bind(("127.0.0.1", 0))
        listening.listen(1)
        asking.connect(listening.getsockname())
        accepted, _ = listening.accept()
        with accepted:
            return Connection(accepted).user is not None
