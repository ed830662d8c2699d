"""Every operation at the sizes where kernels break, with its slow loop, what may be lost to rounding, and a mistake.

The values that an operation reads are rows of an embedding, so that a graph is a whole: it begins with token ids and
ends with rows, whoever computes it. Token t reads row t.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ouvert.arithmetic import Experts, Rope, Tap
from ouvert.models import KeyValueMemory, LatentMemory, Memory, Parameter, StateMemory
from ouvert.models.sources import Plain
from ouvert.weights import Tensor

from . import loops

Array = np.ndarray[Any, np.dtype[Any]]

# One, odd, lane - 1, lane, lane + 1 (of 16 numbers), two lanes around, and the widths of SmolLM2 and gpt-oss.
WIDTHS = [1, 7, 15, 16, 17, 31, 33, 576, 2880]
TOKENS = 5
# Nothing is added up: the numbers are the given ones.
EXACT = 0
# Powers of two, sigmoids, cosines and square roots of the kernels are within 1e-7 to 3e-7 of their size, which is five
# roundings of float32, and there are up to three in a row.
FUNCTIONS = 16


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Case:
    """One operation at one size.

    `compute(ops, batch, tap, **values, **weights)` says it as a graph does. `slow(**values, **weights)` says it as
    loops do, in float64: it gives rows, or several arrays by name, of which a tap sees the others. `mistake` gives what
    a plausible bug would. A result may be off by `roundings` roundings of its largest number.
    """

    operation: str
    size: str
    values: dict[str, Array]
    weights: dict[str, tuple[str, Array]] = field(default_factory=dict)  # (kind of parameter, numbers)
    memory: Memory | None = None
    compute: Callable[..., Any]
    slow: Callable[..., Any]
    mistake: Callable[..., Any]
    roundings: float

    def __str__(self) -> str:
        return f"{self.operation} {self.size}"

    @property
    def ids(self) -> Array:
        return np.arange(len(next(iter(self.values.values()))))

    def parameters(self) -> dict[str, Parameter]:
        given = {name: ("embedding", rows) for name, rows in self.values.items()} | self.weights
        return {name: parameter(name, kind, numbers) for name, (kind, numbers) in given.items()}

    def graph(self, placed: dict[str, Any]) -> "OneOperation":
        return OneOperation(self, placed)

    def numbers(self) -> dict[str, Array]:
        """Values and weights as a loop takes them."""
        given = self.values | {name: numbers for name, (_, numbers) in self.weights.items()}
        return {name: each.astype(np.float64) for name, each in given.items()}

    def expected(self, how: Callable[..., Any] | None = None) -> dict[str, Array]:
        """What `slow`, or another loop, makes of the numbers."""
        found = (how or self.slow)(**self.numbers())
        return found if isinstance(found, dict) else {"rows": found}


@dataclass(frozen=True)
class OneOperation:
    """A case as a graph."""

    case: Case
    placed: dict[str, Any]

    @property
    def memories(self) -> list[Memory]:
        return [] if self.case.memory is None else [self.case.memory]

    def forward(self, batch: Any, ops: Any, tap: Any = None) -> Any:
        given = {
            name: ops.embed(batch.ids, each) if name in self.case.values else each for name, each in self.placed.items()
        }
        return ops.select(self.case.compute(ops, batch, tap or Tap(), **given), batch.wanted)


def parameter(name: str, kind: Any, numbers: Array) -> Parameter:
    data = np.ascontiguousarray(numbers, "<f4").reshape(-1).view(np.uint8)
    return Parameter(name, kind, numbers.shape, Plain(Tensor(name, numbers.shape, "F32", data)))


def normal(seed: int, *shape: int, scale: float = 1.0) -> Array:
    return (scale * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


# ---- every token by itself


def tables() -> Iterator[Case]:
    for width in WIDTHS:
        yield Case(
            operation="embed", size=str(width), values={"x": normal(1, TOKENS, width)},
            compute=lambda ops, batch, tap, x: x,
            slow=lambda x: x, mistake=lambda x: x[::-1], roundings=EXACT,
        )  # fmt: skip
        yield Case(
            operation="+", size=str(width), values={"x": normal(2, TOKENS, width), "y": normal(3, TOKENS, width)},
            compute=lambda ops, batch, tap, x, y: x + y,
            slow=lambda x, y: x + y, mistake=lambda x, y: x - y, roundings=1,
        )  # fmt: skip
        yield Case(
            operation="select", size=str(width), values={"x": normal(4, TOKENS, width)},
            compute=lambda ops, batch, tap, x: ops.select(x + x, batch.wanted),
            slow=lambda x: 2 * x, mistake=lambda x: x, roundings=EXACT,
        )  # fmt: skip


def products() -> Iterator[Case]:
    for columns in WIDTHS:
        for rows, biased in ((1, False), (17, True), (48, False)):
            weights = {"weight": ("linear", normal(5, rows, columns))}
            if biased:
                weights["bias"] = ("bias", normal(6, rows))
            yield Case(
                operation="linear", size=f"{columns} to {rows}", values={"x": normal(7, TOKENS, columns)},
                weights=weights,
                compute=lambda ops, batch, tap, x, weight, bias=None: ops.linear(x, weight, bias),
                slow=loops.linear,
                mistake=lambda x, weight, bias=None: loops.linear(x, weight[:, ::-1] + 0.1, bias),
                roundings=columns + 2,  # each term once, at worst; their signs differ, so the result is far from it
            )  # fmt: skip
    for heads, inner, outer in ((1, 1, 1), (3, 15, 2), (2, 16, 17), (5, 17, 16), (4, 128, 33)):
        yield Case(
            operation="linear_heads", size=f"{heads} of {inner} to {outer}",
            values={"x": normal(8, TOKENS, heads * inner)},
            weights={"weight": ("experts", normal(9, heads, outer, inner))},
            compute=lambda ops, batch, tap, x, weight: ops.linear_heads(x, weight),
            slow=lambda x, weight, heads=heads: np.concatenate(
                [loops.linear(part, own) for part, own in zip(np.split(x, heads, 1), weight, strict=True)], 1),
            mistake=lambda x, weight, heads=heads: np.concatenate(
                [loops.linear(part, own + 0.1) for part, own in zip(np.split(x, heads, 1), weight, strict=True)], 1),
            roundings=inner + 2,
        )  # fmt: skip
        yield Case(
            operation="join", size=f"{heads} of {inner} and {outer}",
            values={"a": normal(10, TOKENS, heads * inner), "b": normal(11, TOKENS, heads * outer)},
            compute=lambda ops, batch, tap, a, b, heads=heads: ops.join(a, b, heads),
            slow=lambda a, b, heads=heads: np.concatenate(
                [part for both in zip(np.split(a, heads, 1), np.split(b, heads, 1), strict=True) for part in both], 1),
            mistake=lambda a, b: np.concatenate([b, a], 1), roundings=EXACT,
        )  # fmt: skip


EPS = 1e-2  # large, so that a forgotten one shows


def norms() -> Iterator[Case]:
    for width in WIDTHS:
        for scale in (1e-3, 1.0, 1e4):
            yield Case(
                operation="rms_norm", size=f"{width}, numbers of {scale:g}",
                values={"x": normal(12, TOKENS, width, scale=scale)}, weights={"weight": ("norm", normal(13, width))},
                compute=lambda ops, batch, tap, x, weight: ops.rms_norm(x, weight, EPS),
                slow=lambda x, weight: loops.rms_norm(x, weight, EPS),
                mistake=lambda x, weight: loops.rms_norm(x, weight + 1, EPS),
                roundings=FUNCTIONS,
            )  # fmt: skip
    for groups, each in ((2, 1), (3, 7), (2, 16), (5, 17), (8, 1024)):
        yield Case(
            operation="rms_norm", size=f"{groups} groups of {each}", values={"x": normal(53, TOKENS, groups * each)},
            weights={"weight": ("norm", normal(54, groups * each))},
            compute=lambda ops, batch, tap, x, weight, groups=groups: ops.rms_norm(x, weight, EPS, groups=groups),
            slow=lambda x, weight, groups=groups: loops.rms_norm_of_groups(x, weight, EPS, groups),
            mistake=lambda x, weight: loops.rms_norm(x, weight, EPS),
            roundings=FUNCTIONS,
        )  # fmt: skip
    for heads, head_dim in ((1, 1), (3, 7), (2, 16), (5, 17), (8, 64)):
        yield Case(
            operation="heads", size=f"{heads} of {head_dim}", values={"x": normal(14, TOKENS, heads * head_dim)},
            weights={"weight": ("norm", normal(15, head_dim))},
            compute=lambda ops, batch, tap, x, weight, head_dim=head_dim:
                ops.rms_norm(ops.heads(x, head_dim), weight, EPS),
            slow=lambda x, weight, head_dim=head_dim: loops.by_heads(loops.rms_norm, x, head_dim, weight, EPS),
            mistake=lambda x, weight, heads=heads:
                loops.rms_norm(x, np.tile(weight, heads), EPS) + (heads == 1),
            roundings=FUNCTIONS,
        )  # fmt: skip


def gates() -> Iterator[Case]:
    for width in WIDTHS:
        for scale in (0.1, 5.0, 200.0):
            values = {"gate": normal(16, TOKENS, width, scale=scale), "up": normal(17, TOKENS, width, scale=scale)}
            yield Case(
                operation="swiglu", size=f"{width}, numbers of {scale:g}", values=values,
                compute=lambda ops, batch, tap, gate, up: ops.swiglu(gate, up),
                slow=loops.gated, mistake=lambda gate, up: loops.gated(up, gate), roundings=FUNCTIONS,
            )  # fmt: skip
            yield Case(
                operation="clamped_swiglu", size=f"{width}, numbers of {scale:g}", values=values,
                compute=lambda ops, batch, tap, gate, up: ops.clamped_swiglu(gate, up, 1.702, 7.0),
                slow=lambda gate, up: loops.clamped_gated(gate, up, 1.702, 7.0),
                mistake=lambda gate, up: loops.clamped_gated(gate, up, 1.0, 6.0), roundings=FUNCTIONS,
            )  # fmt: skip


def rotations() -> Iterator[Case]:
    for heads, head_dim, rotary, tokens in (
        (1, 2, 2, 1),
        (3, 6, 6, 7),
        (2, 20, 12, 65),
        (5, 34, 32, 40),
        (2, 128, 128, 40),
    ):
        frequencies = (100.0 ** -(np.arange(0, rotary, 2) / rotary)).astype(np.float32)
        rope = Rope(frequencies, 1.25)
        yield Case(
            operation="rotate", size=f"{heads} of {head_dim}, {rotary} turning, {tokens} tokens",
            values={"x": normal(18, tokens, heads * head_dim)},
            compute=lambda ops, batch, tap, x, rope=rope, head_dim=head_dim:
                ops.rotate(ops.heads(x, head_dim), batch.positions, rope),
            slow=lambda x, rope=rope, head_dim=head_dim: loops.by_heads(
                loops.rotated, x, head_dim, rope.inverse_frequencies.astype(float), rope.magnitude),
            mistake=lambda x, rope=rope, head_dim=head_dim: loops.by_heads(
                loops.rotated, x, head_dim, -rope.inverse_frequencies.astype(float), rope.magnitude + 0.1),
            roundings=FUNCTIONS + tokens,  # an angle of `tokens` radians is off by as many halves of the last place
        )  # fmt: skip


# ---- experts


def routes() -> Iterator[Case]:
    for experts, top_k in ((1, 1), (2, 1), (15, 3), (16, 4), (17, 16), (128, 4)):
        scores = np.round(2 * normal(19, 20, experts)) / 2  # half of them have an equal
        scores[3] = 0
        yield Case(
            operation="route_top_k", size=f"{top_k} of {experts}", values={"scores": scores},
            compute=lambda ops, batch, tap, scores, top_k=top_k: shown(tap, *ops.route_top_k(scores, top_k)),
            slow=lambda scores, top_k=top_k: loops.routed(scores, top_k),
            mistake=lambda scores, top_k=top_k: loops.routed(0.5 * scores[:, ::-1] + 1, top_k)["rows"][::-1] / 2,
            roundings=FUNCTIONS,
        )  # fmt: skip
        yield Case(
            operation="route_top_k", size=f"{top_k} of {experts}, among all", values={"scores": scores},
            compute=lambda ops, batch, tap, scores, top_k=top_k:
                shown(tap, *ops.route_top_k(scores, top_k, normalised=False)),
            slow=lambda scores, top_k=top_k: loops.routed(scores, top_k, normalised=False),
            mistake=lambda scores, top_k=top_k: loops.routed(scores, top_k, normalised=False)["rows"] / 2,
            roundings=FUNCTIONS + experts,
        )  # fmt: skip
        yield Case(
            operation="route_top_k of given experts", size=f"{top_k} of {experts}",
            values={"scores": normal(20, 20, experts), "other": scores},
            compute=lambda ops, batch, tap, scores, other, top_k=top_k:
                ops.route_top_k(scores, top_k, ops.route_top_k(other, top_k)[0])[1],
            slow=lambda scores, other, top_k=top_k:
                loops.routed(scores, top_k, loops.routed(other, top_k)["chosen"])["rows"],
            mistake=lambda scores, other, top_k=top_k: loops.routed(other, top_k)["rows"] / 2,
            roundings=FUNCTIONS,
        )  # fmt: skip
    for experts, groups, top_k_groups, top_k in ((2, 1, 1, 1), (9, 3, 2, 3), (256, 8, 4, 8)):
        for normalised in (False, True):
            scores, correction = normal(21, 40, experts), normal(22, experts, scale=0.2)
            scores[3] = 0  # nothing but ties
            correction[:2] = correction[-1]
            of = (top_k, groups, top_k_groups)
            yield Case(
                operation="route_top_k_of_groups", size=f"{top_k} of {experts}, {normalised=}",
                values={"scores": scores}, weights={"correction": ("bias", correction)},
                compute=lambda ops, batch, tap, scores, correction, of=of, normalised=normalised: shown(
                    tap, *ops.route_top_k_of_groups(scores, correction, *of, normalised=normalised, factor=2.5)),
                slow=lambda scores, correction, of=of, normalised=normalised:
                    loops.routed_in_groups(scores, correction, *of, normalised, 2.5),
                mistake=lambda scores, correction, of=of, normalised=normalised:
                    loops.routed_in_groups(scores, correction, *of, normalised, 2.0),
                roundings=FUNCTIONS,
            )  # fmt: skip


def shown(tap: Any, chosen: Any, weights: Any) -> Any:
    tap("chosen", chosen)
    return weights


def mixtures() -> Iterator[Case]:
    sizes = [
        (1, 1, 1, 1, 1),
        (5, 7, 6, 9, 2),
        (3, 15, 17, 5, 2),
        (8, 16, 16, 33, 3),
        (4, 17, 15, 20, 4),
        (4, 96, 64, 3, 2),
    ]
    for experts, inner, hidden, tokens, top_k in sizes:
        for limit, biased in ((None, False), (1.0, True)):
            weights: dict[str, tuple[str, Array]] = {
                "gate": ("experts", normal(23, experts, inner, hidden, scale=hidden**-0.5)),
                "up": ("experts", normal(24, experts, inner, hidden, scale=hidden**-0.5)),
                "down": ("experts", normal(25, experts, hidden, inner, scale=inner**-0.5)),
            }
            if biased:
                lengths = {"gate": inner, "up": inner, "down": hidden}
                weights |= {f"{name}_bias": ("expert_bias", normal(26, experts, n)) for name, n in lengths.items()}

            def compute(ops, batch, tap, x, scores, limit=limit, top_k=top_k, **w):
                chosen, expert_weights = ops.route_top_k(scores, top_k)
                return ops.mix_experts(x, Experts(**w, alpha=1.702, limit=limit), chosen, expert_weights)

            def slow(x, scores, limit=limit, top_k=top_k, **w):
                gate = loops.gated if limit is None else lambda a, b: loops.clamped_gated(a, b, 1.702, limit)
                return loops.mixed_experts(x, scores, top_k, w, gate)

            yield Case(
                operation="mix_experts", size=f"{top_k} of {experts}, {hidden} to {inner}, {tokens} tokens, {limit=}",
                values={"x": normal(27, tokens, hidden), "scores": normal(28, tokens, experts)}, weights=weights,
                compute=compute, slow=slow,
                mistake=lambda x, scores, slow=slow, **w:
                    slow(x, scores, **w | {"gate": w["up"], "up": w["gate"] + 0.1}),
                roundings=inner + hidden + FUNCTIONS,
            )  # fmt: skip


# ---- what remembers

# A score is a sum of head_dim products, and what it is off by is off in the share too: scores are of a few units.
ATTENTION = 64


def attentions() -> Iterator[Case]:
    sizes = [  # (tokens, query heads, kv heads, head_dim); native blocks are of 64 keys
        (1, 1, 1, 1), (5, 5, 5, 1), (9, 6, 3, 12), (63, 4, 2, 15), (64, 3, 1, 16), (65, 2, 2, 17), (130, 8, 1, 64),
    ]  # fmt: skip
    for tokens, q_heads, kv_heads, head_dim in sizes:
        for window, with_sinks in ((None, False), (None, True), (3, False), (64, True)):
            given: dict[str, Any] = {"scale": head_dim**-0.5, "window": window}
            heads = (q_heads, kv_heads)
            weights = {"sinks": ("sinks", normal(29, q_heads, scale=2))} if with_sinks else {}
            yield Case(
                operation="attend", size=f"{tokens} tokens, {q_heads} and {kv_heads} heads of {head_dim}, {window=}"
                + ", sinks" * with_sinks,
                values={
                    "q": normal(30, tokens, q_heads * head_dim), "k": normal(31, tokens, kv_heads * head_dim),
                    "v": normal(32, tokens, kv_heads * head_dim),
                },
                weights=weights, memory=KeyValueMemory(kv_heads, head_dim, window),
                compute=lambda ops, batch, tap, q, k, v, sinks=None, given=given, head_dim=head_dim: ops.attend(
                    *(ops.heads(each, head_dim) for each in (q, k, v)), batch.caches[0], sinks=sinks, **given),
                slow=lambda q, k, v, sinks=None, heads=heads, given=given:
                    loops.attention(q, k, v, heads, sinks=sinks, **given),
                mistake=lambda q, k, v, sinks=None, heads=heads, given=given: loops.attention(
                    q, k, v if len(q) > 1 else v + 1, heads, sinks=None if sinks is None else sinks + 1,
                    scale=given["scale"] / 2, window=given["window"] and given["window"] + 1),
                roundings=ATTENTION,
            )  # fmt: skip
    for tokens, heads, latent, rope in ((1, 1, 1, 2), (9, 2, 15, 2), (65, 3, 16, 4), (40, 5, 17, 6), (5, 128, 512, 64)):
        width = latent + rope
        yield Case(
            operation="attend_latent", size=f"{tokens} tokens, {heads} heads, {latent} and {rope}",
            values={"q": normal(33, tokens, heads * width), "latents": normal(34, tokens, width)},
            memory=LatentMemory(width, latent),
            compute=lambda ops, batch, tap, q, latents, width=width:
                ops.attend_latent(ops.heads(q, width), latents, batch.caches[0], scale=width**-0.5),
            slow=lambda q, latents, heads=heads, latent=latent, width=width:
                loops.latent_attention(q, latents, heads, latent, width**-0.5),
            mistake=lambda q, latents, heads=heads, latent=latent, width=width:
                loops.latent_attention(q, np.roll(latents, 1, 1), heads, latent, width**-0.5),
            roundings=ATTENTION,
        )  # fmt: skip


def states() -> Iterator[Case]:
    sizes = [  # (tokens, channels, states, taps); the last is mamba-130m's
        (1, 1, 1, 1), (9, 15, 3, 2), (20, 16, 1, 4), (65, 17, 16, 3), (20, 65, 5, 16), (5, 1536, 16, 4),
    ]  # fmt: skip
    for tokens, channels, count, taps in sizes:
        values = {
            "x": normal(37, tokens, channels), "dt": normal(38, tokens, channels),
            "B": normal(39, tokens, count), "C": normal(40, tokens, count),
        }  # fmt: skip
        weights = {
            "weight": ("convolution", normal(41, channels, taps)), "bias": ("bias", normal(42, channels)),
            "A": ("A", -np.exp(normal(43, channels, count))), "D": ("D", normal(44, channels)),
        }  # fmt: skip
        yield Case(
            operation="convolve", size=f"{tokens} tokens, {channels} channels, {taps} taps",
            values=values, weights=weights, memory=StateMemory(channels, taps, count, channels),
            compute=lambda *given, **named: convolved_and_scanned(*given, **named)[0],
            slow=lambda x, weight, bias, **rest: loops.convolved(x, weight, bias),
            mistake=lambda x, weight, bias, **rest: loops.convolved(x, weight[:, ::-1] + 0.1, bias),
            roundings=taps + FUNCTIONS,
        )  # fmt: skip
        yield Case(
            operation="selective_scan", size=f"{tokens} tokens, {channels} channels, {count} states",
            values=values, weights=weights, memory=StateMemory(channels, taps, count, channels),
            compute=lambda *given, **named: convolved_and_scanned(*given, **named)[1],
            slow=lambda x, dt, B, C, weight, bias, A, D:
                loops.scanned(loops.convolved(x, weight, bias), dt, A, B, C, D),
            mistake=lambda x, dt, B, C, weight, bias, A, D:
                loops.scanned(loops.convolved(x, weight, bias), dt, A, C, B + 0.1, D),
            # A decay's error is multiplied token after token, but so is the decay, which is less than 1.
            roundings=count + taps + 4 * FUNCTIONS,
        )  # fmt: skip


def ssd_scans() -> Iterator[Case]:
    sizes = [  # (tokens, heads, head_dim, groups, states, bounds of dt); the last has codestral-mamba-7b's heads
        (1, 1, 1, 1, 1, (0.0, math.inf)),
        (9, 2, 15, 1, 3, (0.0, math.inf)),
        (20, 3, 16, 3, 1, (0.3, 0.8)),
        (70, 4, 17, 2, 16, (0.0, math.inf)),
        (20, 2, 65, 2, 5, (0.0, 1.0)),
        (67, 6, 80, 3, 7, (0.0, math.inf)),
        (5, 4, 64, 2, 128, (0.0, math.inf)),
    ]
    for tokens, heads, head_dim, groups, count, limits in sizes:
        channels = heads * head_dim
        convolved = channels + 2 * groups * count
        yield Case(
            operation="ssd_scan",
            size=f"{tokens} tokens, {heads} heads of {head_dim}, {groups} groups, {count} states, dt in {limits}",
            values={"xBC": normal(47, tokens, convolved), "dt": normal(48, tokens, heads)},
            weights={
                "weight": ("convolution", normal(49, convolved, 2)), "bias": ("bias", normal(50, convolved)),
                "A": ("D", -np.exp(normal(51, heads))), "D": ("D", normal(52, heads)),
            },
            memory=StateMemory(channels, 2, count, convolved),
            compute=lambda ops, batch, tap, xBC, dt, weight, bias, A, D, limits=limits: ops.ssd_scan(
                ops.convolve(xBC, weight, bias, batch.caches[0]), dt, A, D, batch.caches[0], limits=limits),
            slow=lambda xBC, dt, weight, bias, A, D, count=count, groups=groups, limits=limits:
                loops.ssd_scanned(loops.convolved(xBC, weight, bias), dt, A, D, count, groups, limits),
            mistake=lambda xBC, dt, weight, bias, A, D, count=count, groups=groups, limits=limits:
                loops.ssd_scanned(loops.convolved(xBC, weight, bias), dt + 0.1, A, D + 0.1, count, groups, limits),
            roundings=count + 2 + 4 * FUNCTIONS,
        )  # fmt: skip


def convolved_and_scanned(
    ops: Any, batch: Any, tap: Any, x: Any, dt: Any, B: Any, C: Any, weight: Any, bias: Any, A: Any, D: Any
) -> tuple[Any, Any]:
    """A step's inputs and states are remembered together, so both operations are always there."""
    inputs = ops.convolve(x, weight, bias, batch.caches[0])
    return inputs, ops.selective_scan(inputs, dt, A, B, C, D, batch.caches[0])


CASES = [
    *tables(), *products(), *norms(), *gates(), *rotations(), *routes(), *mixtures(), *attentions(), *states(),
    *ssd_scans(),
]  # fmt: skip
