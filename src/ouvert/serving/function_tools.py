"""Tools as clients declare them in OpenAI's shape, which Ollama's clients send too."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from ouvert.assistant import Tool
from ouvert.serving.wire import Wire


class DeclaredFunction(Wire):
    name: str = Field(min_length=1, max_length=256)
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class DeclaredTool(Wire):
    without_effect: ClassVar[frozenset[str]] = frozenset({"cache_control"})

    type: Literal["function"] = "function"
    function: DeclaredFunction


def as_tool(function: DeclaredFunction) -> Tool:
    return Tool(
        name=function.name,
        description=function.description or "",
        parameters=function.parameters,
        strict=bool(function.strict),
    )
