"""What comes next in a run: decided from where it stands, and nothing is done here."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ouvert.agents.agent_file import Agent, Budget
from ouvert.agents.error import ToolError
from ouvert.agents.policy import Authority, Decision, decide
from ouvert.agents.shown import statements_in
from ouvert.agents.state import SPENT, CallState, State, owners_words
from ouvert.agents.tools import AgentTool

WARNED_AT = 0.75  # of a budget
ANSWER = "answer"  # the call that ends a run of an agent whose every step is one
MADE_BY_TOOL = {"tool_calls", "seconds", "joules"}


@dataclass(frozen=True, slots=True)
class Answer:
    """The model is asked, for at most so many tokens and seconds."""

    tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Warn:
    """The model is told how much of a budget is left."""

    text: str


@dataclass(frozen=True, slots=True)
class Question:
    """The owner is asked. `cause`: policy, crash, or agent where the one that does the work asks."""

    call: CallState
    why: str
    cause: str


@dataclass(frozen=True, slots=True)
class Call:
    """A tool is run. `again`: it had begun before, and nothing it does is done twice by that."""

    call: CallState
    tool: AgentTool
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Refuse:
    """The model is told that a call does not happen, and why."""

    call: CallState
    text: str


@dataclass(frozen=True, slots=True)
class Stop:
    """The run is over. `reason`: done, budget, or cancelled."""

    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing happens before the owner has said yes or no."""

    call: CallState


Step = Answer | Warn | Question | Call | Refuse | Stop | Wait


def next_step(state: State, agent: Agent, tools: Mapping[str, AgentTool]) -> Step:
    """What a run that stands so does next. Raises KeyError for a run without a task."""
    if state.stopped is not None:
        return Stop(state.stopped["reason"], state.stopped["text"])
    budget = Budget.model_validate(state.task["budget"])
    call = state.open_call
    if call is not None:
        if call.standing != "asked" and (spent := spent_out(state, budget, MADE_BY_TOOL)):
            return Stop("budget", spent)
        return step_of_call(call, state, agent, tools)
    if state.last is not None and not state.calls:
        return end_of(state.last)
    if spent := spent_out(state, budget, set(SPENT)):
        return Stop("budget", spent)
    if not state.warned and (warning := warning_of(state, budget)) and state.messages:
        return Warn(warning)
    left = int(budget.tokens - state.spent["tokens"]), budget.seconds - state.spent["seconds"]
    return Answer(*left)


def end_of(last: Mapping[str, Any]) -> Stop:
    match last["ended"]:
        case "cancelled":
            return Stop("cancelled", "It was cancelled while the model wrote.")
        case "length" | "timeout" as reason:
            return Stop("budget", f"The model's answer was cut off: {reason}.")
        case _:
            return Stop("done", last["text"])


def step_of_call(call: CallState, state: State, agent: Agent, tools: Mapping[str, AgentTool]) -> Step:
    if agent.header.held and call.call.name == ANSWER:
        return Stop("done", answer_in(call.call.arguments, agent))
    tool = tools.get(call.call.name)
    if tool is None:
        return Refuse(call, f"There is no tool {call.call.name!r:.80}. There are: {', '.join(tools) or 'none'}.")
    try:
        arguments = tool.arguments_of(call.call.arguments)
    except ToolError as problem:
        return Refuse(call, f"Error: {problem}")
    if call.standing == "asked":
        return Wait(call)
    if tool.agent is not None and (call.standing == "started" or call.inner is not None):
        return Call(call, tool, arguments)  # its own record says what was done and what was allowed
    if call.standing == "refused":
        return Refuse(call, "The owner said no to this call. Go on without it, or end and say what is missing.")
    if call.standing == "allowed":
        return Call(call, tool, arguments)
    decision = decision_on(tool, arguments, state, agent)
    if call.standing == "started" and tool.effect != "read":
        why = f"{tool.name} had begun when the run was interrupted, and may already have happened; do it again?"
        return Question(call, why, "crash")
    match decision.verdict:
        case "allow":
            return Call(call, tool, arguments)
        case "ask":
            return Question(call, decision.why, "policy")
        case _:
            return Refuse(call, f"This call is not allowed: {decision.why}.")


def answer_in(arguments: str, agent: Agent) -> str:
    """The answer of an agent whose every step is a call: a text, or JSON where it has a schema."""
    if agent.schema is not None:
        return arguments
    if agent.states and (text := statements_in(arguments)) is not None:
        return text
    try:
        return str(json.loads(arguments)["text"])
    except (ValueError, KeyError, TypeError):
        return arguments


def decision_on(tool: AgentTool, arguments: Mapping[str, Any], state: State, agent: Agent) -> Decision:
    """What the policy says of a call. Raises KeyError for a run without a task."""
    authority = Authority(owners_words(state.task), agent.header.trusted_destinations)
    targets = tool.destinations(arguments)
    return decide(agent.header.approve, tool.effect, targets, authority, tainted=state.tainted)


def spent_out(state: State, budget: Budget, of: set[str]) -> str:
    """Which of these budgets is spent, in words; empty where none is."""
    limits = budget.model_dump()
    if limits["joules"] is not None and state.measured_joules is False:
        return "A budget in joules was set, and this machine does not measure them. Take it out of the agent."
    for name in SPENT:
        if name in of and limits[name] is not None and state.spent[name] >= limits[name]:
            return f"The budget is spent: {amount(state.spent[name])} of {amount(limits[name])} {in_words(name)}."
    return ""


def warning_of(state: State, budget: Budget) -> str:
    limits = budget.model_dump()
    near = [
        f"{amount(state.spent[name])} of {amount(limits[name])} {in_words(name)}"
        for name in SPENT
        if limits[name] is not None and limits[name] > 1 and state.spent[name] >= WARNED_AT * limits[name]
    ]
    return f"[Of this run's budget {', '.join(near)} are used. Come to an end.]" if near else ""


def amount(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"


def in_words(name: str) -> str:
    return name.replace("_", " ")


def shown_arguments(arguments: str) -> str:
    """Arguments for people: JSON on lines where it is JSON. Raises nothing."""
    try:
        return json.dumps(json.loads(arguments), ensure_ascii=False, indent=2)
    except ValueError:
        return arguments
