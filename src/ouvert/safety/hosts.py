"""Which host is meant: this machine, one that its owner allowed by name, or another."""

import ipaddress
from collections.abc import Iterable, Iterator


class Hosts:
    """Hosts an owner allows: "example.org", "example.org:443", "192.168.1.5:8000", "[fd00::1]:8000".

    Without a port, all of them. A name allows that name and not those below it.
    """

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        """Raises ValueError for an entry that is no host."""
        self._allowed = {split_host(each) for each in allowed}

    def __contains__(self, address: tuple[str, int | None]) -> bool:
        """Whether that host may be spoken to at that port; without a port, whether it may be at any. Raises nothing."""
        host, port = address
        host = plain(host)
        if port is None:
            return any(each == host for each, _ in self._allowed)
        return (host, None) in self._allowed or (host, port) in self._allowed

    def __or__(self, other: "Hosts") -> "Hosts":
        both = Hosts()
        both._allowed = self._allowed | other._allowed
        return both

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(host if port is None else f"{host}:{port}" for host, port in self._allowed))


def split_host(text: str) -> tuple[str, int | None]:
    """("example.org", 443) of "example.org:443"; the port is None where none is given. Raises ValueError."""
    host, port = text.strip(), ""
    if host.startswith("["):
        host, bracket, port = host[1:].partition("]")
        valid = bracket == "]" and (not port or port.startswith(":"))
        port = port.removeprefix(":")
    else:
        if host.count(":") == 1:
            host, _, port = host.partition(":")
        valid = True
    if not valid or not host or "/" in host or " " in host or (port and not port.isdecimal()):
        raise ValueError(
            f"allowing a host: {text!r}, expected a name or an address, with a port or without: example.org:443, "
            "192.168.1.5, [fd00::1]:8000. No scheme, no path, no wildcard."
        )
    return plain(host), int(port) if port else None


def plain(host: str) -> str:
    """The host as it is compared: names have no letters of two cases, addresses no zone. Raises nothing."""
    return host.lower().rstrip(".").partition("%")[0]


def is_address(host: object) -> bool:
    """Whether it needs no look-up."""
    try:
        ipaddress.ip_address(host.partition("%")[0] if isinstance(host, str) else "")
    except ValueError:
        return host == ""
    return True


def is_this_machine(host: str) -> bool:
    """A loopback address, the unspecified one (which connects to loopback), or the name localhost. Raises nothing."""
    host = plain(host)
    if host in ("", "localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback or address.is_unspecified
