"""A checkpoint's tensors as another file would hold them, and where in them each parameter's matrices lie."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ouvert.models.parameters import Array, Parameter
from ouvert.models.sources import (
    Fp8Blocks,
    Int4Groups,
    Matrix,
    Mxfp4Pair,
    Plain,
    Rows,
    Source,
    Stack,
    Transposed,
    matrices,
    matrix_of,
)
from ouvert.weights import Checkpoint, Tensor

MOST_VALUES = 1 << 22  # decoded at once
BLOCKS, SCALES = "_blocks", "_scales"  # what transformers calls the parts of gpt-oss's experts


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Some numbers of a tensor: rows from `start` on of the matrix at `index` of its first axis, or of the only one."""

    index: int | None
    start: int
    values: Array  # float32 (rows, columns)


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """One tensor. `encoding` is None where its numbers are codes and scales in several tensors of the file: another
    file holds them decoded, in `shape`."""

    name: str
    shape: tuple[int, ...]
    encoding: str | None
    part: Matrix | Mxfp4Pair

    @property
    def data(self) -> Array:
        """Its bytes as the file has them, flat uint8. Raises TypeError where they are in several tensors."""
        if not isinstance(self.part, Tensor):
            raise TypeError(f"{self.name}: codes and scales in several tensors, which have no bytes in one.")
        return self.part.data

    def pieces(self) -> Iterator[Piece]:
        """All its numbers, in order, decoded: of a matrix, or several. Raises CheckpointError for bytes that do not fit
        its shape."""
        for index in range(self.shape[0]) if len(self.shape) == 3 else [None]:
            if isinstance(self.part, Mxfp4Pair):
                yield Piece(index, 0, np.ascontiguousarray(self.part.expert(index or 0).decode().T))
                continue
            matrix = self.part
            if index is not None and isinstance(matrix, Tensor):
                matrix = matrix_of(matrix, index)
            step = max(1, MOST_VALUES // matrix.shape[1])
            for start in range(0, matrix.shape[0], step):
                rows = matrix.rows(start, min(start + step, matrix.shape[0]))
                yield Piece(index, start, rows.decode().astype(np.float32, copy=False))
                rows.release()


def stored_tensors(checkpoint: Checkpoint) -> dict[str, Stored]:
    """Every tensor of the file, in its order, under the name and in the shape that it has once it is decoded. Raises
    nothing."""
    in_file = matrices(checkpoint.tensors)
    found: dict[str, Stored] = {}
    for name, matrix in in_file.items():
        scales = in_file.get(name.removesuffix(BLOCKS) + SCALES)
        if name.endswith(BLOCKS) and isinstance(matrix, Tensor) and isinstance(scales, Tensor):
            pair = Mxfp4Pair(matrix, scales)
            experts, outputs, inputs = pair.shape
            whole = name.removesuffix(BLOCKS)
            found[whole] = Stored(whole, (experts, inputs, outputs), None, pair)
        elif not (name.endswith(SCALES) and name.removesuffix(SCALES) + BLOCKS in in_file):
            found[name] = Stored(name, matrix.shape, matrix.encoding if isinstance(matrix, Tensor) else None, matrix)
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Spot:
    """Where a matrix (out, in) of a parameter lies: rows of the matrix at `index` of a tensor, or its columns where the
    tensor has it `turned`. `rows[i]` is where row i is."""

    tensor: str
    index: int | None
    rows: Array
    turned: bool = False


def spots_of(parameter: Parameter) -> list[Spot]:
    """Of a linear weight one, of experts' one for each. Raises TypeError for a parameter that lies in its file in
    another way."""
    *experts, outputs, _ = parameter.shape
    every = np.arange(outputs)
    return list(spots_in(parameter.source, experts[0] if experts else None, every))


def spots_in(source: Source, experts: int | None, every: Array) -> Iterator[Spot]:
    numbers = [None] if experts is None else range(experts)
    match source:
        case Plain(tensor, order):
            rows = every if order is None else order
            yield from (Spot(tensor.name, e, rows) for e in numbers)
        case Rows(matrix, order):
            yield Spot(name_of(matrix), None, order)
        case Fp8Blocks() | Int4Groups():
            yield Spot(name_of(source), None, every)
        case Stack(parts):
            yield from (Spot(name_of(part), None, every) for part in parts)
        case Transposed(tensor, first, step):
            yield from (Spot(tensor.name, e, first + step * every, turned=True) for e in numbers)
        case Mxfp4Pair(blocks, _, first, step):
            name = blocks.name.removesuffix(BLOCKS)
            yield from (Spot(name, e, first + step * every, turned=True) for e in numbers)
        case _:
            raise TypeError(f"{type(source).__name__} holds no matrix of a file as it is.")


def name_of(matrix: Matrix) -> str:
    """Of the tensor that it is once it is decoded."""
    if isinstance(matrix, Tensor):
        return matrix.name
    return matrix.codes.name.removesuffix("_packed")
