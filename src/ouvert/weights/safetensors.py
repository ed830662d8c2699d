"""safetensors files and folders. The format: huggingface.co/docs/safetensors, section "Format"."""

import codecs
import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from .checkpoint import Checkpoint
from .encodings import encoded_bytes
from .error import CheckpointError, shown
from .mapping import MOST_HEADER_BYTES, check_places, map_file, other_file
from .tensor import Tensor

# The format's names of types are our names of encodings; these are the ones it has.
DTYPES = (
    "F64", "F32", "F16", "BF16", "F8_E4M3", "BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64",
)  # fmt: skip
MOST_AXES = 32
METADATA = "__metadata__"
# A file's own name, on any system: no way out of the folder.
PLAIN_NAME = re.compile(r"(?!\.{1,2}$)[^/\\:\0]+")
INDEX = "model.safetensors.index.json"
# A shard's name, as transformers writes it: which part it is, and of how many.
SHARD_NAME = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.safetensors")
# What torch.compile, FSDP, DistributedDataParallel and peft put into or before the names of the tensors they wrap.
WRAPPERS = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
OUTER_WRAPPERS = ("module.", "base_model.model.")
DAMAGED = "The file is cut off or damaged: fetch it again."


def parse_json(path: Path, text: bytes, *, floats: bool) -> dict[str, Any]:
    """A JSON object in which no key stands twice; without `floats`, numbers are integers. Raises CheckpointError."""

    def refuse(fault: str) -> NoReturn:
        raise CheckpointError(f"{path}: expected a JSON object, but {fault}. {DAMAGED}")

    def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        whole = dict(pairs)
        if len(whole) < len(pairs):
            times = Counter(name for name, _ in pairs)
            refuse(f"{shown(times.most_common(1)[0][0])} stands twice in it")
        return whole

    def number(text: str) -> float:
        if not floats:
            refuse(f"{shown(text)} in it is not an integer")
        return float(text)

    try:
        parsed = json.loads(
            str(text, "utf-8"), object_pairs_hook=without_repeats, parse_float=number, parse_constant=number
        )
    except (ValueError, RecursionError) as error:
        refuse(f"it cannot be parsed: {str(error)[:200]}")
    if not isinstance(parsed, dict):
        refuse(f"it is of type {type(parsed).__name__}")
    return parsed


def is_text(value: object) -> bool:
    """Whether it is a string that can be written down: JSON's escapes may also spell half a character."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def counts(value: object, most: int) -> list[int] | None:
    """The list, if it is one of at most so many integers, none negative; else None."""
    if isinstance(value, list) and len(value) <= most and all(type(n) is int and 0 <= n < 1 << 63 for n in value):
        return value
    return None


def read_file(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """(metadata, tensors) of one file. Raises CheckpointError for anything the format does not allow."""
    data = map_file(path)
    if len(data) < 10 or data[8] != ord("{"):
        raise other_file(path, data)
    length = int.from_bytes(data[:8].tobytes(), "little")
    if length > min(len(data) - 8, MOST_HEADER_BYTES):
        if not data[7]:  # below 2^56 bytes: a header, if a false one
            raise CheckpointError(
                f"{path}: the header is said to take {length} bytes; the file has {len(data)}, and a header at most "
                f"{MOST_HEADER_BYTES}. {DAMAGED}"
            )
        raise other_file(path, data)
    header = parse_json(path, data[8 : 8 + length].tobytes(), floats=False)
    metadata = header.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(is_text(key) and is_text(text) for key, text in metadata.items()):
        raise CheckpointError(f"{path}: {METADATA} must map strings to strings. {DAMAGED}")
    begin = 8 + length
    end = len(data) - begin
    places = {name: place(path, name, entry) for name, entry in header.items()}
    check_places(path, ((start, stop, name) for name, (_, _, start, stop) in places.items()), end, gaps=False)
    tensors = {
        name: Tensor(name, shape, encoding, data[begin + start : begin + stop])
        for name, (shape, encoding, start, stop) in places.items()
    }
    return metadata, tensors


def place(path: Path, name: str, entry: object) -> tuple[tuple[int, ...], str, int, int]:
    """(shape, encoding, start, stop) of a tensor from its entry in the header. Raises CheckpointError."""

    def refuse(fault: str, remedy: str = DAMAGED) -> NoReturn:
        raise CheckpointError(f"{path}: tensor {shown(name)}: {fault}. {remedy}")

    if not is_text(name):
        refuse("the name holds half a character")
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        refuse(f"expected dtype, shape and data_offsets, found {shown(entry)}")
    encoding = entry["dtype"]
    if encoding not in DTYPES:
        refuse(f"dtype {shown(encoding)} is not read here; {', '.join(DTYPES)} are", "Fetch the model in one of these.")
    shape, offsets = counts(entry["shape"], MOST_AXES), counts(entry["data_offsets"], 2)
    if shape is None or offsets is None or len(offsets) != 2:
        refuse(f"shape {shown(entry['shape'])} or data_offsets {shown(entry['data_offsets'])} are not lists of counts")
    try:
        size = encoded_bytes(encoding, shape)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: tensor {shown(name)}: {error}") from None
    start, stop = offsets
    if stop - start != size:
        refuse(f"{encoding} of shape {shown(shape)} takes {size} bytes, but data_offsets give it {stop - start}")
    return tuple(shape), encoding, start, stop


def open_safetensors(path: Path) -> Checkpoint:
    """One safetensors file. Raises CheckpointError."""
    metadata, tensors = read_file(path)
    return Checkpoint(path, "safetensors", unwrapped(tensors), dict(metadata), (path,))


def unwrapped(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors without what training's wrappers put into their names; as they are if two would be called alike."""
    names = {name: ".".join(part for part in name.split(".") if part not in WRAPPERS) for name in tensors}
    for outer in OUTER_WRAPPERS:
        if all(name.startswith(outer) for name in names.values()):
            names = {name: plain.removeprefix(outer) for name, plain in names.items()}
    if len(set(names.values())) < len(names):
        return tensors
    return {names[name]: replace(tensor, name=names[name]) for name, tensor in tensors.items()}


def shards_in(index: Path) -> dict[str, str]:
    """Tensor name to file name, as the index has it. Raises CheckpointError for a file that is not beside the index."""
    data = map_file(index)
    if len(data) > MOST_HEADER_BYTES:
        raise CheckpointError(
            f"{index}: an index of shards of {len(data)} bytes; at most {MOST_HEADER_BYTES} are expected. {DAMAGED}"
        )
    text = data.tobytes().removeprefix(codecs.BOM_UTF8)
    weight_map = parse_json(index, text, floats=True).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{index}: weight_map must say which file has which tensor. {DAMAGED}")
    for name, file in weight_map.items():
        if not is_text(name) or not is_text(file) or not PLAIN_NAME.fullmatch(file):
            raise CheckpointError(
                f"{index}: tensor {shown(name)} is said to be in {shown(file)}; only files beside the index are read. "
                "Do not trust this checkpoint; fetch the model from its publisher."
            )
    return weight_map


def open_sharded(index: Path) -> Checkpoint:
    """All the files that an index names. Raises CheckpointError, with every missing file in it.

    Which file has which tensor is what the files say: an index may lag behind them. None of its names may be missing.
    """
    weight_map = shards_in(index)
    files = [index.with_name(name) for name in sorted(set(weight_map.values()))]
    if missing := [shown(file.name) for file in files if not os.path.isfile(file)]:
        listed = ", ".join(missing[:20]) + (" …" if len(missing) > 20 else "")
        raise CheckpointError(
            f"{index.parent}: {len(missing)} of the {len(files)} files that {index.name} names are missing: {listed}. "
            "Fetch them into the same folder."
        )
    metadata, tensors = joined(files)
    if absent := sorted(weight_map.keys() - tensors.keys()):
        raise CheckpointError(
            f"{index.parent}: {index.name} and its files disagree: {len(absent)} tensors are in none of them (first: "
            f"{shown(absent[0])}, said to be in {shown(weight_map[absent[0]])}). Fetch both from one place."
        )
    return Checkpoint(index.parent, "safetensors", unwrapped(tensors), metadata, tuple(files))


def parts_lacking(names: Sequence[str]) -> list[str] | None:
    """The names that are missing among the parts of one model; None if these are not parts of one."""
    parts = [part for name in names if (part := SHARD_NAME.fullmatch(name))]
    if len(parts) < len(names) or len({(part[1], part[3]) for part in parts}) != 1:
        return None
    base, count = parts[0][1], parts[0][3]
    wanted = [f"{base}-{n:05}-of-{count}.safetensors" for n in range(1, int(count) + 1)]
    return [name for name in wanted if name not in names]


def open_shards(files: Sequence[Path]) -> Checkpoint:
    """All the parts of one model, whose index is not there. Raises CheckpointError."""
    metadata, tensors = joined(files)
    return Checkpoint(files[0].parent, "safetensors", unwrapped(tensors), metadata, tuple(files))


def joined(files: Sequence[Path]) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata that the files agree on, and the tensors of all. Raises CheckpointError for a name in two of them."""
    tensors: dict[str, Tensor] = {}
    common: dict[str, str] | None = None
    for file in files:
        metadata, own_tensors = read_file(file)
        common = dict(metadata if common is None else metadata.items() & common.items())
        if twice := sorted(tensors.keys() & own_tensors.keys()):
            raise CheckpointError(
                f"{file}: tensor {shown(twice[0])} stands in another part of this model too, expected each once. "
                "Fetch all parts from one place."
            )
        tensors |= own_tensors
    return dict(common or {}), tensors
