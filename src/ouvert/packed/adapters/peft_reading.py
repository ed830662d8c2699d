"""An adapter out of PEFT's folder, for a model: every tensor used, or refused by name. docs/formats/adapter.md"""

import json
import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ouvert.arithmetic import LowRank
from ouvert.models import Counterpart, counterparts
from ouvert.packed.adapter import Adapter
from ouvert.packed.adapters.error import AdapterError
from ouvert.packed.adapters.joining import Addition, Array, most_numbers, parted
from ouvert.packed.adapters.peft_experts import (
    ExpertLayout,
    Factors,
    layout_of,
    parts_of_wrapped,
    separate,
    turned,
    wrapped,
)
from ouvert.packed.adapters.peft_settings import MERGE, PeftSettings, read_settings
from ouvert.packed.adapters.peft_writing import CONFIG, PREFIX, RANKS, WEIGHTS, Recognised
from ouvert.weights import Checkpoint, Tensor, open_checkpoint

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
TRANSPOSED = frozenset(("gpt_oss",))  # families whose experts transformers keeps (experts, inputs, outputs)


@dataclass(frozen=True, slots=True)
class OpenedAdapter:
    """An adapter, how its experts' factors lay in the files (None if there are none), the name or path of its base as
    the files have it, and remarks for whoever brings it."""

    adapter: Adapter
    expert_layout: ExpertLayout | None
    base: str | None
    remarks: tuple[str, ...]


def read_peft(folder: Path, model: Recognised, expert_layout: ExpertLayout | None = None) -> Adapter:
    """The adapter in `folder` (adapter_config.json, adapter_model.safetensors), for this model.

    `expert_layout` says how experts lie in lora_B, where the files do not. Raises AdapterError, by key or tensor, for
    what is not honoured, does not fit the model or is missing.
    """
    return open_peft(folder, model, expert_layout).adapter


def open_peft(folder: Path, model: Recognised, expert_layout: ExpertLayout | None = None) -> OpenedAdapter:
    """The same, with what else is known. Raises what `read_peft` raises."""
    settings = read_settings(folder / CONFIG)
    known = counterparts(model.family, model.config, "transformers")
    stored, ranks = read_factors(folder, most_numbers(known))
    pairs, others = separate(stored, known, settings)
    linear = {each.name: each for each in known if each.experts is None}
    experts = []
    for factors in others:
        if (matrix := linear.get(factors.module)) is not None:
            pairs |= parts_of(folder, matrix, factors, settings, ranks.get(matrix.name, {}))
        elif (wrapper := wrapped(factors, known, settings)) is not None:
            experts.append((wrapper, factors))
        else:
            raise unknown_module(folder, factors, model.family.name, known)
    if experts:
        layout = layout_of(settings, expert_layout)
        way = turned(experts, settings, model.family.name in TRANSPOSED)
        for matrix, factors in experts:
            note = ranks.get(matrix.name, {})
            pairs |= checked(parts_of_wrapped, folder, matrix, factors, settings, layout, turned=way, ranks=note)
    elif expert_layout is not None:
        raise AdapterError(
            f"{folder}: --expert-layout {expert_layout} was asked for, and there are no joined experts in it. Leave it "
            "out."
        )
    names = [each.module for each in stored] + [matrix.name for matrix, _ in experts]
    refuse_unfitting(settings, names)
    refuse_missing(settings, names, known)
    if not pairs:
        raise AdapterError(f"{folder}: all of its factors are zero, expected an adapter that changes something.")
    return OpenedAdapter(Adapter(pairs), layout if experts else None, settings.base, remarks_on(settings))


def read_factors(folder: Path, most: int) -> tuple[list[Factors], Mapping[str, Mapping[str, int]]]:
    """The pairs of factors in the file, and our note of whose ranks they are. Raises AdapterError, for more than `most`
    numbers before any is read."""
    path = folder / WEIGHTS
    if not os.path.lexists(path) and os.path.lexists(folder / PICKLE):
        raise AdapterError(
            f"{folder}: only {PICKLE} is there, a pickle, which may run code when it is opened, expected {WEIGHTS}. "
            "Save it with peft once more: safetensors is what it writes by itself."
        )
    with open_checkpoint(path) as checkpoint:
        refuse_many(path, checkpoint, most)
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


def refuse_many(path: Path, checkpoint: Checkpoint, most: int) -> None:
    """Raise AdapterError for a file that holds more numbers than an adapter of this model has any use for."""
    if (count := sum(prod(each.shape) for each in checkpoint.tensors.values())) > most:
        raise AdapterError(
            f"{path}: it holds {count:,} numbers, more than an adapter of this model has any use for ({most:,}). Take "
            "the adapter's own base; whole weights are brought by `ouvert pull`."
        )


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
    ranks: Mapping[str, int],
) -> dict[str, LowRank]:
    """What a linear layer's factors add to our weights. Raises AdapterError for other shapes than the model's."""
    a, b, rank = factors.a, factors.b, settings.rank(matrix.name)
    if (b.shape[0], a.shape[1]) != (matrix.outputs, matrix.inputs):
        base = f", {settings.base!r:.120}" if settings.base else ""
        raise AdapterError(
            f"{folder}: {matrix.name} is made for a weight of {b.shape[0]} rows and {a.shape[1]} columns; this model's "
            f"has {matrix.outputs} and {matrix.inputs}. Take the adapter's own base"
            f"{base}."
        )
    if len(a) != rank:
        raise AdapterError(
            f"{folder}: {matrix.name} has the rank {len(a)} in {WEIGHTS} and {rank} in {CONFIG}. Its scale follows "
            "from the rank: fetch both files from one place."
        )
    return checked(parted, folder, matrix, Addition(a, b, settings.scale(matrix.name, rank), ranks))


def checked(what: Callable[..., dict[str, LowRank]], folder: Path, *given: Any, **named: Any) -> dict[str, LowRank]:
    """What it gives. Raises AdapterError where it finds that our note does not fit the numbers."""
    try:
        return what(*given, **named)
    except ValueError as problem:
        raise AdapterError(f"{folder / WEIGHTS}: {problem} Fetch the file again.") from None


def unknown_module(folder: Path, factors: Factors, family: str, known: Sequence[Counterpart]) -> AdapterError:
    if factors.module.rpartition(".")[2] in ("lm_head", "embed_tokens", "gate", "router", "kv_b_proj"):
        return AdapterError(
            f"{folder}: it adapts {factors.module}, which carries no adapter here (embeddings, heads, routers and what "
            f"latent attention absorbs never do), expected attention and feed-forward layers. {MERGE}."
        )
    if factors.module.endswith((".experts", ".base_layer")):
        return AdapterError(
            f"{folder}: it adapts {factors.module}, and target_parameters in {CONFIG} does not say which of its "
            "parameters, expected for example 'mlp.experts.down_proj'. Fetch both files from one place."
        )
    like = ", ".join([each.name for each in known][:3]) or "none"
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


def refuse_missing(settings: PeftSettings, names: Collection[str], known: Sequence[Counterpart]) -> None:
    """Raise AdapterError if a weight that the targets name has no tensors: part of the adapter is not there."""
    wanted = [each.name for each in known if settings.wants(each.name, parameter=each.experts is not None)]
    if lost := [name for name in wanted if name not in names]:
        raise AdapterError(
            f"{settings.path.parent / WEIGHTS}: {len(lost)} of the weights that {CONFIG} names are not in it (first: "
            f"{', '.join(lost[:3])}), expected all. Part of the adapter is missing: fetch it again."
        )


def remarks_on(settings: PeftSettings) -> tuple[str, ...]:
    """What somebody may want to know, and does not change what is computed."""
    remarks = []
    if dropout := settings.said.get("lora_dropout"):
        remarks.append(f"lora_dropout was {dropout} in training; it plays no part in answers.")
    return tuple(remarks)
