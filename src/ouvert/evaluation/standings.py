"""What the votes of a comparison show so far: no rank before there are enough, and none without its interval."""

from collections.abc import Sequence
from dataclasses import dataclass

from ouvert.evaluation.analysis.people import ranks_of, two_by_two
from ouvert.evaluation.comparison import Ranked
from ouvert.evaluation.statistics import MINIMUM_VOTES, is_connected
from ouvert.evaluation.votes import Vote


@dataclass(frozen=True, slots=True, kw_only=True)
class Standings:
    """`votes`: about these contestants; `voters`: how many labels they came with. `fewest`: judgements of two answers
    about the contestant that has the fewest; `minimum`: so many of each are needed. `connected`: whether all were
    compared with each other, over others if need be. `ranking`: the best first; empty where no rank may be said."""

    votes: int
    voters: int
    fewest: int
    minimum: int
    connected: bool
    ranking: tuple[Ranked, ...] = ()


def standings(votes: Sequence[Vote], labels: Sequence[str]) -> Standings:
    """Of these contestants; votes that are about others too are left out. Takes a moment. Raises nothing."""
    known = [vote for vote in votes if set(vote.shown) <= set(labels)]
    pairs = two_by_two(known, labels)
    counts = [sum(label in (pair.first, pair.second) for pair in pairs) for label in labels]
    seen = {name for pair in pairs for name in (pair.first, pair.second)}
    is_whole = seen == set(labels) and is_connected(pairs)
    fewest = min(counts, default=0)
    return Standings(
        votes=len(known),
        voters=len({vote.voter for vote in known} - {""}),
        fewest=fewest,
        minimum=MINIMUM_VOTES,
        connected=is_whole,
        ranking=ranks_of(pairs) if is_whole and fewest >= MINIMUM_VOTES else (),
    )
