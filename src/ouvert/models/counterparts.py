"""Under which names, and in which rows, transformers and llama.cpp keep the weights that may carry an adapter.

A matrix there may be several of ours, one below the other or in turn: gate and up of experts, the two halves of a
latent attention's products. What an adapter adds to it is then added to each of ours by its rows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ouvert.models import deepseek_v3, gpt_oss, llama, mixtral, qwen2, qwen3, qwen3_moe
from ouvert.models.adaptable import ATTENTION, FEED_FORWARD
from ouvert.models.family import Family
from ouvert.models.parameters import Array, Row, halves_from_pairs

Program = Literal["transformers", "llama.cpp"]


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One of our weights within a matrix of another program: `rows[i]` is the row there that is row i here."""

    ours: str
    rows: Array


@dataclass(frozen=True, slots=True, eq=False)
class Counterpart:
    """A matrix of another program, (outputs, inputs), or one for each of so many experts.

    `name` is that of the module for a linear layer of transformers ("model.layers.3.self_attn.q_proj") and of the
    parameter for experts ("model.layers.3.mlp.experts.gate_up_proj"); of llama.cpp, the tensor's, with ".weight".
    """

    name: str
    parts: tuple[Part, ...]
    outputs: int
    inputs: int
    experts: int | None

    @property
    def plain(self) -> bool:
        """Whether it is one weight of ours, row by row. Raises nothing."""
        return len(self.parts) == 1 and np.array_equal(self.parts[0].rows, np.arange(self.outputs))


# The rows of a layer, by family. Families that are not here have no weights that may carry an adapter.
ROWS: Mapping[str, Callable[[Any, int], Sequence[Row]]] = {
    "deepseek_v3": deepseek_v3.names.layer_rows,
    "gpt_oss": lambda config, n: gpt_oss.names.LAYER,
    "llama": lambda config, n: llama.names.LAYER,
    "mixtral": lambda config, n: mixtral.names.LAYER,
    "qwen2": lambda config, n: qwen2.names.LAYER,
    "qwen3": lambda config, n: qwen3.names.LAYER,
    "qwen3_moe": qwen3_moe.names.layer_rows,
}

# What transformers 5 calls the experts' matrices: the name within the layer, how many of ours are in it, and which of
# them this is. Sources: its models/<family>/modeling_<family>.py, class …Experts.
FUSED = "mlp.experts.gate_up_proj"
EXPERTS: Mapping[str, tuple[str, int, int]] = {
    "gate": (FUSED, 2, 0),
    "up": (FUSED, 2, 1),
    "down": ("mlp.experts.down_proj", 1, 0),
}
ALTERNATING = {"gpt_oss"}  # its gate and up take turns
# Where GGUF has the rows of q and k in the order of llama.cpp's rotation.
TURNING = {"llama", "mixtral"}
TURNED: Mapping[str, Callable[[Any], Array]] = {
    "q": lambda config: halves_from_pairs(config.num_attention_heads, config.head_dim),
    "k": lambda config: halves_from_pairs(config.num_key_value_heads, config.head_dim),
}


def counterparts(family: Family, config: Any, program: Program) -> list[Counterpart]:
    """Every matrix of that program in which a weight that may carry an adapter lies, in the order of the layers.

    Empty for a family that has no such weights. Raises nothing.
    """
    sizes = config.sizes()
    found: dict[str, list[Part]] = {}
    shapes: dict[str, tuple[int, int, int | None]] = {}
    rows = ROWS.get(family.name)
    for n in range(config.num_hidden_layers if rows else 0):
        for row in rows(config, n) if rows else ():
            if row.ours.rpartition(".")[2] not in (*ATTENTION, *FEED_FORWARD) or row.kind not in ("linear", "experts"):
                continue
            *experts, outputs, inputs = (sizes[dim] for dim in row.dims.split())
            name, order, height = place(family.name, config, row, outputs, program)
            name = name.format(n=n)
            found.setdefault(name, []).append(Part(f"layers.{n}.{row.ours}", order))
            shapes[name] = height, inputs, experts[0] if experts else None
    return [Counterpart(name, tuple(parts), *shapes[name]) for name, parts in found.items()]


def place(family: str, config: Any, row: Row, outputs: int, program: Program) -> tuple[str, Array, int]:
    """The matrix in which a weight of so many rows lies: its name ({n} is the layer), which rows of it, and how many
    it has."""
    said, last = (row.hf, row.ours.rpartition(".")[2]) if program == "transformers" else (row.gguf, row.ours)
    if program == "transformers" and row.kind == "experts":
        name, count, which = EXPERTS[last]
        places = np.arange(count * outputs)
        taken = places[which::count] if family in ALTERNATING else places.reshape(count, outputs)[which]
        return f"model.layers.{{n}}.{name}", taken, count * outputs
    if family == "deepseek_v3" and (split := deepseek_v3.names.rows_of(said, config)) is not None:
        ending = "" if program == "transformers" else ".weight"
        return said.rpartition(".")[0] + ending, *split
    turned = TURNED.get(row.ours) if program == "llama.cpp" and family in TURNING else None
    order = np.arange(outputs) if turned is None else turned(config)
    return said.removesuffix(".weight") if program == "transformers" else said, order, outputs
