"""Writes docs/reference/*.md from the docstrings in src/ouvert. A test compares the two.

make reference

griffe reads the sources and does not run them. Everything is described once: what `ouvert` lists, on the page of its
subject; what only a part lists, on the page of the first part that lists it.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from posixpath import dirname, relpath
from typing import Any, NamedTuple

import griffe

HERE = Path(__file__).parent
COMMAND = "make reference"
WIDTH = 100  # characters of a line of code

# Page -> its title, and the names of `ouvert` that it describes, in this order.
SUBJECTS = {
    "models": ("Loading and models", "load vllm Model ModelInfo"),
    "conversations": (
        "Conversations and events",
        (
            "Message Tool ToolCall Answer Event Reading ReasoningDelta TextDelta ScoredText ToolCallDelta Finished "
            "ContinuedText Usage ChatRequest TextRequest Demands Edit Thinking as_conversation"
        ),
    ),
    "sampling": ("Sampling, grammars and tokens", "Sampling Grammar Token ReadText ScoredChoice"),
    "receipts": ("Receipts", "Ledger Replayed Verified"),
    "prefixes": ("Kept prefixes", "PageFiles"),
    "batches": ("Batches and jobs", "batch BatchOutcome Job"),
    "comparisons": ("Comparisons", "compare Compared"),
    "adapters": ("Adapters and tuning", "tune adapters AdapterRecord"),
    "guard": ("The guard against connections", "guard"),
    "inspection": ("Looking inside", "Trace Watched Probe Direction LogitDifference LogProbability TextLogProbability"),
    "errors": (
        "Errors",
        (
            "AssistantError ChatError CheckpointError EngineError EngineUnreachableError EvaluationError "
            "InspectionError JobError LedgerError StoreError TokenizerError TuningError"
        ),
    ),
}
# From the ground up, so that a name is described where it comes from.
PARTS = [
    "arithmetic", "kernels", "weights", "models", "packed", "tokenization", "chat", "store", "engine", "safety",
    "sandbox", "documents", "assistant", "agents", "inspection", "tuning", "evaluation", "serving", "cli",
]  # fmt: skip

BEGINNING = f"""\
# Reference of the Python interface

*Written from the docstrings by `{COMMAND}`. Change the docstrings, not these pages.*

The guide is [python.md](../guides/python.md). Shapes are in brackets, the slowest axis first: float32 (tokens,
vocabulary). "Raises nothing" means: nothing for arguments of the types and shapes that are stated. For other arguments
Python or NumPy raises its own TypeError or ValueError. Where memory ends, anything may raise MemoryError.

## What `import ouvert` offers

"""
PARTS_BEGIN = """
## For builders: the parts

What each part lists in its `__init__`. These names may change with any version; [CHANGELOG](../../CHANGELOG.md) says
how.

"""


class Item(NamedTuple):
    """Something public: the name to import it by, and where it is defined."""

    name: str  # "ouvert.Sampling", "ouvert.engine.Variant"
    it: griffe.Object

    @property
    def title(self) -> str:
        return self.name.rpartition(".")[2]


class Page(NamedTuple):
    file: str
    title: str
    docstring: str  # of the part
    items: tuple[Item, ...]
    elsewhere: tuple[Item, ...] = ()  # what a part lists and another page describes


def pages() -> tuple[Page, ...]:
    """Every page, with what is to be described on it."""
    package = griffe.load("ouvert", search_paths=[str(HERE.parents[1] / "src")], resolve_aliases=True)
    return tuple(listed(package))


def listed(package: griffe.Module) -> Iterator[Page]:
    seen: dict[str, Item] = {}

    def items(module: griffe.Module, names: Any) -> Iterator[Item]:
        for name in names:
            item = Item(f"{module.path}.{name}", defined(module, name))
            if item.it.path not in seen:
                seen.update(dict.fromkeys(paths(item.it), item))
                yield item

    for page, (title, names) in SUBJECTS.items():
        yield Page(f"{page}.md", title, "", tuple(items(package, names.split())))
    for part in PARTS:
        module = package[part]
        before = dict(seen)
        own = tuple(items(module, module.exports))
        there = (before.get(defined(module, name).path) for name in module.exports)
        yield Page(f"parts/{part}.md", f"`ouvert.{part}`", text_of(module), own, tuple(filter(None, there)))


def defined(module: griffe.Module, name: str) -> griffe.Object:
    """What a name of a module stands for. A function may be called as its file is; then the function is meant. One that
    `ouvert` wraps so that its model can be looked into is the function that is wrapped."""
    found = module[name]
    found = found.final_target if found.is_alias else found
    if found.is_attribute and isinstance(found.value, griffe.ExprCall) and str(found.value.function) == "joining":
        return defined(module["assistant"], name)
    same = found.members.get(name) if found.is_module else None
    return found if same is None else same


def paths(it: griffe.Object) -> list[str]:
    """Where a thing is defined; also where the class of the same name is that it adds to."""
    return [each.path for each in (it, *added_to(it))]


def added_to(it: griffe.Object) -> list[griffe.Object]:
    """The class of the same name that a class adds to: they are one to whoever reads."""
    return [base for base in it.resolved_bases if base.name == it.name] if it.is_class else []


# --- what a thing is made of ------------------------------------------------------------------------------------------


def members(it: griffe.Object) -> Iterator[griffe.Object]:
    """Its public functions, methods and properties; special methods if they have a docstring."""
    for each in all_members(it):
        if each.is_alias or not (each.is_function or "property" in each.labels):
            continue
        special = each.name.startswith("__") and each.name != "__init__" and each.docstring is not None
        if special or not each.name.startswith("_"):
            yield each


def all_members(it: griffe.Object) -> list[griffe.Object]:
    return [each for of in (it, *added_to(it)) for each in of.members.values()]


def attributes(it: griffe.Object) -> Iterator[griffe.Object]:
    """Its public attributes, but fields of a dataclass: its signature shows them."""
    if it.is_class and "dataclass" not in it.labels:
        for each in all_members(it):
            if each.is_attribute and "property" not in each.labels and not each.name.startswith("_"):
                yield each


def text_of(it: griffe.Object) -> str:
    """Its docstring. A constant has a comment right above it instead."""
    if it.docstring is not None:
        return it.docstring.value
    if not it.is_attribute or "property" in it.labels:
        return ""
    above: list[str] = []
    lines = it.lines_collection[it.filepath]
    for line in reversed(lines[: it.lineno - 1]):
        if not line.startswith("# ") or line.startswith("# ---"):
            break
        above.insert(0, line[2:])
    return "\n".join(above)


def comment_on(it: griffe.Object) -> str:
    """What the comment at the end of its line says."""
    found = re.search(r"  # (.*)", it.lines[0]) if it.lines else None
    return "" if found is None else found[1]


# --- Markdown ---------------------------------------------------------------------------------------------------------


class Writer:
    """Lays out pages. Knows where everything is described, so that names become links."""

    def __init__(self, pages: tuple[Page, ...]) -> None:
        self.pages = pages
        self.place = {
            path: f"{page.file}#{item.title.lower()}"
            for page in pages
            for item in page.items
            for path in paths(item.it)
        }

    def written(self) -> dict[str, str]:
        """File below docs/reference -> its whole text."""
        return {"README.md": self.index()} | {page.file: self.page(page) for page in self.pages}

    def index(self) -> str:
        subjects = [page for page in self.pages if not page.docstring]
        parts = [page for page in self.pages if page.docstring]
        lines = [f"- [{each.title}]({each.file}): {self.links(each.items, 'README.md')}\n" for each in subjects]
        about = [f"- [{each.title}]({each.file}): {first_sentence(each.docstring)}\n" for each in parts]
        return BEGINNING + "".join(lines) + PARTS_BEGIN + "".join(about)

    def page(self, page: Page) -> str:
        index = relpath("README.md", dirname(page.file))
        blocks = [f"# {page.title}", f"*Written from the docstrings by `{COMMAND}`. [All pages]({index})*"]
        blocks.append(prose(page.docstring, page.file))
        if page.elsewhere:
            blocks.append(f"Listed here too: {self.links(page.elsewhere, page.file)}.")
        for item in page.items:
            blocks += self.described(item.it, item.title, item.name, "##", page.file)
            for each in members(item.it):
                name = f"{item.title}.{each.name}"
                bound = {"classmethod", "staticmethod"} & each.labels or item.it.is_module
                blocks += self.described(each, name, name if bound else each.name, "###", page.file)
        return "\n\n".join(filter(None, blocks)) + "\n"

    def described(self, it: griffe.Object, title: str, name: str, mark: str, file: str) -> Iterator[str]:
        """Heading, signature, docstring, attributes, and where the types that the signature names are described."""
        yield f"{mark} `{title}`"
        if code := code_of(it, name):
            yield f"```python\n{code}\n```"
        yield prose(text_of(it), file)
        if "__init__" in it.members:
            yield prose(text_of(it.members["__init__"]), file)
        yield "\n".join(map(attribute_line, attributes(it)))
        types = {each.path: Item(each.path, each) for each in types_in(it) if each.path in self.place}
        types.pop(it.path, None)
        if types:
            yield f"Types: {self.links(types.values(), file)}"

    def links(self, items: Iterable[Item], file: str) -> str:
        """Each name with where it is described, as seen from a page."""
        found = []
        for item in items:
            page, anchor = self.place[item.it.path].split("#")
            found.append(f"[`{item.title}`]({'' if page == file else relpath(page, dirname(file))}#{anchor})")
        return ", ".join(found)


def code_of(it: griffe.Object, name: str) -> str:
    """How a thing is called, or what it is."""
    if it.is_module:
        return ""
    if it.is_function:
        return call(name, it.parameters, it.returns)
    if it.is_attribute:
        return f"{name}: {annotation(it.annotation)}" if "property" in it.labels else value_line(it, name)
    lines = [f"class {it.name}({', '.join(map(str, it.bases))})"] if it.bases and not added_to(it) else []
    if "__init__" in it.members:
        lines.append(call(name, it.parameters, None))
    return "\n".join(lines) or f"class {it.name}"


def call(name: str, parameters: griffe.Parameters, returns: Any) -> str:
    """A signature: on one line if it fits and no field has a comment, else one line for each parameter."""
    written: list[tuple[str, str]] = []
    for each in parameters:
        if each.name in ("self", "cls"):
            continue
        if each.kind is griffe.ParameterKind.keyword_only and not any(text.startswith("*") for text, _ in written):
            written.append(("*", ""))
        stars = {griffe.ParameterKind.var_positional: "*", griffe.ParameterKind.var_keyword: "**"}.get(each.kind, "")
        text = stars + each.name + (f": {annotation(each.annotation)}" if each.annotation is not None else "")
        if each.default is not None and not stars:
            text += f" = {quoted(each.default)}"
        field = each.function.parent.members.get(each.name) if each.function and each.function.parent else None
        comment = comment_on(field) if field is not None and field.is_attribute and field.lines else ""
        written.append((text, comment))
    end = ")" if returns is None else f") -> {annotation(returns)}"
    line = f"{name}({', '.join(text for text, _ in written)}{end}"
    if len(line) <= WIDTH and not any(comment for _, comment in written):
        return line
    return f"{name}(\n" + "".join(f"    {text},{comment and f'  # {comment}'}\n" for text, comment in written) + end


def annotation(expression: Any) -> str:
    """A type as the source writes it; a name for a choice of values is shown as that choice."""
    text = str(expression)
    for name in names_in(expression):
        target = target_of(name)
        if target is not None and target.is_attribute and str(target.value).startswith("Literal["):
            text = re.sub(rf"\b{name.name}\b", lambda _, choice=str(target.value): choice, text)
    return quoted(text)


def quoted(code: Any) -> str:
    """Code with the quotes that we write; griffe has Python's."""
    return str(code) if '"' in str(code) else str(code).replace("'", '"')


def value_line(it: griffe.Object, name: str) -> str:
    """A constant with its value, if that is short enough to be read, and what the comment beside it says."""
    line, comment = f"{name} = {quoted(it.value)}", comment_on(it)
    if len(line) > WIDTH:
        line = name if it.annotation is None else f"{name}: {it.annotation}"
    return f"{line}  # {comment}" if comment else line


def attribute_line(it: griffe.Object) -> str:
    kind = "" if it.annotation is None else f": {annotation(it.annotation)}"
    comment = comment_on(it)
    return f"- `{it.name}{kind}`" + (f": {comment}" if comment else "")


def names_in(expression: Any) -> Iterator[griffe.ExprName]:
    if isinstance(expression, griffe.Expr):
        yield from (each for each in expression.iterate(flat=True) if isinstance(each, griffe.ExprName))


def target_of(name: griffe.ExprName) -> griffe.Object | None:
    """What of ours a name in a type stands for."""
    path = name.canonical_path
    if not path.startswith("ouvert.") or not isinstance(name.parent, griffe.Object):
        return None
    found = name.parent.modules_collection[path]
    return found.final_target if found.is_alias else found


def types_in(it: griffe.Object) -> Iterator[griffe.Object]:
    expressions: list[Any] = []
    if it.is_function:
        expressions = [*(each.annotation for each in it.parameters), it.returns]
    elif it.is_attribute:
        expressions = [it.annotation, it.value]
    elif it.is_class:
        expressions = [*it.bases, *(each.annotation for each in it.parameters)]
    for expression in expressions:
        yield from filter(None, map(target_of, names_in(expression)))


def prose(text: str, file: str) -> str:
    """A docstring as Markdown. Documents that it names become links, `name  what it is` becomes an item of a list, and
    < stays a sign. Code stays as it is."""

    def shown(piece: str) -> str:
        piece = re.sub(r"^([A-Za-z]\w*(?:, \w+)*)  +(?=\S)", r"- `\1`: ", piece).replace("<", "\\<")
        return re.sub(r"\bdocs/([\w-]+/[\w.-]+\.md)", rf"[docs/\1]({up}/\1)", piece)

    up = relpath("..", dirname(file))
    lines = []
    for line in text.splitlines():
        pieces = re.split(r"(`[^`]*`)", line)
        lines.append(line if line.startswith("    ") else "".join(p if p[:1] == "`" else shown(p) for p in pieces))
    return "\n".join(lines)


def first_sentence(text: str) -> str:
    return prose(re.split(r"(?<=\.)\s", text.replace("\n", " "), maxsplit=1)[0], "README.md")


if __name__ == "__main__":
    for file, text in Writer(pages()).written().items():
        (HERE / file).parent.mkdir(exist_ok=True)
        (HERE / file).write_text(text, encoding="utf-8")
