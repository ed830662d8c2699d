"""Directions as files: our own, and those that other programs write. docs/formats/direction.md tells the facts.

    *.direction       ours: safetensors, one tensor a layer, and JSON in its metadata
    GGUF              llama.cpp's and repeng's control vectors: `direction.N` is added after layer N, counted from 0
    .npz, safetensors other arrays by layer

Files come from strangers. Sizes are checked before anything is read, numbers before anything is computed, and pickles
(.pt, .pkl, …), which run programs when they are read, are refused whatever they are called.
"""

import json
import lzma
import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ouvert.inspection.directions.direction import FORMAT, MOST_LAYERS, MOST_WIDTH, Direction
from ouvert.inspection.error import InspectionError
from ouvert.inspection.subject import Array
from ouvert.weights import SafetensorsWriter, Tensor, decode, open_checkpoint, write_gguf

METADATA = "ouvert.direction"  # the key under which our files hold their JSON
ARCHITECTURE = "controlvector"
MOST_BYTES = 1 << 28  # of a file: 1024 layers of 65536 numbers
MOST_FACTS = 1 << 20  # characters of JSON
SUFFIX = ".direction"
WRITTEN = (SUFFIX, ".gguf", ".npz", ".safetensors")

PICKLES = frozenset({".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt", ".joblib", ".npy"})
PICKLE_PROTOCOL = b"\x80"  # every pickle since protocol 2 begins with it
# What damaged and encrypted archives raise when a member is read.
UNREADABLE = (
    ValueError, KeyError, EOFError, OSError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error, lzma.LZMAError,
)  # fmt: skip
FLOATS = frozenset({"F64", "F32", "F16", "BF16"})

# Names of a layer's vector: ours, llama.cpp's, and what people write. The number is that of the layer, from 0.
LAYER_NAME = re.compile(r"(?:layers?\.|direction\.|layers?_)?(\d{1,4})(?:\.out)?")


def read_direction(path: Path, *, ours: bool = False) -> Direction:
    """The direction in a file of any of these kinds; with `ours`, of our own kind only.

    Raises InspectionError for a pickle, for a file of another kind, and for one whose numbers are no direction;
    CheckpointError for a damaged GGUF or safetensors file, and OSError for one that cannot be read.
    """
    head = first_bytes(path)
    if head.startswith(b"PK"):
        refuse_torch(path)
        return from_npz(path)
    if head[:1] == PICKLE_PROTOCOL or path.suffix.lower() in PICKLES:
        raise pickle_refused(path)
    if path.stat().st_size > MOST_BYTES:
        raise InspectionError(f"{path}: {path.stat().st_size} bytes, expected a direction of {MOST_BYTES} at most.")
    with open_checkpoint(path) as checkpoint:
        facts = dict(checkpoint.metadata)
        vectors = {name: vector_of(path, tensor) for name, tensor in some(path, checkpoint.tensors).items()}
        if checkpoint.format == "gguf":
            return from_control_vector(path, facts, vectors)
    if METADATA in facts:
        return Direction(by_layer(path, vectors), parsed(path, str(facts[METADATA])))
    if ours:
        raise InspectionError(
            f"{path}: a safetensors file without {METADATA} in its metadata, expected a direction that Ouvert wrote. "
            "`ouvert direction import` takes files of others."
        )
    return Direction(by_layer(path, vectors), imported(path, "safetensors"))


def write_direction(direction: Direction, path: Path) -> None:
    """Write a file of the kind that its name says: .direction, .gguf (a control vector), .npz or .safetensors.

    Only the first keeps what is known of the direction. Raises InspectionError for another name, and for a control
    vector of layer 0, which llama.cpp does not have; UnwritableError if it cannot be written.
    """
    kind = path.suffix.lower()
    vectors = {f"layer.{n}": direction.vectors[n] for n in sorted(direction.vectors)}
    if kind in PICKLES:
        raise pickle_refused(path)
    if kind == ".gguf":
        write_gguf(path, *control_vector(direction))
    elif kind == ".npz":
        with open(path, "wb") as file:
            np.savez(file, **vectors)  # type: ignore[arg-type]
    elif kind in (SUFFIX, ".safetensors"):
        metadata = {"format": FORMAT, METADATA: json.dumps(direction.facts)} if kind == SUFFIX else {}
        declared = {name: ("F32", vector.shape) for name, vector in vectors.items()}
        with SafetensorsWriter(path, declared, metadata) as writer:
            for name, vector in vectors.items():
                writer.write(name, vector)
    else:
        raise InspectionError(
            f"{path}: a direction cannot be written as {kind or 'a file without ending'}, expected one of "
            f"{', '.join(WRITTEN)}. llama.cpp reads .gguf."
        )


def control_vector(direction: Direction) -> tuple[dict[str, str | int], dict[str, Array]]:
    """(metadata, tensors) of a llama.cpp control vector. Raises InspectionError for one of layer 0 only."""
    tensors = {f"direction.{n}": direction.vectors[n] for n in sorted(direction.vectors) if n > 0}
    if not tensors:
        raise InspectionError(
            "exporting a control vector: the direction is of layer 0 only, and llama.cpp adds none there. Export it as "
            ".npz or .safetensors, or make one of a later layer."
        )
    model = direction.facts.get("model")
    hint = str(model.get("family", "")) if isinstance(model, dict) else ""
    # repeng counts the vectors, and so does llama.cpp's own generator; its reader looks at the tensors alone.
    metadata: dict[str, str | int] = {
        "general.architecture": ARCHITECTURE,
        f"{ARCHITECTURE}.model_hint": hint,
        f"{ARCHITECTURE}.layer_count": len(tensors),
    }
    return metadata, tensors


def from_control_vector(path: Path, facts: Mapping[str, Any], vectors: Mapping[str, Array]) -> Direction:
    """Raises InspectionError for a GGUF file of another kind, and for `direction.0`, which llama.cpp refuses too."""
    architecture = str(facts.get("general.architecture"))[:80]
    if architecture != ARCHITECTURE:
        raise InspectionError(
            f"{path}: a GGUF file of the architecture {architecture!r}, expected {ARCHITECTURE!r}. This looks like a "
            "model: give it to `ouvert pull`."
        )
    if wrong := [name for name in vectors if not re.fullmatch(r"direction\.[1-9]\d{0,3}", name)]:
        raise InspectionError(
            f"{path}: a control vector with a tensor called {wrong[0]!r:.80}, expected direction.N with N from 1."
        )
    hint = facts.get(f"{ARCHITECTURE}.model_hint")
    origin = imported(path, "control vector") | {"model_hint": str(hint)[:200] if hint is not None else None}
    # llama.cpp's reader leaves layers without a tensor at 0: nothing is added there. So does a vector of zeros.
    return Direction(by_layer(path, {name: each for name, each in vectors.items() if each.any()}), origin)


def from_npz(path: Path) -> Direction:
    """Raises InspectionError for arrays that are no vectors by layer, for object arrays, and for what unpacks large."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if len(members) > MOST_LAYERS or sum(member.file_size for member in members) > MOST_BYTES:
                raise InspectionError(
                    f"{path}: {len(members)} arrays of {sum(each.file_size for each in members)} bytes unpacked, "
                    f"expected {MOST_LAYERS} and {MOST_BYTES} at most. It is no direction, or made to fill the memory."
                )
        with np.load(path, allow_pickle=False) as arrays:
            vectors = {name: floats(path, name, arrays[name]) for name in arrays.files}
    except UNREADABLE as problem:
        raise InspectionError(
            f"{path}: not an .npz file of plain arrays ({str(problem)[:120]}). Arrays of Python objects are pickles, "
            "and are not read."
        ) from None
    return Direction(by_layer(path, vectors), imported(path, "npz"))


def refuse_torch(path: Path) -> None:
    """Raises InspectionError for a zip file with a pickle in it, as torch.save writes, whatever it is called."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, NotImplementedError):
        names = []
    if path.suffix.lower() in PICKLES or any(name.endswith(".pkl") for name in names):
        raise pickle_refused(path)


def pickle_refused(path: Path) -> InspectionError:
    """The error for a pickle."""
    return InspectionError(
        f"{path}: a pickle ({path.suffix or 'by its content'}), which can run any program when it is read; it is not "
        "opened. Have it written as safetensors, .npz or a GGUF control vector by whoever made it, or convert it "
        "yourself where nothing can be harmed: numpy.savez(file, **{f'layer.{n}': vector}) or repeng's export_gguf."
    )


def first_bytes(path: Path) -> bytes:
    """Raises OSError if it cannot be read, InspectionError for what is no regular file."""
    if not path.is_file():
        raise InspectionError(f"{path}: there is no such file. Give a direction: {', '.join(WRITTEN)}.")
    with open(path, "rb") as file:
        return file.read(8)


def some(path: Path, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Raises InspectionError for more tensors than a direction has."""
    if not 1 <= len(tensors) <= MOST_LAYERS:
        raise InspectionError(f"{path}: {len(tensors)} tensors, expected 1 to {MOST_LAYERS}: one for each layer.")
    return tensors


def vector_of(path: Path, tensor: Tensor) -> Array:
    """A tensor as float32 (width,). Raises InspectionError for one of another kind."""
    if tensor.encoding not in FLOATS:
        raise InspectionError(
            f"{path}: {tensor.name!r:.80} is {tensor.encoding}, expected one of {', '.join(sorted(FLOATS))}."
        )
    size = int(np.prod(tensor.shape, dtype=np.int64))
    if len(tensor.shape) != 1 or not 1 <= size <= MOST_WIDTH:
        raise InspectionError(
            f"{path}: {tensor.name!r:.80} has the shape {tensor.shape[:4]}, expected one axis of {MOST_WIDTH} at most."
        )
    return np.ascontiguousarray(decode(tensor.encoding, tensor.data, tensor.shape), np.float32)


def floats(path: Path, name: str, array: Array) -> Array:
    """The same for an array of NumPy."""
    if not isinstance(array, np.ndarray):  # of a member that is no .npy file, numpy gives the bytes
        raise InspectionError(f"{path}: {name!r:.80} is no array, expected .npy files of floats.")
    if array.dtype.kind != "f" or array.ndim != 1 or not 1 <= len(array) <= MOST_WIDTH:
        raise InspectionError(
            f"{path}: {name!r:.80} is {array.dtype}{array.shape}, expected floats in one axis of {MOST_WIDTH} at most."
        )
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite then, and refused
        return np.ascontiguousarray(array, np.float32)


def by_layer(path: Path, vectors: Mapping[str, Array]) -> dict[int, Array]:
    """The vectors by layer. Raises InspectionError for a name that says none, and for two of one layer."""
    found: dict[int, Array] = {}
    for name, vector in vectors.items():
        matched = LAYER_NAME.fullmatch(name)
        if matched is None or int(matched[1]) in found:
            raise InspectionError(
                f"{path}: {name!r:.80}, expected each layer once, as layer.N or direction.N, with N counted from 0."
            )
        found[int(matched[1])] = vector
    return found


def parsed(path: Path, text: str) -> dict[str, Any]:
    """The JSON of our file. Raises InspectionError for what we did not write."""
    try:
        facts = json.loads(text) if len(text) <= MOST_FACTS else None
        json.dumps(facts, ensure_ascii=False, allow_nan=False).encode()  # what clients are shown
    except (ValueError, RecursionError):  # NaN, infinity and lone surrogates among them
        facts = None
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        stated = facts.get("format") if isinstance(facts, dict) else None
        raise InspectionError(
            f"{path}: what it says of itself is not a JSON object of the format {FORMAT} (found {stated!r:.60}). It is "
            "damaged, or of a newer Ouvert: import it from where it was made."
        )
    return facts


def imported(path: Path, kind: str) -> dict[str, Any]:
    """What is known of a direction that somebody else made."""
    return {"format": FORMAT, "method": "imported", "imported_from": f"{kind} {path.name}", "state": "imported"}
