"""A tiny random decoder with everything a program can do, and the ways of running it. For tests only."""

from dataclasses import dataclass, field

import numpy as np

from ouvert import arithmetic, kernels
from ouvert.kernels.packing import aligned_bytes, pack, unpack

VOCABULARY, EPS = 50, 1e-5


@dataclass(frozen=True)
class Shape:
    """What kind of decoder: the defaults are Llama's."""

    layers: int = 2
    hidden: int = 64
    inner: int = 96
    q_heads: int = 4
    kv_heads: int = 2
    head_dim: int = 16
    rotary_dim: int = 16
    head_norms: bool = False  # Qwen3
    biases: bool = False  # Qwen2, gpt-oss
    windows: tuple[int | None, ...] = (None, None)
    sinks: bool = False  # gpt-oss
    experts: int = 0  # gpt-oss; 0 for a plain gated layer
    top_k: int = 2
    layout: str = "Q8_0"


LLAMA = Shape()
QWEN3 = Shape(head_norms=True, q_heads=6, kv_heads=2, head_dim=20, rotary_dim=12)
GPT_OSS = Shape(biases=True, windows=(9, None), sinks=True, experts=5, top_k=3, q_heads=8, kv_heads=1)
MISTRAL = Shape(windows=(70, 70), layout="F32")
SHAPES = {"llama": LLAMA, "qwen3": QWEN3, "gpt_oss": GPT_OSS, "mistral": MISTRAL}


@dataclass(frozen=True)
class Memory:
    kv_heads: int
    head_dim: int
    window: int | None


@dataclass(frozen=True)
class Placed:
    """Weights as one kind of operations wants them."""

    shape: Shape
    weights: dict[str, object]
    memories: list[Memory] = field(default_factory=list)

    def forward(self, batch, ops, tap=None):
        return forward(self, batch, ops, tap or arithmetic.Tap())


def matrix(values, layout):
    experts = values.shape[0] if values.ndim == 3 else 1
    rows, columns = values.shape[-2:]
    each = [
        pack("F32", np.ascontiguousarray(one, np.float32).reshape(-1).view(np.uint8), rows, columns, layout=layout)[0]
        for one in values.reshape(experts, rows, columns)
    ]
    data = aligned_bytes(sum(map(len, each)))
    data[:] = np.concatenate(each)
    return kernels.Packed(layout, rows, columns, data, experts)


def decoded(packed):
    size = len(packed.data) // packed.experts
    each = [
        unpack(packed.layout, packed.data[e * size : (e + 1) * size], packed.rows, packed.columns)
        for e in range(packed.experts)
    ]
    return each[0] if packed.experts == 1 else np.stack(each)


def tiny(shape: Shape, seed: int = 0) -> Placed:
    """Weights for a Tracer. `for_arithmetic` gives the same numbers to arithmetic.Ops."""
    random = np.random.default_rng(seed)

    def normal(*dims, scale=None):
        return (random.standard_normal(dims) * (scale or dims[-1] ** -0.5)).astype(np.float32)

    q, kv = shape.q_heads * shape.head_dim, shape.kv_heads * shape.head_dim
    weights: dict[str, object] = {"embedding": matrix(normal(VOCABULARY, shape.hidden, scale=1), shape.layout)}
    for n in range(shape.layers):
        # q and k are wide, so that attention is sharp and rotation, windows and sinks matter.
        sizes = {"q": (q, shape.hidden, 3), "k": (kv, shape.hidden, 3), "v": (kv, shape.hidden, 1)}
        columns_of_o = q
        for name, (rows, columns, scale) in sizes.items():
            weights[f"{n}.{name}"] = matrix(normal(rows, columns) * np.float32(scale**0.5), shape.layout)
            weights[f"{n}.{name}_bias"] = normal(rows) if shape.biases else None
            if name != "v":
                weights[f"{n}.{name}_norm"] = 1 + normal(shape.head_dim, scale=0.1) if shape.head_norms else None
        layout_of_o = shape.layout if columns_of_o % 32 == 0 else "F32"
        weights[f"{n}.o"] = matrix(normal(shape.hidden, columns_of_o), layout_of_o)
        weights[f"{n}.sinks"] = normal(shape.q_heads, scale=2) if shape.sinks else None
        for name in ("attention_norm", "mlp_norm"):
            weights[f"{n}.{name}"] = 1 + normal(shape.hidden, scale=0.1)
        count = (shape.experts,) if shape.experts else ()
        for name, dims in {
            "gate": (shape.inner, shape.hidden),
            "up": (shape.inner, shape.hidden),
            "down": (shape.hidden, shape.inner),
        }.items():
            weights[f"{n}.{name}"] = matrix(normal(*count, *dims), shape.layout)
            weights[f"{n}.{name}_bias"] = normal(*count, dims[0]) if shape.biases else None
        if shape.experts:
            weights[f"{n}.router"] = matrix(normal(shape.experts, shape.hidden), "F32")
            weights[f"{n}.router_bias"] = normal(shape.experts)
    weights["norm"] = 1 + normal(shape.hidden, scale=0.1)
    weights["rope"] = arithmetic.Rope(
        (10000.0 ** -(np.arange(0, shape.rotary_dim, 2) / shape.rotary_dim)).astype(np.float32), 1.1
    )
    memories = [Memory(shape.kv_heads, shape.head_dim, shape.windows[n]) for n in range(shape.layers)]
    return Placed(shape, weights, memories)


def for_arithmetic(placed: Placed) -> Placed:
    weights = {
        name: decoded(value) if isinstance(value, kernels.Packed) else value for name, value in placed.weights.items()
    }
    return Placed(placed.shape, weights, placed.memories)


def forward(model: Placed, batch, ops, tap):
    shape, w = model.shape, model.weights
    x = tap("embedding", ops.embed(batch.ids, w["embedding"]))
    for n in range(shape.layers):
        layer = {name.partition(".")[2]: value for name, value in w.items() if name.startswith(f"{n}.")}
        inner = tap.inside(f"layers.{n}")
        normed = ops.rms_norm(x, layer["attention_norm"], EPS)
        x = x + inner("attention.out", attention(normed, layer, n, model, batch, ops, inner))
        normed = ops.rms_norm(x, layer["mlp_norm"], EPS)
        x = inner("out", x + inner("mlp.out", mlp(normed, layer, shape, ops, inner)))
    x = tap("norm", ops.rms_norm(ops.select(x, batch.wanted), w["norm"], EPS))
    return tap("logits", ops.linear(x, w["embedding"]))


def attention(x, layer, n, model, batch, ops, tap):
    shape = model.shape
    q, k, v = (ops.heads(ops.linear(x, layer[name], layer[f"{name}_bias"]), shape.head_dim) for name in "qkv")
    if shape.head_norms:
        q, k = ops.rms_norm(q, layer["q_norm"], EPS), ops.rms_norm(k, layer["k_norm"], EPS)
    q, k = tap("attention.q", q), tap("attention.k", k)
    q, k = ops.rotate(q, batch.positions, model.weights["rope"]), ops.rotate(k, batch.positions, model.weights["rope"])
    mixed = ops.attend(
        q, k, v, batch.caches[n], scale=shape.head_dim**-0.5, window=shape.windows[n], sinks=layer["sinks"]
    )
    return ops.linear(tap("attention.mixed", mixed), layer["o"])


def mlp(x, layer, shape, ops, tap):
    if shape.experts:
        scores = tap("experts.scores", ops.linear(x, layer["router"], layer["router_bias"]))
        chosen, expert_weights = ops.route_top_k(scores, shape.top_k)
        chosen = tap("experts.chosen", chosen)
        names = ("gate", "up", "down")
        experts = arithmetic.Experts(
            *(layer[name] for name in names), *(layer[f"{name}_bias"] for name in names), alpha=1.702, limit=2.0
        )
        return ops.mix_experts(x, experts, chosen, expert_weights)
    gate = ops.linear(x, layer["gate"], layer["gate_bias"])
    inner = ops.swiglu(gate, ops.linear(x, layer["up"], layer["up_bias"]))
    return ops.linear(tap("mlp.inner", inner), layer["down"], layer["down_bias"])


def program(placed: Placed, *, threads=2, exact=False, cache="f16", instruction_set=None, watch=()):
    tracer = kernels.Tracer(exact=exact, cache=cache)
    return kernels.build(tracer, placed, threads=threads, instruction_set=instruction_set, watch=watch)


def some_ids(count: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, VOCABULARY, count).astype(np.int32)


def in_arithmetic(placed: Placed, ids: np.ndarray, dtype=np.float64) -> np.ndarray:
    ops = arithmetic.Ops(dtype)
    return for_arithmetic(placed).forward(ops.begin([(ops.new_cache(placed.memories), ids)], "all"), ops)
