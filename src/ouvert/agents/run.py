"""A run of an agent: begun, gone on with, asked about, ended. Its whole state is its record."""

import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ouvert.agents.agent_file import Agent, agent_of
from ouvert.agents.error import AgentError
from ouvert.agents.log import EVENTS, VERSION, Event, EventLog
from ouvert.agents.state import State, apply, owners_words, state_of
from ouvert.agents.steps import Answer, Call, Question, Refuse, Stop, Wait, Warn, next_step
from ouvert.agents.talking import Current, Speaker, answered, request_for
from ouvert.agents.tools import AgentTool, Outcome
from ouvert.assistant import Event as Written

AGENT, SCHEMA, FILES, INNER = "agent.md", "answer.schema.json", "files", "inner"
DEEPEST = 2  # agents that agents ask
Said = Mapping[str, str]  # {"role": "user" or "assistant", "content": …}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the owner asks of an agent. `history`: what was said before, by both. `words`: whose words count as the
    owner's, where they are not these: of an agent that another asks. `tainted`: the task itself may come from others.
    `spent_before`: of the budget, in the same words; `depth`: how many agents asked each other so far.
    """

    text: str
    history: Sequence[Said] = ()
    words: str | None = None
    tainted: bool = False
    budget: Mapping[str, Any] | None = None
    depth: int = 0


@dataclass(slots=True)
class Run:
    """A run below one folder. `steps` does what is next; the record says the rest. Making one raises what
    reading its record raises."""

    folder: Path
    agent: Agent
    tools: Mapping[str, AgentTool]
    speaker: Speaker
    open_inner: "Callable[[str, Path], Inner] | None" = None  # how an agent that this one asks is opened
    log: EventLog = field(init=False)
    state: State = field(init=False)
    current: Current = field(default_factory=Current)

    def __post_init__(self) -> None:
        self.log = EventLog(self.folder / EVENTS)
        self.state = state_of(self.log)

    @property
    def id(self) -> str:
        """The name of its folder. Raises nothing."""
        return self.folder.name

    @classmethod
    def begin(
        cls,
        folder: Path,
        agent: Agent,
        asked: Asked,
        tools: Mapping[str, AgentTool],
        speaker: Speaker,
        open_inner: "Callable[[str, Path], Inner] | None" = None,
    ) -> "Run":
        """A new run in a folder that is not there yet. Raises AgentError where it is, and for an empty task."""
        if not asked.text.strip():
            raise AgentError("running an agent: the task is empty, expected a text. Say what it is to do.")
        if (folder / EVENTS).exists():
            raise AgentError(f"running an agent: {folder.name} is there already, expected a new folder. Begin another.")
        (folder / FILES).mkdir(parents=True, mode=0o700, exist_ok=True)
        (folder / AGENT).write_text(agent.text, encoding="utf-8")
        run = cls(folder, agent, tools, speaker, open_inner)
        history = [{"role": each["role"], "content": each["content"]} for each in asked.history]
        run._append(
            "task",
            version=VERSION,
            run=folder.name,
            agent=agent.name,
            agent_digest=agent.digest,
            text=asked.text,
            history=history,
            words=asked.words,
            # What a model said before may be words of others: nobody knows where they came from.
            tainted=asked.tainted or any(each["role"] != "user" for each in history),
            budget=dict(asked.budget or agent.header.budget.model_dump()),
            depth=asked.depth,
            schema=agent.schema,
            tools=[tool.facts for tool in tools.values()],
        )
        return run

    def _append(self, kind: Any, **facts: Any) -> Event:
        event = self.log.append(kind, **facts)
        apply(self.state, event)
        return event

    def steps(self) -> Iterator[Event | Written]:
        """Go on until the run is over or waits for a verdict: events of the record as they are written, and the pieces
        of answers. May be left and called again, by this process or by another one.

        Raises AgentError where another process runs it, and what the model raises.
        """
        with self._held():
            self._require_same_tools()
            while True:
                if self.current.cancelled and self.state.stopped is None:
                    yield self._append("stopped", reason="cancelled", text="It was cancelled.")
                    return
                step = next_step(self.state, self.agent, self.tools)
                match step:
                    case Wait():
                        return
                    case Stop(reason, text):
                        if self.state.stopped is None:
                            yield self._append("stopped", reason=reason, text=text, **self._cited(reason, text))
                        return
                    case Answer():
                        request = request_for(self.state, self.agent, self.tools, step, self.speaker)
                        facts = yield from answered(self.speaker, request, self.current)
                        yield self._append("answer", **facts)
                    case Warn(text):
                        yield self._append("warned", text=text)
                    case Question():
                        yield self._append("ask", **question_facts(step, self.tools))
                    case Refuse(call, text):
                        yield self._append("refused", call=call.call.id, text=text)
                    case Call():
                        yield from self._do(step)

    def _require_same_tools(self) -> None:
        """What was decided of a tool was decided of the one that stands in the record."""
        for known in self.state.task["tools"]:
            tool = self.tools.get(known["name"])
            if tool is None or tool.facts != known:
                what = "is not there any more" if tool is None else "is not what it was when the run began"
                raise AgentError(
                    f"running {self.id}: the tool {known['name']} {what}, expected the one in its record. "
                    "Begin a new run."
                )

    def _cited(self, reason: str, text: str) -> dict[str, Any]:
        """What the citations in an answer lead to, where a tool of the run knows."""
        citing = next((tool.cite for tool in self.tools.values() if tool.cite is not None), None)
        return {} if citing is None or reason != "done" else {"cited": dict(citing(text))}

    def _do(self, step: Call) -> Iterator[Event | Written]:
        """Run a tool: that it began is on the disk before it begins."""
        identity = step.call.call.id
        yield self._append("started", call=identity)
        began = time.monotonic()
        if step.tool.agent is not None:
            yield from self._ask_agent(step, began)
            return
        outcome = step.tool.run(step.arguments)
        yield self._append("result", **self._result(step, outcome, time.monotonic() - began))

    def _result(self, step: Call, outcome: Outcome, seconds: float, **more: Any) -> dict[str, Any]:
        foreign = step.tool.foreign if outcome.foreign is None else outcome.foreign
        beside = {"beside": dict(outcome.beside)} if outcome.beside else {}
        return {
            "call": step.call.call.id, "tool": step.tool.name, "text": outcome.text, "ok": outcome.ok,
            "foreign": foreign, "seconds": round(seconds, 6), **beside, **more,
        }  # fmt: skip

    def _ask_agent(self, step: Call, began: float) -> Iterator[Event | Written]:
        """The other agent's run, whole or as far as its next question. Its taint comes back with its text."""
        identity = step.call.call.id
        if self.open_inner is None or int(self.state.task["depth"]) >= DEEPEST:
            outcome = Outcome(text=f"Error: agents may ask each other {DEEPEST} deep, and no further.", ok=False)
            yield self._append("result", **self._result(step, outcome, 0.0))
            return
        inner = self._inner_run(step)
        if (question := inner.state.question) is not None:
            verdict = self._verdict_on(identity, inner.log.events[-1].n)
            if verdict is not None:
                inner.verdict(question.call.id, allowed=verdict["allowed"], by=verdict["by"])
        yield from inner.steps()
        if (question := inner.state.question) is not None:
            about = inner.log.events[-1].facts
            asked = {name: about[name] for name in ("tool", "arguments", "targets", "effect", "why")}
            asked["n"] = inner.log.events[-1].n
            why = f"the agent {step.tool.agent} asks: {question.why}"
            yield self._append("ask", call=identity, why=why, cause="agent", inner=asked, **{
                name: asked[name] for name in ("tool", "arguments", "targets", "effect")
            })  # fmt: skip
            return
        stopped = inner.state.stopped or {"reason": "stopped", "text": ""}
        text = (
            stopped["text"] if stopped["reason"] == "done" else f"It stopped ({stopped['reason']}): {stopped['text']}"
        )
        spent = {name: value for name, value in inner.state.spent.items() if name != "seconds"}
        outcome = Outcome(text=text, foreign=inner.state.tainted, ok=stopped["reason"] == "done")
        seconds = max(time.monotonic() - began, inner.state.spent["seconds"])
        yield self._append("result", **self._result(step, outcome, seconds, spent=spent, inner=inner.id))

    def _inner_run(self, step: Call) -> "Run":
        assert self.open_inner is not None  # noqa: S101 - looked at by `_ask_agent`
        number = sum(1 for each in self.log if each.kind == "answer")
        place = next(n for n, each in enumerate(self.state.calls) if each is step.call)
        folder = self.folder / INNER / f"{number}-{place}"
        inner = self.open_inner(str(step.tool.agent), folder / FILES)
        if (folder / EVENTS).exists():
            return Run(folder, inner.agent, inner.tools, inner.speaker, inner.open_inner)
        left = left_of(self.state)
        own = inner.agent.header.budget.model_dump()
        budget = {
            name: least(value, left[name], whole=name in ("steps", "tokens", "tool_calls"))
            for name, value in own.items()
        }
        asked = Asked(
            text=str(step.arguments.get("task", "")),
            words=owners_words(self.state.task),
            tainted=self.state.tainted,
            budget=budget,
            depth=int(self.state.task["depth"]) + 1,
        )
        return Run.begin(folder, inner.agent, asked, inner.tools, inner.speaker, inner.open_inner)

    def _verdict_on(self, call: str, inner_ask: int) -> Mapping[str, Any] | None:
        """The verdict on the question that the other agent's record has as its event `inner_ask`: on that one alone."""
        about = None
        for event in self.log:
            if event.kind == "ask" and event["call"] == call and event.facts.get("inner"):
                about = event["inner"]["n"]
            elif event.kind == "verdict" and event["call"] == call and about == inner_ask:
                return event.facts
        return None

    def verdict(self, call: str, *, allowed: bool, by: str) -> None:
        """Say yes or no to the call that waits. `by`: who says it. Raises AgentError where none waits, or another."""
        with self._held():
            question = self.state.question
            if question is None or question.call.id != call:
                waits = "none waits" if question is None else f"{question.call.id} waits"
                raise AgentError(
                    f"deciding on the call {call!r:.80} of {self.id}: {waits} for a verdict. `ouvert agent show "
                    f"{self.id}` says where the run stands."
                )
            self._append("verdict", call=call, allowed=allowed, by=by)

    def cancel(self) -> None:
        """End it before the next token or call. Safe from any thread; `steps` writes the event. Raises nothing."""
        self.current.cancel()

    def end(self, text: str) -> None:
        """Stop a run that nobody goes on with. Raises AgentError where another process does."""
        with self._held():
            if self.state.stopped is None:
                self._append("stopped", reason="cancelled", text=text)

    @contextmanager
    def _held(self) -> Iterator[None]:
        """One process writes at a time; and what another one wrote since is read. Raises AgentError."""
        lock = FileLock(self.folder / "lock", timeout=0)
        try:
            with lock:
                fresh = EventLog(self.log.path, mend=True)
                if len(fresh.events) != len(self.log.events):
                    self.log, self.state = fresh, state_of(fresh)
                yield
        except Timeout:
            raise AgentError(f"running {self.id}: another process runs it. Wait for that, or end it.") from None


@dataclass(frozen=True, slots=True)
class Inner:
    """An agent that another one asks, ready to run."""

    agent: Agent
    tools: Mapping[str, AgentTool]
    speaker: Speaker
    open_inner: "Callable[[str, Path], Inner] | None" = None


def question_facts(step: Question, tools: Mapping[str, AgentTool]) -> dict[str, Any]:
    """What whoever is asked must see: what, to whom, why, and the exact arguments."""
    call = step.call.call
    tool = tools[call.name]
    targets = list(tool.destinations(tool.arguments_of(call.arguments)))
    return {
        "call": call.id, "tool": call.name, "arguments": call.arguments, "effect": tool.effect, "targets": targets,
        "why": step.why, "cause": step.cause,
    }  # fmt: skip


def left_of(state: State) -> dict[str, float | None]:
    """Of each budget what is left. Raises KeyError for a run without a task."""
    return {
        name: None if limit is None else max(0.0, limit - state.spent[name])
        for name, limit in state.task["budget"].items()
    }


def least(own: float | None, left: float | None, *, whole: bool) -> float | int | None:
    given = [each for each in (own, left) if each is not None]
    if not given:
        return None
    smallest = max(min(given), 1 if whole else 0.001)
    return int(smallest) if whole else smallest


def new_run_id() -> str:
    """Ids sort by time. Raises nothing."""
    return f"run-{datetime.now(UTC).strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(4)}"


def agent_of_run(folder: Path) -> Agent:
    """The agent as it was when the run began. Raises AgentError for a folder that is no run."""
    events = EventLog(folder / EVENTS).events
    if not events or events[0].kind != "task":
        raise AgentError(f"reading the run {folder.name}: it has no task. `ouvert agent runs` lists those there are.")
    try:
        text = (folder / AGENT).read_text(encoding="utf-8")
    except OSError as problem:
        raise AgentError(f"reading the run {folder.name}: {problem.strerror}: {AGENT}.") from problem
    plain = agent_of(text, folder.name)
    agent = Agent(plain.header, plain.instructions, text, None, events[0]["schema"])
    if agent.digest != events[0]["agent_digest"]:
        raise AgentError(
            f"reading the run {folder.name}: its {AGENT} is not the one it began with, expected "
            f"{events[0]['agent_digest']}. Begin a new run."
        )
    return agent
