"""What a layer must cache of a sequence: the sizes of its cache."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KeyValueMemory:
    """The keys and values of every token, or of the last `window` tokens if the layer looks no further back."""

    kv_heads: int
    head_dim: int
    window: int | None


@dataclass(frozen=True, slots=True)
class StateMemory:
    """The last `convolution` - 1 inputs of every one of the `convolved` channels of a convolution, and the state of
    every one of `channels`: `states` numbers that all tokens have made."""

    channels: int
    convolution: int
    states: int
    convolved: int

    @property
    def numbers(self) -> int:
        """How many numbers that are. Raises nothing."""
        return (self.convolution - 1) * self.convolved + self.states * self.channels


@dataclass(frozen=True, slots=True)
class LatentMemory:
    """One vector of every token, shared by all heads; its first `value_width` numbers are the values as well."""

    width: int
    value_width: int


# What one layer must remember of a sequence.
Memory = KeyValueMemory | LatentMemory | StateMemory
