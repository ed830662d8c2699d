"""What happened inside a model: values, lens, confidence and more, of the weights that serve, with the same bits.

May import packed, kernels, models, arithmetic, weights, chat, tokenization and store. `ouvert.Model` joins it with
`assistant`: from there come tokens, whose they are, and the weights; in here nobody writes an answer.

    subject = inspection.subject_of(model, variant)        # the weights that serve, and how they compute
    trace = inspection.trace_of(subject, transcript)       # the tokens of an answer, computed once more and kept
    trace.lens().json()                                    # docs/formats/trace.md
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ouvert.inspection.ablation import Ablation, ablate
    from ouvert.inspection.added import sizes_added
    from ouvert.inspection.asked import check_asked
    from ouvert.inspection.attention import Attention
    from ouvert.inspection.attribution import Attribution
    from ouvert.inspection.confidence import Confidence
    from ouvert.inspection.directions.direction import Direction
    from ouvert.inspection.directions.files import read_direction, write_direction
    from ouvert.inspection.directions.making import mean_difference
    from ouvert.inspection.directions.testing import DirectionTest, Trial, causal_test
    from ouvert.inspection.error import InspectionError
    from ouvert.inspection.graph_lines import How, Lines
    from ouvert.inspection.lens import FocusLens, Lens
    from ouvert.inspection.loading import load_trace
    from ouvert.inspection.metrics import LogitDifference, LogProbability, TextLogProbability
    from ouvert.inspection.microscope import Microscope, exact, magnify
    from ouvert.inspection.patching import Patching, PatchPrice, PatchRequest, patch
    from ouvert.inspection.price import Price
    from ouvert.inspection.priority import lower_priority
    from ouvert.inspection.subject import Inspectable, Step, Subject, steps_of, subject_of
    from ouvert.inspection.tokens import TracedToken
    from ouvert.inspection.trace import Trace
    from ouvert.inspection.tracing import Transcript, plan_of, trace_of
    from ouvert.inspection.view import View, text_table

__all__ = [
    "Ablation",
    "Attention",
    "Attribution",
    "Confidence",
    "Direction",
    "DirectionTest",
    "FocusLens",
    "How",
    "Inspectable",
    "InspectionError",
    "Lens",
    "Lines",
    "LogProbability",
    "LogitDifference",
    "Microscope",
    "PatchPrice",
    "PatchRequest",
    "Patching",
    "Price",
    "Step",
    "Subject",
    "TextLogProbability",
    "Trace",
    "TracedToken",
    "Transcript",
    "Trial",
    "View",
    "ablate",
    "causal_test",
    "check_asked",
    "exact",
    "load_trace",
    "lower_priority",
    "magnify",
    "mean_difference",
    "patch",
    "plan_of",
    "read_direction",
    "sizes_added",
    "steps_of",
    "subject_of",
    "text_table",
    "trace_of",
    "write_direction",
]

# The file of each name, imported when the name is first asked for: commands import this part to catch its errors.
FILES = {
    "ablation": (
        "Ablation",
        "ablate",
    ),
    "added": ("sizes_added",),
    "directions.direction": ("Direction",),
    "directions.files": (
        "read_direction",
        "write_direction",
    ),
    "directions.making": ("mean_difference",),
    "directions.testing": (
        "DirectionTest",
        "Trial",
        "causal_test",
    ),
    "metrics": (
        "LogProbability",
        "LogitDifference",
        "TextLogProbability",
    ),
    "microscope": (
        "Microscope",
        "exact",
        "magnify",
    ),
    "patching": (
        "PatchPrice",
        "PatchRequest",
        "Patching",
        "patch",
    ),
    "asked": ("check_asked",),
    "attention": ("Attention",),
    "attribution": ("Attribution",),
    "confidence": ("Confidence",),
    "error": ("InspectionError",),
    "graph_lines": ("How", "Lines"),
    "lens": ("FocusLens", "Lens"),
    "loading": ("load_trace",),
    "price": ("Price",),
    "priority": ("lower_priority",),
    "subject": ("Inspectable", "Step", "Subject", "steps_of", "subject_of"),
    "tokens": ("TracedToken",),
    "trace": ("Trace",),
    "tracing": ("Transcript", "plan_of", "trace_of"),
    "view": ("View", "text_table"),
}
FILE_OF = {name: file for file, names in FILES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in FILE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{FILE_OF[name]}"), name)
