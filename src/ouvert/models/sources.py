"""Where a parameter's bytes lie in a file, when they do not lie there as one plain matrix."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from ouvert.weights import ENCODINGS, CheckpointError, Tensor

Array = np.ndarray[Any, np.dtype[Any]]


class Source(Protocol):
    """Something that can be read as a tensor of `shape`, whole or expert by expert, still encoded."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def encoding(self) -> str: ...
    @property
    def stored_bytes(self) -> int:
        """Bytes of the file that this is read from."""
        ...

    def whole(self) -> Tensor: ...
    def expert(self, expert: int) -> Tensor:
        """The matrix at this index of the first axis."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Plain:
    """A tensor as it is, or with its rows in another order."""

    tensor: Tensor
    row_order: Array | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.tensor.shape

    @property
    def encoding(self) -> str:
        return self.tensor.encoding

    @property
    def stored_bytes(self) -> int:
        return self.tensor.data.nbytes

    def whole(self) -> Tensor:
        return self.tensor if self.row_order is None else self.tensor.take_rows(self.row_order)

    def rows(self, start: int, stop: int) -> Tensor:
        if self.row_order is None:
            return self.tensor.rows(start, stop)
        return self.tensor.take_rows(self.row_order[start:stop])

    def expert(self, expert: int) -> Tensor:
        return matrix_of(self.tensor, expert)


@dataclass(frozen=True, slots=True, eq=False)
class Fp8Blocks:
    """DeepSeek's and Qwen's matrices as shipped: FP8 codes, and a scale for every block of 128 rows and columns.

    Read as BF16, which is what DeepSeek's own converter makes of them (inference/fp8_cast_bf16.py of DeepSeek-V3).
    """

    codes: Tensor  # F8_E4M3 (rows, columns)
    scales: Tensor  # (rows / BLOCK, columns / BLOCK), rounded up

    BLOCK: ClassVar[int] = 128

    @property
    def shape(self) -> tuple[int, ...]:
        return self.codes.shape

    @property
    def encoding(self) -> str:
        return "BF16"

    @property
    def row_bytes(self) -> int:
        return self.codes.row_bytes

    @property
    def stored_bytes(self) -> int:
        return self.codes.data.nbytes + self.scales.data.nbytes

    def rows(self, start: int, stop: int) -> Tensor:
        return self.take_rows(np.arange(start, stop))

    def take_rows(self, index: Array) -> Tensor:
        codes = self.codes.take_rows(index).decode()
        scales = self.scales.decode()[index // self.BLOCK].repeat(self.BLOCK, axis=1)[:, : codes.shape[1]]
        bits = (codes * scales).astype(np.float32).view(np.uint32)
        rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16  # to nearest, ties to even
        return Tensor(self.codes.name, codes.shape, self.encoding, as_bytes(rounded.astype("<u2")))

    def whole(self) -> Tensor:
        return self.rows(0, self.shape[0])

    def expert(self, expert: int) -> Tensor:
        raise TypeError(f"{self.codes.name}: one matrix, of which there are no experts.")


@dataclass(frozen=True, slots=True, eq=False)
class Int4Groups:
    """Kimi K2 Thinking's matrices as shipped: signed 4-bit codes and a scale for every group of a row's neighbours.

    codes   32-bit words (rows, columns / 8): bits 4 i to 4 i + 3 of a word are code i + 8
    scales  BF16 or F16 (rows, groups)

    Read in GGUF's arrangement of the same bits, encoding Q4_0: 18 bytes for every 32 columns, the scale first, and byte
    i holds weights i (low half) and i + 16. docs/formats/encodings.md: what compressed-tensors calls pack-quantized.
    """

    codes: Tensor
    scales: Tensor
    columns: int

    BLOCK: ClassVar[int] = 32

    @property
    def shape(self) -> tuple[int, ...]:
        return self.codes.shape[0], self.columns

    @property
    def encoding(self) -> str:
        return "Q4_0"

    @property
    def row_bytes(self) -> int:
        return self.codes.row_bytes + self.scales.row_bytes

    @property
    def stored_bytes(self) -> int:
        return self.codes.data.nbytes + self.scales.data.nbytes

    def rows(self, start: int, stop: int) -> Tensor:
        return self._encoded(self.codes.rows(start, stop), self.scales.rows(start, stop))

    def take_rows(self, index: Array) -> Tensor:
        return self._encoded(self.codes.take_rows(index), self.scales.take_rows(index))

    def whole(self) -> Tensor:
        return self.rows(0, self.shape[0])

    def expert(self, expert: int) -> Tensor:
        raise TypeError(f"{self.codes.name}: one matrix, of which there are no experts.")

    def _encoded(self, codes: Tensor, scales: Tensor) -> Tensor:
        """Raises CheckpointError for scales that are infinite, no numbers, or beyond the range of float16."""
        rows, blocks = codes.shape[0], self.columns // self.BLOCK
        stated = scales.decode()
        if not (np.abs(stated) <= np.finfo(np.float16).max).all():
            raise CheckpointError(
                f"{self.scales.name}: a scale is beyond the range of float16 or not a number, expected finite scales, "
                "at most 65504. The file is damaged: fetch it again."
            )
        pairs = codes.data.reshape(rows, blocks, 16)  # byte j of a block: weights 2 j (low half) and 2 j + 1
        even, odd = pairs & 15, pairs >> 4
        packed = np.empty((rows, blocks, 18), np.uint8)
        of_blocks = stated.astype("<f2").repeat(blocks // stated.shape[1], axis=1)
        packed[..., :2] = of_blocks.reshape(rows, blocks, 1).view(np.uint8)
        packed[..., 2::2] = even[..., :8] | even[..., 8:] << 4
        packed[..., 3::2] = odd[..., :8] | odd[..., 8:] << 4
        return Tensor(codes.name, (rows, self.columns), self.encoding, packed.reshape(-1))


Matrix = Tensor | Fp8Blocks | Int4Groups


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Some rows of a matrix, in this order."""

    tensor: Matrix
    order: Array

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self.order), self.tensor.shape[1]

    @property
    def encoding(self) -> str:
        return self.tensor.encoding

    @property
    def stored_bytes(self) -> int:
        return len(self.order) * self.tensor.row_bytes

    def whole(self) -> Tensor:
        return self.tensor.take_rows(self.order)

    def rows(self, start: int, stop: int) -> Tensor:
        return self.tensor.take_rows(self.order[start:stop])

    def expert(self, expert: int) -> Tensor:
        raise TypeError("rows of one matrix, of which there are no experts.")


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """Matrices of the same shape, one for each expert."""

    tensors: tuple[Matrix, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self.tensors), *self.tensors[0].shape

    @property
    def encoding(self) -> str:
        return self.tensors[0].encoding

    @property
    def stored_bytes(self) -> int:
        return sum(tensor.shape[0] * tensor.row_bytes for tensor in self.tensors)

    def whole(self) -> Tensor:
        return stacked(self)

    def expert(self, expert: int) -> Tensor:
        return self.tensors[expert].rows(0, self.shape[1])


@dataclass(frozen=True, slots=True, eq=False)
class HeadsOf:
    """Rows `first` to `last` of each head's equal share of a matrix, a matrix a head; `transposed`: turned round.

    Blocks of quantised numbers cannot be turned round: such a matrix is read as the F32 that it stands for.
    """

    tensor: Matrix
    heads: int
    first: int
    last: int
    transposed: bool

    @property
    def shape(self) -> tuple[int, ...]:
        sides = self.last - self.first, self.tensor.shape[-1]
        return self.heads, *(sides[::-1] if self.transposed else sides)

    @property
    def encoding(self) -> str:
        return "F32" if self.transposed and self._in_blocks else self.tensor.encoding

    @property
    def _in_blocks(self) -> bool:
        return ENCODINGS[self.tensor.encoding].block_weights > 1

    @property
    def stored_bytes(self) -> int:
        return self.heads * (self.last - self.first) * self.tensor.row_bytes

    def whole(self) -> Tensor:
        return stacked(self)

    def expert(self, expert: int) -> Tensor:
        start = expert * (self.tensor.shape[0] // self.heads)
        part = self.tensor.rows(start + self.first, start + self.last)
        if not self.transposed:
            return part
        values = (part.decode() if self._in_blocks else elements(part)).T
        return Tensor(part.name, values.shape, self.encoding, as_bytes(values))


@dataclass(frozen=True, slots=True, eq=False)
class Strided:
    """Every `step`-th number of the last axis from `first` on: gpt-oss's biases of gate and up, which alternate."""

    tensor: Tensor
    first: int
    step: int

    @property
    def shape(self) -> tuple[int, ...]:
        *outer, last = self.tensor.shape
        return (*outer, len(range(self.first, last, self.step)))

    @property
    def encoding(self) -> str:
        return self.tensor.encoding

    @property
    def stored_bytes(self) -> int:
        return self.tensor.data.nbytes // self.step

    def whole(self) -> Tensor:
        values = elements(self.tensor)[..., self.first :: self.step]
        return Tensor(self.tensor.name, values.shape, self.encoding, as_bytes(values))

    def expert(self, expert: int) -> Tensor:
        return matrix_of(self.whole(), expert)


@dataclass(frozen=True, slots=True, eq=False)
class Transposed:
    """Experts stored (experts, in, out), of which every `step`-th output from `first` on is ours."""

    tensor: Tensor
    first: int = 0
    step: int = 1

    @property
    def shape(self) -> tuple[int, ...]:
        experts, inputs, outputs = self.tensor.shape
        return experts, len(range(self.first, outputs, self.step)), inputs

    @property
    def encoding(self) -> str:
        return self.tensor.encoding

    @property
    def stored_bytes(self) -> int:
        return self.tensor.data.nbytes // self.step

    def whole(self) -> Tensor:
        return stacked(self)

    def expert(self, expert: int) -> Tensor:
        stored = matrix_of(self.tensor, expert)
        values = elements(stored)[:, self.first :: self.step].T
        matrix = Tensor(stored.name, values.shape, self.encoding, as_bytes(values))
        stored.release()
        return matrix


@dataclass(frozen=True, slots=True, eq=False)
class Mxfp4Pair:
    """gpt-oss's experts as shipped: 4-bit codes and scales in two tensors, of which every `step`-th row is ours.

    blocks  uint8 (experts, rows, groups, 16): byte i of a group holds weights 2i (low half) and 2i + 1
    scales  uint8 (experts, rows, groups)

    They are read in GGUF's arrangement of the same bits, encoding MXFP4: 17 bytes a group, the scale first, and byte i
    holds weights i (low half) and i + 16. OCP Microscaling Formats (MX) 1.0; ggml-quants.c.
    """

    blocks: Tensor
    scales: Tensor
    first: int = 0
    step: int = 1

    @property
    def shape(self) -> tuple[int, ...]:
        experts, rows, groups = self.scales.shape
        return experts, len(range(self.first, rows, self.step)), 32 * groups

    @property
    def encoding(self) -> str:
        return "MXFP4"

    @property
    def stored_bytes(self) -> int:
        return (self.blocks.data.nbytes + self.scales.data.nbytes) // self.step

    def whole(self) -> Tensor:
        return stacked(self)

    def expert(self, expert: int) -> Tensor:
        stored = matrix_of(self.blocks, expert)
        codes = stored.data.reshape(stored.shape)[self.first :: self.step]  # (rows, groups, 16)
        scales = matrix_of(self.scales, expert)
        even, odd = codes & 15, codes >> 4  # weights 0, 2, 4 ... and 1, 3, 5 ... of each group
        packed = np.empty((*codes.shape[:2], 17), np.uint8)
        packed[..., 0] = scales.data.reshape(scales.shape)[self.first :: self.step]
        packed[..., 1::2] = even[..., :8] | even[..., 8:] << 4
        packed[..., 2::2] = odd[..., :8] | odd[..., 8:] << 4
        stored.release()
        scales.release()
        return Tensor(stored.name, self.shape[1:], self.encoding, packed.reshape(-1))


def stacked_experts(tensors: Mapping[str, Tensor], one: str, together: str, experts: int) -> dict[str, Source]:
    """The tensors, those of a layer's experts under one name as a `Stack`.

    `one` matches the name of one expert's tensor, whose number is its second group, and `together` is what it becomes
    for all (as in re.sub). Where an expert is missing or has another shape, each keeps its name, so that `match` finds
    it left over. Raises CheckpointError for experts in several encodings.
    """
    in_file = matrices(tensors)
    result: dict[str, Source] = {}
    found: dict[str, dict[int, str]] = {}  # the name of each expert's matrix
    for name, matrix in in_file.items():
        expert = re.fullmatch(one, name)
        if expert is None:
            result[name] = source_of(matrix)
        else:
            found.setdefault(expert.expand(together), {})[int(expert[2])] = name
    for name, numbered in found.items():
        parts = [in_file[numbered[e]] for e in sorted(numbered)]
        encodings = sorted({each.encoding for each in parts})
        if len(encodings) > 1:
            raise CheckpointError(
                f"{name}: its experts are stored as {', '.join(encodings)}, expected one encoding for all experts of a "
                "layer. Take another conversion of this model."
            )
        if sorted(numbered) == list(range(experts)) and len({each.shape for each in parts}) == 1:
            result[name] = Stack(tuple(parts))
        else:
            result |= {each: source_of(in_file[each]) for each in numbered.values()}
    return result


def matrices(tensors: Mapping[str, Tensor]) -> dict[str, Matrix]:
    """The tensors; those in FP8 or in packed 4 bits together with their scales. A part without the other keeps its
    name."""
    result: dict[str, Matrix] = dict(tensors)
    for name, codes in tensors.items():
        if name.endswith(PACKED) and (groups := int4_groups(name.removesuffix(PACKED), tensors)) is not None:
            for part in PACKED_PARTS:
                del result[name.removesuffix(PACKED) + part]
            result[name.removesuffix("_packed")] = groups
            continue
        scales = tensors.get(f"{name}_scale_inv")
        if codes.encoding == "F8_E4M3" and scales is not None and len(codes.shape) == 2:
            blocks = tuple(-(-side // Fp8Blocks.BLOCK) for side in codes.shape)
            if scales.shape == blocks:
                result[name] = Fp8Blocks(codes, scales)
                del result[f"{name}_scale_inv"]
    return result


# What compressed-tensors makes of the tensor "weight" of a module.
PACKED, SCALES, SHAPE = PACKED_PARTS = (".weight_packed", ".weight_scale", ".weight_shape")


def int4_groups(module: str, tensors: Mapping[str, Tensor]) -> Int4Groups | None:
    """The module's packed matrix; None if its parts are not there, or do not fit each other."""
    codes, scales, shape = (tensors.get(module + part) for part in PACKED_PARTS)
    if codes is None or scales is None or shape is None or len(codes.shape) != 2 or shape.shape != (2,):
        return None
    rows, columns = (int(side) for side in shape.decode())
    groups = scales.shape[1] if len(scales.shape) == 2 else 0
    fits = codes.encoding in ("I32", "U32") and codes.shape == (rows, columns // 8) and columns % Int4Groups.BLOCK == 0
    whole = groups > 0 and columns % groups == 0 and columns // groups % Int4Groups.BLOCK == 0
    if not fits or not whole or scales.shape[0] != rows or scales.encoding not in ("BF16", "F16"):
        return None
    return Int4Groups(codes, scales, columns)


def source_of(matrix: Matrix) -> Source:
    """What a parameter is read from when a matrix is all of it."""
    return Plain(matrix) if isinstance(matrix, Tensor) else matrix


def matrix_of(tensor: Tensor, expert: int) -> Tensor:
    """The part of a tensor at one index of its first axis, without a copy."""
    part = tensor.rows(expert, expert + 1)
    return Tensor(part.name, tensor.shape[1:], part.encoding, part.data)


def stacked(source: Source) -> Tensor:
    """All experts of a source, one after the other."""
    parts = [source.expert(e) for e in range(source.shape[0])]
    return Tensor(parts[0].name, source.shape, source.encoding, np.concatenate([part.data for part in parts]))


def elements(tensor: Tensor) -> Array:
    """The encoded numbers of a tensor that stores each by itself (F32, BF16, F16), as integers of their width."""
    width = tensor.data.nbytes // int(np.prod(tensor.shape))
    return np.asarray(tensor.data.view(f"<u{width}").reshape(tensor.shape))


def as_bytes(values: Array) -> Array:
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8)
