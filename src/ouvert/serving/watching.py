"""Watching an answer over HTTP: `"ouvert": {"watch": [...]}`, who may ask for it, and the JSON of what is seen.

docs/formats/watch.md describes both.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from ouvert.assistant import PROBE, ChatRequest, Probe, Watched
from ouvert.inspection import InspectionError, read_direction
from ouvert.serving import edits
from ouvert.serving.callers import refuse_without_scope
from ouvert.serving.endpoints import Call
from ouvert.serving.errors import Refusal
from ouvert.serving.sentences import sentence_of
from ouvert.store import CheckpointError, Directions, StoreError

MOST_NAMES = 16
LONGEST = 128  # characters of a name
DIGITS = 5  # behind the point


class Extras(edits.Extras):
    """`watch`: what is seen while the answer is written."""

    watch: Annotated[
        list[Annotated[str, Field(max_length=LONGEST)]], Field(max_length=MOST_NAMES, default_factory=list)
    ]


def watched(wanted: ChatRequest, stated: Any, call: Call) -> ChatRequest:
    """The request with what is to be watched. Raises Refusal for a caller who may not look inside, and for a probe that
    there is not."""
    if not isinstance(stated, Extras) or not stated.watch:
        return wanted
    refuse_without_scope(call.caller, "inspect")
    directions = Directions(call.service.store.home)
    return replace(wanted, watch=tuple(named_probe(n, name, directions) for n, name in enumerate(stated.watch)))


def named_probe(n: int, name: str, directions: Directions) -> str | Probe:
    if not name.startswith(PROBE):
        return name
    own = name.removeprefix(PROBE)
    place = f"ouvert.watch[{n}]"
    try:
        return Probe.of(own, read_direction(directions.path(own), ours=True))
    except StoreError as problem:
        raise Refusal(400, f"{place}: {sentence_of(problem)}", code="invalid_value", param=place) from problem
    except (InspectionError, CheckpointError, OSError) as problem:
        raise Refusal(
            400,
            f"{place}: the direction {own!r} cannot be read. Its owner sees why with `ouvert direction list`, and "
            "makes or imports it again.",
            code="invalid_value",
            param=place,
        ) from problem


class Pieces:
    """What was seen of the choices of one answer: the whole, and what nobody was told yet.

    Its methods raise nothing.
    """

    def __init__(self) -> None:
        self._seen: dict[int, list[Watched]] = {}
        self._told: dict[int, int] = {}  # of each choice, how many tokens were told

    def take(self, number: int, event: Watched) -> None:
        """`number`: of the choice that the event is of."""
        self._seen.setdefault(number, []).append(event)

    def untold(self, number: int) -> dict[str, Any]:
        """The field `watched` with the tokens of this choice that were not told yet; nothing where there are none."""
        seen, told = self._seen.get(number, []), self._told.get(number, 0)
        self._told[number] = len(seen)
        return {"watched": [piece_of(number, seen[told:])]} if len(seen) > told else {}

    def with_untold(self, event: dict[str, Any], number: int = 0) -> dict[str, Any]:
        """The event of a stream, with what was not told yet beside it."""
        field = self.untold(number)
        return {**event, "ouvert": {**event.get("ouvert", {}), **field}} if field else event

    @property
    def whole(self) -> dict[str, Any]:
        """The field `watched` with all tokens of all choices; nothing where nothing was watched."""
        pieces = [piece_of(number, self._seen[number]) for number in sorted(self._seen)]
        return {"watched": pieces} if pieces else {}


def piece_of(index: int, seen: Sequence[Watched]) -> dict[str, Any]:
    """These tokens of a choice, as JSON. `seen` has one at least."""
    piece: dict[str, Any] = {"index": index}
    first = seen[0]
    if first.confidence is not None:
        piece["confidence"] = confidence_of(seen)
    if first.experts is not None:
        each = [watched.experts for watched in seen if watched.experts is not None]
        piece["experts"] = {
            "layers": list(first.experts.layers),
            "places": [watched.place - 1 for watched in seen],
            "chosen": np.stack([experts.chosen for experts in each], axis=1).tolist(),
            "entropy": rounded(np.stack([experts.entropy for experts in each], axis=1)),
        }
    if first.watch:
        piece["probes"] = {
            probe.name: {
                "layer": probe.layer,
                "threshold": probe.threshold,
                "places": [watched.place - 1 for watched in seen],
                "projections": rounded([watched.probes[probe.name] for watched in seen]),
            }
            for probe in first.watch
        }
    return piece


def confidence_of(seen: Sequence[Watched]) -> dict[str, Any]:
    """As `confidence` of docs/formats/trace.md."""
    found = [(watched, watched.confidence) for watched in seen if watched.confidence is not None]
    return {
        "places": [watched.place for watched, _ in found],
        "ids": [watched.id for watched, _ in found],
        "logprobs": rounded([confidence.logprob for _, confidence in found]),
        "entropy": rounded([confidence.entropy for _, confidence in found]),
        "ranks": [confidence.rank for _, confidence in found],
        "alternative_ids": [[token for token, _ in confidence.top] for _, confidence in found],
        "alternative_logprobs": [rounded([logprob for _, logprob in confidence.top]) for _, confidence in found],
        "pieces": {str(token): text for watched, _ in found for token, text in watched.texts.items()},
    }


def rounded(values: Iterable[float] | np.ndarray) -> Any:
    if isinstance(values, np.ndarray):
        return np.round(values.astype(np.float64), DIGITS).tolist()
    return [round(value, DIGITS) for value in values]
