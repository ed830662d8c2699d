"""The environment a template runs in: which names, attributes and calls it has."""

import datetime
import re
from collections.abc import Callable, Mapping
from itertools import chain
from string import Formatter
from typing import Any

import jinja2
from jinja2 import ext, nodes, runtime
from jinja2.utils import Cycler, Joiner, Namespace, pass_context

from ouvert.chat.owned_text import OwnedText, coarse, joined, plain
from ouvert.chat.sandbox.budget import Budget, TooCostlyError, budget_of, check_arguments
from ouvert.chat.sandbox.filters import offered_filters
from ouvert.chat.sandbox.operations import OPERATORS, check_format, string_method, traced
from ouvert.chat.sandbox.syntax import Generation, LiteralsEnvironment, Meters, OwnLiterals
from ouvert.chat.written import brace_format, written

LONGEST_DATE_FORMAT = 256
DATE_FORMAT = re.compile(r"(?:[^%]|%[-_0^#]?[A-Za-z%])*")  # no widths: the C library pads to any
STRING_METHODS = """
    capitalize casefold center count endswith find format format_map index isalnum isalpha isascii isdecimal isdigit
    islower isnumeric isspace istitle isupper join ljust lower lstrip partition removeprefix removesuffix replace rfind
    rindex rjust rpartition rsplit rstrip split splitlines startswith strip swapcase title upper zfill
"""
METHODS: tuple[tuple[type, frozenset[str]], ...] = (
    (str, frozenset(STRING_METHODS.split())),
    (list, frozenset({"copy", "count", "index"})),
    (tuple, frozenset({"count", "index"})),
    (dict, frozenset({"copy", "get", "items", "keys", "values"})),
)
# Objects of Jinja's own whose public attributes templates use: loop, caller, self, namespaces.
RUNTIME_TYPES = (
    runtime.LoopContext,
    runtime.Macro,
    runtime.BlockReference,
    runtime.TemplateReference,
    runtime.Undefined,
    Cycler,
    Joiner,
    Namespace,
)


class RefusalError(jinja2.TemplateError):
    """Raised by a template, in its own words, for a conversation that it does not write."""


class GuardedNamespace(Namespace):
    """A namespace that keeps nothing private and is not written out when printed."""

    def __init__(*args: Any, **kwargs: Any) -> None:  # `namespace(self=...)` must work
        self, *rest = args
        for name in (attributes := dict(*rest, **kwargs)):
            GuardedNamespace.check(name)
        Namespace.__init__(self, attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        GuardedNamespace.check(name)
        super().__setitem__(name, value)

    @staticmethod
    def check(name: Any) -> None:
        if isinstance(name, str) and name.startswith("_"):
            raise jinja2.exceptions.SecurityError(f"a namespace cannot hold {name!r}: it starts with an underscore")

    def __repr__(self) -> str:
        return "<Namespace>"


class GuardedFormatter(Formatter):
    """str.format through the sandbox's attribute rules."""

    def __init__(self, environment: "Environment") -> None:
        self.environment = environment

    def get_field(self, field_name: str, args: Any, kwargs: Any) -> Any:
        name, *path = re.split(r"\.|\[", field_name)
        if path:
            raise jinja2.exceptions.SecurityError(f"format fields may not reach into values ({field_name!r})")
        return self.get_value(int(name) if name.isdigit() else name, args, kwargs), name


class Environment(LiteralsEnvironment):
    """Jinja's immutable sandbox with the limits of this module."""

    intercepted_binops = frozenset(OPERATORS)
    code_generator_class = OwnLiterals
    concat = staticmethod(joined)  # of the pieces of blocks and macros

    def __init__(self) -> None:
        super().__init__(
            optimized=False,  # nothing is computed while it is compiled
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[Generation, ext.loopcontrols],
            finalize=output,
        )
        self.filters = offered_filters()
        self.globals = {
            "cycler": Cycler,
            "dict": TemplateDict(),
            "joiner": Joiner,
            "namespace": GuardedNamespace,
            "raise_exception": raise_exception,
            "range": self.globals["range"],
        }

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        template = super()._parse(source, name, filename)
        metered = Meters().visit(template)
        metered.set_environment(self)
        return metered  # type: ignore[no-any-return]

    def tick(self, context: runtime.Context, cost: int) -> None:
        budget_of(context).charge(cost)

    def weighed(self, context: runtime.Context, value: Any) -> Any:
        budget_of(context).weigh(value)
        return value

    def joined(self, context: runtime.Context, *pieces: Any) -> str:
        budget_of(context).weigh(pieces)
        return joined(map(written, pieces))

    def call_binop(self, context: runtime.Context, operator: str, left: Any, right: Any) -> Any:
        return OPERATORS[operator](left, right, budget_of(context))

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if attr.startswith("_"):
            return False
        for kind, methods in METHODS:
            if isinstance(obj, kind):
                return attr in methods
        return isinstance(obj, RUNTIME_TYPES)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        text = getattr(value, "__self__", None)
        name = getattr(value, "__name__", None)
        if name not in {"format", "format_map"} or not isinstance(text, str):
            return None

        @pass_context
        def guarded_format(context: runtime.Context, *args: Any, **kwargs: Any) -> str:
            if name == "format_map":
                (kwargs,), args = args, ()
            fields = [f"{spec or ''}" for _, field, spec, _ in Formatter().parse(text) if field is not None]
            check_format(text, (args, kwargs), budget_of(context), fields)
            truth = GuardedFormatter(self).vformat(plain(text), args, kwargs)
            return brace_format(text, truth, args, kwargs)

        return guarded_format

    def call(__self, __context: runtime.Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        owner = getattr(__obj, "__self__", None)
        if owner is __self:
            return __obj(*args)
        budget = budget_of(__context)
        budget.charge(1)
        charge_kept_arguments(__obj, args, kwargs, budget)
        if isinstance(owner, str | list | tuple | dict):
            check_arguments(__obj.__name__, chain(args, kwargs.values()))
            if isinstance(owner, str) and not kwargs:
                result = string_method(__obj, owner, args, budget)
            else:
                result = super().call(__context, __obj, *args, **kwargs)
        else:
            result = super().call(__context, __obj, *args, **kwargs)
        budget.weigh(result)
        return traced(result, owner, args, kwargs)


def charge_kept_arguments(called: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], budget: Budget) -> None:
    """Some calls make a new list of what they are given: varargs and kwargs of a macro, the items of a cycler."""
    if called is Cycler or called is GuardedNamespace:
        budget.weigh((args, kwargs))
    elif isinstance(called, runtime.Macro):
        named = {name: value for name, value in kwargs.items() if name not in called.arguments}
        budget.weigh((args[len(called.arguments) :], named))


@pass_context
def output(context: runtime.Context, value: Any) -> OwnedText:
    """Every value a template prints passes here."""
    budget_of(context).weigh(value)
    return written(value)


class DateFormatter:
    """`strftime_now(format)` for the day of a conversation."""

    def __init__(self, date: datetime.date) -> None:
        self.date = date

    def __call__(self, form: str) -> str:
        text = str(form)
        if len(text) > LONGEST_DATE_FORMAT or not DATE_FORMAT.fullmatch(text):
            raise TooCostlyError(
                f"it asks strftime_now for {text!r:.40}; expected at most {LONGEST_DATE_FORMAT} characters, no widths"
            )
        return coarse(self.date.strftime(plain(text)), form)


class TemplateDict:
    """`dict(...)` without the class behind it."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)


def raise_exception(message: str) -> None:
    raise RefusalError(plain(written(message))[:1000])
