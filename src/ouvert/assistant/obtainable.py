"""The models that have a short name, as this machine would run them: sizes, whether they fit, about how fast."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ouvert.assistant.sizes import USUAL_CONTEXT, demand_of_alias, form_of, sizes_of
from ouvert.engine import (
    DiskForecast,
    EngineError,
    Machine,
    forecast,
    forecast_from_disk,
    known_shapes,
    measure_disk,
    measure_machine,
    memory_bytes,
    plan_memory,
)
from ouvert.store import Alias, aliases


@dataclass(frozen=True, slots=True, kw_only=True)
class Obtainable:
    """A model of the table of short names. `form`: the encoding of its weights, and to how many bits they are rounded.

    Bytes to `fetch`, to `store` (as fetched, and packed) and of memory to `run` with a conversation of USUAL_CONTEXT
    tokens. Tokens a second that it writes and reads, as (at least, at most): None where this machine was not measured.
    `experts_on_disk`: it is larger than the memory it may take, and reads its experts from disk; `from_disk`: what it
    takes and gives so, None where the disk was not measured.
    """

    alias: Alias
    form: str
    parameters: int
    fetch: int
    store: int
    run: int
    writes: tuple[float, float] | None
    reads: tuple[float, float] | None
    experts_on_disk: bool
    from_disk: DiskForecast | None


def measured_machine() -> Machine | None:
    """This machine as it is now; takes a second or two of all its cores. None where it cannot be told.

    Raises nothing.
    """
    memory = memory_bytes()
    try:
        return None if memory is None else measure_machine(memory)
    except EngineError:
        return None  # without the native kernels nothing can be foretold


def measured_disk(folder: Path) -> float | None:
    """Bytes a second that the disk of `folder` gives for experts; takes two seconds. None where it cannot be told.

    Raises nothing.
    """
    try:
        return measure_disk(folder).bytes_per_second
    except EngineError:
        return None


def obtainable(machine: Machine | None, disk: float | None, memory: int | None) -> Iterator[Obtainable]:
    """Every model of the table that this version runs, in the table's order. `disk`: bytes a second. `memory`: bytes
    that models may take, all that can be had where it is None. Raises nothing."""
    for alias in aliases():
        if not alias.built:
            continue
        sizes, demand = sizes_of(alias), demand_of_alias(alias)
        seen = None if machine is None else forecast(demand, machine, USUAL_CONTEXT)
        from_disk = None
        if machine is not None and disk is not None:
            from_disk = forecast_from_disk(demand, replace(machine, allowed=memory), disk, USUAL_CONTEXT)
        yield Obtainable(
            alias=alias,
            form=form_of(alias),
            parameters=known_shapes()[alias.name].parameters,
            fetch=sizes.fetch,
            store=sizes.store,
            run=sizes.run,
            writes=None if seen is None else seen.decode,
            reads=None if seen is None else seen.prefill,
            experts_on_disk=memory is not None and plan_memory(demand, memory, USUAL_CONTEXT) is not None,
            from_disk=from_disk,
        )
