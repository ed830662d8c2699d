"""An adapter as llama.cpp has it, in and out: a GGUF file with a lora_a and a lora_b to names of the model's tensors.

Source: llama.cpp, src/llama-adapter.cpp and convert_lora_to_gguf.py. docs/formats/adapter.md
"""

import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ouvert.arithmetic import LowRank
from ouvert.models import Counterpart, counterparts
from ouvert.packed.adapter import Adapter
from ouvert.packed.adapters.error import AdapterError
from ouvert.packed.adapters.joining import Addition, Array, joined, most_numbers, parted
from ouvert.packed.adapters.peft_reading import OpenedAdapter, ranks_in, refuse_many
from ouvert.packed.adapters.peft_writing import RANKS, Recognised, refuse_others
from ouvert.weights import Checkpoint, Tensor, open_checkpoint, write_gguf

ALPHA = "adapter.lora.alpha"
FACTOR = re.compile(r"(.+)\.lora_([ab])")
ENCODINGS = ("F32", "F16", "BF16", "Q8_0")  # those that llama.cpp's converter writes
HONOURED = frozenset(("adapter.type", ALPHA))
REFUSED = {
    "adapter.alora.invocation_tokens": "an activated LoRA, which begins in the middle of a text",
    "adapter.lora.prompt_prefix": "an adapter that wants a prefix before every prompt",
}
# Products to which llama.cpp adds no adapter, whatever its file holds (deepseek2.cpp multiplies without build_lora_mm).
LEFT_OUT = {"deepseek_v3": frozenset(("query_low", "query_nope", "query_rope", "latent", "key_rope"))}
HARMLESS = frozenset(("adapter.lora.task_name",))  # a name for a list


def write_gguf_adapter(adapter: Adapter, path: Path, model: Recognised, name: str = "") -> None:
    """Write the adapter as llama.cpp loads it (`--lora`), float32, beside and renamed.

    llama.cpp has one alpha for the whole file, and divides it by each tensor's own rank: where a scale is another, b
    carries the difference. Experts that are not adapted get zeros. Raises AdapterError for a weight that the model does
    not have or llama.cpp adapts in no model, and for an adapter that changes nothing; UnwritableError if the disk takes
    no more.
    """
    known = counterparts(model.family, model.config, "llama.cpp")
    refuse_others(adapter, known, model.family.name)
    refuse_left_out(adapter, model.family.name)
    found = [(matrix, made) for matrix in known if (made := joined(matrix, adapter.pairs)) is not None]
    alphas = Counter(float(np.float32(made.scale * made.rank)) for _, made in found if made.scale)
    if not alphas:
        raise AdapterError(f"writing {path}: every scale of the adapter is 0, expected one that changes something.")
    (alpha, _), *_ = alphas.most_common(1)
    tensors: dict[str, Array] = {}
    for matrix, made in found:
        rest = made.scale * made.rank / alpha
        tensors[f"{matrix.name}.lora_a"] = np.ascontiguousarray(made.a)
        tensors[f"{matrix.name}.lora_b"] = np.ascontiguousarray(made.b if rest == 1 else made.b * np.float32(rest))
    metadata: dict[str, str | int | float] = {
        "general.architecture": architecture_of(model),
        "general.type": "adapter",
        "adapter.type": "lora",
        ALPHA: alpha,
    }
    if name:
        metadata["general.name"] = name
    if ranks := {matrix.name: dict(made.ranks) for matrix, made in found if made.ranks}:
        metadata[RANKS] = json.dumps(ranks, separators=(",", ":"))
    write_gguf(path, metadata, tensors)


def refuse_left_out(adapter: Adapter, family: str) -> None:
    """Raise AdapterError if llama.cpp would load the file and not compute a part of it."""
    lost = [name for name in adapter.pairs if name.rpartition(".")[2] in LEFT_OUT.get(family, ())]
    if lost:
        raise AdapterError(
            f"writing an adapter for llama.cpp: it adds to {', '.join(lost[:3])}{' …' if len(lost) > 3 else ''}, and "
            "llama.cpp adds nothing to the queries and latents of latent attention, without a word; expected other "
            "weights. Export it merged, or to PEFT."
        )


def architecture_of(model: Recognised) -> str:
    """What llama.cpp calls the model's architecture: as its GGUF file says, else as it would be converted."""
    metadata: Mapping[str, Any] = getattr(model, "metadata", {})
    stated = metadata.get("general.architecture")
    names = model.family.gguf_architectures
    return stated if stated in names else "llama" if "llama" in names else min(names)


def read_gguf_adapter(path: Path, model: Recognised) -> Adapter:
    """The adapter in a GGUF file, for this model. Raises AdapterError, by key or tensor, for what is not honoured, does
    not fit the model or is missing."""
    return open_gguf_adapter(path, model).adapter


def open_gguf_adapter(path: Path, model: Recognised) -> OpenedAdapter:
    """The same, with what else is known. Raises what `read_gguf_adapter` raises."""
    known = {each.name: each for each in counterparts(model.family, model.config, "llama.cpp")}
    with open_checkpoint(path) as checkpoint:
        alpha = alpha_in(checkpoint, model)
        refuse_many(path, checkpoint, most_numbers([*known.values()]))
        stored = factors_in(checkpoint)
        note = checkpoint.metadata.get(RANKS)
        base = checkpoint.metadata.get("general.base_model.0.name")
    ranks = ranks_in(path, note if isinstance(note, str) or note is None else "")
    pairs: dict[str, LowRank] = {}
    for name, (a, b) in stored.items():
        if (matrix := known.get(name)) is None:
            raise AdapterError(
                f"{path}: it adapts {name!r:.120}, which {model.family.name} does not have among the weights that may "
                f"carry an adapter, expected names such as {', '.join([*known][:3]) or 'none'}. Was it made for this "
                "model? Embeddings, heads and routers carry none here: merge it with llama.cpp's llama-export-lora."
            )
        check_shapes(path, matrix, a, b)
        rank = a.shape[-2]
        addition = Addition(a, b, alpha / rank if alpha else 1.0, ranks.get(name, {}))
        try:
            pairs |= parted(matrix, addition)
        except ValueError as problem:
            raise AdapterError(f"{path}: {problem} Fetch the file again.") from None
    if not pairs:
        raise AdapterError(f"{path}: all of its factors are zero, expected an adapter that changes something.")
    return OpenedAdapter(Adapter(pairs), None, base if isinstance(base, str) else None, ())


def alpha_in(checkpoint: Checkpoint, model: Recognised) -> float:
    """adapter.lora.alpha; 0 where none is said: the scale is 1 then. Raises AdapterError for a file that is no adapter
    of low rank, or of another architecture."""
    said, path = checkpoint.metadata, checkpoint.path
    if checkpoint.format != "gguf" or said.get("general.type") != "adapter" or said.get("adapter.type") != "lora":
        raise AdapterError(
            f"{path}: general.type is {said.get('general.type')!r:.40}, adapter.type {said.get('adapter.type')!r:.40}, "
            "expected 'adapter' and 'lora': a LoRA as llama.cpp's convert_lora_to_gguf.py writes it."
        )
    architecture = said.get("general.architecture")
    if architecture not in model.family.gguf_architectures:
        raise AdapterError(
            f"{path}: it is for the architecture {architecture!r:.40}; this model's is "
            f"{' or '.join(sorted(model.family.gguf_architectures))}. Take the adapter's own base."
        )
    for key in sorted(key for key in said if key.startswith("adapter.") and key not in HONOURED | HARMLESS):
        if said[key] not in ("", []):
            what = REFUSED.get(key, "what is not known here")
            raise AdapterError(f"{path}: {key} is {said[key]!r:.60}: {what}, which is not computed here.")
    alpha = said.get(ALPHA, 0.0)
    if type(alpha) not in (int, float) or not math.isfinite(alpha):
        raise AdapterError(f"{path}: {ALPHA} is {alpha!r:.40}, expected a number. Fetch the file again.")
    return float(alpha)


def factors_in(checkpoint: Checkpoint) -> dict[str, tuple[Array, Array]]:
    """a and b by the names of the model's tensors, float32. Raises AdapterError for what is none, or alone."""
    found: dict[str, dict[str, Array]] = {}
    for name, tensor in checkpoint.tensors.items():
        factor = FACTOR.fullmatch(name)
        if factor is None:
            raise AdapterError(
                f"{checkpoint.path}: {name!r:.120} is no factor of an adapter (llama.cpp leaves a norm out, and "
                "does not say so), expected names that end in .lora_a and .lora_b. Train the adapter without it."
            )
        found.setdefault(factor[1], {})[factor[2]] = numbers(checkpoint.path, tensor)
    for name, factors in found.items():
        if len(factors) < 2:
            raise AdapterError(
                f"{checkpoint.path}: {name!r:.120} has a lora_{next(iter(factors))} and not the other, expected both. "
                "Fetch the file again."
            )
    if not found:
        raise AdapterError(f"{checkpoint.path}: there is no tensor in it, expected lora_a and lora_b of tensors.")
    return {name: (factors["a"], factors["b"]) for name, factors in found.items()}


def numbers(path: Path, tensor: Tensor) -> Array:
    """float32 values. Raises AdapterError for other encodings, infinities and NaNs."""
    if tensor.encoding not in ENCODINGS:
        raise AdapterError(
            f"{path}: {tensor.name!r:.120} is {tensor.encoding}, expected {', '.join(ENCODINGS)}. Convert the adapter "
            "again, with --outtype f32."
        )
    values: Array = tensor.decode()
    if not np.isfinite(values).all():
        raise AdapterError(
            f"{path}: {tensor.name!r:.120} holds numbers that are infinite or none, expected finite ones. The adapter "
            "is damaged, or its training diverged: take an earlier state of it."
        )
    return values


def check_shapes(path: Path, matrix: Counterpart, a: Array, b: Array) -> None:
    """Raise AdapterError for factors that do not fit each other or the model's tensor, with both sizes."""
    before = () if matrix.experts is None else (matrix.experts,)
    rank = a.shape[-2] if a.ndim >= 2 else 0
    if a.shape != (*before, rank, matrix.inputs) or b.shape != (*before, matrix.outputs, rank) or not rank:
        raise AdapterError(
            f"{path}: of {matrix.name} lora_a is {a.shape} and lora_b {b.shape}; this model's tensor is "
            f"{(*before, matrix.outputs, matrix.inputs)}, expected {(*before, 'rank', matrix.inputs)} and "
            f"{(*before, matrix.outputs, 'rank')}. Take the adapter's own base."
        )
