"""Where a run stands: a pure function of its events."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ouvert.agents.log import Event
from ouvert.chat import Message, ToolCall

Standing = Literal["new", "asked", "allowed", "refused", "started", "over"]
# What a run may use, as budgets, events and errors call it.
SPENT = ("steps", "tokens", "seconds", "tool_calls", "joules")


@dataclass(slots=True)
class CallState:
    """A call of the last answer. `crashed`: somebody was asked because it had begun and no result is known."""

    call: ToolCall
    standing: Standing = "new"
    why: str = ""
    crashed: bool = False
    inner: Mapping[str, Any] | None = None  # the question of an agent that does the work


@dataclass(slots=True)
class State:
    """`history` and `task`: what the owner said; `messages`: what came of it, as the model reads it."""

    task: Mapping[str, Any] = field(default_factory=dict)
    messages: list[Message] = field(default_factory=list)
    calls: list[CallState] = field(default_factory=list)
    tainted: bool = False
    spent: dict[str, float] = field(default_factory=lambda: dict.fromkeys(SPENT, 0.0))
    measured_joules: bool | None = None
    warned: bool = False
    last: Mapping[str, Any] | None = None  # the last answer
    stopped: Mapping[str, Any] | None = None

    @property
    def open_call(self) -> CallState | None:
        """The first call of the last answer that nothing has come of. Raises nothing."""
        return next((each for each in self.calls if each.standing != "over"), None)

    @property
    def question(self) -> CallState | None:
        """The call that waits for a verdict, if one does. Raises nothing."""
        call = self.open_call
        return call if call is not None and call.standing == "asked" and self.stopped is None else None

    @property
    def name(self) -> str:
        """running, waiting, done, or why it stopped. Raises nothing."""
        if self.stopped is not None:
            return str(self.stopped["reason"])
        return "waiting" if self.question is not None else "running"


def state_of(events: Iterable[Event]) -> State:
    """Raises KeyError for events that lack what their kind has."""
    state = State()
    for event in events:
        apply(state, event)
    return state


def apply(state: State, event: Event) -> None:
    """What one event changes."""
    match event.kind:
        case "task":
            state.task, state.tainted = event.facts, bool(event["tainted"])
        case "answer":
            take_answer(state, event)
        case "warned":
            state.warned = True
            append_to_last(state, event["text"])
        case "stopped":
            state.stopped = event.facts
        case _:
            take_call(state, event)


def take_answer(state: State, event: Event) -> None:
    calls = tuple(ToolCall(each["id"], each["name"], each["arguments"]) for each in event["calls"])
    state.last = event.facts
    state.calls = [CallState(call) for call in calls]
    said = Message(role="assistant", content=event["text"], reasoning=event["reasoning"] or None, tool_calls=calls)
    state.messages.append(said)
    state.spent["steps"] += 1
    state.spent["tokens"] += event["tokens"]
    state.spent["seconds"] += event["seconds"]
    state.measured_joules = event["joules"] is not None
    state.spent["joules"] += event["joules"] or 0.0


def take_call(state: State, event: Event) -> None:
    found = next(each for each in state.calls if each.call.id == event["call"])
    match event.kind:
        case "ask":
            found.standing, found.why = "asked", event["why"]
            found.crashed, found.inner = event["cause"] == "crash", event.facts.get("inner")
        case "verdict":
            found.standing = "allowed" if event["allowed"] else "refused"
        case "started":
            found.standing = "started"
        case "result":
            found.standing = "over"
            state.tainted = state.tainted or bool(event["foreign"])
            state.spent["tool_calls"] += 1
            state.spent["seconds"] += event["seconds"]
            for name, amount in event.facts.get("spent", {}).items():
                state.spent[name] += amount
            tell(state, found.call, event["text"])
        case "refused":
            found.standing = "over"
            state.spent["tool_calls"] += 1
            tell(state, found.call, event["text"])


def tell(state: State, call: ToolCall, text: str) -> None:
    state.messages.append(Message(role="tool", content=text, tool_call_id=call.id, name=call.name))


def append_to_last(state: State, text: str) -> None:
    """Say something to the model: behind what it reads last, since many formats know no other place in a tool loop."""
    if not state.messages:
        return
    last = state.messages[-1]
    state.messages[-1] = Message(
        role=last.role,
        content=f"{last.content}\n\n{text}",
        reasoning=last.reasoning,
        tool_calls=last.tool_calls,
        tool_call_id=last.tool_call_id,
        name=last.name,
    )


def conversation_messages(state: State, instructions: str) -> Sequence[Message]:
    """What the model reads. Raises KeyError for a run without a task."""
    system = (Message(role="system", content=instructions),) if instructions else ()
    said = tuple(Message(role=each["role"], content=each["content"]) for each in state.task["history"])
    return (*system, *said, Message(role="user", content=state.task["text"]), *state.messages)


def owners_words(task: Mapping[str, Any]) -> str:
    """What the owner said, and nothing that a model or a tool did. A run that another agent began has the words of that
    one's owner: its own task was written by a model. Raises KeyError."""
    if task.get("words") is not None:
        return str(task["words"])
    return "\n".join([*(each["content"] for each in task["history"] if each["role"] == "user"), task["text"]])
