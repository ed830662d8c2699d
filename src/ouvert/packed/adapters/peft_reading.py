"""An adapter out of PEFT's folder, for a model: every tensor used, or refused by name. docs/formats/adapter.md"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ouvert.arithmetic import LowRank
from ouvert.models import Counterpart, counterparts
from ouvert.packed.adapter import Adapter
from ouvert.packed.adapters.error import AdapterError
from ouvert.packed.adapters.joining import Addition, Array, parted
from ouvert.packed.adapters.peft_settings import MERGE, PeftSettings, read_settings
from ouvert.packed.adapters.peft_writing import CONFIG, PREFIX, RANKS, WEIGHTS, Recognised
from ouvert.weights import Tensor, open_checkpoint

PICKLE = "adapter_model.bin"
FACTOR = re.compile(r"(.+)\.lora_([AB])(?:\.default)?\.weight")
# What other tensors of PEFT's files are, by a part of their names.
OTHERS = {
    "lora_magnitude_vector": "the vector of a DoRA",
    "lora_embedding": "a factor of the embedding or the head, which carry no adapter here",
    "modules_to_save": "a layer that was trained besides",
    "lora_B.bias": "a bias of an adapter",
    "trainable_tokens": "tokens whose embeddings were trained",
    "lora_diag": "the diagonal of a KaSA",
}
FLOATS = ("F32", "BF16", "F16")


@dataclass(frozen=True, slots=True, eq=False)
class Factors:
    """What stands in the file for one module: a and b as they are stored, float32."""

    module: str
    a: Array
    b: Array


@dataclass(frozen=True, slots=True)
class Found:
    """An adapter, what is to be known about where it came from, and remarks for whoever brings it."""

    adapter: Adapter
    settings: PeftSettings
    remarks: tuple[str, ...]


def read_peft(folder: Path, model: Recognised) -> Adapter:
    """The adapter in `folder` (adapter_config.json, adapter_model.safetensors), for this model.

    Raises AdapterError, by key or tensor, for what is not honoured, does not fit the model or is missing.
    """
    return open_peft(folder, model).adapter


def open_peft(folder: Path, model: Recognised) -> Found:
    """The same, with what else is known. Raises what `read_peft` raises."""
    settings = read_settings(folder / CONFIG)
    stored, ranks = read_factors(folder)
    known = {each.name: each for each in counterparts(model.family, model.config, "transformers")}
    pairs: dict[str, LowRank] = {}
    for factors in stored:
        matrix = known.get(factors.module)
        if matrix is None or matrix.experts is not None:
            raise unknown_module(folder, factors, model.family.name, known)
        pairs |= parts_of(folder, matrix, factors, settings, ranks)
    refuse_unfitting(settings, [each.module for each in stored])
    return Found(Adapter(pairs), settings, remarks_on(settings))


def read_factors(folder: Path) -> tuple[list[Factors], Mapping[str, Mapping[str, int]]]:
    """The pairs of factors in the file, and our note of whose ranks they are. Raises AdapterError."""
    path = folder / WEIGHTS
    if not os.path.lexists(path) and os.path.lexists(folder / PICKLE):
        raise AdapterError(
            f"{folder}: only {PICKLE} is there, a pickle, which may run code when it is opened, expected {WEIGHTS}. "
            "Save it with peft once more: safetensors is what it writes by itself."
        )
    with open_checkpoint(path) as checkpoint:
        found: dict[str, dict[str, Array]] = {}
        for name, tensor in checkpoint.tensors.items():
            factor = FACTOR.fullmatch(name.removeprefix(PREFIX))
            if factor is None:
                raise AdapterError(f"{path}: {name!r:.120} is {what_is(name)}, expected lora_A and lora_B. {MERGE}.")
            module = factor[1] if factor[1].startswith("model.") else f"model.{factor[1]}"
            if factor[2] in found.setdefault(module, {}):
                raise AdapterError(f"{path}: {module} has two factors {factor[2]}, expected one. Fetch the file again.")
            found[module][factor[2]] = numbers(path, name, tensor)
        note = checkpoint.metadata.get(RANKS)
    if not found:
        raise AdapterError(f"{path}: there is no tensor in it, expected lora_A and lora_B of modules. Fetch it again.")
    for module, factors in found.items():
        if len(factors) < 2:
            raise AdapterError(
                f"{path}: {module} has a factor {next(iter(factors))} and not the other, expected both. Fetch the file "
                "again."
            )
        a, b = factors["A"], factors["B"]
        if a.shape[0] != b.shape[1] or not a.size or not b.size:
            raise AdapterError(
                f"{path}: of {module} lora_A is {a.shape} and lora_B {b.shape}, expected (rank, inputs) and (outputs, "
                "rank). Was it saved whole, by all of the processes that trained it?"
            )
    return [Factors(name, each["A"], each["B"]) for name, each in found.items()], ranks_in(path, note)


def numbers(path: Path, name: str, tensor: Tensor) -> Array:
    """float32 (rows, columns). Raises AdapterError for other encodings and shapes, infinities and NaNs."""
    if tensor.encoding not in FLOATS or len(tensor.shape) != 2:
        raise AdapterError(
            f"{path}: {name!r:.120} is {tensor.encoding}{tensor.shape}, expected a matrix in {', '.join(FLOATS)}. "
            "Save the adapter in one of these."
        )
    values: Array = tensor.decode()
    if not np.isfinite(values).all():
        raise AdapterError(
            f"{path}: {name!r:.120} holds numbers that are infinite or none, expected finite ones. The adapter is "
            "damaged, or its training diverged: take an earlier state of it."
        )
    return values


def what_is(name: str) -> str:
    """A tensor that is no factor of a linear layer, in words."""
    return next((what for part, what in OTHERS.items() if part in name), "no factor of an adapter")


def ranks_in(path: Path, note: str | None) -> Mapping[str, Mapping[str, int]]:
    """Our note, checked. Raises AdapterError if it is not what we write."""
    if note is None:
        return {}
    try:
        said = json.loads(note)
        fine = all(type(n) is int and n > 0 for ranks in said.values() for n in ranks.values())
    except (ValueError, AttributeError, RecursionError):
        fine = False
    if not fine:
        raise AdapterError(f"{path}: {RANKS} in its metadata is {note!r:.80}, expected ranks by names. Fetch it again.")
    ranks: Mapping[str, Mapping[str, int]] = said
    return ranks


def parts_of(
    folder: Path,
    matrix: Counterpart,
    factors: Factors,
    settings: PeftSettings,
    ranks: Mapping[str, Mapping[str, int]],
) -> dict[str, LowRank]:
    """What a linear layer's factors add to our weights. Raises AdapterError for other shapes than the model's."""
    a, b, rank = factors.a, factors.b, settings.rank(matrix.name)
    if (b.shape[0], a.shape[1]) != (matrix.outputs, matrix.inputs):
        raise AdapterError(
            f"{folder}: {matrix.name} is made for a weight of {b.shape[0]} rows and {a.shape[1]} columns; this model's "
            f"has {matrix.outputs} and {matrix.inputs}. Take the adapter's own base"
            f"{base_of(settings)}."
        )
    if len(a) != rank:
        raise AdapterError(
            f"{folder}: {matrix.name} has the rank {len(a)} in {WEIGHTS} and {rank} in {CONFIG}. Its scale follows "
            "from the rank: fetch both files from one place."
        )
    addition = Addition(a, b, settings.scale(matrix.name, rank), ranks.get(matrix.name, {}))
    try:
        return parted(matrix, addition)
    except ValueError as problem:
        raise AdapterError(f"{folder / WEIGHTS}: {problem} Fetch the file again.") from None


def base_of(settings: PeftSettings) -> str:
    base = settings.said.get("base_model_name_or_path")
    return f", {base!r:.120}" if base else ""


def unknown_module(folder: Path, factors: Factors, family: str, known: Mapping[str, Counterpart]) -> AdapterError:
    if factors.module.rpartition(".")[2] in ("lm_head", "embed_tokens", "gate", "router", "kv_b_proj"):
        return AdapterError(
            f"{folder}: it adapts {factors.module}, which carries no adapter here (embeddings, heads, routers and what "
            f"latent attention absorbs never do), expected attention and feed-forward layers. {MERGE}."
        )
    like = ", ".join(list(known)[:3]) or "none"
    return AdapterError(
        f"{folder}: it adapts {factors.module!r:.120}, which {family} does not have, expected names such as {like}. "
        "Was the adapter made for this model?"
    )


def refuse_unfitting(settings: PeftSettings, names: Sequence[str]) -> None:
    """Raise AdapterError for a target or a pattern that fits nothing of what is in the file."""
    if lost := settings.unfitting(names):
        raise AdapterError(
            f"{settings.path}: {len(lost)} of its targets and patterns fit no tensor of {WEIGHTS} (first: "
            f"{', '.join(lost[:3])!s:.200}), expected each to fit one. Part of the adapter would be left out: fetch "
            "both files from one place."
        )


def remarks_on(settings: PeftSettings) -> tuple[str, ...]:
    """What somebody may want to know, and does not change what is computed."""
    remarks = []
    if dropout := settings.said.get("lora_dropout"):
        remarks.append(f"lora_dropout was {dropout} in training; it plays no part in answers.")
    return tuple(remarks)
