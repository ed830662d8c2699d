"""Experts' factors as PEFT and Unsloth write them: whose they are, which way they stand, and how experts and ranks lie.

transformers 5 keeps all experts of a layer in one parameter. PEFT wraps the module that has it, so the tensors carry
the module's name, and of two parameters the wrapper of the first is called `base_layer`. docs/formats/adapter.md
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from ouvert.arithmetic import LowRank
from ouvert.models import Counterpart, Part
from ouvert.packed.adapters.error import AdapterError
from ouvert.packed.adapters.joining import Addition, Array, parted
from ouvert.packed.adapters.peft_settings import PeftSettings

# How the columns of lora_B lie: a rank's experts together (PEFT), or an expert's ranks together (Unsloth before
# unsloth-zoo#1269 of September 2026).
ExpertLayout = Literal["peft", "unsloth"]
LAYOUTS: tuple[ExpertLayout, ...] = get_args(ExpertLayout)
# What Unsloth notes in adapter_config.json since (unsloth-zoo#1232), and what it means.
NOTE = "lora_B_layout"
NOTED: Mapping[str, ExpertLayout] = {"rank_major": "peft", "grouped_by_expert": "unsloth"}
WRAPPER = re.compile(r"(.+\.experts)((?:\.base_layer)*)")
# One expert's linear layers, as transformers 4 has them, and which of ours they are.
SEPARATE = re.compile(r"(model\.layers\.\d+)\.(?:mlp|block_sparse_moe)\.experts\.(\d+)\.(\w+)")
SEPARATE_NAMES = {"gate_proj": "gate", "up_proj": "up", "down_proj": "down", "w1": "gate", "w3": "up", "w2": "down"}
# The same of gpt-oss in 4 bits, as Unsloth has it: rows in the order of the joined matrix.
LISTED = re.compile(r"(model\.layers\.\d+\.mlp\.experts\.(?:gate_up|down)_proj)s\.(\d+)")


@dataclass(frozen=True, slots=True, eq=False)
class Factors:
    """What stands in the file for one module: a and b as they are stored, float32."""

    module: str
    a: Array
    b: Array


def wrapped(factors: Factors, known: Sequence[Counterpart], settings: PeftSettings) -> Counterpart | None:
    """The experts' matrix whose factors these are; None if they are no wrapper's, or it is not said which."""
    found = WRAPPER.fullmatch(factors.module)
    if found is None:
        return None
    there = [each for each in known if each.name.rpartition(".")[0] == found[1] and settings.targets(each.name)]
    depth = found[2].count(".")
    return there[-1 - depth] if depth < len(there) else None


def layout_of(settings: PeftSettings, asked: ExpertLayout | None) -> ExpertLayout:
    """How the columns of lora_B lie. Raises AdapterError where nobody can know, or two say different things."""
    noted = settings.said.get(NOTE)
    if noted is not None and noted not in NOTED:
        raise AdapterError(
            f"{settings.path}: {NOTE} is {noted!r:.40}, expected {' or '.join(NOTED)}. Say how the experts lie: "
            f"--expert-layout {'|'.join(LAYOUTS)}."
        )
    stated = None if noted is None else NOTED[noted]
    if stated is not None and asked is not None and stated != asked:
        raise AdapterError(
            f"{settings.path}: {NOTE} is {noted!r}, which is the layout {stated!r}, and {asked!r} was asked for. Leave "
            "--expert-layout out."
        )
    if stated is None and asked is None and settings.by_unsloth:
        raise AdapterError(
            f"{settings.path}: Unsloth wrote this adapter of experts, and not how their factors lie ({NOTE}): before "
            "unsloth-zoo#1269 of September 2026 it packed them differently from PEFT, under the same names and shapes, "
            "and the wrong reading answers plausibly. Say --expert-layout unsloth if it was trained with an older "
            "version, --expert-layout peft if not."
        )
    return stated or asked or "peft"


def turned(found: Sequence[tuple[Counterpart, Factors]], settings: PeftSettings, transposed: bool) -> bool:
    """Whether lora_A stands at the outputs and lora_B at the inputs, as some versions of PEFT had it.

    `transposed`: the model keeps its experts (experts, inputs, outputs). PEFT up to 0.18 took the axes as they came;
    0.19.0 turned the wrong ones; from 0.19.1 on lora_A stands at the inputs. Raises AdapterError for sizes that are
    the model's neither way, and where inputs and outputs are as many and no version is said.
    """
    ways = set()
    for matrix, factors in found:
        sizes = factors.a.shape[1], factors.b.shape[0]
        if sizes not in ((matrix.inputs, matrix.outputs), (matrix.outputs, matrix.inputs)):
            raise AdapterError(
                f"{settings.path.parent}: the factors of {matrix.name} are made for {sizes[0]} inputs and {sizes[1]} "
                f"outputs; this model has {matrix.inputs} and {matrix.outputs}. Take the adapter's own base."
            )
        if matrix.inputs != matrix.outputs:
            ways.add(sizes == (matrix.outputs, matrix.inputs))
    if len(ways) > 1:
        raise AdapterError(
            f"{settings.path.parent}: of some experts lora_A stands at the inputs and of others at the outputs, "
            "expected one way for all. Save the adapter again, with one version of PEFT."
        )
    if ways:
        return ways.pop()
    version = settings.version
    if version is not None and version >= (0, 19, 1):
        return False
    if version is not None and version < (0, 19, 0):
        return not transposed
    if version is None and transposed:
        return False
    raise AdapterError(
        f"{settings.path}: the experts' inputs and outputs are as many, and peft_version "
        f"{settings.said.get('peft_version')!r:.40} does not say which of the two lora_A stands at. Load the adapter "
        "with peft 0.19.1 or later, compare its answers, and save it again."
    )


def parts_of_wrapped(
    matrix: Counterpart,
    factors: Factors,
    settings: PeftSettings,
    layout: ExpertLayout,
    *,
    turned: bool,
    ranks: Mapping[str, int],
) -> dict[str, LowRank]:
    """What the experts' factors add to our weights. Raises AdapterError for another rank than the settings say."""
    experts, rank = matrix.experts or 1, settings.rank(matrix.name)
    if len(factors.a) != experts * rank:
        raise AdapterError(
            f"{settings.path.parent}: {matrix.name} has {len(factors.a)} ranks, expected {experts} experts × {rank} by "
            f"{settings.path.name}. Fetch both files from one place, and take the adapter's own base."
        )
    a = factors.a.reshape(experts, rank, -1)
    if layout == "peft":
        b = factors.b.reshape(-1, rank, experts).transpose(2, 0, 1)
    else:
        b = factors.b.reshape(-1, experts, rank).transpose(1, 0, 2)
    if turned:
        a, b = b.swapaxes(1, 2), a.swapaxes(1, 2)
    return parted(matrix, Addition(a, b, settings.scale(matrix.name, rank), ranks))


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """What one expert's linear layer is: a part of the experts' matrix, or (None) all of its rows."""

    matrix: Counterpart
    part: Part | None
    expert: int


def place_of(module: str, known: Sequence[Counterpart]) -> Place | None:
    """None for a module that is no expert's."""
    if (listed := LISTED.fullmatch(module)) is not None:
        matrix = next((each for each in known if each.name == listed[1]), None)
        return None if matrix is None else Place(matrix, None, int(listed[2]))
    one = SEPARATE.fullmatch(module)
    if one is None or one[3] not in SEPARATE_NAMES:
        return None
    last = SEPARATE_NAMES[one[3]]
    for matrix in known:
        for part in matrix.parts if matrix.experts is not None and matrix.name.startswith(f"{one[1]}.") else ():
            if part.ours.endswith(f".{last}"):
                return Place(matrix, part, int(one[2]))
    return None


def separate(
    found: Sequence[Factors], known: Sequence[Counterpart], settings: PeftSettings
) -> tuple[dict[str, LowRank], list[Factors]]:
    """What experts' own linear layers add to our weights, and the factors that are of something else.

    Raises AdapterError for an expert that there is not, other sizes than the model's, and ranks or scales that differ
    among the experts of one weight.
    """
    groups: dict[tuple[str, str], list[tuple[Place, Factors]]] = {}
    others = []
    for factors in found:
        place = place_of(factors.module, known)
        if place is None:
            others.append(factors)
            continue
        key = place.matrix.name, place.part.ours if place.part else ""
        groups.setdefault(key, []).append((place, factors))
    pairs: dict[str, LowRank] = {}
    for group in groups.values():
        pairs |= together(sorted(group, key=lambda each: each[0].expert), settings)
    return pairs, others


def together(group: Sequence[tuple[Place, Factors]], settings: PeftSettings) -> dict[str, LowRank]:
    """What one kind of linear layer of a layer's experts adds. Raises AdapterError as `separate` does."""
    (first, one), *_ = group
    matrix, rank = first.matrix, len(one.a)
    outputs = matrix.outputs if first.part is None else len(first.part.rows)
    numbers = [place.expert for place, _ in group]
    shapes = {(factors.a.shape, factors.b.shape) for _, factors in group}
    scales = {settings.scale(factors.module, rank) for _, factors in group}
    said = {settings.rank(factors.module) for _, factors in group}
    expected = ((rank, matrix.inputs), (outputs, rank))
    if shapes != {expected} or len(scales) > 1 or said != {rank} or numbers[-1] >= (matrix.experts or 0):
        raise AdapterError(
            f"{settings.path.parent}: the experts' factors of {one.module} have the shapes {sorted(shapes)[:3]}, ranks "
            f"{sorted(said)[:3]} by {settings.path.name}, and numbers up to {numbers[-1]}; expected {expected} and one "
            f"scale for all, of {matrix.experts} experts. Take the adapter's own base."
        )
    a, b = (np.stack([getattr(factors, each) for _, factors in group]) for each in ("a", "b"))
    if first.part is not None:
        return {first.part.ours: LowRank(a, b, scales.pop(), tuple(numbers))}
    all_a, all_b = (np.zeros((matrix.experts or 0, *each.shape[1:]), np.float32) for each in (a, b))
    all_a[numbers], all_b[numbers] = a, b
    return parted(matrix, Addition(all_a, all_b, scales.pop(), {}))
