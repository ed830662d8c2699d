"""How sure the model was of each token that came."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from ouvert.inspection.graph_lines import How, lines_with
from ouvert.inspection.outcomes import Outcomes
from ouvert.inspection.subject import Array, Subject
from ouvert.inspection.view import View

OF_TOKENS = ("places", "ids", "logprobs", "entropy", "ranks", "alternative_ids", "alternative_logprobs")
MARKS = ('tap("logits"',)
SAYS = (
    "Each token's logits, as the sampler had them, become shares by softmax at temperature 1: logprob is the logarithm "
    "of the token that came, entropy is -Σ p·log p in nats, rank 1 is the likeliest."
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Confidence(View):
    """Of each token but the sequence's first, what the model thought of it before it came. Log-probabilities are
    natural logarithms at temperature 1, before any sampling setting: the sampler's own.

    `places`, `ids` (tokens,): the tokens; `logprobs`, `entropy`, `ranks` (tokens,); `alternative_ids` and
    `alternative_logprobs` (tokens, top): the likeliest at that place. `pieces`: what each id says.
    """

    view: ClassVar[str] = "confidence"

    places: Array
    ids: Array
    logprobs: Array
    entropy: Array
    ranks: Array
    alternative_ids: Array
    alternative_logprobs: Array
    pieces: Mapping[str, str]

    def at(self, places: Array) -> "Confidence":
        """That of the tokens at these places only; of others nothing is there. Raises nothing."""
        rows = np.isin(self.places, places)
        return replace(self, **{name: getattr(self, name)[rows] for name in OF_TOKENS})

    def table(self) -> list[dict[str, Any]]:
        """One row a token. Raises nothing."""
        return [
            {
                "place": int(self.places[n]),
                "token": self.pieces[str(self.ids[n])],
                "logprob": float(self.logprobs[n]),
                "rank": int(self.ranks[n]),
                "entropy": float(self.entropy[n]),
                "likeliest": self.pieces[str(self.alternative_ids[n][0])],
            }
            for n in range(len(self.places))
        ]


def how_confidence(subject: Subject) -> How:
    """Raises nothing."""
    return How(SAYS, lines_with(subject.model, *MARKS))


def confidence_of(outcomes: Outcomes, places: Array, ids: Array, pieces: Mapping[str, str], how: How) -> Confidence:
    """`outcomes` of the rows before the tokens at `places`. Raises nothing."""
    return Confidence(
        how=how,
        places=places,
        ids=ids,
        logprobs=outcomes.logprob,
        entropy=outcomes.entropy,
        ranks=outcomes.rank,
        alternative_ids=outcomes.ids,
        alternative_logprobs=outcomes.logprobs,
        pieces=pieces,
    )
