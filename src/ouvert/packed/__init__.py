"""A model's weights in the layouts that compute: written once, memory-mapped, watched.

May import kernels, models, arithmetic and weights. What computes with a model or looks inside begins here:

    with packed.open_model(path) as files:                      # recognised once: files.family, .config, .parameters
        placed = files.place_packed(file, threads=2)            # or place_in_memory, or files.place(of other Places)
    placed.model.forward(...)                                   # as long as placed.watch.fault() is None
    placed.close()

The package imports without the native kernels; whatever packs then raises ImportError.
"""

from ouvert.packed.adapter import Adapter
from ouvert.packed.adapters import (
    LAYOUTS,
    MERGED,
    AdapterError,
    AdapterFiles,
    ExpertLayout,
    Merge,
    MergeCheck,
    OpenedAdapter,
    Recognised,
    adapter_at,
    check_merge,
    open_gguf_adapter,
    open_peft,
    plan_merge,
    read_gguf_adapter,
    read_peft,
    write_gguf_adapter,
    write_merge,
    write_peft,
)
from ouvert.packed.kept import PackedFile, packed_weights
from ouvert.packed.memory import InMemory
from ouvert.packed.model_files import ModelFiles, PlacedModel, open_model
from ouvert.packed.on_demand import looked_up_only
from ouvert.packed.placement import LAYOUT_VERSION, Placement, placements
from ouvert.packed.precision import (
    BITS_A_WEIGHT,
    PRECISIONS,
    STORED,
    USUAL,
    AskedPrecision,
    Precision,
    PrecisionLimit,
    layout_at,
    precision_itself,
    settled,
)
from ouvert.packed.reading import PackedWeights, damage_in
from ouvert.packed.recipe import described, json_digest
from ouvert.packed.watch import Damage, WeightsWatch, lower_priority

__all__ = [
    "BITS_A_WEIGHT",
    "LAYOUTS",
    "LAYOUT_VERSION",
    "MERGED",
    "PRECISIONS",
    "STORED",
    "USUAL",
    "Adapter",
    "AdapterError",
    "AdapterFiles",
    "AskedPrecision",
    "Damage",
    "ExpertLayout",
    "InMemory",
    "Merge",
    "MergeCheck",
    "ModelFiles",
    "OpenedAdapter",
    "PackedFile",
    "PackedWeights",
    "PlacedModel",
    "Placement",
    "Precision",
    "PrecisionLimit",
    "Recognised",
    "WeightsWatch",
    "adapter_at",
    "check_merge",
    "damage_in",
    "described",
    "json_digest",
    "layout_at",
    "looked_up_only",
    "lower_priority",
    "open_gguf_adapter",
    "open_model",
    "open_peft",
    "packed_weights",
    "placements",
    "plan_merge",
    "precision_itself",
    "read_gguf_adapter",
    "read_peft",
    "settled",
    "write_gguf_adapter",
    "write_merge",
    "write_peft",
]
