"""What the model would say if it stopped after layer n: the logit lens, whole or for a few tokens only."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ouvert.inspection.error import InspectionError
from ouvert.inspection.graph_lines import How, lines_with
from ouvert.inspection.head import Head
from ouvert.inspection.outcomes import Outcomes, joined, outcomes_of
from ouvert.inspection.subject import Array, Step, Subject
from ouvert.inspection.view import View

MARKS = ('tap("out"', 'tap("norm"', 'tap("logits"')
SAYS = (
    "The residual stream after each layer goes through the last norm, with that row's own root mean square, and "
    "through the output matrix that serves; the last layer's row is the model's own logits, bit for bit."
)
SAYS_FOCUS = SAYS + " Of the logits only those of the chosen tokens are computed; there is no softmax."


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Lens(View):
    """Row [layer][token]: what the model would say after that token, read off after that layer.

    `layers`, `places`: which; `ids` and `logprobs` (layers, tokens, top): the likeliest; `entropy` (layers, tokens) in
    nats. `came` (tokens,): the token that came next, -1 after the last; `came_logprobs`, `came_ranks` (layers, tokens):
    what that layer thought of it (null and 0 where none came). The last layer is always there. `pieces`: what each id
    says.
    """

    view: ClassVar[str] = "lens"

    layers: Array
    places: Array
    ids: Array
    logprobs: Array
    entropy: Array
    came: Array
    came_logprobs: Array
    came_ranks: Array
    pieces: Mapping[str, str]

    def table(self) -> list[dict[str, Any]]:
        """One row a layer, the last first; one column a token: the likeliest token, its probability. Raises nothing."""
        return [
            {"layer": int(layer)}
            | {
                f"{place}": f"{self.pieces[str(self.ids[n, at, 0])]} {np.exp(self.logprobs[n, at, 0]):.2f}"
                for at, place in enumerate(self.places.tolist())
            }
            for n, layer in reversed(list(enumerate(self.layers.tolist())))
        ]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class FocusLens(View):
    """The logits of a few tokens after each layer, exactly those that the whole lens has of them.

    `tokens` (chosen,): their ids; `logits` (layers, places, chosen). Compare them with each other: a difference is what
    speaks for one token against another; there is no softmax in them.
    """

    view: ClassVar[str] = "focus"

    layers: Array
    places: Array
    tokens: Array
    logits: Array
    pieces: Mapping[str, str]

    def table(self) -> list[dict[str, Any]]:
        """One row a layer, token of the sequence and chosen token. Raises nothing."""
        return [
            {"layer": int(layer), "place": int(place), "token": self.pieces[str(token)], "logit": float(logit)}
            for layer, of_layer in zip(self.layers, self.logits, strict=True)
            for place, row in zip(self.places, of_layer, strict=True)
            for token, logit in zip(self.tokens, row, strict=True)
        ]


def layers_asked(subject: Subject, asked: str | Iterable[int] | None) -> list[int]:
    """All layers (None, "all"), every k-th ("every 4"), or those named, ascending; the last is always among them.

    Raises InspectionError for what is none of these, and for a layer that the model does not have.
    """
    last = subject.layers - 1
    match asked:
        case None | "all":
            chosen: set[int] = set(range(last + 1))
        case str() if (step := re.fullmatch(r"\s*every\s+([0-9]{1,9})\s*", asked)) is not None:
            chosen = set(range(last, -1, -max(int(step[1]), 1)))
        case str():
            chosen = {-1}
        case _:
            chosen = set(asked)
    if wrong := [n for n in chosen if not isinstance(n, int | np.integer) or not 0 <= n <= last]:
        raise InspectionError(
            f"layers: {asked if isinstance(asked, str) else wrong[0]!r:.80}, expected all, every N, or numbers from 0 "
            f"to {last}. {subject.name} has {subject.layers} layers."
        )
    return sorted({int(n) for n in chosen} | {last})


def check_top(subject: Subject, top: int) -> None:
    """Raises InspectionError for a number of tokens that cannot be shown."""
    most = int(subject.model.config.vocab_size)
    if not isinstance(top, int) or isinstance(top, bool) or not 1 <= top <= most:
        raise InspectionError(f"lens: top={top!r:.80}, expected a whole number from 1 to {most}.")


def streams(layers: Sequence[int]) -> list[str]:
    """The names of the residual stream after each of these layers. Raises nothing."""
    return [f"layers.{n}.out" for n in layers]


def lens_of(
    subject: Subject, steps: Iterable[Step], layers: Sequence[int], came: Mapping[int, int], top: int
) -> tuple[Array, list[Outcomes]]:
    """(places, outcomes of each layer at these) of steps that hold `streams(layers)`. `came`: the token that came after
    each place. Raises what Head raises."""
    head = Head(subject)
    places: list[Array] = []
    found: list[list[Outcomes]] = [[] for _ in layers]
    try:
        for step in steps:
            places.append(step.places)
            following = np.array([came.get(int(place), -1) for place in step.places], np.int64)
            for n, name in enumerate(streams(layers)):
                start = 0
                for rows in head.logits(step.values[name]):
                    found[n].append(outcomes_of(rows, following[start : start + len(rows)], top))
                    start += len(rows)
    finally:
        head.close()
    return np.concatenate(places), [joined(parts) for parts in found]


def lens_view(
    subject: Subject,
    layers: Sequence[int],
    places: Array,
    outcomes: Sequence[Outcomes],
    came: Mapping[int, int],
    pieces: Mapping[str, str],
) -> Lens:
    """Raises nothing."""
    return Lens(
        how=How(SAYS, lines_with(subject.model, *MARKS)),
        layers=np.array(layers),
        places=places,
        ids=np.stack([each.ids for each in outcomes]),
        logprobs=np.stack([each.logprobs for each in outcomes]),
        entropy=np.stack([each.entropy for each in outcomes]),
        came=np.array([came.get(int(place), -1) for place in places]),
        came_logprobs=np.stack([each.logprob for each in outcomes]),
        came_ranks=np.stack([each.rank for each in outcomes]),
        pieces=pieces,
    )


def focus_of(
    subject: Subject, steps: Iterable[Step], layers: Sequence[int], tokens: Sequence[int], pieces: Mapping[str, str]
) -> FocusLens:
    """Of steps that hold `streams(layers)`. Raises what Head raises."""
    subject.need("focus")
    head = Head(subject, tokens)
    places: list[Array] = []
    found: list[list[Array]] = [[] for _ in layers]
    try:
        for step in steps:
            places.append(step.places)
            for n, name in enumerate(streams(layers)):
                found[n].append(head.all_logits(step.values[name]))
    finally:
        head.close()
    return FocusLens(
        how=How(SAYS_FOCUS, lines_with(subject.model, *MARKS)),
        layers=np.array(layers),
        places=np.concatenate(places),
        tokens=np.array(tokens),
        logits=np.stack([np.concatenate(parts) for parts in found]),
        pieces=pieces,
    )
