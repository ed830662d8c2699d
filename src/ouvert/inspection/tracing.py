"""Making a trace: a transcript computed once more, priced before."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from ouvert.inspection.confidence import Confidence, confidence_of, how_confidence
from ouvert.inspection.error import InspectionError
from ouvert.inspection.names import own_names
from ouvert.inspection.outcomes import Outcomes, joined, outcomes_of
from ouvert.inspection.positions import Positions, places_asked
from ouvert.inspection.price import Price, check_price, price_of
from ouvert.inspection.subject import Array, Subject, steps_of
from ouvert.inspection.tokens import Span, TracedToken, pieces_of, traced_tokens
from ouvert.inspection.trace import USUAL_MOST, Trace
from ouvert.inspection.view import Kind

USUAL_RECORD = ("embedding", "layers.*.out")
ALTERNATIVES = 5  # of each token


class Transcript(Protocol):
    """The tokens of an answer, or of a text, and whose they are: `assistant.Transcript`.

    Its properties raise nothing.
    """

    @property
    def prompt_ids(self) -> Sequence[int]: ...
    @property
    def output_ids(self) -> Sequence[int]: ...
    @property
    def spans(self) -> Sequence[Span]: ...
    @property
    def channels(self) -> Sequence[str | None]:
        """Of each token of the output."""

    @property
    def message(self) -> int | None:
        """Which message of the conversation the answer is."""

    @property
    def expanded(self) -> int:
        """How many tokens were computed in the expanded form (latent attention)."""

    @property
    def receipt(self) -> str | None:
        """The digest of the answer's receipt."""


def plan_of(
    subject: Subject,
    transcript: Transcript,
    *,
    record: str | Iterable[str] = USUAL_RECORD,
    positions: Positions = "all",
    lens_rows: int = 0,
) -> Price:
    """What `trace_of` would take, and a lens of so many rows (layers times tokens) after it.

    Raises InspectionError as `trace_of` does, but for the bytes.
    """
    tokens = tokens_of(subject, transcript)
    names = own_names(subject, record)
    return price_of(subject, len(tokens), names, len(places_asked(tokens, positions)), lens_rows)


def trace_of(
    subject: Subject,
    transcript: Transcript,
    *,
    record: str | Iterable[str] = USUAL_RECORD,
    positions: Positions = "all",
    max_bytes: int | str = USUAL_MOST,
    progress: Callable[[int, int], None] | None = None,
) -> Trace:
    """Compute a transcript's tokens once more, and keep the values `record` names at `positions`, and how sure the
    model was of each token. `progress(done, total)` is called with tokens after each step; what it raises ends it.

    Raises InspectionError for names, positions and models that cannot be looked at, and, before anything is computed,
    for more bytes than `max_bytes`.
    """
    tokens = tokens_of(subject, transcript)
    names = own_names(subject, record)
    places = places_asked(tokens, positions)
    check_price(price_of(subject, len(tokens), names, len(places)), max_bytes, "tracing")
    ids = [token.id for token in tokens]
    parts: dict[str, list[Array]] = {name: [] for name in names}
    outcomes: list[Outcomes] = []
    writes = not subject.model.family.embeds
    for step in steps_of(subject, names, ids, logits=writes, expanded=transcript.expanded):
        if progress is not None:
            progress(int(step.places[-1]) + 1, len(ids))
        rows = np.flatnonzero(np.isin(step.places, places))
        for name in names:
            parts[name].append(step.values[name][rows])
        if step.logits is not None:
            following = np.array([*ids, -1])[step.places + 1]
            outcomes.append(outcomes_of(step.logits, following, min(ALTERNATIVES, step.logits.shape[1])))
    kind: Kind = "intervention" if subject.edited else "observation"
    return Trace(
        subject=subject,
        facts=subject.facts,
        tokens=tokens,
        places=places,
        kept={name: np.concatenate(rows) for name, rows in parts.items()},
        views={"confidence ()": replace(confidence(subject, ids, joined(outcomes)), kind=kind)} if writes else {},
        expanded=transcript.expanded,
        receipt=transcript.receipt,
        kind=kind,
        max_bytes=max_bytes,
    )


def tokens_of(subject: Subject, transcript: Transcript) -> tuple[TracedToken, ...]:
    """Raises InspectionError for a transcript without tokens, and for an id that the model does not have."""
    ids = [*transcript.prompt_ids, *transcript.output_ids]
    most = int(subject.model.config.vocab_size)
    if not ids or any(not 0 <= token < most for token in ids):
        wrong = [token for token in ids if not 0 <= token < most]
        raise InspectionError(
            f"tracing: {len(ids)} token ids{f', {wrong[0]} among them' if wrong else ''}, expected one or more from 0 "
            f"to {most - 1}. Make them with this model's tokenizer."
        )
    if subject.context is not None and len(ids) > subject.context:
        raise InspectionError(
            f"tracing: {len(ids)} tokens, expected at most {subject.context}, the context of {subject.name} here. "
            "Shorten it, or load the model with a larger context."
        )
    return traced_tokens(
        ids,
        subject.tokenizer,
        prompt=len(transcript.prompt_ids),
        spans=transcript.spans,
        channels=transcript.channels,
        message=transcript.message,
    )


def confidence(subject: Subject, ids: Sequence[int], outcomes: Outcomes) -> Confidence:
    """Of every token but the first, from the row before it."""
    before = Outcomes(*(getattr(outcomes, name)[:-1] for name in ("logprob", "rank", "entropy", "ids", "logprobs")))
    pieces = pieces_of([*ids, *before.ids.ravel()], subject.tokenizer)
    places = np.arange(1, len(ids))
    return confidence_of(before, places, np.asarray(ids[1:], np.int64), pieces, how_confidence(subject))
