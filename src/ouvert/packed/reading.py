"""Reading a packed file: memory-mapped, its header checked now and its pieces by a watch."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ouvert import kernels
from ouvert.models import Parameter, Weight
from ouvert.packed.file_format import DIGEST_BYTES, DIGESTS, FORMAT, LOSSES
from ouvert.packed.pieces import PIECE_BYTES, Piece, check_of_pieces
from ouvert.packed.placement import Placement
from ouvert.packed.precision import STORED
from ouvert.packed.watch import WeightsWatch
from ouvert.weights import Checkpoint, CheckpointError, open_checkpoint, sha256_of_range

if TYPE_CHECKING:
    from ouvert.kernels import Loss

AGAIN = "It is only derived: it is removed, and made again when the model is next used."


class PackedWeights:
    """A packed file, open. `checkpoint` stays open as long as its weights are used.

    Size and header are checked here; the pieces by `watch`. Raises CheckpointError for a file of another format or
    layout, one that is cut off, and one whose header is not what was written.
    """

    def __init__(self, path: Path) -> None:
        self.checkpoint: Checkpoint = open_checkpoint(path)
        metadata = self.checkpoint.metadata
        if metadata.get("format") != FORMAT:
            raise CheckpointError(f"{path}: format is {metadata.get('format')!r}, expected {FORMAT!r}. {AGAIN}")
        table = self.checkpoint.tensors.get(DIGESTS)
        maps = self.checkpoint.maps
        if table is None or len(maps) != 1:
            raise CheckpointError(
                f"{path}: the tensor {DIGESTS} is missing, expected the digests of its pieces. {AGAIN}"
            )
        self.mapped = maps[0]
        begin = {name: self._place_of(tensor.data) for name, tensor in self.checkpoint.tensors.items()}
        digests = self.mapped[begin[DIGESTS] : begin[DIGESTS] + table.data.nbytes]
        if sha256_of_range(self.mapped.descriptor, 0, min(begin.values())) != digests[:DIGEST_BYTES]:
            raise CheckpointError(f"{path}: its header is not what was written: its digest is another one. {AGAIN}")
        self.source_digest: str = metadata["source"]
        self.recipe: str = metadata["recipe"]
        self.made: str = metadata["made"]
        self.precision: str = metadata.get("precision", STORED)
        self.placements: Mapping[str, Placement] = {
            name: Placement(tuple(row["shape"]), row["layout"]) for name, row in json.loads(metadata["entries"]).items()
        }
        self.digest = f"sha256:{hashlib.sha256(digests[DIGEST_BYTES:]).hexdigest()}"
        self.pieces = tuple(self._pieces(begin, digests))

    def _place_of(self, data: np.ndarray) -> int:
        """The offset in the file at which this array over it begins."""
        return int(data.ctypes.data - np.frombuffer(self.mapped, np.uint8).ctypes.data)

    def _pieces(self, begin: Mapping[str, int], digests: bytes) -> Iterator[Piece]:
        at = DIGEST_BYTES
        rounded = (LOSSES,) if LOSSES in self.checkpoint.tensors else ()
        for name in (*self.placements, *rounded):
            start, size = begin[name], self.checkpoint.tensors[name].data.nbytes
            for first in range(start, start + size, PIECE_BYTES):
                yield Piece(first, min(first + PIECE_BYTES, start + size), digests[at : at + DIGEST_BYTES], name)
                at += DIGEST_BYTES

    def losses(self) -> "dict[str, Loss]":
        """What rounding lost of each parameter; empty where the precision is that of the source. Raises nothing."""
        table = self.checkpoint.tensors.get(LOSSES)
        rows = () if table is None else table.decode()
        return {name: kernels.Loss(*map(float, row)) for name, row in zip(self.placements, rows, strict=False)}

    def watch(self) -> WeightsWatch:
        """A watch over the file, which checks the pieces once it is started. To be closed after the last step.

        Raises nothing.
        """
        return WeightsWatch((self.mapped,), check_of_pieces(self.mapped, self.pieces), derived=True, instance=self.made)

    def place(self, parameter: Parameter) -> Weight:
        """What native programs take for this parameter: a kernels.Packed matrix or a float32 array.

        Raises CheckpointError if the file does not hold it in the expected shape.
        """
        placement, data = self._found(parameter)
        return placement.weight(data)

    def place_in_file(self, parameter: Parameter) -> tuple[Placement, int, int]:
        """How this parameter is placed, the offset in the file at which it begins, and its bytes.

        Raises CheckpointError as `place` does.
        """
        placement, data = self._found(parameter)
        return placement, self._place_of(data), data.nbytes

    def _found(self, parameter: Parameter) -> tuple[Placement, np.ndarray]:
        name = parameter.same_as or parameter.name
        placement, tensor = self.placements.get(name), self.checkpoint.tensors.get(name)
        if placement is None or tensor is None or placement.shape != parameter.shape:
            raise CheckpointError(
                f"{self.checkpoint.path}: {name} is {placement and placement.shape}, expected {parameter.shape}. "
                "The file belongs to another model: remove it; it is made again when the model is next used."
            )
        return placement, tensor.data


def damage_in(path: Path) -> str | None:
    """What is wrong with a packed file, all of which is read; None if nothing is. Changes nothing. Raises nothing."""
    try:
        found = PackedWeights(path)
        return check_of_pieces(found.mapped, found.pieces)(lambda: False)
    except CheckpointError as problem:
        return str(problem)
