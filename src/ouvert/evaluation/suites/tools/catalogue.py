"""The tools that are offered, by language: their names, families, parameters and what one says to have them called."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ouvert.evaluation.suites.draw import Draw
from ouvert.evaluation.suites.language_data import language_data


@dataclass(frozen=True, slots=True)
class Parameter:
    """An integer from a range, or a text out of `values`; with `closed`, the schema lists the values."""

    name: str
    description: str
    values: tuple[str, ...] = ()
    bounds: tuple[int, int] = (0, 0)
    closed: bool = False

    @property
    def schema(self) -> dict[str, Any]:
        kind = {"type": "string" if self.values else "integer", "description": self.description}
        return kind | ({"enum": list(self.values)} if self.closed else {})

    def value(self, draw: Draw, taken: Sequence[object]) -> str | int:
        """One that no other parameter of the call has: no train goes from a city to the same city."""
        if not self.values:
            return draw.between(*self.bounds)
        return draw.one([each for each in self.values if each not in taken])


@dataclass(frozen=True, slots=True)
class Tool:
    """`requests`: three ways to ask for the same call, with places for the arguments."""

    name: str
    family: str
    description: str
    requests: tuple[str, ...]
    parameters: tuple[Parameter, ...]

    @property
    def schema(self) -> dict[str, Any]:
        """Of its arguments."""
        return {
            "type": "object",
            "properties": {each.name: each.schema for each in self.parameters},
            "required": [each.name for each in self.parameters],
            "additionalProperties": False,
        }

    @property
    def declared(self) -> dict[str, Any]:
        """In OpenAI's shape."""
        return {
            "type": "function",
            "function": {"name": self.name, "description": self.description, "parameters": self.schema},
        }

    @property
    def in_words(self) -> str:
        """On one line, as a prompt describes it."""
        parameters = ", ".join(described(each) for each in self.parameters)
        return f"- {self.name}({parameters}): {self.description}"

    def arguments(self, draw: Draw) -> dict[str, str | int]:
        """Values for all parameters."""
        given: dict[str, str | int] = {}
        for parameter in self.parameters:
            given[parameter.name] = parameter.value(draw, list(given.values()))
        return given


def described(parameter: Parameter) -> str:
    kind = " | ".join(f'"{each}"' for each in parameter.values) if parameter.closed else parameter.schema["type"]
    return f"{parameter.name}: {kind} ({parameter.description})"


def said(language: str) -> Mapping[str, Any]:
    return language_data(Path(__file__).parent, language)


@cache
def tools(language: str) -> tuple[Tool, ...]:
    """All tools in that language, in the order of the table."""
    lists = said(language)["values"]
    return tuple(as_tool(stated, lists) for stated in said(language)["tool"])


def as_tool(stated: Mapping[str, Any], lists: Mapping[str, Sequence[str]]) -> Tool:
    parameters = tuple(
        Parameter(
            name=name,
            description=each["description"],
            values=tuple(lists[each["values"]]) if "values" in each else (),
            bounds=tuple(each.get("range", (0, 0))),
            closed=each.get("enum", False),
        )
        for name, each in stated["parameters"].items()
    )
    return Tool(stated["name"], stated["family"], stated["description"], tuple(stated["requests"]), parameters)
