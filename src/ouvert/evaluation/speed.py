"""How fast, measured so that it can be believed: blocks of questions asked alone, with a look at the machine around.

What was seen goes to speed.jsonl as it was; `measures` decides what may be said of it.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from ouvert.evaluation.item import Item

CANARY_SECONDS = 2.0
BLOCK_ITEMS = 4  # of one row, each asked of every contestant
SIDE, COPIED = 512, 8_000_000  # of the canary's matrices; floats that it copies
STAT = Path("/proc/stat")
STEAL = 7  # column of a "cpu" line: proc_stat(5)


def canary(seconds: float = CANARY_SECONDS) -> float:
    """The same work over and over for so long; how often a second it can be done, by the median time of one. It
    multiplies and it moves memory, as models do. Raises nothing."""
    a = np.full((SIDE, SIDE), 0.5, np.float32)
    source, target = np.ones(COPIED, np.float32), np.ones(COPIED, np.float32)
    took: list[float] = []
    began = time.perf_counter()
    while (start := time.perf_counter()) - began < seconds or not took:
        np.matmul(a, a)
        np.copyto(target, source)
        took.append(time.perf_counter() - start)
    return 1 / median(took)


def processor_times(stat: Path = STAT) -> tuple[int, int] | None:
    """(ticks of all processors, those that another machine of the host took); None where the system does not say."""
    try:
        ticks = [int(each) for each in stat.read_text(encoding="ascii").split("\n", 1)[0].split()[1:]]
    except (OSError, ValueError):
        return None
    return (sum(ticks[: STEAL + 1]), ticks[STEAL]) if len(ticks) > STEAL else None


def steal_between(before: tuple[int, int] | None, after: tuple[int, int] | None) -> float | None:
    """The share of the processors' time that another machine of the host took. Raises nothing."""
    if before is None or after is None or after[0] <= before[0]:
        return None
    return (after[1] - before[1]) / (after[0] - before[0])


@dataclass(frozen=True, slots=True)
class Block:
    """Questions of one row that are asked alone, one after the other, of each contestant."""

    number: int
    row: str
    items: tuple[Item, ...]

    def order(self, labels: Sequence[str]) -> Iterator[tuple[str, Item]]:
        """A B, B A, A B ...: whatever drifts while the block runs strikes all alike. Raises nothing."""
        for n, item in enumerate(self.items):
            for label in labels if n % 2 == 0 else reversed(labels):
                yield label, item


def blocks(items: Mapping[str, Sequence[Item]]) -> tuple[Block, ...]:
    """`items` by row, cut into blocks; rows take turns, so that each is measured at several times. Raises nothing."""
    cut = [
        [(row, tuple(asked[at : at + BLOCK_ITEMS])) for at in range(0, len(asked), BLOCK_ITEMS)]
        for row, asked in items.items()
    ]
    rounds = max(map(len, cut), default=0)
    in_turn: Iterable[tuple[str, tuple[Item, ...]]] = (each[n] for n in range(rounds) for each in cut if n < len(each))
    return tuple(Block(number, row, asked) for number, (row, asked) in enumerate(in_turn))


@dataclass(slots=True)
class Machine:
    """Looks at the machine before and after each block. `look`: the canary."""

    look: Callable[[], float] = canary
    ticks: Callable[[], tuple[int, int] | None] = processor_times
    before: float = 0.0
    since: tuple[int, int] | None = None

    def begin(self) -> None:
        """Before the first block. The first look is for warming up: processors and pages. Raises nothing."""
        self.look()
        self.before, self.since = self.look(), self.ticks()

    def end(self, block: Block, labels: Sequence[str], *, interleaved: bool) -> dict[str, Any]:
        """After it: the line of speed.jsonl. What was seen then is what was seen before the next. Raises nothing."""
        steal = steal_between(self.since, self.ticks())
        after = self.look()
        line = {
            "block": block.number,
            "row": block.row,
            "order": [[label, item.id] for label, item in block.order(labels)],
            "interleaved": interleaved,
            "canary": [round(self.before, 4), round(after, 4)],
            **({} if steal is None else {"steal": round(steal, 5)}),
        }
        self.before, self.since = after, self.ticks()
        return line
