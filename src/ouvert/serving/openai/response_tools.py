"""Tools of the Responses dialect: what a client declares, as tools of the assistant; what is left out is said."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ouvert.assistant import Tool
from ouvert.serving.errors import Refusal
from ouvert.serving.wire import Rules

FUNCTION = frozenset({"type", "name", "description", "parameters", "strict"})
CUSTOM = frozenset({"type", "name", "description", "format"})
OTHERS = Rules(without_effect=frozenset({"cache_control", "defer_loading"}))
LONGEST_NAME = 256
INPUT = "input"  # the one argument of a custom tool
TEXT = {"type": "object", "properties": {INPUT: {"type": "string"}}, "required": [INPUT], "additionalProperties": False}


@dataclass(slots=True)
class DeclaredTools:
    """`shown` are the tools as the response repeats them, `custom` the names of those that take a text."""

    tools: list[Tool] = field(default_factory=list)
    shown: list[dict[str, Any]] = field(default_factory=list)
    custom: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)


def declared_tools(sent: Iterable[Mapping[str, Any]]) -> DeclaredTools:
    """Raises Refusal for a function or a custom tool that is not declared as it should be."""
    declared = DeclaredTools()
    for n, tool in enumerate(sent):
        match tool.get("type", "function"):
            case "function":
                add_function(declared, flattened(tool, n), n)
            case "custom":
                add_custom(declared, tool, n)
            case str(kind):  # OpenAI's own servers run it, or the client does without being asked
                declared.notes.append(f"tools: {kind[:40]} is not offered here, and was left out")
            case kind:
                raise wrong(n, f"of the type {kind!r:.80}", "function or custom")
    return declared


def flattened(tool: Mapping[str, Any], n: int) -> Mapping[str, Any]:
    """A function in Chat Completions' shape, {type, function: {…}}, is the same function."""
    inner = tool.get("function")
    if inner is None:
        return tool
    if not isinstance(inner, dict):
        raise wrong(n, f"{tool!r:.120}", "a function with a name and, as parameters, a JSON schema")
    return {"type": "function", **inner}


def add_function(declared: DeclaredTools, tool: Mapping[str, Any], n: int) -> None:
    name, description, parameters = tool.get("name"), tool.get("description"), tool.get("parameters")
    check_name(tool, n)
    if not isinstance(parameters, dict | None) or not isinstance(description, str | None):
        raise wrong(n, f"{tool!r:.120}", "a function with a name and, as parameters, a JSON schema")
    strict = bool(tool.get("strict"))
    declared.tools.append(Tool(name=str(name), description=description or "", parameters=parameters, strict=strict))
    shown = {"type": "function", "name": name, "description": description, "parameters": parameters, "strict": strict}
    declared.shown.append(shown)
    declared.notes += unknown_fields(tool, FUNCTION)


def add_custom(declared: DeclaredTools, tool: Mapping[str, Any], n: int) -> None:
    """The client runs it, as any function: it is offered as one with a single text, and called as what it is."""
    name, description, form = tool.get("name"), tool.get("description") or "", tool.get("format")
    check_name(tool, n)
    if not isinstance(description, str) or not isinstance(form, dict | None):
        raise wrong(n, f"{tool!r:.120}", "a custom tool with a name")
    note = f"tools: the custom tool {str(name)[:80]} is offered as a function with one text"
    definition = (form or {}).get("definition")
    if isinstance(definition, str):
        description += f"\n\nThe input follows this grammar:\n{definition}"
        note += "; its grammar is shown to the model, and not held"
    declared.tools.append(Tool(name=str(name), description=description.strip(), parameters=TEXT))
    declared.custom.add(str(name))
    declared.shown.append({"type": "custom", "name": name, "description": tool.get("description"), "format": form})
    declared.notes += [note, *unknown_fields(tool, CUSTOM)]


def check_name(tool: Mapping[str, Any], n: int) -> None:
    name = tool.get("name")
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME:
        what = "is missing" if name is None else f"is {name!r:.80}"
        raise Refusal(
            400,
            f"tools[{n}].name {what}, expected a text of 1 to {LONGEST_NAME} characters. Send it.",
            code="invalid_value",
            param=f"tools[{n}].name",
        )


def unknown_fields(tool: Mapping[str, Any], known: frozenset[str]) -> Iterator[str]:
    return OTHERS.notes(tool, "tools[].", "tools[].", known)


def wrong(n: int, given: str, expected: str) -> Refusal:
    return Refusal(
        400, f"tools[{n}] is {given}, expected {expected}. Correct it.", code="invalid_value", param=f"tools[{n}]"
    )


def text_in(arguments: str) -> str:
    """What a custom tool is called with. Arguments that are not its one text stand as they were written."""
    try:
        found = json.loads(arguments)
    except ValueError:
        return arguments
    match found:
        case {"input": str(text)}:
            return text
    return arguments
