"""`evals.jsonl` beside an agent: tasks, and what has to be so of each run (docs/formats/agent-file.md)."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ouvert.agents.error import AgentError
from ouvert.agents.run import Run

EVALS = "evals.jsonl"


class Check(BaseModel):
    """All that are given have to hold. Texts are compared without regard to case and white space."""

    model_config = ConfigDict(extra="forbid")

    equals: str | None = None
    contains: list[str] = Field(default_factory=list)
    lacks: list[str] = Field(default_factory=list)
    calls: list[str] = Field(default_factory=list)
    never_calls: list[str] = Field(default_factory=list)
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
    if check.asks is not None and check.asks != asked:
        yield "it asked" if asked else "it did not ask"
    if check.ends is not None and check.ends != run.state.name:
        yield f"it ended with {run.state.name}, expected {check.ends}"


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
