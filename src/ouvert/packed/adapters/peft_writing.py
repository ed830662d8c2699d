"""An adapter as PEFT writes it, version 0.21.2: peft, vLLM and SGLang read the folder. docs/formats/adapter.md"""

import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ouvert.models import Counterpart, Family, counterparts
from ouvert.packed.adapter import Adapter
from ouvert.packed.adapters.error import AdapterError
from ouvert.packed.adapters.joining import Addition, Array, joined
from ouvert.weights import SafetensorsWriter, encode

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
VERSION = "0.21.2"  # of PEFT, whose layout this is
PREFIX = "base_model.model."
# Our note in the metadata of the weights: how many ranks of a matrix are whose, where parts of it stand apart.
RANKS = "ouvert.ranks"
# Where PEFT takes linear layers of these names for experts, which transformers 5 has fused: there they must be named as
# parameters (its utils/transformers_weight_conversion.py, _MOE_TARGET_MODULE_MAPPING).
TAKEN_FOR_EXPERTS = frozenset(("gate_proj", "up_proj", "down_proj"))
TAKING = frozenset(("deepseek_v3", "qwen3_moe"))


class Recognised(Protocol):
    """Of which family and shape a model is: `packed.ModelFiles` and `models.Model` say it. Its properties raise
    nothing."""

    @property
    def family(self) -> Family: ...
    @property
    def config(self) -> Any: ...


def write_peft(adapter: Adapter, folder: Path, model: Recognised, base: str | None = None) -> None:
    """Write adapter_config.json and adapter_model.safetensors into `folder`, which is there. A matrix is BF16 where
    that holds every number of it, else float32; `read_peft` gives the same adapter again, with the same digest. `base`:
    the name or path under which others find the base's weights.

    Where transformers has several of our weights in one matrix, the addition to it has the ranks of all of them; where
    their scales differ, b carries the difference. Raises AdapterError for a weight that the model does not have, or has
    in another shape; UnwritableError if the disk takes no more.
    """
    known = counterparts(model.family, model.config, "transformers")
    refuse_others(adapter, known, model.family.name)
    found = [(matrix, made) for matrix in known if (made := joined(matrix, adapter.pairs)) is not None]
    tensors = {
        PREFIX + name: value for matrix, name_of, made in named(found) for name, value in stored(matrix, name_of, made)
    }
    metadata = {"format": "pt"}
    if ranks := {matrix.name: dict(made.ranks) for matrix, made in found if made.ranks}:
        metadata[RANKS] = json.dumps(ranks, separators=(",", ":"))
    declared = {name: (narrowest(value), value.shape) for name, value in tensors.items()}
    with SafetensorsWriter(folder / WEIGHTS, declared, metadata) as writer:
        for name, value in tensors.items():
            writer.write(name, encode(declared[name][0], value))
    said = settings(model.family.name, known, found, base)
    partial = folder / (CONFIG + ".partial")
    partial.write_text(json.dumps(said, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    partial.replace(folder / CONFIG)


def narrowest(numbers: Array) -> str:
    """BF16 if it holds these float32 numbers exactly, else F32."""
    return "F32" if (np.ascontiguousarray(numbers).view(np.uint32) & 0xFFFF).any() else "BF16"


def refuse_others(adapter: Adapter, known: Sequence[Counterpart], family: str) -> None:
    """Raise AdapterError for a pair that fits none of these matrices."""
    shapes = {part.ours: (len(part.rows), matrix.inputs, matrix.experts) for matrix in known for part in matrix.parts}
    for name, pair in adapter.pairs.items():
        if name not in shapes:
            raise AdapterError(
                f"writing an adapter: it adds to {name!r}, which {family} does not have among the weights that may "
                "carry one. Was it made for this model?"
            )
        outputs, inputs, experts = shapes[name]
        fits = pair.shape == (outputs, inputs) and (pair.experts is None) == (experts is None)
        if not fits or max(pair.experts or (0,)) >= (experts or 1):
            of = "" if experts is None else f", of {experts} experts"
            raise AdapterError(
                f"writing an adapter: it adds {pair.shape} to {name!r}, experts {pair.experts}; the model has "
                f"({outputs}, {inputs}){of} there. Was it made for this model?"
            )


def named(found: Sequence[tuple[Counterpart, Addition]]) -> list[tuple[Counterpart, str, Addition]]:
    """Each with what PEFT calls the module that carries it: of several parameters of one module, the last in the model
    wraps those before it, and the name of the module is its own."""
    owners = Counter(owner(matrix) for matrix, _ in found)
    result = []
    for matrix, made in found:
        name = owner(matrix)
        owners[name] -= 1
        result.append((matrix, name + ".base_layer" * owners[name], made))
    return result


def owner(matrix: Counterpart) -> str:
    """The module in which it is a parameter, or the module that it is."""
    return matrix.name if matrix.experts is None else matrix.name.rpartition(".")[0]


def stored(matrix: Counterpart, name: str, made: Addition) -> list[tuple[str, Array]]:
    """lora_A with the ranks of an expert together, lora_B with the experts of a rank together."""
    a, b = made.a, made.b
    if matrix.experts is not None:
        a = a.reshape(-1, matrix.inputs)  # (experts · rank, inputs)
        b = b.transpose(1, 2, 0).reshape(matrix.outputs, -1)  # (outputs, rank · experts)
    return [(f"{name}.lora_A.weight", np.ascontiguousarray(a)), (f"{name}.lora_B.weight", np.ascontiguousarray(b))]


def settings(
    family: str, known: Sequence[Counterpart], found: Sequence[tuple[Counterpart, Addition]], base: str | None
) -> dict[str, Any]:
    """adapter_config.json: the commonest rank and alpha, and by name those that differ."""
    ranks = {target(matrix, family): made.rank for matrix, made in found}
    alphas, stabilised = alphas_of(found, family)
    (rank, _), *_ = Counter(ranks.values()).most_common(1)
    (alpha, _), *_ = Counter(alphas.values()).most_common(1)
    modules, parameters = targets(family, known, found)
    return {
        "peft_type": "LORA",
        "peft_version": VERSION,
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": alpha,
        "rank_pattern": {name: each for name, each in ranks.items() if each != rank},
        "alpha_pattern": {name: each for name, each in alphas.items() if each != alpha},
        "target_modules": modules,
        "target_parameters": parameters or None,
        "use_rslora": stabilised,
        "use_dora": False,
        "lora_dropout": 0.0,
        "lora_bias": False,
        "bias": "none",
        "fan_in_fan_out": False,
        "modules_to_save": None,
        "init_lora_weights": True,
    }


def target(matrix: Counterpart, family: str) -> str:
    """The full name by which PEFT has to be told of it."""
    taken = family in TAKING and matrix.experts is None and matrix.name.rpartition(".")[2] in TAKEN_FOR_EXPERTS
    return f"{matrix.name}.weight" if taken else matrix.name


def targets(
    family: str, known: Sequence[Counterpart], found: Sequence[tuple[Counterpart, Addition]]
) -> tuple[list[str], list[str]]:
    """target_modules and target_parameters: the last part of the name where all that are called so are adapted, else
    the whole name."""
    adapted = {matrix.name for matrix, _ in found}
    modules: set[str] = set()
    parameters: set[str] = set()
    for matrix in known:
        if matrix.name not in adapted:
            continue
        last = matrix.name.rpartition(".")[2]
        within = matrix.name if matrix.experts is None else f"experts.{last}"
        short = last if matrix.experts is None else within
        alike = {each.name for each in known if each.name.endswith("." + short)}
        wanted = short if alike <= adapted else matrix.name
        if matrix.experts is not None:
            parameters.add(wanted)
        elif (whole := target(matrix, family)) != matrix.name:
            parameters.add(whole)
        else:
            modules.add(wanted)
    return sorted(modules), sorted(parameters)


def alpha_of(made: Addition, *, stabilised: bool) -> tuple[float | int, bool]:
    """The alpha whose quotient by the rank, or its square root, is the scale; and whether it is so bit for bit."""
    divisor = math.sqrt(made.rank) if stabilised else float(made.rank)
    near = made.scale * divisor
    tried = (float(round(near)), near, math.nextafter(near, math.inf), math.nextafter(near, -math.inf))
    alpha = next((each for each in tried if each / divisor == made.scale), None)
    exact = alpha is not None
    alpha = near if alpha is None else alpha
    return int(alpha) if alpha.is_integer() and abs(alpha) < 1 << 53 else alpha, exact


def alphas_of(found: Sequence[tuple[Counterpart, Addition]], family: str) -> tuple[dict[str, float | int], bool]:
    """Every matrix's alpha, and whether they are rank-stabilised: where only so the scales come back bit for bit."""
    said = {}
    for stabilised in (False, True):
        said[stabilised] = {target(matrix, family): alpha_of(made, stabilised=stabilised) for matrix, made in found}
        if all(exact for _, exact in said[stabilised].values()):
            return {name: alpha for name, (alpha, _) in said[stabilised].items()}, stabilised
    return {name: alpha for name, (alpha, _) in said[False].items()}, False
