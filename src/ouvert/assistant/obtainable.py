"""The models that have a short name, as this machine would run them: sizes, whether they fit, about how fast."""

from collections.abc import Iterator
from dataclasses import dataclass

from ouvert.assistant.sizes import USUAL_CONTEXT, demand_of_alias, form_of, sizes_of
from ouvert.engine import EngineError, Machine, forecast, known_shapes, measure_machine, memory_bytes
from ouvert.store import Alias, aliases


@dataclass(frozen=True, slots=True, kw_only=True)
class Obtainable:
    """A model of the table of short names. `form`: the encoding of its weights, and to how many bits they are rounded.

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
    """This machine as it is now; takes a second or two of all its cores. None where it cannot be told.

    Raises nothing.
    """
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
        sizes = sizes_of(alias)
        seen = None if machine is None else forecast(demand_of_alias(alias), machine, USUAL_CONTEXT)
        yield Obtainable(
            alias=alias,
            form=form_of(alias),
            parameters=known_shapes()[alias.name].parameters,
            fetch=sizes.fetch,
            store=sizes.store,
            run=sizes.run,
            writes=None if seen is None else seen.decode,
            reads=None if seen is None else seen.prefill,
        )
