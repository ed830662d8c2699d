"""A model's weights in a file that the native products read as it lies: written once, memory-mapped from then on.

The file is safetensors: matrices as U8 in the layouts of docs/formats/packed.md, vectors as F32, under the names of
`models`. Its metadata say what each matrix is and from which weights it was made.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ouvert.engine.choosing import LAYOUT_VERSION, PackedFile
from ouvert.kernels import packing
from ouvert.kernels.linear import Packed
from ouvert.models import Parameter, recognise
from ouvert.weights import Checkpoint, CheckpointError, SafetensorsWriter, open_checkpoint

# Source bytes packed at once, about: enough for several threads, little beside any model.
CHUNK_BYTES = 32 << 20

# Kinds of parameters that are multiplied with or looked up; the others are vectors and stay float32.
MATRICES = ("embedding", "linear", "experts")


@dataclass(frozen=True, slots=True)
class Entry:
    """A parameter in a packed file. `layout` None: float32 numbers of `shape`, else (experts, rows, columns) packed."""

    shape: tuple[int, ...]
    layout: str | None


def layout_for(parameter: Parameter) -> str | None:
    """The layout that keeps this parameter's encoding; F32 where there is none."""
    return packing.LAYOUTS.get(parameter.encoding, "F32") if parameter.kind in MATRICES else None


def plan(parameters: Iterable[Parameter]) -> dict[str, Entry]:
    """What the file will hold; parameters that share another's bytes are not written twice."""
    return {each.name: Entry(each.shape, layout_for(each)) for each in parameters if each.same_as is None}


def declared(entry: Entry) -> tuple[str, tuple[int, ...]]:
    """The entry as safetensors declares it."""
    if entry.layout is None:
        return "F32", entry.shape
    *experts, rows, columns = entry.shape
    return "U8", (math.prod(experts) * packing.packed_bytes(entry.layout, rows, columns),)


def pieces(parameter: Parameter, layout: str | None, threads: int) -> Iterator[tuple[np.ndarray, int, packing.Loss]]:
    """(bytes to write, source bytes they came from, loss), in order, a few rows of one expert at a time."""
    if layout is None:
        yield np.ascontiguousarray(parameter.decode(), np.float32), parameter.stored_bytes, packing.Loss()
        return
    *experts, rows, columns = parameter.shape
    for expert in range(math.prod(experts)):
        matrix = replace(parameter.expert(expert) if experts else parameter.encoded(), shape=(rows, columns))
        step = max(1, CHUNK_BYTES // (matrix.row_bytes * packing.ROW_GROUP)) * packing.ROW_GROUP
        for start in range(0, rows, step):
            part = matrix.rows(start, min(rows, start + step))
            encoding, data = part.encoding, part.data
            if encoding not in packing.LAYOUTS:
                encoding, data = "F32", np.ascontiguousarray(part.decode(), np.float32).reshape(-1).view(np.uint8)
            packed, loss = packing.pack(encoding, data, part.shape[0], columns, layout=layout, threads=threads)
            read = part.data.nbytes
            part.release()
            yield packed, read, loss


def write_packed(
    parameters: list[Parameter],
    path: Path,
    *,
    source_digest: str,
    threads: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> packing.Loss:
    """Pack all parameters into `path`. `progress(done, total)` counts source bytes.

    Memory stays at a few chunks. The file appears when it is whole; two processes packing the same model do not harm
    each other. Returns what packing lost. Raises CheckpointError if it cannot be written or a weight cannot be packed.
    """
    entries = plan(parameters)
    path.parent.mkdir(parents=True, exist_ok=True)
    total = sum(each.stored_bytes for each in parameters if each.same_as is None)
    done, lost = 0, packing.Loss()
    metadata = {
        "format": f"ouvert packed {LAYOUT_VERSION}",
        "source": source_digest,
        "entries": json.dumps({name: asdict(entry) for name, entry in entries.items()}, separators=(",", ":")),
    }
    with SafetensorsWriter(path, {name: declared(entry) for name, entry in entries.items()}, metadata) as writer:
        for parameter in parameters:
            if parameter.same_as is not None:
                continue
            for packed, read, loss in pieces(parameter, entries[parameter.name].layout, threads):
                writer.write(parameter.name, packed)
                done, lost = done + read, lost + loss
                if progress is not None:
                    progress(done, total)
    return lost


class PackedWeights:
    """A packed file, open. `checkpoint` stays open as long as its weights are used."""

    def __init__(self, path: Path) -> None:
        self.checkpoint: Checkpoint = open_checkpoint(path)
        metadata = self.checkpoint.metadata
        if metadata.get("format") != f"ouvert packed {LAYOUT_VERSION}":
            raise CheckpointError(
                f"{path}: format is {metadata.get('format')!r}, expected 'ouvert packed {LAYOUT_VERSION}'. "
                "Remove the file; it is made again when the model is next used."
            )
        self.source_digest: str = metadata["source"]
        self.entries: Mapping[str, Entry] = {
            name: Entry(tuple(row["shape"]), row["layout"]) for name, row in json.loads(metadata["entries"]).items()
        }

    def place(self, parameter: Parameter) -> Any:
        """What kernels.Recorder's operations take for this parameter: a Packed matrix or a float32 array.

        Raises CheckpointError if the file does not hold it in the expected shape.
        """
        name = parameter.same_as or parameter.name
        entry, tensor = self.entries.get(name), self.checkpoint.tensors.get(name)
        if entry is None or tensor is None or entry.shape != parameter.shape:
            raise CheckpointError(
                f"{self.checkpoint.path}: {name} is {entry and entry.shape}, expected {parameter.shape}. "
                "The file belongs to another model: remove it; it is made again when the model is next used."
            )
        if entry.layout is None:
            return np.frombuffer(tensor.data, np.float32).reshape(entry.shape)
        *experts, rows, columns = entry.shape
        return Packed(entry.layout, rows, columns, tensor.data, math.prod(experts))


def packed_weights(checkpoint: Checkpoint, file: PackedFile, threads: int) -> PackedWeights:
    """The packed form of a checkpoint, written now if it is not there or not usable.

    Raises CheckpointError if it cannot be written.
    """
    if file.path.exists():
        try:
            found = PackedWeights(file.path)
        except CheckpointError:
            pass  # damaged, or of an older layout: it is only derived, so it is made again
        else:
            if found.source_digest == file.source_digest:
                return found
    family, config = recognise(checkpoint)
    loss = write_packed(
        family.parameters(config, checkpoint),
        file.path,
        source_digest=file.source_digest,
        threads=threads,
        progress=file.progress,
    )
    if loss.relative and file.say is not None:
        file.say(
            f"Packing changed the weights by {loss.relative:.2%} (root mean square, of the weights' own): their "
            "encoding has no layout of its own. docs/formats/packed.md says which have."
        )
    return PackedWeights(file.path)
