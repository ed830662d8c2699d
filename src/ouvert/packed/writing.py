"""Writing a packed file: every parameter placed, piece after piece, with the digest of each piece."""

import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ouvert import kernels
from ouvert.models import Parameter
from ouvert.packed.file_format import DIGEST_BYTES, DIGESTS, FORMAT
from ouvert.packed.pieces import PieceDigests, piece_count
from ouvert.packed.placement import Placement, placed_chunks, placements
from ouvert.weights import SafetensorsWriter, encoded_bytes

if TYPE_CHECKING:
    from ouvert.kernels import Loss


def write_packed(
    parameters: Sequence[Parameter],
    path: Path,
    *,
    source_digest: str,
    recipe: str,
    threads: int = 2,
    progress: Callable[[int, int], None] | None = None,
    before_it_appears: Callable[[], None] = lambda: None,
) -> "Loss":
    """Pack all parameters into `path`. `progress(done, total)` counts source bytes. `recipe`: see recipe_digest. What
    `before_it_appears` raises keeps the file from appearing.

    Memory stays at a few chunks. The file appears when it is whole; two processes packing the same model do not harm
    each other. Returns what packing lost. Raises CheckpointError if it cannot be written, and ValueError for a block
    that its layout cannot hold.
    """
    placed = placements(parameters)
    path.parent.mkdir(parents=True, exist_ok=True)
    total = sum(each.stored_bytes for each in parameters if each.name in placed)
    done, lost = 0, kernels.Loss()
    metadata = {
        "format": FORMAT,
        "source": source_digest,
        "recipe": recipe,
        "made": secrets.token_hex(16),
        "entries": json.dumps({name: asdict(each) for name, each in placed.items()}, separators=(",", ":")),
    }
    with SafetensorsWriter(path, declared(placed), metadata) as writer:
        writer.write(DIGESTS, writer.header_digest)
        for parameter in (each for each in parameters if each.name in placed):
            for read, loss in written_chunks(writer, parameter, threads):
                done, lost = done + read, lost + loss
                if progress is not None:
                    progress(done, total)
        before_it_appears()
    return lost


def declared(placed: Mapping[str, Placement]) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The tensors of the file as safetensors declares them: the parameters, and behind them the digests."""
    tensors = {name: placement.stored_as for name, placement in placed.items()}
    count = 1 + sum(piece_count(encoded_bytes(*each)) for each in tensors.values())
    return {**tensors, DIGESTS: ("U8", (count * DIGEST_BYTES,))}


def written_chunks(writer: SafetensorsWriter, parameter: Parameter, threads: int) -> Iterator[tuple[int, "Loss"]]:
    """(source bytes, loss) of each chunk of a parameter once it is written; after the last, its digests are as well."""
    digests = PieceDigests()
    for chunk, read, loss in placed_chunks(parameter, threads):
        writer.write(parameter.name, chunk)
        digests.add(chunk.data)
        yield read, loss
    writer.write(DIGESTS, b"".join(digests.all()))
