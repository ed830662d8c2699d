"""What people's votes say."""

from collections.abc import Sequence
from itertools import combinations

from ouvert.evaluation.comparison import Ranked
from ouvert.evaluation.statistics import MINIMUM_VOTES, Vote, is_connected, ratings
from ouvert.evaluation.votes import Vote as Ballot


def two_by_two(ballots: Sequence[Ballot], labels: Sequence[str]) -> list[Vote]:
    """Ballots about two to four answers as votes about two: the best beats each of the others, and the others say
    nothing about each other; a tie, and all bad, is a tie of each two. Those about others than `labels` are left out.

    Raises nothing.
    """
    return [
        Vote(prompt=ballot.prompt, first=first, second=second, score=score, voter=ballot.voter)
        for ballot in ballots
        if set(ballot.shown) <= set(labels)
        for first, second in combinations(ballot.shown, 2)
        if (score := _score(ballot, first, second)) is not None
    ]


def _score(ballot: Ballot, first: str, second: str) -> float | None:
    if ballot.best is None:
        return 0.5
    return {first: 1.0, second: 0.0}.get(ballot.best)


def ranks_of(votes: Sequence[Vote]) -> tuple[Ranked, ...]:
    """Raises nothing; empty where no rank may be said."""
    return ratings(votes)


def limits_of_votes(votes: Sequence[Vote]) -> dict[str, tuple[str, ...]]:
    """Why no rank may be said, with the contestants that it is about. Raises nothing."""
    names = sorted({name for vote in votes for name in (vote.first, vote.second)})
    few = tuple(name for name in names if sum(name in (vote.first, vote.second) for vote in votes) < MINIMUM_VOTES)
    return {"few_votes": few, "separate_votes": () if is_connected(votes) else tuple(names)}
