"""GGUF files, versions 2 and 3. The format: github.com/ggml-org/ggml/blob/master/docs/gguf.md"""

import os
import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from .checkpoint import Checkpoint
from .encodings import ENCODINGS, encoded_bytes
from .error import CheckpointError, shown
from .mapping import MOST_HEADER_BYTES, check_places, map_file
from .tensor import Tensor

MAGIC = b"GGUF"
DAMAGED = "The file is cut off or damaged: fetch it again."
DEFAULT_ALIGNMENT = 32
MOST_AXES = 4
MOST_NESTING = 3  # arrays in arrays; none is known in real files

# enum ggml_type in ggml.h. Numbers that are not here were withdrawn or are unknown to us.
TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 9: "Q8_1", 10: "Q2_K", 11: "Q3_K",
    12: "Q4_K", 13: "Q5_K", 14: "Q6_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S",
    20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64",
    29: "IQ1_M", 30: "BF16", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4", 40: "NVFP4",
}  # fmt: skip

# Metadata value types: their numbers as struct and NumPy know them.
NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
NUMPY = {"B": "u1", "b": "i1", "H": "<u2", "h": "<i2", "I": "<u4", "i": "<i4", "f": "<f4", "?": "u1", "Q": "<u8",
         "q": "<i8", "d": "<f8"}  # fmt: skip
STRING, ARRAY = 8, 9

SPLIT_NAME = re.compile(r"(.*)-(\d{5})-of-(\d{5})(\.gguf)", re.DOTALL | re.IGNORECASE)


class Reader:
    """Walks through the header of one file. Every step checks that the file has the bytes it needs."""

    def __init__(self, path: Path, data: np.ndarray) -> None:
        self.path = path
        self.bytes = data.data
        self.end = min(len(data), MOST_HEADER_BYTES)
        self.position = 0

    def refuse(self, fault: str, remedy: str = DAMAGED) -> NoReturn:
        raise CheckpointError(f"{self.path}: at byte {self.position} {fault}. {remedy}")

    def need(self, count: int, what: str) -> None:
        if count > self.end - self.position:
            whole = len(self.bytes)
            limit = f"the file ends at {whole}" if whole == self.end else f"a header ends before {self.end}"
            self.refuse(f"{what} takes {count} bytes, but {limit}")

    def number(self, kind: str, what: str) -> Any:
        size = struct.calcsize("<" + kind)
        self.need(size, what)
        (value,) = struct.unpack_from("<" + kind, self.bytes, self.position)
        if kind == "?" and self.bytes[self.position] > 1:
            self.refuse(f"{what} is {self.bytes[self.position]}, but a truth value is 0 or 1")
        self.position += size
        return value

    def string(self, what: str, errors: str = "replace") -> str:
        """Text. Bytes that are no UTF-8 become U+FFFD: an author's name in Latin-1 changes no number."""
        length = self.number("Q", f"the length of {what}")
        self.need(length, what)
        try:
            text = str(self.bytes[self.position : self.position + length], "utf-8", errors)
        except UnicodeDecodeError as error:
            self.refuse(f"{what} is not UTF-8 ({error.reason})")
        self.position += length
        return text

    def name(self, what: str) -> str:
        """Text that tells things apart: the specification wants it in ASCII."""
        return self.string(what, "strict")

    def value(self, kind: int, what: str, depth: int = 0) -> Any:
        if kind in NUMBERS:
            return self.number(NUMBERS[kind], what)
        if kind == STRING:
            return self.string(what)
        if kind != ARRAY:
            self.refuse(f"{what} is of type {kind}; types are 0 to 12")
        if depth == MOST_NESTING:
            self.refuse(
                f"{what} is an array nested more than {MOST_NESTING} deep", "No model needs that: do not use it."
            )
        kind, count = self.number("I", f"the type of {what}"), self.number("Q", f"the length of {what}")
        if kind in NUMBERS:
            return self.numbers(NUMPY[NUMBERS[kind]], count, what, truth=NUMBERS[kind] == "?")
        if kind == STRING:
            return self.strings(count, what)
        self.need(12 * count, what)  # an array takes at least its type and length
        return [self.value(kind, what, depth + 1) for _ in range(count)]

    def numbers(self, kind: str, count: int, what: str, *, truth: bool) -> list[Any]:
        size = np.dtype(kind).itemsize * count
        self.need(size, what)
        values = np.frombuffer(self.bytes, kind, count, self.position)
        if truth:
            if count and values.max() > 1:
                self.refuse(f"{what} has {values.max()} among its truth values, which are 0 or 1")
            values = values.astype(bool)
        self.position += size
        return list(values.tolist())

    def strings(self, count: int, what: str) -> list[str]:
        """Texts. Bytes that are no UTF-8 come as lone surrogates (PEP 383): a token may be made of any bytes.

        One pass with local names and one comparison an element: vocabularies have 200,000 of them.
        """
        self.need(8 * count, what)  # a string takes at least its length
        data, position, end = self.bytes, self.position, self.end
        length_at: Callable[..., tuple[int]] = struct.Struct("<Q").unpack_from
        texts: list[str] = []
        append = texts.append
        try:
            for _ in range(count):
                (length,) = length_at(data, position)
                start = position + 8
                position = start + length
                if position > end:
                    break
                append(str(data[start:position], "utf-8", "surrogateescape"))
        except struct.error:
            position = end + 1
        if position > end:
            self.refuse(f"string {len(texts)} of {count} of {what} reaches past the end at {end}")
        self.position = position
        return texts


def read_file(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(metadata, tensors) of one file. Raises CheckpointError for anything the format does not allow."""
    reader, num_tensors, num_keys = begin(path)
    metadata = {key: value for key, value, _ in read_metadata(reader, num_keys)}
    return metadata, read_tensors(reader, num_tensors, alignment_in(path, metadata), map_file(path))


def gguf_metadata(path: Path) -> dict[str, bytes]:
    """The values of one file's metadata as they stand there, each with its type before it: for another file. Raises
    CheckpointError as `open_checkpoint` does."""
    reader, _, num_keys = begin(path)
    return {key: encoded for key, _, encoded in read_metadata(reader, num_keys)}


def begin(path: Path) -> tuple[Reader, int, int]:
    """A reader that stands at the metadata, the number of tensors, and that of metadata keys."""
    reader = Reader(path, map_file(path))
    reader.need(24, "the fixed part of the header")
    if reader.bytes[:4] != MAGIC:
        reader.refuse(f"there is {shown(bytes(reader.bytes[:4]))}, expected {MAGIC!r}", "Is this a GGUF file?")
    reader.position = 4
    version = reader.number("I", "the version")
    if version and version & 0xFFFF == 0:
        reader.refuse("the byte order is big-endian; little-endian is expected", "Fetch the little-endian file.")
    if version not in (2, 3):
        reader.refuse(f"the version is {version}; 2 and 3 are read", "Fetch or convert the model as GGUF version 3.")
    num_tensors = reader.number("Q", "the number of tensors")
    num_keys = reader.number("Q", "the number of metadata keys")
    reader.need(13 * num_keys, f"metadata of {num_keys} keys")
    return reader, num_tensors, num_keys


def read_metadata(reader: Reader, num_keys: int) -> Iterator[tuple[str, Any, bytes]]:
    """(key, value, the value's bytes with its type before them) of each."""
    seen = set()
    for _ in range(num_keys):
        key = reader.name("a metadata key")
        if key in seen:
            reader.refuse(f"the key {shown(key)} stands a second time; each may stand once")
        seen.add(key)
        start = reader.position
        kind = reader.number("I", f"the type of {shown(key)}")
        value = reader.value(kind, f"the value of {shown(key)}")
        yield key, value, bytes(reader.bytes[start : reader.position])


def alignment_in(path: Path, metadata: dict[str, Any]) -> int:
    alignment = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
    if type(alignment) is not int or alignment < 1 or alignment & (alignment - 1):
        raise CheckpointError(
            f"{path}: general.alignment is {shown(alignment)}, expected a power of two such as 32. {DAMAGED}"
        )
    return alignment


def read_place(reader: Reader, what: str, alignment: int) -> tuple[tuple[int, ...], str, int, int]:
    """A tensor's shape, its encoding, and where its bytes start and stop."""
    axes = reader.number("I", f"the number of axes of {what}")
    if axes > MOST_AXES:
        reader.refuse(f"{what} has {axes} axes; at most {MOST_AXES} are expected")
    shape = tuple(reader.number("Q", f"the shape of {what}") for _ in range(axes))[::-1]
    kind = reader.number("I", f"the encoding of {what}")
    encoding = TYPES.get(kind, f"number {kind}")
    if encoding not in ENCODINGS:
        readable = ", ".join(name for name in TYPES.values() if name in ENCODINGS)
        reader.refuse(
            f"{what} is encoded as {encoding}, which is not read here", f"Fetch the model in one of these: {readable}."
        )
    offset = reader.number("Q", f"the place of {what}")
    if offset % alignment:
        reader.refuse(f"{what} starts at {offset}, which is not a multiple of the alignment {alignment}")
    try:
        size = encoded_bytes(encoding, shape)
    except CheckpointError as error:
        raise CheckpointError(f"{reader.path}: {what}: {error}") from None
    return shape, encoding, offset, offset + size


def read_tensors(reader: Reader, num_tensors: int, alignment: int, data: np.ndarray) -> dict[str, Tensor]:
    """The table of tensors that follows the metadata, and where their bytes are."""
    reader.need(24 * num_tensors, f"a table of {num_tensors} tensors")
    places: dict[str, tuple[tuple[int, ...], str, int, int]] = {}
    for _ in range(num_tensors):
        name = reader.name("a tensor's name")
        what = f"tensor {shown(name)}"
        if name in places:
            reader.refuse(f"{what} stands a second time; names must differ")
        places[name] = read_place(reader, what, alignment)
    begin = -(-reader.position // alignment) * alignment
    spans = ((start, stop, name) for name, (_, _, start, stop) in places.items())
    check_places(reader.path, spans, max(0, len(data) - begin), gaps=True)
    return {
        name: Tensor(name, shape, encoding, data[begin + start : begin + stop])
        for name, (shape, encoding, start, stop) in places.items()
    }


def split_files(path: Path, count: int) -> list[Path]:
    """The files of a split model, in order, when `path` is one of them. Raises CheckpointError with those missing."""
    match = SPLIT_NAME.fullmatch(path.name)
    if not match or int(match[3]) != count:
        raise CheckpointError(
            f"{path} is one of {count} files of a split model, but it is not called …-00001-of-{count:05}.gguf, so the "
            "others cannot be found. Give the files the names they were published with."
        )
    files = [path.with_name(f"{match[1]}-{n:05}-of-{match[3]}{match[4]}") for n in range(1, count + 1)]
    if missing := [file.name for file in files if not os.path.isfile(file)]:
        listed = ", ".join(missing[:20]) + (" …" if len(missing) > 20 else "")
        raise CheckpointError(
            f"{path.parent}: {len(missing)} of the {count} files of this split model are missing: {listed}. "
            "Fetch them into the same folder."
        )
    return files


def open_gguf(path: Path) -> Checkpoint:
    """A GGUF file; of a split model, any of its files. The metadata are those of the first.

    Raises CheckpointError.
    """
    metadata, tensors = read_file(path)
    count = metadata.get("split.count", 1)
    if type(count) is not int or count < 2:
        return Checkpoint(path, "gguf", tensors, metadata, (path,))
    files = split_files(path, count)
    given, tensors = (metadata, tensors), {}
    for n, file in enumerate(files):
        own_metadata, own_tensors = given if file == path else read_file(file)
        if (stated := (own_metadata.get("split.no"), own_metadata.get("split.count"))) != (n, count):
            raise CheckpointError(
                f"{file}: it says that it is part {shown(stated[0])} of {shown(stated[1])} (counted from 0), its name "
                f"says part {n} of {count}. Fetch this file again."
            )
        if twice := own_tensors.keys() & tensors.keys():
            raise CheckpointError(
                f"{file}: tensor {shown(min(twice))} is in an earlier file of this split model too; it may be in one. "
                "Fetch all files from one place."
            )
        tensors |= own_tensors
        if n == 0:
            metadata = own_metadata
    total = metadata.get("split.tensors.count", len(tensors))
    if total != len(tensors):
        raise CheckpointError(
            f"{path}: the files of this split model have {len(tensors)} tensors together, but the first says "
            f"{shown(total)}. Fetch all files from one place."
        )
    return Checkpoint(path, "gguf", tensors, metadata, tuple(files))
