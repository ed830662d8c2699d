"""What a layer must remember of a sequence."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KeyValueMemory:
    """The keys and values of every token, or of the last `window` tokens if the layer looks no further back."""

    kv_heads: int
    head_dim: int
    window: int | None
