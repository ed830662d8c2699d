"""What a model of a known shape weighs and computes, from arithmetic alone: no file is needed. Table: shapes.toml."""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path

TABLE = Path(__file__).with_name("shapes.toml")

# Numbers that share one 32-bit scale in an 8-bit cache: docs/formats/cache.md.
Q8_NEIGHBOURS = 32
# Keys of a block, of whose first an 8-bit cache keeps a copy in 32 bits.
BLOCK_KEYS = 64

# Bits a weight takes, scales included, by encoding; docs/formats/encodings.md has the blocks.
BITS = {
    "F32": 32.0,
    "BF16": 16.0,
    "F16": 16.0,
    "F8_E4M3": 8.0,
    "Q8_0": 8.5,
    "Q6_K": 6.5625,
    "Q5_K": 5.5,
    "Q4_1": 5.0,
    "Q4_0": 4.5,
    "Q4_K": 4.5,
    "Q4_K_M": 4.8,  # a mix: 4.5, and 6.5625 for values and down projections of half the layers; HEAD_BITS has the head
    "MXFP4": 4.25,
}

# Bits a weight of the head takes, where it is kept better than the rest. A tied embedding is the head.
HEAD_BITS = {"Q4_K_M": 6.5625}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The sizes that decide memory and time; shapes.toml says what each field means.

    Its properties raise nothing.
    """

    family: str
    shipped: str
    hidden: int
    layers: int
    vocabulary: int
    context: int | None = None
    tied: bool = False
    heads: int = 0
    kv_heads: int = 0
    head_dim: int = 0
    window: int = 0
    windowed: int = 0
    inner: int = 0
    experts: int = 0
    chosen: int = 0
    expert_inner: int = 0
    shared: int = 0
    dense_layers: int = 0
    latent: int = 0
    rotary: int = 0
    q_latent: int = 0
    value_dim: int = 0
    expanded: int = 0
    state: int = 0
    groups: int = 0
    convolution: int = 0

    @property
    def mixer(self) -> int:
        """Weights of one layer's attention or state space."""
        hidden = self.hidden
        if self.latent:
            queries = self.q_latent * (hidden + self.heads * (self.head_dim + self.rotary))
            keys = hidden * (self.latent + self.rotary) + self.latent * self.heads * (self.head_dim + self.value_dim)
            return queries + keys + self.heads * self.value_dim * hidden
        if self.groups:  # Mamba-2: one projection in, one out
            return hidden * (3 * self.expanded + 2 * self.groups * self.state + self.heads)
        if self.expanded:  # Mamba: x and gate in, then step, B and C, then out
            rank = -(-hidden // 16)
            return self.expanded * (3 * hidden + 2 * rank + 3 * self.state + self.convolution)
        return hidden * self.head_dim * (2 * self.heads + 2 * self.kv_heads)

    @property
    def expert(self) -> int:
        """Weights of one expert: gate, up, down."""
        return 3 * self.hidden * self.expert_inner

    @property
    def dense_weights(self) -> int:
        """Weights every token meets in the layers: all but the routed experts."""
        expert_layers = self.layers - self.dense_layers if self.experts else 0
        dense = (self.layers - expert_layers) * 3 * self.hidden * self.inner
        always = expert_layers * (self.shared * self.expert + self.experts * self.hidden)
        return self.layers * self.mixer + dense + always

    @property
    def expert_weights(self) -> int:
        """Weights of all routed experts."""
        return (self.layers - self.dense_layers) * self.experts * self.expert if self.experts else 0

    def matrices(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """(our name, shape) of every matrix, those of experts among them. Raises nothing."""
        yield "embedding", (self.vocabulary, self.hidden)
        if not self.tied:
            yield "unembedding", (self.vocabulary, self.hidden)
        for n in range(self.layers):
            routed = self.experts > 0 and n >= self.dense_layers
            for name, shape in (*self._mixer(), *(self._experts() if routed else self._dense(self.inner))):
                yield f"layers.{n}.{name}", shape

    def _mixer(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        hidden, inner = self.hidden, self.expanded
        if self.latent:
            from_width = self.q_latent or hidden
            if self.q_latent:
                yield "query_low", (self.q_latent, hidden)
            yield "query_nope", (self.heads * self.head_dim, from_width)
            yield "query_rope", (self.heads * self.rotary, from_width)
            yield "latent", (self.latent, hidden)
            yield "key_rope", (self.rotary, hidden)
            yield "key", (self.heads, self.latent, self.head_dim)
            yield "value", (self.heads, self.value_dim, self.latent)
            yield "o", (hidden, self.heads * self.value_dim)
        elif inner:
            yield from (("gate", (inner, hidden)), ("out", (hidden, inner)))
            if self.groups:
                yield "xBC", (inner + 2 * self.groups * self.state, hidden)
                yield "dt", (self.heads, hidden)
            else:
                rank = -(-hidden // 16)
                yield "x", (inner, hidden)
                yield from ((name, (self.state, inner)) for name in ("B", "C"))
                yield from (("dt_low", (rank, inner)), ("dt", (inner, rank)))
        else:
            queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
            yield from (
                ("q", (queries, hidden)),
                ("k", (keys, hidden)),
                ("v", (keys, hidden)),
                ("o", (hidden, queries)),
            )

    def _dense(self, inner: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        if inner:
            yield from ((name, (inner, self.hidden)) for name in ("gate", "up"))
            yield "down", (self.hidden, inner)

    def _experts(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield "router", (self.experts, self.hidden)
        yield from self._dense(self.shared * self.expert_inner)
        yield from ((f"experts.{name}", (self.experts, self.expert_inner, self.hidden)) for name in ("gate", "up"))
        yield "experts.down", (self.experts, self.hidden, self.expert_inner)

    @property
    def words(self) -> int:
        """Weights of the embedding, which is also the size of the head."""
        return self.vocabulary * self.hidden

    @property
    def parameters(self) -> int:
        """All weights that are multiplied with; norms and biases are too few to count."""
        return self.dense_weights + self.expert_weights + self.words * (1 if self.tied else 2)

    @property
    def active(self) -> int:
        """Weights one generated token is multiplied with. Looking up its embedding is free."""
        share = self.chosen / self.experts if self.experts else 0
        return self.dense_weights + round(self.expert_weights * share) + self.words

    def weight_bytes(self) -> int:
        """Bytes of all weights as they are shipped. Raises nothing."""
        experts, others, head = self._bits()
        words = self.words * (head if self.tied else head + others)
        return round((self.expert_weights * experts + self.dense_weights * others + words) / 8)

    def expert_bytes(self) -> int:
        """Bytes of all routed experts, in the encoding that is shipped. Raises nothing."""
        return round(self.expert_weights * self._bits()[0] / 8)

    def embedding_bytes(self) -> int:
        """Bytes of the embedding, in the encoding that is shipped; it is the head too where they are tied. Raises
        nothing."""
        _, others, head = self._bits()
        return round(self.words * (head if self.tied else others) / 8)

    def bytes_per_token(self) -> int:
        """Bytes of weights read to generate one token, in the encoding that is shipped. Raises nothing."""
        experts, others, head = self._bits()
        share = self.chosen / self.experts if self.experts else 0
        return round((self.expert_weights * share * experts + self.dense_weights * others + self.words * head) / 8)

    def _bits(self) -> tuple[float, float, float]:
        """Bits of a weight in (routed experts, elsewhere, the head). gpt-oss ships 4 bits in its experts alone."""
        if self.shipped == "MXFP4":
            return BITS["MXFP4"], BITS["BF16"], BITS["BF16"]
        return BITS[self.shipped], BITS[self.shipped], HEAD_BITS.get(self.shipped, BITS[self.shipped])

    def cache_bytes(self, tokens: int, cache_type: str = "f16") -> int:
        """What a sequence of so many tokens keeps: keys and values, or latents, as the cache type says, and states in
        32 bits whatever it is.

        Raises KeyError for a cache type that is none of "f16", "f32" and "q8".
        """
        if self.latent:
            return self.layers * tokens * latent_bytes(self.latent + self.rotary, cache_type)
        if self.expanded:
            channels = self.expanded + 2 * self.groups * self.state
            return 4 * self.layers * (self.expanded * self.state + channels * (self.convolution - 1))
        per_token = self.kv_heads * key_value_bytes(self.head_dim, cache_type)
        return per_token * ((self.layers - self.windowed) * tokens + self.windowed * min(tokens, self.window))


def key_value_bytes(head_dim: int, cache_type: str) -> int:
    """Bytes of one key and one value of one head, with its share of the first key for q8. docs/formats/cache.md.

    Raises KeyError for another cache type.
    """
    first = -(-4 * head_dim // BLOCK_KEYS) if cache_type == "q8" else 0
    return 2 * latent_bytes(head_dim, cache_type) + first


def latent_bytes(width: int, cache_type: str) -> int:
    """Bytes of one latent, or of a value. docs/formats/cache.md. Raises KeyError for another cache type."""
    if cache_type == "q8":
        return width + 4 * -(-width // Q8_NEIGHBOURS)
    return width * {"f16": 2, "f32": 4}[cache_type]


@cache
def known_shapes() -> dict[str, Shape]:
    """By the names of the store's table of aliases. Raises nothing."""
    table = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    known = {field.name for field in fields(Shape)}
    shapes: dict[str, Shape] = {}
    for name, row in table.items():
        if "same_as" in row:
            changes = {key: value for key, value in row.items() if key != "same_as"}
            shapes[name] = replace(shapes[row["same_as"]], **changes)
            continue
        if unknown := row.keys() - known:
            raise ValueError(f"shapes.toml: {name} has {sorted(unknown)}, which no field of Shape is called.")
        shapes[name] = Shape(**row)
    return shapes
