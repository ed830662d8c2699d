"""Operators, methods of strings and formatting: what can make far more than it is given, charged before it is done."""

import operator
import re
from collections.abc import Callable
from typing import Any

from markupsafe import Markup

from ouvert.chat.owned_text import coarse, common_owner, plain, whole
from ouvert.chat.sandbox.budget import Budget, TooCostlyError
from ouvert.chat.written import percent_format

LARGEST_EXPONENT = 64
LARGEST_INTEGER_BITS = 4096


def check_format(text: str, arguments: Any, budget: Budget, fields: list[str]) -> None:
    """Charge formatting before it is done: each field can be as large as all arguments, or as its width."""
    for field in fields:
        if "{" in field or "*" in field or re.search(r"\d{5}", field):
            raise TooCostlyError(f"it formats with a width that is not a small constant ({field[:40]!r})")
        budget.weigh(arguments)
        budget.charge(10_000 if re.search(r"\d{3}", field) else 1_000)
    budget.charge(len(text))


def checked_percent_format(text: str, arguments: Any, budget: Budget) -> str:
    fields = re.findall(r"%(?:\([^)]*\))?[^a-zA-Z%]*[a-zA-Z%]", text)
    if re.search(r"\*", "".join(re.sub(r"\([^)]*\)", "", field) for field in fields)):
        raise TooCostlyError("it formats with a width taken from an argument")
    check_format(text, arguments, budget, [re.sub(r"\([^)]*\)", "", field) for field in fields])
    return percent_format(text, arguments)


def multiply(left: Any, right: Any, budget: Budget) -> Any:
    if isinstance(left, int) and isinstance(right, int):
        if left.bit_length() + right.bit_length() > LARGEST_INTEGER_BITS:
            raise TooCostlyError("it multiplies numbers of thousands of digits")
    else:
        for sequence, count in ((left, right), (right, left)):
            if isinstance(sequence, str | list | tuple) and isinstance(count, int) and count > 0:
                budget.charge(count)
                before = budget.work
                budget.weigh(sequence)
                budget.charge((before - budget.work) * (count - 1))
    return traced(left * right, left, right)


def power(left: Any, right: Any, budget: Budget) -> Any:
    if isinstance(left, int) and isinstance(right, int) and (left.bit_length() > 64 or right > LARGEST_EXPONENT):
        raise TooCostlyError(f"it raises {left.bit_length()} bits to the power {right}")
    return left**right


def add(left: Any, right: Any, budget: Budget) -> Any:
    budget.weigh(left)
    budget.weigh(right)
    return traced(left + right, left, right)


def modulo(left: Any, right: Any, budget: Budget) -> Any:
    return checked_percent_format(left, right, budget) if isinstance(left, str) else operator.mod(left, right)


class OwnedMarkup(Markup):
    """Text that a template called safe, or escaped: it escapes what is put beside it, as Jinja's own."""

    __slots__ = ("runs",)
    runs: tuple[tuple[int, int], ...]


def traced(result: Any, *inputs: Any) -> Any:
    """`result`; if it is a string that lost its owners, it belongs to whoever owns the inputs."""
    if not isinstance(result, str) or hasattr(result, "runs"):
        return result
    if not isinstance(result, Markup):
        return coarse(result, *inputs)
    marked = OwnedMarkup(result)
    marked.runs = whole(plain(result), common_owner(inputs)).runs
    return marked


OPERATORS: dict[str, Callable[[Any, Any, Budget], Any]] = {"+": add, "*": multiply, "**": power, "%": modulo}


def string_method(method: Callable[..., Any], text: str, args: tuple[Any, ...], budget: Budget) -> Any:
    """str.replace and str.join, charged before they are done."""
    if method.__name__ == "replace" and len(args) >= 2:
        budget.charge(text.count(args[0]) * len(args[1]))
    elif method.__name__ == "join" and args:
        pieces = list(args[0])
        budget.weigh(pieces)
        budget.charge(len(text) * len(pieces))
        args = (pieces,)
    return method(*args)
