"""What a tool is to an agent, and tools made of Python functions."""

import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from ouvert.agents.error import AgentError, ToolError
from ouvert.agents.policy import Effect, targets_of
from ouvert.assistant import Tool
from ouvert.chat import NO_ARGUMENTS

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
LONGEST_RESULT = 50_000  # characters of a result that the model reads


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a call. `foreign`: whether its text may carry words that are not the owner's; None: as the tool
    says. `ok`: False where it failed. `beside`: facts for the record, which the model does not read."""

    text: str
    foreign: bool | None = None
    ok: bool = True
    beside: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentTool:
    """A tool as the loop sees it.

    `parameters`: a JSON schema of an object. `targets`: names of the arguments that say where an effect goes.
    `foreign`: whether a result may carry other people's words; a tool of which nothing else is said is a `send` whose
    results do. `call` gets the arguments and may raise ToolError. `agent`: the name of the agent that does the work, if
    one does. `cite`: what becomes of citations in the final answer. Making one raises AgentError for a name or a target
    that is none.
    """

    name: str
    description: str
    call: Callable[[Mapping[str, Any]], Outcome]
    parameters: Mapping[str, Any] = field(default_factory=lambda: dict(NO_ARGUMENTS))
    effect: Effect = "send"
    targets: tuple[str, ...] = ()
    foreign: bool = True
    agent: str | None = None
    cite: Callable[[str], Mapping[str, Any]] | None = None

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise AgentError(
                f"making a tool: its name is {self.name!r:.80}, expected a letter and then at most 63 letters, digits, "
                "_ and -. Choose another name."
            )
        wrong = [each for each in self.targets if each not in self.parameters.get("properties", {})]
        if wrong:
            raise AgentError(
                f"making the tool {self.name}: targets names {wrong[0]!r}, expected one of its parameters "
                f"({', '.join(self.parameters.get('properties', {})) or 'there is none'}). Correct it."
            )

    def citing(self, cite: Callable[[str], Mapping[str, Any]]) -> "AgentTool":
        """The same tool, which resolves citations in the final answer. Raises nothing."""
        return replace(self, cite=cite)

    @property
    def declared(self) -> Tool:
        """As the model is told of it. Raises nothing."""
        return Tool(name=self.name, description=self.description, parameters=self.parameters)

    @property
    def facts(self) -> dict[str, Any]:
        """For the record of a run. Raises nothing."""
        return {
            "name": self.name, "description": self.description, "parameters": self.parameters, "effect": self.effect,
            "targets": list(self.targets), "foreign": self.foreign, "agent": self.agent,
        }  # fmt: skip

    def arguments_of(self, written: str) -> dict[str, Any]:
        """The arguments as the model wrote them. Raises ToolError for what is no JSON object, or names what the tool
        does not take."""
        try:
            arguments = json.loads(written or "{}")
        except ValueError as problem:
            raise ToolError(f"The arguments of {self.name} are no JSON: {problem}. Send a JSON object.") from None
        if not isinstance(arguments, dict):
            raise ToolError(f"The arguments of {self.name} are {written!r:.80}, expected a JSON object.")
        known = self.parameters.get("properties", {})
        unknown = [name for name in arguments if name not in known]
        if unknown and self.parameters.get("additionalProperties") is False:
            raise ToolError(f"{self.name} takes no argument {unknown[0]!r:.80}; it takes {', '.join(known) or 'none'}.")
        missing = [name for name in self.parameters.get("required", ()) if name not in arguments]
        if missing:
            raise ToolError(f"{self.name} needs the argument {missing[0]!r}.")
        return arguments

    def destinations(self, arguments: Mapping[str, Any]) -> tuple[str, ...]:
        """Where an effect of this call goes. Raises nothing."""
        return targets_of(arguments, self.targets)

    def run(self, arguments: Mapping[str, Any]) -> Outcome:
        """What came of it; an error of the tool is an outcome, too. Raises nothing but what ends the process."""
        try:
            outcome = self.call(arguments)
        except ToolError as problem:
            outcome = Outcome(text=f"Error: {problem}", ok=False)
        except Exception as problem:  # whatever a tool raises is the model's to read, and stands in the record
            outcome = Outcome(text=f"Error: {type(problem).__name__}: {problem}", ok=False)
        if len(outcome.text) <= LONGEST_RESULT:
            return outcome
        cut = f"{outcome.text[:LONGEST_RESULT]}\n[cut here: the result has {len(outcome.text):,} characters]"
        return Outcome(text=cut, foreign=outcome.foreign, ok=outcome.ok, beside=outcome.beside)


def tool_of(
    function: Callable[..., Any],
    *,
    effect: Effect,
    targets: Sequence[str] = (),
    foreign: bool,
    name: str | None = None,
) -> AgentTool:
    """A tool of a Python function: its parameters from the signature, its description from the docstring.

    The arguments are checked and converted as the annotations say. What it returns is the result: a text as it is,
    anything else as JSON. Raises AgentError for a signature that JSON cannot say, and for a name or a target that is
    none.
    """
    called = name or str(getattr(function, "__name__", ""))
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(function)  # type: ignore[arg-type]
        parameters = adapter.json_schema()
    except (PydanticUserError, TypeError, NameError) as problem:
        sentence = str(problem).partition("\n")[0].rstrip(".")
        raise AgentError(
            f"making the tool {called}: its signature {inspect.signature(function)} cannot be described ({sentence}), "
            "expected parameters that JSON can say. Annotate them with text, numbers, lists and models."
        ) from None
    if parameters.get("type") != "object":
        raise AgentError(
            f"making the tool {called}: it takes parameters by position alone, expected named ones. Take / away."
        )

    def call(arguments: Mapping[str, Any]) -> Outcome:
        try:
            adapter_arguments = dict(arguments)
            found = adapter.validate_python(adapter_arguments)
        except ValidationError as problem:
            raise ToolError(in_words(problem)) from None
        if isinstance(found, Outcome):
            return found
        return Outcome(text=found if isinstance(found, str) else json.dumps(found, ensure_ascii=False, default=str))

    return AgentTool(
        name=called,
        description=inspect.getdoc(function) or "",
        parameters=without_titles(parameters),
        effect=effect,
        targets=tuple(targets),
        foreign=foreign,
        call=call,
    )


def in_words(problem: ValidationError) -> str:
    """Without pydantic's addresses and repeated inputs: they cost the model tokens."""
    found = problem.errors(include_url=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, each['loc'])) or 'arguments'}: {each['msg']}" for each in found[:5])


def without_titles(schema: Any) -> Any:
    """The schema without the titles that pydantic makes of names. Raises nothing."""
    match schema:
        case dict():
            return {
                name: {each: without_titles(of) for each, of in value.items()}
                if name == "properties" and isinstance(value, dict)
                else without_titles(value)
                for name, value in schema.items()
                if not (name == "title" and isinstance(value, str))
            }
        case list():
            return [without_titles(each) for each in schema]
        case _:
            return schema


def recorded_tool(facts: Mapping[str, Any]) -> AgentTool:
    """A tool as a record has it: what it is, without what it does. Raises KeyError for facts that lack something."""

    def call(arguments: Mapping[str, Any]) -> Outcome:
        raise ToolError("this tool stands in a record, and does nothing")

    return AgentTool(call=call, **{**facts, "targets": tuple(facts["targets"])})


def toolbox_of(tools: Sequence[AgentTool]) -> dict[str, AgentTool]:
    """By name. Raises AgentError where two have the same."""
    box: dict[str, AgentTool] = {}
    for tool in tools:
        if tool.name in box:
            raise AgentError(f"giving an agent its tools: two are called {tool.name}, expected one. Rename one.")
        box[tool.name] = tool
    return box
