"""What a model takes: bytes to fetch, to store, and of memory to run it. Nothing is loaded or fetched to say it."""

from dataclasses import dataclass, replace
from functools import lru_cache

from ouvert.assistant.load_installed import precision_of
from ouvert.engine import (
    USUAL,
    Demand,
    Precision,
    demand_of_known,
    is_rounded_here,
    known_shapes,
    memory_to_run,
    packed_bytes_of,
)
from ouvert.store import Alias, Installed

# Tokens of a conversation for which the memory that a model takes is told.
USUAL_CONTEXT = 8192


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes of a model that has a short name: to fetch, to store (as fetched, and packed), and of memory to run it."""

    fetch: int
    store: int
    run: int


def sizes_of(alias: Alias, precision: Precision | None = None) -> Sizes:
    """The sizes from the tables alone, at that precision, or the usual one where it is left out.

    A model that its makers quantised is as large packed as it is fetched, whatever the precision: both keep its
    encoding. Raises KeyError for an alias that is not of the table.
    """
    demand = demand_of_alias(alias, precision)
    return Sizes(alias.size, alias.size + demand.weights, memory_to_run(demand, USUAL_CONTEXT))


def demand_of_alias(alias: Alias, precision: Precision | None = None, cache_type: str = "f16") -> Demand:
    """What running it asks for, from the tables alone. Raises KeyError as `sizes_of` does, and for no cache type."""
    demand = demand_of_known(alias.name, precision, cache_type)
    return replace(demand, weights=alias.size) if alias.sha256 else demand  # known to the byte


def form_of(alias: Alias, precision: Precision | None = None) -> str:
    """How its weights are encoded where they are fetched, and to how many bits they are rounded here: "BF16 to 4 bits".

    Raises KeyError as `sizes_of` does.
    """
    shipped, bits = known_shapes()[alias.name].shipped, precision or USUAL
    return f"{shipped} to {bits} bits" if is_rounded_here(alias.name) and bits != "stored" else shipped


@lru_cache(maxsize=256)
def bytes_in_memory(installed: Installed, precision: Precision | None = None) -> int:
    """How many bytes its weights take once they are loaded, at the precision of its name, or that, or the usual one.

    Raises CheckpointError for files that cannot be used, and for more bits than their weights have.
    """
    return packed_bytes_of(installed.path, precision_of(installed, precision))
