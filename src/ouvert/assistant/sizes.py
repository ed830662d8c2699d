"""What a model takes: bytes to fetch, to store, and of memory to run it. Nothing is loaded or fetched to say it."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from ouvert.assistant.load_installed import precision_of
from ouvert.engine import (
    USUAL,
    AskedPrecision,
    Demand,
    Precision,
    demand_of_files,
    demand_of_known,
    is_rounded_here,
    known_shapes,
    memory_to_run,
    packed_bytes_of,
    precision_itself,
)
from ouvert.store import Alias, Installed, find_alias

# Tokens of a conversation for which the memory that a model takes is told.
USUAL_CONTEXT = 8192

# What a GGUF file that nobody has quantised has in its name, by convention; safetensors mostly are in 16 bits.
NOT_QUANTISED = re.compile(r"(?<![A-Za-z0-9])(BF16|F16|F32)(?![A-Za-z0-9])|\.safetensors$", re.IGNORECASE)
# Of the bytes of weights in 16 bits, what is left at a precision: 4.5 and 8.5 bits, less than any model takes.
LEFT_OF_16_BITS: Mapping[str, float] = {"4": 4.5 / 16, "8": 8.5 / 16}


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


def packed_bytes_foreseen(precision: AskedPrecision | None = None) -> Callable[[str, Mapping[str, int]], int]:
    """For `Store.pull`: what packing at that precision, or the usual one where it is left out, will write of a model
    that is not here yet. (its name, bytes of each file of weights) -> bytes.

    Of short names the tables know it. Of others it is no more than they will take, told by names and sizes: what is
    quantised stays as large, the rest is taken for 16 bits. The function raises nothing.
    """
    bits = precision_itself(precision)

    def foreseen(name: str, sizes: Mapping[str, int]) -> int:
        if (alias := find_alias(name)) is not None:
            return demand_of_alias(alias, bits).weights if alias.built else 0
        left = LEFT_OF_16_BITS.get(bits or USUAL, 1.0)
        return sum(round(size * left) if NOT_QUANTISED.search(file) else size for file, size in sizes.items())

    return foreseen


def memory_by_context(installed: Installed, contexts: Iterable[int], cache_type: str = "f16") -> dict[int, int]:
    """Tokens of a conversation -> bytes of memory that running it takes, weights and caches. Raises CheckpointError for
    files that cannot be used, KeyError for no cache type."""
    demand = demand_of_files(installed.path, cache_type, precision_of(installed, None))
    return {context: memory_to_run(demand, context) for context in contexts}


@lru_cache(maxsize=256)
def bytes_in_memory(installed: Installed, precision: AskedPrecision | None = None) -> int:
    """How many bytes its weights take once they are loaded, at the precision of its name, or that, or the usual one.

    Raises CheckpointError for files that cannot be used, and for more bits than their weights have, unless they
    are a limit.
    """
    return packed_bytes_of(installed.path, precision_of(installed, precision))
