"""A model's own chat template, run as what it is: a program by a stranger.

The template comes with the weights, so it may be anything. It runs in Jinja's immutable sandbox, narrowed:

* only the methods and filters listed here exist;
* every value it makes is charged its full size to a budget, before it is made where it could be large, and every
  turn of a loop is charged too: memory and output are bounded, and the bound does not depend on the machine;
* a clock ends what is slow in spite of that.

Apart from these limits it behaves as `transformers` does in `apply_chat_template` (trim_blocks, lstrip_blocks, loop
controls, `{% generation %}`, `raise_exception`, its `tojson`).
"""

import json
import operator
import re
import time
from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, ValuesView
from itertools import chain
from string import Formatter
from typing import Any

import jinja2
from jinja2 import ext, meta, nodes, runtime
from jinja2.filters import FILTERS
from jinja2.parser import Parser as TemplateParser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Cycler, Joiner, Namespace, pass_context
from jinja2.visitor import NodeTransformer

SOURCE_LIMIT = 256 * 1024  # characters of a template; the longest in use are about 20 thousand
FREE_WORK = 2_000_000  # units of the budget whatever the conversation
WORK_PER_CHARACTER = 64  # more for each character of the conversation: templates copy it a few times
FREE_OUTPUT = 262_144  # characters of prompt a template may add of its own
OUTPUT_PER_CHARACTER = 4
SECONDS = 5.0
LARGEST_ARGUMENT = 100_000  # of whole numbers handed to a method or filter: widths, counts
LARGEST_INDENT = 16
LARGEST_EXPONENT = 64
LARGEST_INTEGER_BITS = 4096

# The name under which a run's budget travels in Jinja's context. No template can spell it.
BUDGET = " budget"

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
PLAIN_FILTERS = """
    abs attr capitalize count d default dictsort e escape first float groupby int items last length list lower map max
    min reject rejectattr reverse round safe select selectattr sort string striptags title trim truncate unique upper
    urlencode wordcount
"""


class TemplateError(Exception):
    """A chat template cannot be used, or refused the conversation. The message says which and what to do."""


class TooCostlyError(Exception):
    """Raised inside a template that has used up its budget."""


class Budget:
    """What one run of a template may still cost."""

    def __init__(self, supplied: int, seconds: float = SECONDS) -> None:
        self.work = FREE_WORK + WORK_PER_CHARACTER * supplied
        self.output = FREE_OUTPUT + OUTPUT_PER_CHARACTER * supplied
        self.deadline = time.monotonic() + seconds

    def charge(self, amount: int) -> None:
        self.work -= amount
        if self.work < 0:
            raise TooCostlyError("it makes more text and takes more steps than any chat template needs")
        if time.monotonic() > self.deadline:
            raise TooCostlyError(f"it took longer than {SECONDS:g} seconds")

    def weigh(self, value: Any) -> None:
        """Charge the size `value` would have if it were written out."""
        pending = [value]
        while pending:
            item = pending.pop()
            if isinstance(item, str):
                self.charge(1 + len(item))
            elif isinstance(item, list | tuple | KeysView | ItemsView | ValuesView):
                self.charge(1 + len(item))
                pending.extend(item)
            elif isinstance(item, dict):
                self.charge(1 + 2 * len(item))
                pending.extend(chain(item.keys(), item.values()))
            elif isinstance(item, int):
                self.charge(1 + item.bit_length() // 64)
            else:
                self.charge(1)


def budget_of(context: runtime.Context) -> Budget:
    budget = context.resolve_or_missing(BUDGET)
    if not isinstance(budget, Budget):
        raise TypeError(f"a template ran with {budget!r} for a budget; run it through Sandbox.render")
    return budget


# --- operations whose result can be far larger than what they are given ---


def check_arguments(name: str, values: Iterator[Any]) -> None:
    for value in values:
        if isinstance(value, int) and abs(value) > LARGEST_ARGUMENT:
            raise TooCostlyError(
                f"it calls {name} with {value}; the largest number allowed there is {LARGEST_ARGUMENT}"
            )


def check_format(text: str, arguments: Any, budget: Budget, fields: list[str]) -> None:
    """Charge formatting before it is done: each field can be as large as all arguments, or as its width."""
    for field in fields:
        if "{" in field or "*" in field or re.search(r"\d{5}", field):
            raise TooCostlyError(f"it formats with a width that is not a small constant ({field[:40]!r})")
        budget.weigh(arguments)
        budget.charge(10_000 if re.search(r"\d{3}", field) else 1_000)
    budget.charge(len(text))


def percent_format(text: str, arguments: Any, budget: Budget) -> str:
    fields = re.findall(r"%(?:\([^)]*\))?[^a-zA-Z%]*[a-zA-Z%]", text)
    if re.search(r"\*", "".join(re.sub(r"\([^)]*\)", "", field) for field in fields)):
        raise TooCostlyError("it formats with a width taken from an argument")
    check_format(text, arguments, budget, [re.sub(r"\([^)]*\)", "", field) for field in fields])
    return str(text % arguments)


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
    return left * right


def power(left: Any, right: Any, budget: Budget) -> Any:
    if isinstance(left, int) and isinstance(right, int) and (left.bit_length() > 64 or right > LARGEST_EXPONENT):
        raise TooCostlyError(f"it raises {left.bit_length()} bits to the power {right}")
    return left**right


def add(left: Any, right: Any, budget: Budget) -> Any:
    budget.weigh(left)
    budget.weigh(right)
    return left + right


def modulo(left: Any, right: Any, budget: Budget) -> Any:
    return percent_format(left, right, budget) if isinstance(left, str) else operator.mod(left, right)


OPERATORS: dict[str, Callable[[Any, Any, Budget], Any]] = {"+": add, "*": multiply, "**": power, "%": modulo}


def string_method(method: Callable[..., Any], text: str, args: tuple[Any, ...], budget: Budget) -> Any:
    """str.replace and str.join, charged before they are done."""
    if method.__name__ == "replace" and len(args) >= 2:
        budget.charge(text.count(args[0]) * len(args[1]))
    elif method.__name__ == "join" and args:
        pieces = list(args[0])
        budget.weigh(pieces)
        budget.charge(len(text) * len(pieces))
        return text.join(pieces)
    return method(*args)


# --- filters of our own: as Jinja's or transformers', charged before they are done ---


@pass_context
def filter_join(context: runtime.Context, value: Any, d: str = "", attribute: str | int | None = None) -> str:
    budget = budget_of(context)
    if attribute is not None:
        value = FILTERS["map"](context, value, attribute=attribute)
    pieces = list(value)
    budget.weigh(pieces)
    budget.charge(len(str(d)) * len(pieces))
    return str(d).join(map(str, pieces))


@pass_context
def filter_replace(context: runtime.Context, s: str, old: str, new: str, count: int | None = None) -> str:
    text = str(s)
    budget_of(context).charge(text.count(str(old)) * len(str(new)) + len(text))
    return text.replace(str(old), str(new), -1 if count is None else count)


@pass_context
def filter_format(context: runtime.Context, value: str, *args: Any, **kwargs: Any) -> str:
    if args and kwargs:
        raise TypeError("format takes either positional or keyword arguments")
    return percent_format(str(value), kwargs or args, budget_of(context))


@pass_context
def filter_indent(
    context: runtime.Context, s: str, width: int | str = 4, first: bool = False, blank: bool = False
) -> str:
    check_arguments("indent", iter([width]))
    budget_of(context).charge((str(s).count("\n") + 2) * (len(width) if isinstance(width, str) else abs(width)))
    return str(FILTERS["indent"](str(s), width, first, blank))


@pass_context
def filter_center(context: runtime.Context, value: str, width: int = 80) -> str:
    check_arguments("center", iter([width]))
    budget_of(context).charge(width)
    return str(value).center(width)


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
    budget_of(context).weigh(x)
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


OWN_FILTERS: dict[str, Callable[..., Any]] = {
    "batch": filter_batch,
    "center": filter_center,
    "format": filter_format,
    "indent": filter_indent,
    "join": filter_join,
    "replace": filter_replace,
    "sum": filter_sum,
    "tojson": filter_tojson,
}


def charged(name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
    """The filter `plain`, its numbers checked and its result charged. Lazy results are charged as they are used."""
    wants = getattr(plain, "jinja_pass_arg", None)

    @pass_context
    def filter_charged(context: runtime.Context, value: Any, *args: Any, **kwargs: Any) -> Any:
        budget = budget_of(context)
        check_arguments(name, chain(args, kwargs.values()))
        first: tuple[Any, ...] = ()
        if wants is not None:
            first = ({"context": context, "eval_context": context.eval_ctx}.get(wants.name, context.environment),)
        result = plain(*first, value, *args, **kwargs)
        if isinstance(result, Iterator):
            return counted(result, budget)
        budget.weigh(result)
        return result

    return filter_charged


def counted(items: Iterator[Any], budget: Budget) -> Iterator[Any]:
    for item in items:
        budget.charge(1)
        yield item


# --- what the template's own syntax costs ---


class Meters(NodeTransformer):
    """Puts a meter into every loop, and around every expression that makes a container or joins strings."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 - the visitor's naming
        self.generic_visit(node)
        text = sum(len(data.data) for body in node.body for data in body.find_all(nodes.TemplateData))
        text += sum(len(body.data) for body in node.body if isinstance(body, nodes.TemplateData))
        tick = own_call("tick", [nodes.Const(1 + text)], node.lineno)
        node.body = [nodes.ExprStmt(tick, lineno=node.lineno), *node.body]
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802 - the visitor's naming
        self.generic_visit(node)
        return own_call("joined", node.nodes, node.lineno)

    def visit_container(self, node: nodes.Expr) -> nodes.Node:
        self.generic_visit(node)
        constant = all(isinstance(child, nodes.Const | nodes.Pair) for child in node.iter_child_nodes())
        if getattr(node, "ctx", "load") != "load" or (constant and not isinstance(node, nodes.Dict)):
            return node
        return own_call("weighed", [node], node.lineno)

    visit_List = visit_Tuple = visit_Dict = visit_container  # noqa: N815 - the visitor's naming

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:  # noqa: N802 - the visitor's naming
        self.generic_visit(node)
        return own_call("weighed", [node], node.lineno) if isinstance(node.arg, nodes.Slice) else node


def own_call(name: str, arguments: list[nodes.Expr], line: int) -> nodes.Expr:
    function = nodes.EnvironmentAttribute(name, lineno=line)
    return nodes.Call(function, [nodes.ContextReference(lineno=line), *arguments], [], None, None, lineno=line)


class Generation(ext.Extension):
    """`{% generation %}…{% endgeneration %}` marks what the model wrote; the text is passed through."""

    tags = {"generation"}  # noqa: RUF012 - Jinja's own protocol

    def parse(self, parser: TemplateParser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


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


class Environment(ImmutableSandboxedEnvironment):
    """Jinja's immutable sandbox with the limits of this module."""

    intercepted_binops = frozenset(OPERATORS)

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[Generation, ext.loopcontrols],
            finalize=output,
        )
        self.filters = {name: charged(name, FILTERS[name]) for name in PLAIN_FILTERS.split()} | {
            name: charged(name, function) for name, function in OWN_FILTERS.items()
        }
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
        return "".join(map(str, pieces))

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
            return GuardedFormatter(self).vformat(text, args, kwargs)

        return guarded_format

    def call(__self, __context: runtime.Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        owner = getattr(__obj, "__self__", None)
        if owner is __self:
            return __obj(*args)
        budget = budget_of(__context)
        budget.charge(1)
        if isinstance(owner, str | list | tuple | dict):
            check_arguments(__obj.__name__, chain(args, kwargs.values()))
            if isinstance(owner, str) and not kwargs:
                result = string_method(__obj, owner, args, budget)
            else:
                result = super().call(__context, __obj, *args, **kwargs)
        else:
            result = super().call(__context, __obj, *args, **kwargs)
        budget.weigh(result)
        return result


@pass_context
def output(context: runtime.Context, value: Any) -> Any:
    """Every value a template prints passes here."""
    budget_of(context).weigh(value)
    return value


class TemplateDict:
    """`dict(...)` without the class behind it."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)


def raise_exception(message: str) -> None:
    raise jinja2.TemplateError(str(message)[:1000])


class Sandbox:
    """A compiled template. `source` is the text it came from."""

    def __init__(self, source: str) -> None:
        """Raises TemplateError if the text is no template, or one that asks for what is not offered."""
        if len(source) > SOURCE_LIMIT:
            raise TemplateError(
                f"compiling a chat template: it has {len(source)} characters, at most {SOURCE_LIMIT} are allowed. "
                "Give a template of your own, or use the family's built-in one."
            )
        self.source = source
        environment = Environment()
        try:
            self.template = environment.from_string(source)
            self.variables = frozenset(meta.find_undeclared_variables(environment.parse(source)))
        except Exception as problem:  # a stranger's text may break the compiler in any way; nothing is hidden
            raise TemplateError(
                f"compiling a chat template of {len(source)} characters: {problem} ({type(problem).__name__}). "
                "Expected a Jinja template of the kind transformers uses; give another, or use the built-in one."
            ) from problem

    def render(self, variables: Mapping[str, Any], supplied: int, seconds: float = SECONDS) -> str:
        """The text of a prompt. `supplied` is the number of characters in the conversation.

        Raises TemplateError when the template refuses the conversation, fails, or costs too much.
        """
        budget = Budget(supplied, seconds)
        pieces: list[str] = []
        try:
            for piece in self.template.generate({**variables, BUDGET: budget}):
                budget.output -= len(piece)
                if budget.output < 0:
                    raise TooCostlyError("its prompt is far longer than the conversation")
                pieces.append(piece)
        except TooCostlyError as problem:
            raise TemplateError(
                f"writing a prompt with the model's chat template: stopped, because {problem}. "
                "The template is broken or hostile; use the family's built-in one."
            ) from problem
        except jinja2.TemplateError as problem:
            raise TemplateError(
                f"writing a prompt with the model's chat template: it refused this conversation: {problem}. "
                "Change the conversation as it asks, or use the family's built-in template."
            ) from problem
        except Exception as problem:  # any failure of a stranger's program ends here, with its name
            raise TemplateError(
                f"writing a prompt with the model's chat template: it failed with {type(problem).__name__}: {problem}. "
                "It may expect other fields; use the family's built-in template."
            ) from problem
        return "".join(pieces)
