"""The models that have a short name, as this machine would run them: sizes, whether they fit, about how fast."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ouvert.engine import (
    EngineError,
    Machine,
    demand_of_shape,
    forecast,
    known_shapes,
    measure_machine,
    memory_bytes,
    memory_to_run,
)
from ouvert.store import Alias, aliases

# Tokens of a conversation for which memory and speed are told.
USUAL_CONTEXT = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class Obtainable:
    """A model of the table of short names. `form`: the encoding of its weights here.

    Bytes to `fetch`, to `store` (as fetched, and packed) and of memory to `run` with a conversation of USUAL_CONTEXT
    tokens. Tokens a second that it writes and reads, as (at least, at most): None where this machine was not measured.
    """

    alias: Alias
    form: str
    parameters: int
    fetch: int
    store: int
    run: int
    writes: tuple[float, float] | None
    reads: tuple[float, float] | None


def measured_machine() -> Machine | None:
    """This machine as it is now; takes a second or two of all its cores. None where it cannot be told."""
    memory = memory_bytes()
    try:
        return None if memory is None else measure_machine(memory)
    except EngineError:
        return None  # without the native kernels nothing can be foretold


def obtainable(machine: Machine | None) -> Iterator[Obtainable]:
    """Every model of the table that this version runs, in the table's order. Raises nothing."""
    for alias in aliases():
        if not alias.built:
            continue
        shape = known_shapes()[alias.name]
        demand = replace(demand_of_shape(shape), weights=alias.size)
        seen = None if machine is None else forecast(demand, machine, USUAL_CONTEXT)
        yield Obtainable(
            alias=alias,
            form=shape.shipped,
            parameters=shape.parameters,
            fetch=alias.size,
            store=2 * alias.size,
            run=memory_to_run(demand, USUAL_CONTEXT),
            writes=None if seen is None else seen.decode,
            reads=None if seen is None else seen.prefill,
        )
