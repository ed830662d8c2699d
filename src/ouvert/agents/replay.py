"""A run once more: every answer is written again, and every decision taken again, from the recorded results."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ouvert.agents.log import EVENTS, Event, EventLog
from ouvert.agents.run import agent_of_run
from ouvert.agents.state import State, apply
from ouvert.agents.steps import Answer, Call, Question, Refuse, Step, Stop, Warn, next_step
from ouvert.agents.talking import Current, Speaker, answered, request_for
from ouvert.agents.tools import AgentTool, recorded_tool, toolbox_of

COMPARED = ("text", "reasoning", "ended", "tokens")  # of an answer; its calls, and the digests of its tokens, as well


@dataclass(frozen=True, slots=True)
class Replayed:
    """One event, and how it came out: `differs` names what is not as it was; empty where it is the same bit for bit.
    `how`: written again, decided again, run again, or taken from the record."""

    event: Event
    how: str
    differs: tuple[str, ...] = ()


def replay(folder: Path, speaker: Speaker, tools: Mapping[str, AgentTool] | None = None) -> Iterator[Replayed]:
    """Every event of a run, in order. `tools`: those that only read are run again and compared; without them nothing
    is run. Each step starts from the record, so that one difference does not hide the next.

    Raises AgentError for what is no run, and what the model raises.
    """
    agent = agent_of_run(folder)
    state = State()
    recorded: dict[str, AgentTool] = {}
    for event in EventLog(folder / EVENTS):
        if event.kind == "task":
            recorded = toolbox_of([recorded_tool(each) for each in event["tools"]])
            yield Replayed(event, "taken from the record")
        elif event.kind == "verdict":
            yield Replayed(event, "taken from the record")
        elif event.kind == "result":
            yield rerun(event, state, (tools or {}).get(event["tool"]))
        else:
            step = next_step(state, agent, recorded)
            if event.kind == "answer" and isinstance(step, Answer):
                request = request_for(state, agent, recorded, step, speaker)
                yield Replayed(event, "written again", differences(event.facts, written(speaker, request)))
            else:
                yield Replayed(event, "decided again", () if agrees(event, step) else ("decision",))
        apply(state, event)


def written(speaker: Speaker, request: Any) -> Mapping[str, Any]:
    writing = answered(speaker, request, Current())
    while True:
        try:
            next(writing)
        except StopIteration as ended:
            facts: Mapping[str, Any] = ended.value
            return facts


def differences(was: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, ...]:
    found = [name for name in COMPARED if was[name] != now[name]]
    calls = [[(each["name"], each["arguments"]) for each in facts["calls"]] for facts in (was, now)]
    if calls[0] != calls[1]:
        found.append("calls")
    digests = [{k: v for k, v in facts["receipt"].get("tokens", {}).items() if "digest" in k} for facts in (was, now)]
    if digests[0] != digests[1]:
        found.append("token digests")
    return tuple(found)


def agrees(event: Event, step: Step) -> bool:
    """Whether the step that comes next is the one that was recorded. A cancelled run was ended from outside."""
    match event.kind, step:
        case "stopped", Stop(reason, text):
            return (event["reason"], event["text"]) == (reason, text)
        case "stopped", _:
            return bool(event["reason"] == "cancelled")
        case "warned", Warn(text):
            return bool(event["text"] == text)
        case "ask", Question(call, why, cause):
            return (event["call"], event["why"], event["cause"]) == (call.call.id, why, cause)
        case "ask", Call(call, tool, _):  # the agent that does the work asked
            return event["cause"] == "agent" and tool.agent is not None and event["call"] == call.call.id
        case "started", Call(call, _, _):
            return bool(event["call"] == call.call.id)
        case "refused", Refuse(call, text):
            return (event["call"], event["text"]) == (call.call.id, text)
        case _:
            return False


def rerun(event: Event, state: State, tool: AgentTool | None) -> Replayed:
    if tool is None or tool.effect != "read" or tool.agent is not None:
        return Replayed(event, "taken from the record")
    call = next(each.call for each in state.calls if each.call.id == event["call"])
    outcome = tool.run(tool.arguments_of(call.arguments))
    return Replayed(event, "run again", () if outcome.text == event["text"] else ("result",))
