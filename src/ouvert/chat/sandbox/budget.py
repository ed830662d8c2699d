"""What one run of a template may cost: an amount of work, an amount of output, and a time."""

import time
from collections.abc import ItemsView, Iterator, KeysView, ValuesView
from itertools import chain
from typing import Any

from jinja2 import runtime

FREE_WORK = 2_000_000  # units of the budget whatever the conversation
WORK_PER_CHARACTER = 64  # more for each character of the conversation: templates copy it a few times
FREE_OUTPUT = 262_144  # characters of prompt a template may add of its own
OUTPUT_PER_CHARACTER = 4
SECONDS = 5.0
LARGEST_ARGUMENT = 100_000  # of whole numbers handed to a method or filter: widths, counts
DEEPEST = 128  # lists in lists: what walks through a value takes a few frames of Python for each
CHARGES_A_LOOK = 16  # the clock is looked at once in so many charges
# The name under which a run's budget travels in Jinja's context. No template can spell it.
BUDGET = " budget"


class TooCostlyError(Exception):
    """Raised inside a template that has used up its budget."""


class Budget:
    """What one run of a template may still cost."""

    def __init__(self, supplied: int, seconds: float = SECONDS) -> None:
        self.work = FREE_WORK + WORK_PER_CHARACTER * supplied
        self.output = FREE_OUTPUT + OUTPUT_PER_CHARACTER * supplied
        self.seconds = seconds
        self._deadline = time.thread_time() + seconds  # of this thread's own: a busy machine slows nobody's template
        self._until_look = 0

    def charge(self, amount: int) -> None:
        self.work -= amount
        if self.work < 0:
            raise TooCostlyError("it makes more text and takes more steps than any chat template needs")
        self._until_look -= 1
        if self._until_look <= 0:
            self._until_look = CHARGES_A_LOOK
            if time.thread_time() > self._deadline:
                raise TooCostlyError(f"it computed for more than {self.seconds:g} seconds")

    def weigh(self, value: Any) -> None:
        """Charge the size `value` would have if it were written out. Raises TooCostlyError for one nested too deep."""
        pending = [(value, 0)]
        while pending:
            item, depth = pending.pop()
            if isinstance(item, str):
                self.charge(1 + len(item))
            elif isinstance(item, list | tuple | KeysView | ItemsView | ValuesView):
                self.charge(1 + len(item))
                pending.extend((each, depth + 1) for each in item)
            elif isinstance(item, dict):
                self.charge(1 + 2 * len(item))
                pending.extend((each, depth + 1) for each in chain(item.keys(), item.values()))
            elif isinstance(item, int):
                self.charge(1 + item.bit_length() // 64)
            else:
                self.charge(1)
            if depth > DEEPEST:
                raise TooCostlyError(f"it makes a value of lists within lists, more than {DEEPEST} deep")


def budget_of(context: runtime.Context) -> Budget:
    budget = context.resolve_or_missing(BUDGET)
    if not isinstance(budget, Budget):
        raise TypeError(f"a template ran with {budget!r} for a budget; run it through Sandbox.render")
    return budget


def check_arguments(name: str, values: Iterator[Any]) -> None:
    for value in values:
        if isinstance(value, int) and abs(value) > LARGEST_ARGUMENT:
            raise TooCostlyError(
                f"it calls {name} with {value}; the largest number allowed there is {LARGEST_ARGUMENT}"
            )
