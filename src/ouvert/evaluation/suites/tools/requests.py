"""One request and the tools that are offered with it, in both forms."""

from collections.abc import Sequence
from typing import Any

from ouvert.evaluation.item import Ask
from ouvert.evaluation.suites.draw import Draw
from ouvert.evaluation.suites.generated import Draft, Turn, question
from ouvert.evaluation.suites.tools.catalogue import Tool, said, tools

OFFERED = 4


def draft(turn: Turn) -> Draft:
    """An item of a group; what is asked for is drawn, and so is the place of the right tool among the offered ones."""
    fitting = [each for each in tools(turn.language) if fits(each, turn.group)]
    wanted = turn.draw.one(fitting)
    arguments = wanted.arguments(turn.draw)
    offered = offers(turn.draw, turn.language, wanted, turn.group)
    request = as_sentence(wanted.requests[turn.wording].format_map(arguments))
    expected: dict[str, Any] = {"tool": wanted.name, "arguments": arguments}
    if turn.group == "none":
        expected = {"tool": None, "arguments": {}}
    return Draft(
        about=f"{wanted.name} {arguments}",
        asks=forms(turn.language, request, offered, turn.wording),
        expected=expected | {"request": request},
        labels={"tool": wanted.name},
    )


def fits(tool: Tool, group: str) -> bool:
    """Whether requests of this group may be for it."""
    return group == "none" or (len(tool.parameters) > 1) == (group == "arguments")


def offers(draw: Draw, language: str, wanted: Tool, group: str) -> list[Tool]:
    """The tools that are offered: with the wanted one, except where none may fit. None is of its family."""
    others = [each for each in tools(language) if each.family != wanted.family]
    match group:
        case "call":
            return [wanted]
        case "none":
            return draw.some(others, OFFERED)
        case _:
            return draw.shuffled([wanted, *draw.some(others, OFFERED - 1)])


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
