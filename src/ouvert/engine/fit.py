"""Will a model run here, in how much memory, and about how fast: a forecast from sizes and measured limits.

Generating a token reads every weight it needs and the cache once, so its time is bytes over read bandwidth; reading a
prompt is bounded by multiply-adds. Kernels reach a share of both limits, and the forecast is the range that those
shares span: what `ouvert bench` measures later should lie inside.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ouvert import kernels
from ouvert.engine.interface import EngineError
from ouvert.engine.machine import physical_cores
from ouvert.models import KeyValueMemory, LatentMemory, Memory, Shape, StateMemory, key_value_bytes, latent_bytes
from ouvert.packed import open_model, placements
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
    """Bytes of memory, bytes a second read by all threads, and 8-bit multiply-adds a second by all threads."""

    memory: int
    bandwidth: float
    multiply_adds: float
    threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What a model asks for. `cache(tokens)` is bytes kept for one sequence; weights are bytes, in all and as read
    for one generated token; `active` counts the weights one token of a prompt is multiplied with (the head is computed
    for the last one only); `context` is the longest
    sequence the model's makers promise, if they say."""

    weights: int
    read_per_token: int
    active: int
    cache: Callable[[int], int]
    context: int | None = None


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
    cache = demand.cache(context)
    memory = memory_to_run(demand, context)
    room = int(machine.memory * USABLE)
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
    return demand.weights + demand.cache(context) + BESIDES


def longest_context(demand: Demand, room: int) -> int:
    """The longest sequence that fits into `room` bytes beside the weights, to the nearest 64 tokens below."""
    most = demand.context or 1 << 20
    left = room - demand.weights - BESIDES
    if left < demand.cache(64):
        return 0
    if demand.cache(most) <= left:
        return most
    low, high = 64, most
    while high - low > 63:
        middle = (low + high) // 2
        low, high = (middle, high) if demand.cache(middle) <= left else (low, middle)
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


def demand_of_shape(shape: Shape, encoding: str | None = None, cache_type: str = "f16") -> Demand:
    """The demand of a model as its makers ship it, or in another encoding. Raises KeyError for an unknown encoding."""
    return Demand(
        weights=shape.weight_bytes(encoding),
        read_per_token=shape.bytes_per_token(encoding),
        active=shape.active - shape.words,
        cache=lambda tokens: shape.cache_bytes(tokens, cache_type),
        context=shape.context,
    )


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


def demand_of_files(path: Path, cache_type: str = "f16") -> Demand:
    """What the files at `path` ask for once they are packed, by the native kernels.

    Raises CheckpointError for files that cannot be used.
    """
    with open_model(path) as files:
        config, parameters = files.config, files.parameters
        memories = files.family.memories(config)
    sizes = {name: encoded_bytes(*placement.stored_as) for name, placement in placements(parameters).items()}
    chosen = getattr(config, "num_experts_per_tok", 0)
    read = active = 0.0
    for each in parameters:
        if each.kind == "embedding":
            continue  # one row of it is looked up; a head that shares its bytes is counted as the head
        share = chosen / each.shape[0] if each.kind == "experts" else 1.0
        read += share * sizes[each.same_as or each.name]
        active += share * math.prod(each.shape) if each.name != "unembedding" else 0

    def cache(tokens: int) -> int:
        return sum(memory_bytes(each, tokens, cache_type) for each in memories)

    return Demand(
        weights=sum(sizes.values()),
        read_per_token=round(read),
        active=round(active),
        cache=cache,
        context=config.max_position_embeddings,
    )
