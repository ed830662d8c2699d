"""A whole model with an adapter in its weights, W + scale · B A, as a file for programs that apply none.

It is never served so here. Onto the base's own grid of four bits a trained difference mostly rounds away
(docs/figures/merging.md): such a merge is refused.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from ouvert.models import Spot, Stored, spots_of, stored_tensors
from ouvert.packed.adapter import Adapter
from ouvert.packed.adapters.error import AdapterError
from ouvert.packed.adapters.joining import Array
from ouvert.packed.model_files import ModelFiles
from ouvert.weights import (
    GgufWriter,
    SafetensorsWriter,
    TensorWriter,
    UnwritableError,
    encode,
    gguf_metadata,
    gguf_value,
)

MERGED = {"q8_0": "Q8_0", "f16": "F16", "bf16": "BF16"}
FILE_TYPES = {"F16": 1, "Q8_0": 7, "BF16": 32}  # enum llama_ftype
DTYPES = {"F16": "float16", "BF16": "bfloat16"}  # as config.json has them
BLOCK = 32  # of Q8_0

Progress = Callable[[int, int], None]  # numbers written, of how many


@dataclass(frozen=True, slots=True, eq=False)
class Term:
    """What is added to a matrix of a tensor."""

    spot: Spot
    a: Array  # (rank, in)
    b: Array  # (out, rank), with the scale in it


@dataclass(frozen=True, slots=True, eq=False)
class Planned:
    """One tensor of the merged file: what is added to it, and how it is written; or `copied` as it is."""

    stored: Stored
    encoding: str
    terms: Mapping[int | None, list[Term]]
    copied: bool


@dataclass(frozen=True, slots=True, eq=False)
class Merge:
    """A merge as it is going to be. `fallen_back`: tensors whose rows are no multiple of Q8_0's blocks, in F16."""

    files: ModelFiles
    adapter: Adapter
    tensors: Mapping[str, Planned]
    encoding: str
    fallen_back: tuple[str, ...]

    @property
    def in_gguf(self) -> bool:
        """Whether it becomes a GGUF file; else a folder. Raises nothing."""
        return self.files.checkpoint.format == "gguf"


def plan_merge(files: ModelFiles, adapter: Adapter, encoding: str) -> Merge:
    """What is written: tensors that the adapter changes in `encoding`, the others as the base has them; of a base whose
    numbers are codes and scales in several tensors, all of these in `encoding`.

    Raises AdapterError for an encoding that a merge would be lost in or the file cannot have, and for an adapter of
    other weights.
    """
    chosen = encoding_called(encoding, files)
    stored = stored_tensors(files.checkpoint)
    terms = terms_of(files, adapter, stored)
    together = experts_together(files, adapter)
    planned, fallen_back = {}, []
    for name, each in stored.items():
        mine, written = terms.get(name, {}), each.encoding or chosen
        if mine or each.encoding is None or name in together:
            written = chosen
            if chosen == "Q8_0" and each.shape[-1] % BLOCK:
                written = "F16"
                fallen_back.append(name)
        planned[name] = Planned(each, written, mine, copied=written == each.encoding and not mine)
    return Merge(files, adapter, planned, chosen, tuple(fallen_back))


def encoding_called(name: str, files: ModelFiles) -> str:
    if name.lower() not in MERGED:
        raise AdapterError(
            f"merging into {name!r:.40}: expected {', '.join(MERGED)}. A trained difference is small beside a step of "
            "four bits: of what was learnt, the base's own grid keeps 0 to 0.1 %, or 9 to 22 % with fresh scales, and "
            "another grid hurts the base (docs/figures/merging.md). Serve it unmerged, which is exact: `ouvert run "
            "MODEL --adapter NAME`."
        )
    chosen = MERGED[name.lower()]
    if chosen == "Q8_0" and files.checkpoint.format != "gguf":
        raise AdapterError(
            f"merging into q8_0: {files.path} is safetensors, which has no blocks of 8 bits, expected f16 or bf16. "
            "Take one of these, or a base in GGUF."
        )
    return chosen


def terms_of(
    files: ModelFiles, adapter: Adapter, stored: Mapping[str, Stored]
) -> dict[str, dict[int | None, list[Term]]]:
    """What is added to the matrices of each tensor. Raises AdapterError for what the model does not have."""
    parameters = {parameter.name: parameter for parameter in files.parameters}
    found: dict[str, dict[int | None, list[Term]]] = {}
    for name, pair in adapter.pairs.items():
        parameter = parameters.get(name)
        fits = parameter is not None and pair.shape == parameter.shape[-2:]
        if parameter is None or not fits or (pair.experts is None) != (len(parameter.shape) == 2):
            has = "has none" if parameter is None else f"has {parameter.shape}"
            raise AdapterError(
                f"merging an adapter: it adds {pair.shape} to {name!r}, and {files.path} {has} there. Was it made for "
                "this model?"
            )
        spots = spots_of(parameter)
        for n, expert in enumerate(pair.experts if pair.experts is not None else [None]):
            spot = spots[expert or 0]
            if spot.tensor not in stored or not holds(stored[spot.tensor], spot):
                raise AdapterError(
                    f"merging an adapter: {name} lies in a part of {spot.tensor!r}, a layout that is not written here "
                    f"({files.path}). Take the same model as transformers or llama.cpp has it, or export to PEFT."
                )
            a, b = (pair.a, pair.b) if expert is None else (pair.a[n], pair.b[n])
            term = Term(spot, a, b * np.float32(pair.scale))
            found.setdefault(spot.tensor, {}).setdefault(spot.index, []).append(term)
    return found


def experts_together(files: ModelFiles, adapter: Adapter) -> set[str]:
    """The tensors of experts that lie in one each and of which any is adapted: all of a layer have one encoding."""
    adapted = [parameter for parameter in files.parameters if parameter.name in adapter.pairs]
    return {spot.tensor for each in adapted if each.kind == "experts" for spot in spots_of(each)}


def holds(stored: Stored, spot: Spot) -> bool:
    """Whether the tensor has such a matrix, and as many rows as the spot needs."""
    rows = stored.shape[-1] if spot.turned else stored.shape[-2]
    return (spot.index is None) == (len(stored.shape) == 2) and int(spot.rows.max()) < rows


def write_merge(merge: Merge, path: Path, facts: Mapping[str, str], progress: Progress = lambda done, of: None) -> None:
    """Write it, beside and renamed: a GGUF file at `path`, or a folder with model.safetensors and config.json. Memory
    does not grow with the model.

    `facts` are noted in the file's metadata. Raises AdapterError if something is at `path` already; CheckpointError if
    a number does not fit the encoding; UnwritableError if the disk takes no more.
    """
    if path.exists():
        raise AdapterError(f"writing a merged model: {path} is there already. Choose another name, or remove it first.")
    if merge.in_gguf:
        metadata = {key: value for key, value in metadata_of(merge).items() if key not in facts}
        metadata |= {key: gguf_value(key, value) for key, value in facts.items()}
        declared = {name: (each.encoding, each.stored.shape) for name, each in merge.tensors.items()}
        with GgufWriter(path, declared, metadata) as writer:
            write_tensors(merge, writer, progress)
        return
    partial = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        partial.mkdir()
        declared = {name: (each.encoding, each.stored.shape) for name, each in merge.tensors.items()}
        with SafetensorsWriter(partial / "model.safetensors", declared, {"format": "pt", **facts}) as safetensors:
            write_tensors(merge, safetensors, progress)
        write_config(merge, partial)
        partial.rename(path)
    except OSError as problem:
        raise UnwritableError(f"{path} cannot be written: {problem}. Its folder must exist and be writable.") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def metadata_of(merge: Merge) -> dict[str, bytes]:
    """The base's, as they stand there, without what says that it is split."""
    found = gguf_metadata(merge.files.checkpoint.files[0])
    found = {key: value for key, value in found.items() if not key.startswith("split.")}
    return found | {"general.file_type": gguf_value("general.file_type", FILE_TYPES[merge.encoding])}


def write_config(merge: Merge, folder: Path) -> None:
    """config.json of the base, with the numbers' new type and without the quantisation that they no longer have."""
    source = merge.files.folder
    if source is None or not (source / "config.json").exists():
        return
    said: dict[str, Any] = json.loads((source / "config.json").read_text(encoding="utf-8"))
    if any(each.stored.encoding is None for each in merge.tensors.values()):
        said.pop("quantization_config", None)
    for key in ("torch_dtype", "dtype"):
        if key in said:
            said[key] = DTYPES[merge.encoding]
    (folder / "config.json").write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")


def write_tensors(merge: Merge, writer: TensorWriter, progress: Progress) -> None:
    """All of them, in the base's order, a piece at a time."""
    total = sum(prod(each.stored.shape) for each in merge.tensors.values())
    done = 0
    for name, each in merge.tensors.items():
        if each.copied:
            writer.write(name, each.stored.data)
            done += prod(each.stored.shape)
            progress(done, total)
            continue
        for piece in each.stored.pieces():
            for term in each.terms.get(piece.index, []):
                add(term, piece.start, piece.values)
            writer.write(name, encode(each.encoding, piece.values))
            done += piece.values.size
            progress(done, total)


def add(term: Term, start: int, values: Array) -> None:
    """Add a term to rows from `start` on of the matrix that it is for."""
    stop = start + len(values)
    if term.spot.turned:
        values[:, term.spot.rows] += (term.b @ term.a[:, start:stop]).T
        return
    mine = (term.spot.rows >= start) & (term.spot.rows < stop)
    values[term.spot.rows[mine] - start] += term.b[mine] @ term.a
