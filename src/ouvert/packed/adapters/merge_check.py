"""Whether a merged file holds what it is to hold: read again by our names of weights, not by the file's."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ouvert import kernels
from ouvert.arithmetic import LowRank
from ouvert.models import Parameter, place
from ouvert.packed.adapter import Adapter
from ouvert.packed.adapters.error import AdapterError
from ouvert.packed.adapters.joining import Array
from ouvert.packed.adapters.merging import BLOCK, Merge
from ouvert.packed.memory import InMemory
from ouvert.packed.model_files import ModelFiles, open_model

ROWS = 512  # compared at once
# How far a number may be from what was to be written, of its own size: half a step of its mantissa. float32 sums of the
# same numbers in another order come to a few millionths of the largest.
STEPS = {"F32": 0.0, "F16": 2**-11, "BF16": 2**-8, "Q8_0": 2**-11}
SUMS = 4e-6
# What rounding weights alone does to logits, of the largest, through a few dozen layers: the encoding's step and room.
ROUNDED = {"F16": 0.005, "BF16": 0.05, "Q8_0": 0.05}


@dataclass(frozen=True, slots=True)
class MergeCheck:
    """What was found: weights compared; how far the adapter moves logits; and how far the merged model's are from those
    of the base with its adapter. Both of the largest logit, behind the middle one of all tokens: where a router chooses
    another expert by a hair, the tokens concerned may be far apart. None where no ids were given."""

    weights: int
    changed: float | None
    apart: float | None


def check_merge(merge: Merge, path: Path, ids: Array | None = None, threads: int = 2) -> MergeCheck:
    """Open the merged model at `path`, and compare every weight with the base's and the adapter's; with `ids` (int32)
    also the logits behind each, of both models in float32.

    Raises AdapterError, by name, for a weight that is another, and where the models' logits are further apart than the
    encoding makes them. CheckpointError for a file that cannot be read.
    """
    with open_model(path) as merged:
        theirs = {parameter.name: parameter for parameter in merged.parameters}
        for parameter in merge.files.parameters:
            compare(path, parameter, theirs[parameter.name], merge.adapter.pairs.get(parameter.name))
        if ids is None:
            return MergeCheck(len(theirs), None, None)
        return compare_answers(merge, merged, ids, threads)


def compare(path: Path, base: Parameter, merged: Parameter, pair: LowRank | None) -> None:
    """Raise AdapterError if `merged` is not `base` and what `pair` adds to it, as exactly as it is written."""
    if pair is None and base.encoding == merged.encoding:
        if not np.array_equal(base.encoded().data, merged.encoded().data):
            raise AdapterError(f"{path}: {base.name} is not the base's, expected it unchanged. Do not use this file.")
        return
    for where, mine, found in blocks_of(base, merged, pair):
        largest = float(np.abs(mine).max(initial=0))
        allowed = np.abs(mine) * STEPS[merged.encoding] + largest * SUMS + 2.0**-24
        if merged.encoding == "Q8_0":
            of_blocks = np.abs(mine.reshape(len(mine), -1, BLOCK)).max(2)
            allowed += of_blocks.repeat(BLOCK, 1) * (0.5 / 127)
        if not (np.abs(mine - found) <= allowed).all():
            raise AdapterError(
                f"{path}: {where} is up to {np.abs(mine - found).max():.3g} away from the base's weights and the "
                f"adapter, expected {merged.encoding}'s rounding, {allowed.max():.3g} at most. Do not use this file."
            )


def blocks_of(base: Parameter, merged: Parameter, pair: LowRank | None) -> Iterator[tuple[str, Array, Array]]:
    """What is to be there, and what is: float32, some rows of a matrix or an expert at a time."""
    if len(base.shape) == 3:
        adapted = {e: n for n, e in enumerate((pair.experts or ()) if pair else ())}
        for expert in range(base.shape[0]):
            mine = base.decode_expert(expert)
            if pair is not None and (n := adapted.get(expert)) is not None:
                mine += np.float32(pair.scale) * (pair.b[n] @ pair.a[n])
            yield f"{base.name}, expert {expert}", mine, merged.decode_expert(expert)
    elif len(base.shape) == 2:
        for start in range(0, base.shape[0], ROWS):
            stop = min(start + ROWS, base.shape[0])
            mine = base.rows(start, stop).decode()
            if pair is not None:
                mine += np.float32(pair.scale) * (pair.b[start:stop] @ pair.a)
            yield base.name, mine, merged.rows(start, stop).decode()
    else:
        yield base.name, base.decode()[None], merged.decode()[None]


def compare_answers(merge: Merge, merged: ModelFiles, ids: Array, threads: int) -> MergeCheck:
    """Raises AdapterError where the merged model's logits are further from those of the base with its adapter than a
    tenth of what the adapter changes, and than rounding comes to."""
    bare, adapted = logits_of(merge.files, ids, threads, merge.adapter)
    [found] = logits_of(merged, ids, threads)
    largest = float(np.abs(adapted).max())
    changed, apart = (float(np.median(np.abs(adapted - each).max(1))) / largest for each in (bare, found))
    if not apart <= max(changed / 10, ROUNDED[merge.encoding]):
        raise AdapterError(
            f"{merged.path}: its logits are {apart:.3f} of the largest away from those of the base with its adapter, "
            f"which changes them by {changed:.3f}; expected a tenth of that or {ROUNDED[merge.encoding]} at most. Do "
            "not use this file."
        )
    return MergeCheck(len(merged.parameters), changed, apart)


def logits_of(files: ModelFiles, ids: Array, threads: int, adapter: Adapter | None = None) -> list[Array]:
    """float32 (tokens, vocabulary), without rounding activations: of the model, and with the adapter."""
    model = place(files.family, files.config, files.parameters, InMemory(threads))
    programs = kernels.Programs(model, threads=threads, exact=True, cache="f32")
    program = programs.sibling(adapted=adapter.pairs) if adapter else programs.plain
    found = []
    try:
        for adapters in [(), (kernels.Adapters(adapter.pairs),)] if adapter else [()]:
            sequence = program.new_sequence(len(ids))
            sequence.adapters = adapters
            found.append(program.step([(sequence, ids)], "all"))
    finally:
        programs.close()
    return found
