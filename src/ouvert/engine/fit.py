"""Will a model run here, in how much memory, and about how fast: a forecast from sizes and measured limits.

Generating a token reads every weight it needs and the cache once, so its time is bytes over read bandwidth; reading a
prompt is bounded by multiply-adds. Kernels reach a share of both limits, and the forecast is the range that those
shares span: what `ouvert bench` measures later should lie inside.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ouvert import kernels
from ouvert.engine.interface import EngineError
from ouvert.engine.machine import physical_cores
from ouvert.models import (
    KeyValueMemory,
    LatentMemory,
    Memory,
    Parameter,
    Shape,
    StateMemory,
    key_value_bytes,
    known_shapes,
    latent_bytes,
)
from ouvert.packed import (
    BITS_A_WEIGHT,
    USUAL,
    AskedPrecision,
    ModelFiles,
    Precision,
    layout_at,
    looked_up_only,
    open_model,
)
from ouvert.weights import encoded_bytes

# Shares of the limits that models of every family reached here; docs/journal.md has the runs they come from.
SHARE_OF_BANDWIDTH = (0.55, 0.95)
SHARE_OF_MULTIPLY_ADDS = (0.30, 0.75)

# What a process takes besides weights and caches: interpreter, vocabulary, buffers of a step.
BESIDES = 300_000_000

# Of a machine's memory, what may be asked for: the rest is for the system and other programs.
USABLE = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Bytes of memory, bytes a second read by all threads, and 8-bit multiply-adds a second by all threads.
    `allowed`: bytes of memory that a model may take, if its owner says."""

    memory: int
    bandwidth: float
    multiply_adds: float
    threads: int
    allowed: int | None = None

    @property
    def room(self) -> int:
        """Bytes that a model may take. Raises nothing."""
        return int(self.memory * USABLE) if self.allowed is None else self.allowed


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What a model asks for. `cache(tokens)` is bytes kept for one sequence and read to go on with it; `state`, those
    of them that no token adds to, of which earlier ones are kept too; weights are bytes, in all and as read for one
    generated token; `active` counts the weights one token of a prompt is multiplied with (the head is computed for the
    last one only); `context` is the longest sequence the model's makers promise, if they say.

    Of the weights, `experts` are those that a router chooses among, of which a token meets `experts_per_token`;
    `largest_expert` is one of them; of `looked_up` a token reads a row."""

    weights: int
    read_per_token: int
    active: int
    cache: Callable[[int], int]
    state: int = 0
    context: int | None = None
    experts: int = 0
    experts_per_token: int = 0
    largest_expert: int = 0
    looked_up: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Bytes, and tokens a second as (at least, at most). `longest` is the longest context that still fits, 0 if the
    weights alone do not."""

    memory: int
    cache: int
    fits: bool
    longest: int
    decode: tuple[float, float]
    prefill: tuple[float, float]


def forecast(demand: Demand, machine: Machine, context: int) -> Forecast:
    """What to expect for sequences of `context` tokens; decoding is at half that depth on average. Raises nothing."""
    cache = cache_of(demand, context)
    memory = memory_to_run(demand, context)
    room = machine.room
    read = demand.read_per_token + demand.cache(context // 2)
    seconds = read / machine.bandwidth
    computed = machine.multiply_adds / demand.active
    return Forecast(
        memory=memory,
        cache=cache,
        fits=memory <= room,
        longest=longest_context(demand, room),
        decode=(SHARE_OF_BANDWIDTH[0] / seconds, SHARE_OF_BANDWIDTH[1] / seconds),
        prefill=(SHARE_OF_MULTIPLY_ADDS[0] * computed, SHARE_OF_MULTIPLY_ADDS[1] * computed),
    )


def memory_to_run(demand: Demand, context: int) -> int:
    """Bytes of memory for a sequence of `context` tokens: packed weights, caches, and the process. Raises nothing."""
    return demand.weights + cache_of(demand, context) + BESIDES


def cache_of(demand: Demand, tokens: int) -> int:
    """Bytes kept for a sequence of so many tokens, with the earlier states that it can go back to. Raises nothing."""
    return demand.cache(tokens) + demand.state * max(kernels.states_held(tokens, demand.state) - 1, 0)


def longest_context(demand: Demand, room: int) -> int:
    """The longest sequence that fits into `room` bytes beside the weights, to the nearest 64 tokens below."""
    most = demand.context or 1 << 20
    left = room - demand.weights - BESIDES
    if left < cache_of(demand, 64):
        return 0
    if cache_of(demand, most) <= left:
        return most
    low, high = 64, most
    while high - low > 63:
        middle = (low + high) // 2
        low, high = (middle, high) if cache_of(demand, middle) <= left else (low, middle)
    return low // 64 * 64


def measure_machine(memory: int, threads: int | None = None) -> Machine:
    """This machine as it is now; takes a second or two. Raises EngineError where the native kernels are missing."""
    if not kernels.available():
        raise EngineError(
            "measuring this machine: the native kernels were not built, so their speed cannot be foretold. "
            "Install a C++20 compiler and install Ouvert again."
        )
    count = threads or physical_cores()
    return Machine(
        memory=memory,
        bandwidth=kernels.read_bandwidth(count),
        multiply_adds=kernels.multiply_adds(count),
        threads=count,
    )


# What makers ship as plain numbers, and how many bits those take where they are packed without rounding.
PLAIN = {"F32": 32.0, "BF16": 16.0, "F16": 16.0, "F8_E4M3": 16.0}


def demand_of_shape(shape: Shape, precision: Precision | None = None, cache_type: str = "f16") -> Demand:
    """The demand of a model of that shape once it is packed: what was quantised by its makers as they did, all else at
    this precision, or the usual one. Raises KeyError for an unknown cache type."""
    sizes = packed_sizes(shape, precision)
    return Demand(
        weights=sizes.weights,
        read_per_token=sizes.read,
        active=shape.active - shape.words,
        cache=lambda tokens: shape.cache_bytes(tokens, cache_type),
        state=shape.cache_bytes(1, cache_type) if shape.expanded else 0,
        context=shape.context,
        experts=sizes.experts,
        experts_per_token=sizes.experts * shape.chosen // max(shape.experts, 1),
        largest_expert=sizes.experts // max(shape.experts * (shape.layers - shape.dense_layers), 1),
        looked_up=sizes.looked_up,
    )


def demand_of_known(name: str, precision: Precision | None = None, cache_type: str = "f16") -> Demand:
    """`demand_of_shape` of a model of the table of shapes. Raises KeyError for a name that it does not have."""
    return demand_of_shape(known_shapes()[name], precision, cache_type)


def is_rounded_here(name: str) -> bool:
    """Whether a model of the table of shapes is shipped in plain numbers, which are rounded on this machine.

    Raises KeyError for a name that the table does not have.
    """
    return known_shapes()[name].shipped in PLAIN


class PackedSizes(NamedTuple):
    """Bytes of packed weights: all, those read to generate one token, those of all routed experts, and an embedding of
    which rows are looked up and nothing else."""

    weights: int
    read: int
    experts: int
    looked_up: int


def packed_sizes(shape: Shape, precision: Precision | None) -> PackedSizes:
    """Raises KeyError for a precision that is none."""
    if shape.shipped not in PLAIN:
        only_rows = 0 if shape.tied else shape.embedding_bytes()
        return PackedSizes(shape.weight_bytes(), shape.bytes_per_token(), shape.expert_bytes(), only_rows)
    share = shape.chosen / shape.experts if shape.experts else 1.0
    weights = read = experts = looked_up = 0.0
    for name, sides in shape.matrices():
        layout = layout_at(name, sides, precision or USUAL, layers=shape.layers, tied=shape.tied)
        size = math.prod(sides) * (PLAIN[shape.shipped] if layout is None else BITS_A_WEIGHT[layout]) / 8
        weights += size
        if name == "embedding" and not shape.tied:
            looked_up = size
        else:
            read += size * (share if ".experts." in name else 1.0)
        experts += size if ".experts." in name else 0.0
    return PackedSizes(round(weights), round(read), round(experts), round(looked_up))


def memory_bytes(memory: Memory, tokens: int, cache_type: str) -> int:
    """What one layer keeps of a sequence of so many tokens."""
    match memory:
        case StateMemory():
            return 4 * memory.numbers
        case LatentMemory():
            return tokens * latent_bytes(memory.width, cache_type)
        case KeyValueMemory():
            kept = min(tokens, memory.window or tokens)
            return kept * memory.kv_heads * key_value_bytes(memory.head_dim, cache_type)


def demand_of_files(path: Path, cache_type: str = "f16", precision: AskedPrecision | None = None) -> Demand:
    """What the files at `path` ask for once they are packed at that precision, or the usual one, by the native kernels.

    Raises CheckpointError for files that cannot be used, and for more bits than their weights have, unless they are a
    limit.
    """
    with open_model(path) as files:
        return demand_of_model(files, cache_type, precision)


def demand_of_model(files: ModelFiles, cache_type: str = "f16", precision: AskedPrecision | None = None) -> Demand:
    """`demand_of_files` of files that are open. Raises CheckpointError as it does."""
    config, parameters = files.config, files.parameters
    memories = files.family.memories(config)
    placed = files.placements(precision)
    sizes = {name: encoded_bytes(*placement.stored_as) for name, placement in placed.items()}
    chosen = getattr(config, "num_experts_per_tok", 0)
    read = active = 0.0
    for each in parameters:
        if each.kind == "embedding":
            continue  # one row of it is looked up; a head that shares its bytes is counted as the head
        share = chosen / each.shape[0] if each.routed else 1.0
        read += share * sizes[each.same_as or each.name]
        active += share * math.prod(each.shape) if each.name != "unembedding" else 0

    def cache(tokens: int) -> int:
        return sum(memory_bytes(each, tokens, cache_type) for each in memories)

    mixtures = bytes_of_experts(parameters, sizes)
    return Demand(
        weights=sum(sizes.values()),
        read_per_token=round(read),
        active=round(active),
        cache=cache,
        state=sum(4 * each.numbers for each in memories if isinstance(each, StateMemory)),
        context=config.max_position_embeddings,
        experts=sum(count * size for count, size in mixtures),
        experts_per_token=sum(chosen * size for _, size in mixtures),
        largest_expert=max((size for _, size in mixtures), default=0),
        looked_up=sum(sizes[name] for name in looked_up_only(parameters)),
    )


def bytes_of_experts(parameters: Iterable[Parameter], sizes: Mapping[str, int]) -> list[tuple[int, int]]:
    """For each layer that has them: how many experts, and the bytes of one."""
    layers: dict[str, tuple[int, int]] = {}
    for each in parameters:
        if each.routed:
            layer, count = each.name.rpartition(".")[0], each.shape[0]
            layers[layer] = (count, layers.get(layer, (count, 0))[1] + sizes[each.name] // count)
    return list(layers.values())
