"""A trace read from its file, with its model or without."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from ouvert.inspection.attention import Attention
from ouvert.inspection.attribution import Attribution
from ouvert.inspection.confidence import Confidence
from ouvert.inspection.error import InspectionError
from ouvert.inspection.experts import ExpertsView
from ouvert.inspection.lens import FocusLens, Lens
from ouvert.inspection.saving import HEADER
from ouvert.inspection.states import HiddenAttention, States
from ouvert.inspection.subject import Array, Inspectable, Variant, subject_of
from ouvert.inspection.tokens import TracedToken, token_from
from ouvert.inspection.trace import VERSION, Trace
from ouvert.inspection.view import KINDS, View

VIEWS: Mapping[str, type[View]] = {
    each.view: each
    for each in (Attention, Attribution, Confidence, ExpertsView, FocusLens, HiddenAttention, Lens, States)
}


def load_trace(path: Path | str, model: Inspectable | None = None, variant: Variant | None = None) -> Trace:
    """The trace of a file. Without its model it shows what is in it; with it, everything is there again.

    Raises InspectionError for a file that is no trace, and for a model that would give other numbers; what reading the
    file raises.
    """
    try:
        with safe_open(str(path), framework="numpy") as file:
            facts = json.loads((file.metadata() or {})[HEADER])
            values = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dictionary
        return trace_from(facts, values, model, variant)
    except (
        SafetensorError,
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ) as problem:
        raise InspectionError(
            f"reading the trace {path}: {problem!r:.120}, expected a file that `Trace.save` wrote. Save it again."
        ) from problem


def trace_from(
    facts: Mapping[str, Any], values: Mapping[str, Any], model: Inspectable | None, variant: Variant | None
) -> Trace:
    """Raises InspectionError for another version of the format, and for a model that would give other numbers."""
    if facts["trace"] != VERSION:
        raise InspectionError(
            f"reading a trace: its version is {facts['trace']!r:.20}, expected {VERSION}. Use the version of Ouvert "
            "that wrote it."
        )
    subject = None if model is None or not facts["words"] else subject_of(model, variant)
    stated = facts["model"].get("identity_digest")
    if subject is not None and subject.facts["identity_digest"] != stated:
        raise InspectionError(
            f"reading a trace: it is of {facts['model'].get('name')!r:.80} with the identity {stated}, given is "
            f"{subject.name} with {subject.facts['identity_digest']}, which gives other numbers. Load the model as it "
            "was, or read the trace without one."
        )
    tokens = tuple(token_from(each) for each in facts["tokens"])
    places = np.array(facts["places"], np.int64)
    check_whole(tokens, places, facts, values)
    if subject is not None:
        most = int(subject.model.config.vocab_size)
        require(all(0 <= token.id < most for token in tokens), f"ids of tokens from 0 to {most - 1}")
    views = {key: VIEWS[view["view"]].from_json(view) for key, view in facts["views"].items()}
    for view in views.values():
        view.table()  # raises where its arrays do not fit each other
    return Trace(
        subject=subject,
        facts=facts["model"],
        tokens=tokens,
        places=places,
        kept=values,
        views=views,
        expanded=facts["expanded"],
        receipt=facts["receipt"],
        kind=facts["kind"],
    )


def check_whole(
    tokens: Sequence[TracedToken], places: Array, facts: Mapping[str, Any], values: Mapping[str, Array]
) -> None:
    """Raises ValueError where the parts of a trace do not belong together."""
    count = len(tokens)
    require(count > 0 and [token.place for token in tokens] == list(range(count)), "the tokens in their order")
    require(all(type(token.id) is int and isinstance(token.text, str) for token in tokens), "ids and texts of tokens")
    require(places.ndim == 1 and places.size > 0 and bool((np.diff(places) > 0).all()), "places that ascend")
    require(places[0] >= 0 and places[-1] < count, "places of these tokens")
    require(all(value.ndim == 2 and len(value) == len(places) for value in values.values()), "a row for each place")
    require(facts["kind"] in KINDS and all(each["kind"] in KINDS for each in facts["views"].values()), "kinds")
    expanded = facts["expanded"]
    require(type(expanded) is int and 0 <= expanded <= count, "how many tokens were expanded")


def require(fits: bool, what: str) -> None:
    """Raises ValueError."""
    if not fits:
        raise ValueError(f"expected {what}")
