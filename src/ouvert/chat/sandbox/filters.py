"""Filters: those of Jinja that templates may use, and our own for those whose result can be large."""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

from jinja2 import runtime
from jinja2.filters import FILTERS
from jinja2.utils import pass_context

from ouvert.chat.owned_text import between, joined
from ouvert.chat.sandbox.budget import Budget, TooCostlyError, budget_of, check_arguments
from ouvert.chat.sandbox.operations import add, checked_percent_format, traced
from ouvert.chat.written import JsonWriter, own, written

LARGEST_INDENT = 16
PLAIN_FILTERS = """
    abs attr capitalize count d default dictsort e escape first float groupby int items last length list lower map max
    min reject rejectattr reverse round safe select selectattr sort striptags title trim truncate unique upper
    urlencode wordcount
"""


# --- our own: as Jinja's or transformers', charged before they are done ---


@pass_context
def filter_join(context: runtime.Context, value: Any, d: str = "", attribute: str | int | None = None) -> str:
    budget = budget_of(context)
    if attribute is not None:
        value = FILTERS["map"](context, value, attribute=attribute)
    pieces = list(value)
    budget.weigh(pieces)
    budget.charge(len(str(d)) * len(pieces))
    return joined(between([written(piece) for piece in pieces], written(d)))


@pass_context
def filter_replace(context: runtime.Context, s: str, old: str, new: str, count: int | None = None) -> str:
    text, inserted = written(s), written(new)
    budget_of(context).charge(text.count(str(old)) * len(inserted) + len(text))
    return text.replace(written(old), inserted, -1 if count is None else count)


@pass_context
def filter_string(context: runtime.Context, value: Any) -> str:
    budget_of(context).weigh(value)
    return value if isinstance(value, str) else written(value)


@pass_context
def filter_format(context: runtime.Context, value: str, *args: Any, **kwargs: Any) -> str:
    if args and kwargs:
        raise TypeError("format takes either positional or keyword arguments")
    return checked_percent_format(written(value), kwargs or args, budget_of(context))


@pass_context
def filter_indent(
    context: runtime.Context, s: str, width: int | str = 4, first: bool = False, blank: bool = False
) -> str:
    """Every line but the first, and those that are empty, unless the arguments say otherwise."""
    check_arguments("indent", iter([width]))
    margin = width if isinstance(width, str) else own(" " * width)
    text = written(s)
    budget_of(context).charge((len(text.splitlines()) + 2) * len(margin))
    lines = joined((text, own("\n"))).splitlines()  # as Jinja's own: an empty line at the end stays
    indented = [joined((margin, line)) if number and (line or blank) else line for number, line in enumerate(lines)]
    return joined([margin if first else own(""), *between(indented, own("\n"))])


@pass_context
def filter_center(context: runtime.Context, value: str, width: int = 80) -> str:
    check_arguments("center", iter([width]))
    budget_of(context).charge(width)
    return written(value).center(width)


@pass_context
def filter_sum(context: runtime.Context, iterable: Any, attribute: str | int | None = None, start: Any = 0) -> Any:
    budget = budget_of(context)
    if attribute is not None:
        iterable = FILTERS["map"](context, iterable, attribute=attribute)
    for item in iterable:
        start = add(start, item, budget)
    return start


@pass_context
def filter_batch(context: runtime.Context, value: Any, linecount: int, fill_with: Any = None) -> list[list[Any]]:
    check_arguments("batch", iter([linecount]))
    budget_of(context).charge(linecount)
    return list(FILTERS["batch"](value, linecount, fill_with))


@pass_context
def filter_tojson(
    context: runtime.Context,
    x: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as transformers writes it: nothing escaped for HTML, other scripts as they are."""
    widths = [indent if isinstance(indent, int) else len(indent or ""), *(len(str(s)) for s in separators or ())]
    if max(widths) > LARGEST_INDENT:
        raise TooCostlyError(f"it asks tojson for an indent or separator of {max(widths)} characters")
    budget = budget_of(context)
    budget.weigh(x)
    writer = JsonWriter(
        budget.charge, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )
    return writer.text(x)


OWN_FILTERS: dict[str, Callable[..., Any]] = {
    "batch": filter_batch,
    "center": filter_center,
    "format": filter_format,
    "indent": filter_indent,
    "join": filter_join,
    "replace": filter_replace,
    "string": filter_string,
    "sum": filter_sum,
    "tojson": filter_tojson,
}


def charged(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The filter `function`, its numbers checked and its result charged. Lazy results are charged as they are used."""
    wants = getattr(function, "jinja_pass_arg", None)

    @pass_context
    def filter_charged(context: runtime.Context, value: Any, *args: Any, **kwargs: Any) -> Any:
        budget = budget_of(context)
        check_arguments(name, chain(args, kwargs.values()))
        first: tuple[Any, ...] = ()
        if wants is not None:
            first = ({"context": context, "eval_context": context.eval_ctx}.get(wants.name, context.environment),)
        result = function(*first, value, *args, **kwargs)
        if isinstance(result, Iterator):
            return counted(result, budget)
        budget.weigh(result)
        return traced(result, value, args, kwargs)

    return filter_charged


def counted(items: Iterator[Any], budget: Budget) -> Iterator[Any]:
    for item in items:
        budget.charge(1)
        yield item


def offered_filters() -> dict[str, Callable[..., Any]]:
    """Name -> filter, for every filter that a template may use."""
    return {name: charged(name, FILTERS[name]) for name in PLAIN_FILTERS.split()} | {
        name: charged(name, function) for name, function in OWN_FILTERS.items()
    }
