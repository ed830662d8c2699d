"""Which sequences take part in the next step. Decisions only: nothing is changed here."""

import sys
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

    `begun`: it holds caches. `behind`: another one, reading now, will leave what this one starts with. `piece`: most
    tokens of it that one step may read; None: all. `scored`: each token that is read now gives a row of logits.
    """

    id: int
    cached: int
    tokens: int  # that it has in all
    begun: bool = False
    behind: bool = False
    piece: int | None = None
    scored: bool = False

    @property
    def unread(self) -> int:
        return self.tokens - self.cached


@dataclass(frozen=True, slots=True)
class Plan:
    decode: tuple[int, ...] = ()  # one new token each
    read: tuple[tuple[int, int], ...] = ()  # (id, how many of its tokens)
    paused: tuple[int, ...] = ()  # give up their caches and wait again, each in its old place


BytesFor = Callable[[int], int]


def plan_step(
    running: Ordered[Running],
    waiting: Ordered[Waiting],
    *,
    free: int,
    budget: int,
    bytes_for: BytesFor,
    most_running: int,
    most_rows: int = sys.maxsize,
) -> Plan:
    """Plan one step of at most `budget` tokens, with `free` bytes for caches. Both queues are oldest first; `waiting`
    has texts that are scored behind all prompts of answers.

    Answers in progress come first, so nobody's stalls because somebody else sent a long prompt. Prompts are read in
    the order in which they came; one is begun when all of it fits, so that no half-read one keeps others from room.
    Where caches do not suffice, room is made by the youngest: prompts that were begun, then answers whose reader has
    stopped reading, then answers in progress; no prompt is read in that step. The oldest never yields: a request that
    does not fit alone is refused on arrival. `bytes_for` is what the caches of so many tokens take. Prompts are begun
    while fewer than `most_running` answers are in progress. Texts that are scored take `most_rows` rows of logits.
    """
    paused = to_pause(running, waiting, free, bytes_for)
    active = [each for each in running if not each.stalled and each.id not in paused]
    decode = tuple(each.id for each in active[:budget])
    if paused:
        return Plan(decode, (), paused)
    free -= sum(growth(each, 1, bytes_for) for each in active)
    room = Room(free, budget - len(decode), most_rows, most_running - len(active))
    return Plan(decode, to_read(waiting, room, not running, bytes_for))


def to_pause(running: Ordered[Running], waiting: Ordered[Waiting], free: int, bytes_for: BytesFor) -> tuple[int, ...]:
    """Who makes room, the youngest first: for the next tokens of answers in progress, or else for the first prompt."""
    active = [each for each in running if not each.stalled]
    stalled = [each for each in running if each.stalled]
    begun = [each for each in waiting if each.begun]
    head = next((each for each in waiting if not each.behind), None)
    yielding: list[Running | Waiting]
    if active:
        needed = sum(growth(each, 1, bytes_for) for each in active)
        yielding = [*active[1:], *stalled, *begun]
    elif head is not None:
        needed = growth(head, head.unread + 1, bytes_for)
        yielding = [*stalled, *(each for each in begun if each is not head)]
    else:
        return ()
    paused: list[int] = []
    while needed > free and yielding:
        youngest = yielding.pop()
        paused.append(youngest.id)
        free += bytes_for(youngest.cached)
        if youngest in active:
            needed -= growth(youngest, 1, bytes_for)
    return tuple(paused)


@dataclass(frozen=True, slots=True)
class Room:
    """What is left of a step for prompts: bytes for caches, tokens, rows of logits, and how many may be read."""

    free: int
    tokens: int
    rows: int
    places: int


def to_read(waiting: Ordered[Waiting], room: Room, alone: bool, bytes_for: BytesFor) -> tuple[tuple[int, int], ...]:
    """(id, tokens) of the prompts that are read. `alone`: no answer is in progress, so the first one may try even where
    it may not fit."""
    read: list[tuple[int, int]] = []
    free, budget, rows = room.free, room.tokens, room.rows
    for each in waiting:
        if each.behind:
            continue
        needed = growth(each, each.unread + 1, bytes_for)
        if len(read) >= room.places or budget == 0 or (needed > free and not (alone and not read)):
            break
        tokens = min(each.unread if each.piece is None else each.piece, budget, rows if each.scored else budget)
        if tokens == 0:
            continue
        read.append((each.id, tokens))
        free -= needed
        budget -= tokens
        rows -= tokens if each.scored else 0
    return tuple(read)


def growth(each: Running | Waiting, tokens: int, bytes_for: BytesFor) -> int:
    """Bytes that its caches grow by with so many more tokens."""
    return bytes_for(each.cached + tokens) - bytes_for(each.cached)
