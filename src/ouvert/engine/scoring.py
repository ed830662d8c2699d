"""Texts that are scored together: what several of them begin with is computed once, and scored once."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from ouvert.engine.interface import Token
from ouvert.engine.prefixes.tree import shared_length
from ouvert.engine.request import Request, Scoring

# Texts of one call that are in the engine at once: enough for full steps of texts of a few tokens.
AT_ONCE = 128


@dataclass(frozen=True, slots=True)
class Task:
    """A text of those that were given, by its number: its tokens from `start` on are computed, and those before were
    found for the text `lender`. Its beginning of `keeps` tokens is left for others."""

    number: int
    start: int
    keeps: int
    lender: int | None


def plan_scoring(texts: Sequence[Sequence[int]], starts: Sequence[int]) -> list[Task]:
    """The texts in the order in which they are computed: those that begin alike stand side by side.

    A text's tokens from starts[n] on are wanted. Where the text before has scored some of them, as it begins with the
    same and was wanted from no later token on, they are not computed again.
    """
    order = sorted(range(len(texts)), key=lambda n: (list(texts[n]), starts[n]))
    shared = [shared_length(texts[n], texts[following]) for n, following in pairwise(order)]
    tasks: list[Task] = []
    for n, lender, same in zip(order, [None, *order], [0, *shared], strict=False):
        lends = lender is not None and starts[lender] <= starts[n] < same
        tasks.append(Task(n, same if lends else starts[n], 0, lender if lends else None))
    # What the next one takes ends before the first token that it computes itself.
    taken = [min(same, following.start - 1) for same, following in zip(shared, tasks[1:], strict=True)]
    return [
        replace(task, keeps=min(max(task.start - 1, next_takes), len(texts[task.number]) - 1))
        for task, next_takes in zip(tasks, [*taken, 0], strict=False)
    ]


def score_in_order(
    texts: Sequence[Sequence[int]],
    starts: Sequence[int],
    begin: Callable[[Sequence[int], Task], Request | None],
    cancel: Callable[[Request], None],
) -> list[list[Token]]:
    """What was found for each text, from its start on. `begin` hands one in; None where there is nothing to compute.

    Whatever ends one of them ends all, and is raised here.
    """
    found: list[list[Token]] = [[] for _ in texts]
    begun: deque[tuple[Task, Request | None]] = deque()
    tasks = deque(plan_scoring(texts, starts))
    try:
        while tasks or begun:
            while tasks and len(begun) < AT_ONCE:
                begun.append((tasks[0], begin(texts[tasks[0].number], tasks[0])))
                tasks.popleft()
            task, request = begun[0]
            lent = [] if task.lender is None else found[task.lender][starts[task.number] - starts[task.lender] :]
            found[task.number] = lent[: task.start - starts[task.number]] + scores_of(request)
            begun.popleft()
    finally:
        for _, left in begun:
            if left is not None:
                cancel(left)
    return found


def scores_of(request: Request | None) -> list[Token]:
    """Waits until a text was scored. Raises what ended it before."""
    if request is None:
        return []
    problem = request.out.get()
    if isinstance(problem, BaseException):
        raise problem
    if request.scoring is None or problem is not None:
        raise AssertionError("a text that was scored gave tokens")
    return request.scoring.found


def scoring_of(ids: Sequence[int], task: Task, top: int) -> Scoring | None:
    """What the engine is asked for; None where every token was found for another text."""
    return Scoring(list(ids), task.start, top, task.keeps) if task.start < len(ids) else None
