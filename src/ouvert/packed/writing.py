"""Writing a packed file: every parameter placed, piece after piece, with the digest of each piece."""

import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ouvert import kernels
from ouvert.models import Parameter
from ouvert.packed.file_format import DIGEST_BYTES, DIGESTS, FORMAT, LOSSES
from ouvert.packed.pieces import PieceDigests, piece_count
from ouvert.packed.placement import Placement, placed_chunks, placements
from ouvert.packed.precision import STORED, Precision
from ouvert.weights import SafetensorsWriter, encoded_bytes

if TYPE_CHECKING:
    from ouvert.kernels import Loss


def write_packed(
    parameters: Sequence[Parameter],
    path: Path,
    *,
    source_digest: str,
    recipe: str,
    precision: Precision = STORED,
    threads: int = 2,
    progress: Callable[[int, int], None] | None = None,
    before_it_appears: Callable[[], None] = lambda: None,
) -> "dict[str, Loss]":
    """Pack all parameters into `path` at a settled precision. `progress(done, total)` counts source bytes. `recipe`:
    see recipe_digest. What `before_it_appears` raises keeps the file from appearing.

    Memory stays at a few chunks. The file appears when it is whole; two processes packing the same model do not harm
    each other. Returns what packing lost of each parameter. Raises CheckpointError if it cannot be written, and
    for a parameter that its layout cannot hold.
    """
    placed = placements(parameters, precision)
    path.parent.mkdir(parents=True, exist_ok=True)
    total = sum(each.stored_bytes for each in parameters if each.name in placed)
    done, lost = 0, dict.fromkeys(placed, kernels.Loss())
    metadata = {
        "format": FORMAT,
        "source": source_digest,
        "recipe": recipe,
        "precision": precision,
        "made": secrets.token_hex(16),
        "entries": json.dumps({name: asdict(each) for name, each in placed.items()}, separators=(",", ":")),
    }
    with SafetensorsWriter(path, declared(placed, precision), metadata) as writer:
        writer.write(DIGESTS, writer.header_digest)
        for parameter in (each for each in parameters if each.name in placed):
            layout = placed[parameter.name].layout
            for read, loss in written_chunks(writer, parameter, threads, layout):
                done, lost[parameter.name] = done + read, lost[parameter.name] + loss
                if progress is not None:
                    progress(done, total)
        if precision != STORED:
            write_losses(writer, list(lost.values()))
        before_it_appears()
    return lost


def declared(placed: Mapping[str, Placement], precision: Precision) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The tensors of the file as safetensors declares them: the parameters, what rounding lost of them, the digests."""
    tensors = {name: placement.stored_as for name, placement in placed.items()}
    if precision != STORED:
        tensors[LOSSES] = "F64", (len(placed), 2)
    count = 1 + sum(piece_count(encoded_bytes(*each)) for each in tensors.values())
    return {**tensors, DIGESTS: ("U8", (count * DIGEST_BYTES,))}


def write_losses(writer: SafetensorsWriter, losses: "Sequence[Loss]") -> None:
    """The tensor LOSSES, and its digests."""
    table = np.array([(each.squared_error, each.squares) for each in losses], "<f8")
    digests = PieceDigests()
    digests.add(memoryview(table.tobytes()))
    writer.write(LOSSES, table)
    writer.write(DIGESTS, b"".join(digests.all()))


def written_chunks(
    writer: SafetensorsWriter, parameter: Parameter, threads: int, layout: str | None
) -> Iterator[tuple[int, "Loss"]]:
    """(source bytes, loss) of each chunk of a parameter once it is written; after the last, its digests are as well."""
    digests = PieceDigests()
    for chunk, read, loss in placed_chunks(parameter, threads, layout):
        writer.write(parameter.name, chunk)
        digests.add(chunk.data)
        yield read, loss
    writer.write(DIGESTS, b"".join(digests.all()))
