"""One request and the tools that are offered with it, in both forms."""

from collections.abc import Mapping, Sequence
from typing import Any

from ouvert.evaluation.item import Ask
from ouvert.evaluation.suites.draw import Draw
from ouvert.evaluation.suites.generated import Draft, Turn, question
from ouvert.evaluation.suites.number_words import number_in_words
from ouvert.evaluation.suites.tools.catalogue import Tool, said, tools

OFFERED = {"call": 1, "none": 4, "pick": 4, "arguments": 4, "spelled": 8}  # tools, by group


def draft(turn: Turn) -> Draft:
    """An item of a group; what is asked for is drawn, and so is the place of the right tool among the offered ones."""
    fitting = [each for each in tools(turn.language) if fits(each, turn.group)]
    wanted = turn.draw.one(fitting)
    arguments = wanted.arguments(turn.draw)
    while turn.group == "spelled" and any(ends_in_one(each) for each in arguments.values()):
        arguments = wanted.arguments(turn.draw)
    offered = offers(turn.draw, turn.language, wanted, turn.group)
    request = as_sentence(wanted.requests[turn.wording].format_map(as_said(arguments, turn)))
    expected: dict[str, Any] = {"tool": wanted.name, "arguments": arguments}
    if turn.group == "none":
        expected = {"tool": None, "arguments": {}}
    return Draft(
        about=f"{wanted.name} {arguments}",
        asks=forms(turn.language, request, offered, turn.wording),
        expected=expected | {"request": request},
        labels={"tool": wanted.name},
    )


def ends_in_one(value: str | int) -> bool:
    """Such a number would have to agree with what is counted in French: "vingt et une minutes"."""
    return isinstance(value, int) and value % 10 == 1


def as_said(arguments: Mapping[str, str | int], turn: Turn) -> dict[str, str | int]:
    """The arguments as they stand in the request: with numbers in words in the group that is called so."""
    if turn.group != "spelled":
        return dict(arguments)
    return {
        name: number_in_words(value, turn.language) if isinstance(value, int) else value
        for name, value in arguments.items()
    }


def fits(tool: Tool, group: str) -> bool:
    """Whether requests of this group may be for it."""
    match group:
        case "none":
            return True
        case "spelled":
            return len(tool.parameters) > 1 and any(not each.values for each in tool.parameters)
        case _:
            return (len(tool.parameters) > 1) == (group == "arguments")


def offers(draw: Draw, language: str, wanted: Tool, group: str) -> list[Tool]:
    """The tools that are offered: with the wanted one, except where none may fit. None is of its family."""
    others = [each for each in tools(language) if each.family != wanted.family]
    if group == "none":
        return draw.some(others, OFFERED[group])
    return draw.shuffled([wanted, *draw.some(others, OFFERED[group] - 1)])


def forms(language: str, request: str, offered: Sequence[Tool], wording: int) -> dict[str, Ask]:
    """The same request: the model's own tools, left to it; and a JSON answer held to a schema."""
    listed = "\n".join(each.in_words for each in offered)
    instruction = said(language)["schema_ask"][wording].format(
        tools=listed, request=request, shape=said(language)["shape"]
    )
    return {
        "free": question(request, 160, tools=tuple(each.declared for each in offered)),
        "schema": question(instruction, 160, schema=answer_schema(offered, said(language)["none"])),
    }


def answer_schema(offered: Sequence[Tool], none: str) -> dict[str, Any]:
    """One object, "call": the tool's name and its arguments, or `none` without any. An object at the top, because
    servers elsewhere take no alternatives there."""
    nothing = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
    calls = [(each.name, each.schema) for each in offered] + [(none, nothing)]
    alternatives = [closed_object({"tool": {"type": "string", "enum": [name]}, "arguments": it}) for name, it in calls]
    return closed_object({"call": {"anyOf": alternatives}})


def closed_object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object", "properties": properties, "required": list(properties), "additionalProperties": False,
    }  # fmt: skip


def as_sentence(text: str) -> str:
    """It may begin with a value ("lundi")."""
    return text[0].upper() + text[1:]
