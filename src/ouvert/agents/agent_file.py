"""The file that an agent is: Markdown with a strict YAML header. docs/formats/agent-file.md is the format."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ouvert.agents.error import AgentError
from ouvert.agents.policy import MODES, Mode

FENCE = "---"
LARGEST = 1 << 20  # bytes of a file
NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")
BuiltIn = Literal["browser", "python", "files"]
BUILT_IN: tuple[str, ...] = get_args(BuiltIn)
Name = Annotated[str, Field(pattern=rf"^{NAME.pattern}$")]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh"]
Positive = Annotated[int, Field(ge=1, le=10**12, strict=True)]
Amount = Annotated[float, Field(gt=0, strict=True, allow_inf_nan=False)]


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Budget(Part):
    """What a run may use: answers of the model, tokens that it writes, seconds of work, calls of tools; joules, where
    the machine measures them."""

    steps: Positive = 20
    tokens: Positive = 60_000
    seconds: Amount = 900.0
    tool_calls: Positive = 50
    joules: Amount | None = None


class Server(Part):
    """An MCP server that the agent may use: `command` starts it, or it listens at `url`. Only these of its tools exist
    for the agent. `pin`: the digest of their definitions as the owner saw them. `read_only`: tools that change nothing;
    `targets`: of the others, the arguments that are destinations. `shows`: files and folders that it may read."""

    command: tuple[str, ...] = ()
    url: str | None = None
    tools: Annotated[tuple[str, ...], Field(min_length=1)]
    pin: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")] | None = None
    read_only: tuple[str, ...] = ()
    targets: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    shows: tuple[str, ...] = ()
    seconds: Annotated[float, Field(gt=0, le=600)] = 60.0


class Header(Part):
    """What stands above an agent's instructions."""

    name: Name
    description: Annotated[str, Field(min_length=1, max_length=1024)]
    model: str
    effort: Effort | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    held: bool = False
    tools: tuple[BuiltIn, ...] = ()
    documents: tuple[str, ...] = ()
    agents: tuple[Name, ...] = ()
    mcp: Mapping[Name, Server] = Field(default_factory=dict)
    approve: Mode = "default"
    trusted_destinations: tuple[str, ...] = ()
    budget: Budget = Field(default_factory=Budget)
    answer: str | None = None

    @field_validator("trusted_destinations")
    @classmethod
    def no_pattern_for_everything(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        """Raises ValueError for a pattern that every destination fits."""
        wrong = [each for each in patterns if not each.strip("*?.@ ")]
        if wrong:
            raise ValueError(f"{wrong[0]!r} trusts every destination; name some, such as *@firm.test")
        sets = [each for each in patterns if "[" in each]  # `[!x]*` reads like a name, and trusts all but one letter
        if sets:
            raise ValueError(f"{sets[0]!r} has a set of letters; take * and ? alone, such as *@firm.test")
        return patterns


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent as its file says. `text`: the whole file; `schema`: what its answers follow, if they follow one."""

    header: Header
    instructions: str
    text: str
    path: Path | None = None
    schema: Mapping[str, Any] | None = field(default=None)

    @property
    def name(self) -> str:
        """As its header says. Raises nothing."""
        return self.header.name

    @property
    def states(self) -> bool:
        """Whether it ends with statements, each with its lines: held to calls, reading documents, and free in the form
        of its answer. Raises nothing."""
        return self.header.held and bool(self.header.documents) and self.schema is None

    @property
    def digest(self) -> str:
        """Of the file and of its schema. Raises nothing."""
        whole = self.text + ("" if self.schema is None else json.dumps(self.schema, sort_keys=True))
        return f"sha256:{hashlib.sha256(whole.encode()).hexdigest()}"


def read_agent(path: Path) -> Agent:
    """The agent of a file, and the schema of its answers beside it. Raises AgentError."""
    try:
        text = text_of(path)
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise AgentError(
            f"reading the agent {path.name}: {reason}, expected a Markdown file in UTF-8. `ouvert agent list` shows "
            "those there are."
        ) from problem
    agent = agent_of(text, path.name)
    schema = None if agent.header.answer is None else read_schema(path.parent, agent.header.answer)
    return Agent(agent.header, agent.instructions, text, path, schema)


def text_of(path: Path) -> str:
    """A file's text, however its size is stated: a pipe has none, and a device no end. Raises OSError, and ValueError
    for what is no file, is too long or is not UTF-8."""
    if path.exists() and not path.is_file():
        raise ValueError("it is no file")
    with path.open("rb") as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise ValueError(f"it is larger than {LARGEST >> 20} MiB")
    return content.decode("utf-8").replace("\r\n", "\n")


def no_number(word: str) -> Any:
    """Raises ValueError: JSON has no NaN and no infinity."""
    raise ValueError(f"{word} is no number of JSON")


def read_schema(folder: Path, name: str) -> Mapping[str, Any]:
    """Raises AgentError for a file that is not beside the agent, or is no JSON schema of an object."""
    if Path(name).name != name:
        raise AgentError(f"reading the schema {name!r}: it is a path, expected a file beside the agent. Move it there.")
    try:
        schema = json.loads(text_of(folder / name), parse_constant=no_number)
    except (OSError, ValueError, RecursionError) as problem:
        raise AgentError(
            f"reading the schema {name}: {problem}, expected a JSON schema beside the agent. Write it, or take "
            "`answer` out."
        ) from problem
    if not isinstance(schema, dict):
        raise AgentError(f"reading the schema {name}: it is a {type(schema).__name__}, expected a JSON object.")
    return schema


def agent_of(text: str, place: str = "this text") -> Agent:
    """An agent, of a text alone. Raises AgentError; `place` is what the error calls it."""
    given, body = parted(text, place)
    refuse_unknown(given, Header, place)
    try:
        header = Header.model_validate(given)
    except ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        key = ".".join(str(each) for each in first["loc"]) or "the header"
        hint = f" It takes {', '.join(MODES)}." if key == "approve" else ""
        said = first["msg"].removeprefix("Value error, ")
        raise AgentError(
            f"reading the agent {place}: {key} is {first['input']!r:.80}: {said}.{hint} docs/formats/agent-file.md has "
            "every key."
        ) from None
    if header.documents and "browser" not in header.tools:
        raise AgentError(
            f"reading the agent {place}: it may read documents {list(header.documents)}, expected `browser` among its "
            "tools, which opens them. Add it, or take `documents` out."
        )
    return Agent(header, body.strip(), text)


def parted(text: str, place: str) -> tuple[dict[str, Any], str]:
    """The header and what stands below it. Raises AgentError."""
    lines = text.removeprefix("\ufeff").splitlines()
    ends = [n for n, line in enumerate(lines) if line.rstrip() == FENCE]
    if len(ends) < 2 or ends[0] != 0:
        raise AgentError(
            f"reading the agent {place}: it begins with no header, expected YAML between two lines of {FENCE}. "
            "`ouvert agent new NAME` writes one."
        )
    given = mapping_of("\n".join(lines[1 : ends[1]]), place)
    return given, "\n".join(lines[ends[1] + 1 :])


class PlainLoader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML without aliases and without keys that stand twice: neither is needed, and both have hidden things.

    Raises yaml.YAMLError and RecursionError, and nothing else: what a value's own type finds wrong is one too."""

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError, TypeError, OverflowError) as problem:
            kind = str(node.tag).rpartition(":")[2]
            raise yaml.YAMLError(f"line {node.start_mark.line + 1} is no {kind}: {problem!s:.100}") from None

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("it has an alias (*name); write the value out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        names = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {str(name) for name in names if names.count(name) > 1}
        if twice:
            raise yaml.YAMLError(f"{min(twice)} stands there twice; leave one out")
        return super().construct_mapping(node, deep)


def mapping_of(text: str, place: str) -> dict[str, Any]:
    """Raises AgentError for what is no YAML mapping with texts for keys."""
    try:
        found = yaml.load(text, PlainLoader)  # noqa: S506 - a SafeLoader that takes less
    except (yaml.YAMLError, RecursionError) as problem:
        said = " ".join(str(problem).split()).rstrip(".")
        raise AgentError(
            f"reading the agent {place}: its header is no YAML ({said}), expected `key: value` lines. Correct it."
        ) from None
    if not isinstance(found, dict) or not all(isinstance(each, str) for each in found):
        raise AgentError(f"reading the agent {place}: its header has no keys, expected `key: value` lines. Write some.")
    return found


def refuse_unknown(given: Any, kind: type[BaseModel], place: str, within: str = "") -> None:
    """Raises AgentError for a key that is not known, with the nearest that is. A key that is ignored is a bound that
    does not hold."""
    if not isinstance(given, dict):
        return
    known = list(kind.model_fields)
    for key, value in given.items():
        if key not in known:
            near = get_close_matches(str(key), known, n=1)
            advice = f"Did you mean {near[0]}?" if near else f"It takes {', '.join(known)}."
            raise AgentError(
                f"reading the agent {place}: {within}{key} is no key of an agent, expected only known ones. {advice}"
            )
        if key == "budget":
            refuse_unknown(value, Budget, place, "budget.")
        elif key == "mcp" and isinstance(value, dict):
            for name, server in value.items():
                refuse_unknown(server, Server, place, f"mcp.{name}.")
