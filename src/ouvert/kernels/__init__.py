"""The operations of `arithmetic`, fast on a CPU: packed weights, and graphs traced once and replayed natively.

May import arithmetic only. How an engine uses it:

    tracer = kernels.Tracer()                          # exact=True: activations stay float32; cache="f32": caches too
    model = models.load(checkpoint, packed.InMemory()) # or any source of kernels.Packed matrices and float32 vectors
    program = kernels.build(tracer, model, threads=2)
    sequence = program.new_sequence(capacity=4096)
    logits = program.step([(sequence, ids)], "last")   # float32 (rows, vocabulary)

`Programs` has several programs of one model: the plain one, and siblings that show and edit named values, and take
adapters.

The package imports without its native part (a machine without a compiler); `available()` says whether it is there,
and everything else then raises ImportError.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ouvert.kernels import row_gradients, sampling
    from ouvert.kernels.adapters import Adapters
    from ouvert.kernels.attention_gradients import Attended, attend, attend_back
    from ouvert.kernels.building import Programs, build
    from ouvert.kernels.edits import Edits
    from ouvert.kernels.expert_cache import ExpertCache, StoredExperts
    from ouvert.kernels.expert_reads import ExpertReads
    from ouvert.kernels.limits import multiply_adds, read_bandwidth
    from ouvert.kernels.linear import Packed
    from ouvert.kernels.mapped import Guarded
    from ouvert.kernels.packing import LAYOUTS, ROW_GROUP, Loss, aligned_bytes, pack, packed_bytes, unpack
    from ouvert.kernels.pages import (
        LATENTS,
        PAGE_TOKENS,
        STATE,
        Layer,
        PageHeader,
        PageShape,
        check_resumption,
        states_held,
    )
    from ouvert.kernels.products import Products
    from ouvert.kernels.program import CacheType, Page, Program, Sequence
    from ouvert.kernels.traced import Batch, Traced, TracingError
    from ouvert.kernels.tracer import Tracer
    from ouvert.kernels.watching import Watch

__all__ = [
    "LATENTS",
    "LAYOUTS",
    "PAGE_TOKENS",
    "ROW_GROUP",
    "STATE",
    "Adapters",
    "Attended",
    "Batch",
    "CacheType",
    "Edits",
    "ExpertCache",
    "ExpertReads",
    "Guarded",
    "Layer",
    "Loss",
    "Packed",
    "Page",
    "PageHeader",
    "PageShape",
    "Products",
    "Program",
    "Programs",
    "Sequence",
    "StoredExperts",
    "Traced",
    "Tracer",
    "TracingError",
    "Watch",
    "aligned_bytes",
    "attend",
    "attend_back",
    "available",
    "build",
    "check_resumption",
    "instruction_set",
    "multiply_adds",
    "pack",
    "packed_bytes",
    "read_bandwidth",
    "row_gradients",
    "sampling",
    "states_held",
    "unpack",
]

# The file of each name. Those of `expert_reads`, `pages` and `program` need no native part.
FILES = {
    "adapters": ("Adapters",),
    "attention_gradients": ("Attended", "attend", "attend_back"),
    "building": ("Programs", "build"),
    "edits": ("Edits",),
    "expert_cache": ("ExpertCache", "StoredExperts"),
    "expert_reads": ("ExpertReads",),
    "limits": ("multiply_adds", "read_bandwidth"),
    "linear": ("Packed",),
    "mapped": ("Guarded",),
    "packing": ("LAYOUTS", "ROW_GROUP", "Loss", "aligned_bytes", "pack", "packed_bytes", "unpack"),
    "pages": ("LATENTS", "PAGE_TOKENS", "STATE", "Layer", "PageHeader", "PageShape", "check_resumption", "states_held"),
    "products": ("Products",),
    "program": ("CacheType", "Page", "Program", "Sequence"),
    "traced": ("Batch", "Traced", "TracingError"),
    "tracer": ("Tracer",),
    "watching": ("Watch",),
}
FILE_OF = {name: file for file, names in FILES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Names that need the native part, imported when they are first asked for."""
    from importlib import import_module

    if name not in FILE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{FILE_OF[name]}"), name)


def available() -> bool:
    """Whether the native part was built and can be loaded. Raises nothing."""
    from importlib.util import find_spec

    return find_spec("ouvert.kernels._native") is not None


def instruction_set() -> str:
    """The widest one that this machine and this build have: "plain", "avx2" or "avx512".

    Raises ImportError where the native part is missing.
    """
    import ouvert.kernels._native as _native

    best: str = _native.best_instruction_set()
    return best
