"""Which sequences take part in the next step. Decisions only: nothing is changed here."""

from collections.abc import Callable
from collections.abc import Sequence as Ordered
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Running:
    """A sequence whose prompt is read: it takes one token a step. `stalled`: nobody has taken its last tokens yet."""

    id: int
    cached: int  # tokens in its caches
    stalled: bool = False


@dataclass(frozen=True, slots=True)
class Waiting:
    """A sequence with tokens to read: a prompt, or, after it made room for others, its answer so far as well.

    `begun`: it holds caches. `behind`: another one, reading now, will leave what this one starts with.
    """

    id: int
    cached: int
    tokens: int  # that it has in all
    begun: bool = False
    behind: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    decode: tuple[int, ...] = ()  # one new token each
    read: tuple[tuple[int, int], ...] = ()  # (id, how many of its tokens)
    paused: tuple[int, ...] = ()  # give up their caches and wait again, each in its old place


def plan_step(
    running: Ordered[Running],
    waiting: Ordered[Waiting],
    *,
    free: int,
    budget: int,
    bytes_for: Callable[[int], int],
    most_running: int,
) -> Plan:
    """Plan one step of at most `budget` tokens, with `free` bytes for caches. Both queues are oldest first.

    Answers in progress come first, so nobody's stalls because somebody else sent a long prompt. Prompts are read in
    the order in which they came; one is begun when all of it fits, so that no half-read one keeps others from room.
    Where caches do not suffice, room is made by the youngest: prompts that were begun, then answers nobody reads,
    then answers in progress; no prompt is read in that step. The oldest never yields: that it fits alone was seen to on
    arrival. `bytes_for` is what the caches of so many tokens take. Prompts are begun while fewer than `most_running`
    answers are in progress.
    """

    def growth(each: Running | Waiting, tokens: int) -> int:
        return bytes_for(each.cached + tokens) - bytes_for(each.cached)

    active = [each for each in running if not each.stalled]
    stalled = [each for each in running if each.stalled]
    head = next((each for each in waiting if not each.behind), None)
    yielding: list[Running | Waiting] = []
    needed = 0
    if active:
        needed = sum(growth(each, 1) for each in active)
        yielding = [*active[1:], *stalled, *(each for each in waiting if each.begun)]
    elif head is not None:
        needed = growth(head, head.tokens - head.cached + 1)
        yielding = [*stalled, *(each for each in waiting if each.begun and each is not head)]
    paused: list[int] = []
    while needed > free and yielding:
        youngest = yielding.pop()
        paused.append(youngest.id)
        free += bytes_for(youngest.cached)
        if isinstance(youngest, Running) and youngest in active:
            active.remove(youngest)
            needed -= growth(youngest, 1)
    decode = tuple(each.id for each in active[:budget])
    if paused:
        return Plan(decode, (), tuple(paused))

    free -= needed if active else 0
    budget -= len(decode)
    places = most_running - len(active)
    read: list[tuple[int, int]] = []
    for each in waiting:
        if each.behind:
            continue
        needed = growth(each, each.tokens - each.cached + 1)
        alone = not running and not read
        if places <= 0 or budget == 0 or (needed > free and not alone):
            break
        tokens = min(each.tokens - each.cached, budget)
        read.append((each.id, tokens))
        free -= needed
        budget -= tokens
        places -= 1
    return Plan(decode, tuple(read))
