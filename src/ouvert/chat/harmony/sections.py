"""What stands in Harmony's system and developer messages.

The wording is what gpt-oss was trained on, so it is reproduced to the letter. Source: openai/harmony, docs/format.md
and src/chat.rs (Apache-2.0).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ouvert.chat.conversation import Effort, Tool
from ouvert.chat.harmony.schema import compact, type_of

IDENTITY = "You are ChatGPT, a large language model trained by OpenAI."
KNOWLEDGE_CUTOFF = "2024-06"
CHANNELS = ("analysis", "commentary", "final")
FUNCTIONS = "functions"


@dataclass(frozen=True, slots=True)
class Namespace:
    """Tools under one name. Without tools, the name itself is the recipient of calls."""

    name: str
    description: str | None
    tools: tuple[Tool, ...]

    @property
    def recipients(self) -> tuple[str, ...]:
        return tuple(f"{self.name}.{tool.name}" for tool in self.tools) or (self.name,)


def function(name: str, description: str, required: Sequence[str], **properties: Mapping[str, Any]) -> Tool:
    parameters: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        parameters["required"] = list(required)
    return Tool(name=name, description=description, parameters=parameters)


LAST = {"type": "number", "default": -1}
BROWSER = Namespace(
    "browser",
    "Tool for browsing.\n"
    "The `cursor` appears in brackets before each browsing display: `[{cursor}]`.\n"
    "Cite information from the tool using the following format:\n"
    "`【{cursor}†L{line_start}(-L{line_end})?】`, for example: `【6†L9-L11】` or `【8†L3】`.\n"
    "Do not quote more than 10 words directly from the tool output.\n"
    "sources=web (default: web)",
    (
        function(
            "search",
            "Searches for information related to `query` and displays `topn` results.",
            ["query"],
            query={"type": "string"},
            topn={"type": "number", "default": 10},
            source={"type": "string"},
        ),
        function(
            "open",
            "Opens the link `id` from the page indicated by `cursor` starting at line number `loc`, showing "
            "`num_lines` lines.\n"
            "Valid link ids are displayed with the formatting: `【{id}†.*】`.\n"
            "If `cursor` is not provided, the most recent page is implied.\n"
            "If `id` is a string, it is treated as a fully qualified URL associated with `source`.\n"
            "If `loc` is not provided, the viewport will be positioned at the beginning of the document or centered "
            "on the most relevant passage, if available.\n"
            "Use this function without `id` to scroll to a new location of an opened page.",
            [],
            id={"type": ["number", "string"], "default": -1},
            cursor=LAST,
            loc=LAST,
            num_lines=LAST,
            view_source={"type": "boolean", "default": False},
            source={"type": "string"},
        ),
        function(
            "find",
            "Finds exact matches of `pattern` in the current page, or the page given by `cursor`.",
            ["pattern"],
            pattern={"type": "string"},
            cursor=LAST,
        ),
    ),
)
PYTHON = Namespace(
    "python",
    "Use this tool to execute Python code in your chain of thought. The code will not be shown to the user. This tool "
    "should be used for internal reasoning, but not for code that is intended to be visible to the user (e.g. when "
    "creating plots, tables, or files).\n\n"
    "When you send a message containing Python code to python, it will be executed in a stateful Jupyter notebook "
    "environment. python will respond with the output of the execution or time out after 120.0 seconds. The drive at "
    "'/mnt/data' can be used to save and persist user files. Internet access for this session is UNKNOWN. Depends on "
    "the cluster.",
    (),
)
UNKNOWN_ACCESS = "Internet access for this session is UNKNOWN. Depends on the cluster."
NO_ACCESS = "There is no Internet access."
# For a box without a network: the one sentence of the trained text that would be no true one there.
PYTHON_OFFLINE = Namespace("python", str(PYTHON.description).replace(UNKNOWN_ACCESS, NO_ACCESS), ())
BUILTIN = {"browser": BROWSER, "python": PYTHON, "python_offline": PYTHON_OFFLINE}


def lines_of(text: str) -> list[str]:
    """The lines of a text as Rust counts them: a line break at the end begins no line, a return before one goes."""
    *ended, last = text.split("\n")
    return [line.removesuffix("\r") for line in ended] + ([last] if last else [])


def tools_section(namespaces: Iterable[Namespace]) -> str:
    """`# Tools`: each namespace with its description and the type of each function."""
    sections = ["# Tools"]
    for namespace in namespaces:
        comment = "// " if namespace.tools else ""
        lines = [f"## {namespace.name}\n"]
        lines += [comment + line for line in lines_of(namespace.description or "")]
        if namespace.tools:
            lines.append(f"namespace {namespace.name} {{\n")
            for tool in namespace.tools:
                lines += [f"// {line}" for line in lines_of(tool.description)]
                takes = "" if tool.parameters is None else f"_: {type_of(tool.parameters)}"
                lines.append(f"type {tool.name} = ({takes}) => any;\n")
            lines.append(f"}} // namespace {namespace.name}")
        sections.append("\n".join(lines))
    return "\n\n".join(sections)


def system_text(
    *,
    identity: str | None = IDENTITY,
    knowledge_cutoff: str | None = KNOWLEDGE_CUTOFF,
    date: str | None = None,
    effort: Effort | None = "medium",
    builtin: Iterable[Namespace] = (),
    channels: Sequence[str] = CHANNELS,
    functions: bool = False,
) -> str:
    """The system message. `functions` says that the developer message declares some."""
    top = [
        identity,
        None if knowledge_cutoff is None else f"Knowledge cutoff: {knowledge_cutoff}",
        None if date is None else f"Current date: {date}",
    ]
    sections = ["\n".join(line for line in top if line is not None)] if any(line is not None for line in top) else []
    if effort is not None:
        sections.append(f"Reasoning: {effort}")
    if namespaces := sorted(builtin, key=lambda namespace: namespace.name):
        sections.append(tools_section(namespaces))
    if channels:
        line = f"# Valid channels: {', '.join(channels)}. Channel must be included for every message."
        if functions:
            line += f"\nCalls to these tools must go to the commentary channel: '{FUNCTIONS}'."
        sections.append(line)
    return "\n\n".join(sections)


def developer_text(
    instructions: str | None, functions: Sequence[Tool], answer_schema: Mapping[str, Any] | None = None
) -> str:
    """The developer message: instructions, tools, and the form of the answer. Empty if there is none of these."""
    sections = []
    if instructions is not None:
        sections += ["# Instructions", instructions]
    if functions:
        sections.append(tools_section([Namespace(FUNCTIONS, None, tuple(functions))]))
    if answer_schema is not None:
        sections.append(response_section(answer_schema))
    return "\n\n".join(sections)


def response_section(schema: Mapping[str, Any]) -> str:
    """`# Response Formats`: the schema of the final answer, named by its title."""
    title, description = schema.get("title"), schema.get("description")
    lines = ["# Response Formats", "", f"## {title if isinstance(title, str) and title else 'answer'}", ""]
    if isinstance(description, str):
        lines += [f"// {line}" for line in lines_of(description)]
    return "\n".join([*lines, compact(schema)])
