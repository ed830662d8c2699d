"""`evals.jsonl` beside an agent: tasks, and what has to be so of each run (docs/formats/agent-file.md)."""

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ouvert.agents.error import AgentError
from ouvert.agents.run import Run

EVALS = "evals.jsonl"


class Check(BaseModel):
    """All that are given have to hold. Texts are compared without regard to case and white space. `cites`: names of
    documents that citations of the answer lead to; none: it cites nothing. `schema`: of an answer that is JSON."""

    model_config = ConfigDict(extra="forbid")

    equals: str | None = None
    contains: list[str] = Field(default_factory=list)
    lacks: list[str] = Field(default_factory=list)
    calls: list[str] = Field(default_factory=list)
    never_calls: list[str] = Field(default_factory=list)
    cites: list[str] | None = None
    output_schema: dict[str, Any] | None = Field(default=None, alias="schema")
    asks: bool | None = None
    ends: str | None = None


class Case(BaseModel):
    """`allow`: what is said to every question that the run asks."""

    model_config = ConfigDict(extra="forbid")

    task: str = Field(min_length=1)
    check: Check
    allow: bool = False


@dataclass(frozen=True, slots=True)
class Tried:
    """`failed`: what did not hold; empty where all did."""

    case: Case
    run: str
    answer: str
    failed: tuple[str, ...]


def read_cases(path: Path) -> tuple[Case, ...]:
    """Raises AgentError, with the line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as problem:
        raise AgentError(
            f"testing an agent: {path.name} cannot be read ({problem}), expected one task a line beside the agent. "
            'Write it: {"task": "…", "check": {"contains": ["…"]}}.'
        ) from problem
    cases = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            cases.append(Case.model_validate_json(line))
        except ValidationError as problem:
            first = problem.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"])) or "the line"
            raise AgentError(
                f"testing an agent: line {number} of {path.name}: {place}: {first['msg']}. docs/formats/agent-file.md "
                "has the checks."
            ) from None
    for case in cases:
        if case.check.output_schema is not None:
            checker(case.check.output_schema)
    if not cases:
        raise AgentError(f"testing an agent: {path.name} has no tasks, expected one a line. Write some.")
    return tuple(cases)


def tried(case: Case, run: Run) -> Tried:
    """Go through a run, say the same to every question, and look. Raises what the model raises."""
    for _ in run.steps():
        pass
    while (question := run.state.question) is not None:
        run.verdict(question.call.id, allowed=case.allow, by="test")
        for _ in run.steps():
            pass
    answer = str((run.state.stopped or {"text": ""})["text"])
    return Tried(case, run.id, answer, tuple(failures(case.check, run, answer)))


def failures(check: Check, run: Run, answer: str) -> Iterator[str]:
    called = {each["name"] for event in run.log if event.kind == "answer" for each in event["calls"]}
    asked = any(event.kind == "ask" for event in run.log)
    said = plain(answer)
    if check.equals is not None and said != plain(check.equals):
        yield f"the answer is {answer!r:.80}, expected {check.equals!r:.80}"
    yield from (f"the answer lacks {each!r:.80}" for each in check.contains if plain(each) not in said)
    yield from (f"the answer has {each!r:.80}" for each in check.lacks if plain(each) in said)
    yield from (f"{each} was not called" for each in check.calls if each not in called)
    yield from (f"{each} was called" for each in check.never_calls if each in called)
    yield from citation_failures(check, run)
    yield from schema_failures(check, answer)
    if check.asks is not None and check.asks != asked:
        yield "it asked" if asked else "it did not ask"
    if check.ends is not None and check.ends != run.state.name:
        yield f"it ended with {run.state.name}, expected {check.ends}"


def citation_failures(check: Check, run: Run) -> Iterator[str]:
    if check.cites is None:
        return
    places = (run.state.stopped or {}).get("cited", {}).get("places", [])
    cited = {each["name"] for each in places}
    yield from (f"it does not cite {name}" for name in check.cites if name not in cited)
    if not check.cites and cited:
        yield f"it cites {', '.join(sorted(cited))}, expected nothing"


def schema_failures(check: Check, answer: str) -> Iterator[str]:
    if check.output_schema is None:
        return
    try:
        value = json.loads(answer)
    except ValueError:
        yield f"the answer is no JSON: {answer!r:.80}"
        return
    problem = next(iter(checker(check.output_schema).iter_errors(value)), None)
    if problem is not None:
        yield f"the answer does not follow the schema at {problem.json_path}: {problem.message:.80}"


def checker(schema: Mapping[str, Any]) -> Any:
    """Raises AgentError where the library is not installed, or the schema is none."""
    try:
        from jsonschema import Draft202012Validator
        from jsonschema.exceptions import SchemaError
    except ModuleNotFoundError:
        raise AgentError(
            "testing an agent: a check has a schema, and the library jsonschema is not installed. Install it: "
            f"`{sys.executable} -m pip install jsonschema`."
        ) from None
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as problem:
        raise AgentError(
            f"testing an agent: {str(schema)!r:.80} is no JSON schema ({problem.message:.80}). Correct it."
        ) from None
    return Draft202012Validator(schema)


def plain(text: str) -> str:
    return " ".join(text.casefold().split())


def result_of(found: list[Tried], digest: str, model: str) -> Mapping[str, Any]:
    """For a file beside the agent, and for whoever decides on it. Raises nothing."""
    return {
        "agent_digest": digest,
        "model": model,
        "passed": sum(not each.failed for each in found),
        "of": len(found),
        "cases": [{"task": each.case.task, "run": each.run, "failed": list(each.failed)} for each in found],
    }


def write_result(path: Path, result: Mapping[str, Any]) -> None:
    """Beside and renamed. Raises OSError."""
    beside = path.with_name(f".writing-{path.name}")
    beside.write_text(json.dumps(result, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    beside.replace(path)
