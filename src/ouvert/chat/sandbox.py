"""A model's own chat template, run as what it is: a program by a stranger.

The template comes with the weights, so it may be anything. It runs in Jinja's immutable sandbox, narrowed:

* only the methods and filters listed here exist;
* every value it makes is charged its full size to a budget, before it is made where it could be large, and every
  turn of a loop is charged too: memory and output are bounded, and the bound does not depend on the machine;
* no value is nested deeper than DEEPEST, so nothing that walks through one can use up the stack;
* a clock ends what is slow in spite of that.

What none of this foresees ends with the process it runs in: ouvert.chat.renderer runs here only templates it knows.

Every text that the template itself has is its own, and every text it makes knows whose each character is
(ouvert.chat.owned_text).

Apart from these limits it behaves as `transformers` does in `apply_chat_template` (trim_blocks, lstrip_blocks, loop
controls, `{% generation %}`, `raise_exception`, its `tojson`).
"""

import datetime
import operator
import re
import time
from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from itertools import chain
from string import Formatter
from typing import Any

import jinja2
from jinja2 import ext, meta, nodes, runtime
from jinja2.compiler import CodeGenerator, Frame
from jinja2.filters import FILTERS
from jinja2.parser import Parser as TemplateParser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Cycler, Joiner, Namespace, pass_context
from jinja2.visitor import NodeTransformer
from markupsafe import Markup

from ouvert.chat.owned_text import OwnedText, between, coarse, common_owner, joined, plain, whole
from ouvert.chat.written import JsonWriter, brace_format, own, percent_format, written

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
DEEPEST = 128  # lists in lists: what walks through a value takes a few frames of Python for each
LONGEST_DATE_FORMAT = 256
DATE_FORMAT = re.compile(r"(?:[^%]|%[-_0^#]?[A-Za-z%])*")  # no widths: the C library pads to any
CHARGES_A_LOOK = 16  # the clock is looked at once in so many charges

REMEDY = (
    "use another: --template builtin, or --template FILE.jinja (ouvert.load(template=...); `template` in the "
    "configuration file)"
)
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
    min reject rejectattr reverse round safe select selectattr sort striptags title trim truncate unique upper
    urlencode wordcount
"""


class TemplateError(Exception):
    """A chat template cannot be used, or refused the conversation. The message says which and what to do."""


class RefusalError(jinja2.TemplateError):
    """Raised by a template, in its own words, for a conversation that it does not write."""


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


# --- filters of our own: as Jinja's or transformers', charged before they are done ---


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


class OwnLiterals(CodeGenerator):
    """Compiles every text that stands in the template to an OwnedText that is the template's."""

    environment: "Environment"

    def visit_Const(self, node: nodes.Const, frame: Frame) -> None:  # noqa: N802 - the visitor's naming
        if isinstance(node.value, str):
            self.write(self.environment.literal(node.value))
        else:
            super().visit_Const(node, frame)

    def visit_TemplateData(self, node: nodes.TemplateData, frame: Frame) -> None:  # noqa: N802 - the visitor's naming
        self.write(self.environment.literal(node.data))

    def _output_const_repr(self, group: Iterable[Any]) -> str:
        return self.environment.literal("".join(map(str, group)))


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
    code_generator_class = OwnLiterals
    concat = staticmethod(joined)  # of the pieces of blocks and macros

    def __init__(self) -> None:
        self.literals: list[OwnedText] = []
        super().__init__(
            optimized=False,  # nothing is computed while it is compiled
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

    def literal(self, text: str) -> str:
        """The expression for a text of the template in its compiled form."""
        self.literals.append(own(text))
        return f"environment.literals[{len(self.literals) - 1}]"

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


def sentence(problem: Exception) -> str:
    """What an exception says, as a sentence, in Python's names."""
    return str(problem)[:1000].replace("'OwnedText' object", "'str' object").rstrip(".") + "."


class Sandbox:
    """A compiled template. `variables` are the names it reads."""

    def __init__(self, source: str) -> None:
        """Raises TemplateError if the text is no template, or one that asks for what is not offered."""
        refuse_what_is_too_long(source)
        environment = Environment()
        try:
            self.template = environment.from_string(source)
            self.variables = frozenset(meta.find_undeclared_variables(environment.parse(source)))
        except Exception as problem:  # a stranger's text may break the compiler in any way; nothing is hidden
            raise TemplateError(
                f"compiling a chat template of {len(source)} characters: {problem} ({type(problem).__name__}). "
                f"Expected a Jinja template of the kind transformers uses; {REMEDY}."
            ) from problem

    def render(self, variables: Mapping[str, Any], supplied: int, seconds: float = SECONDS) -> OwnedText:
        """A prompt. `supplied` is the number of characters in the conversation; texts of unknown owner in `variables`
        count as from outside.

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
            raise too_costly(str(problem)) from problem
        except MemoryError as problem:
            raise too_costly("it takes more memory than any chat template needs") from problem
        except RefusalError as problem:
            raise TemplateError(
                f"writing a prompt with the model's chat template: it refused this conversation: "
                f"{sentence(problem)} Change the conversation as it asks, or {REMEDY}."
            ) from problem
        except jinja2.exceptions.SecurityError as problem:
            raise TemplateError(
                f"writing a prompt with the model's chat template: it asks for what templates are not offered: "
                f"{sentence(problem)} It is broken or hostile; {REMEDY}."
            ) from problem
        except Exception as problem:  # any failure of a stranger's program ends here, with its name
            raise TemplateError(
                f"writing a prompt with the model's chat template: it failed with {type(problem).__name__}: "
                f"{sentence(problem)} It may expect other fields; {REMEDY}."
            ) from problem
        return joined(pieces)


def refuse_what_is_too_long(source: str) -> None:
    """Raises TemplateError."""
    if len(source) > SOURCE_LIMIT:
        raise TemplateError(
            f"compiling a chat template: it has {len(source)} characters, at most {SOURCE_LIMIT} are allowed. "
            f"It is no chat template; {REMEDY}."
        )


def too_costly(why: str) -> TemplateError:
    return TemplateError(
        f"writing a prompt with the model's chat template: stopped, because {why}. "
        f"The template is broken or hostile; {REMEDY}."
    )
