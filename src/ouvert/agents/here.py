"""The agents on this machine, and their runs."""

import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ouvert.agents.agent_file import NAME, Agent, read_agent
from ouvert.agents.builtin import BROWSER
from ouvert.agents.equipment import Equipment, openings_of
from ouvert.agents.error import AgentError
from ouvert.agents.log import EVENTS, EventLog
from ouvert.agents.origins import asked_facts
from ouvert.agents.run import AGENT, FILES, Asked, Inner, Run, agent_of_run, new_run_id
from ouvert.agents.state import State, state_of
from ouvert.agents.talking import Speaker
from ouvert.agents.tools import AgentTool
from ouvert.documents import Collections, in_a_box

AGENTS, RUNS = "agents", "agent-runs"
RUN = re.compile(r"run-[0-9a-z-]{1,60}")
SpeakerOf = Callable[[str], Speaker]


class Nobody:
    """Who speaks where a run only has something written down."""

    @property
    def chat_format(self) -> Any:
        raise AssertionError("nobody speaks here")

    def answer(self, request: Any, /) -> Any:
        raise AssertionError("nobody speaks here")


NOBODY = Nobody()


@dataclass(frozen=True, slots=True)
class RunFacts:
    """A run, as lists show it. `asked`: the question that it waits with, and where its destinations came from."""

    id: str
    agent: str
    task: str
    at: str
    state: State
    asked: Mapping[str, Any] | None = None


class Agents:
    """What is below one folder, the store's. Making one reads and creates nothing, and raises nothing."""

    def __init__(self, home: Path, collections: Collections | None = None, *, runs: Path | None = None) -> None:
        """`collections`: whose documents agents may read; without it the owner's below `home`. `runs`: where runs are,
        if not below `home`."""
        self.home, self.folder, self.runs_folder = home, home / AGENTS, runs or home / RUNS
        self._openings = openings_of(collections or Collections(home, in_a_box()))

    def names(self) -> tuple[str, ...]:
        """Of the agents that are kept here, sorted. Raises nothing."""
        if not self.folder.is_dir():
            return ()
        return tuple(
            sorted(each.parent.name for each in self.folder.glob(f"*/{AGENT}") if NAME.fullmatch(each.parent.name))
        )

    def read(self, name: str) -> Agent:
        """The agent that is kept here under that name. Raises AgentError."""
        if not NAME.fullmatch(name) or not (self.folder / name / AGENT).is_file():
            raise AgentError(
                f"reading the agent {name!r:.80}: it is not kept here, expected one of "
                f"{', '.join(self.names()) or 'none'}. `ouvert agent new NAME` makes one, "
                "`ouvert agent import FILE` brings one."
            )
        agent = read_agent(self.folder / name / AGENT)
        if agent.name != name:
            raise AgentError(
                f"reading the agent {name}: its file calls it {agent.name}, expected {name}. Rename the folder or "
                "correct the name."
            )
        return agent

    def find(self, word: str) -> Agent:
        """An agent by its name, or by the path of its file. Raises AgentError."""
        if word in self.names() or NAME.fullmatch(word):
            return self.read(word)
        return read_agent(Path(word))

    def keep(self, agent: Agent) -> Path:
        """Keep an agent under its name, which nothing may have yet. Raises AgentError where one has."""
        place = self.folder / agent.name
        if place.exists():
            raise AgentError(
                f"keeping the agent {agent.name}: one of that name is kept here, expected another name. "
                f"`ouvert agent remove {agent.name}` deletes it."
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        beside = self.folder / f".writing-{agent.name}"
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(mode=0o700)
        (beside / AGENT).write_text(agent.text, encoding="utf-8")
        os.replace(beside, place)
        return place / AGENT

    def remove(self, name: str) -> None:
        """Delete an agent; its runs stay. Raises AgentError where there is none."""
        self.read(name)
        shutil.rmtree(self.folder / name)

    # --- runs ---

    def runs(self) -> Iterator[RunFacts]:
        """Every run whose record can be read, the newest first. Raises nothing."""
        folders = sorted(self.runs_folder.glob("run-*"), reverse=True) if self.runs_folder.is_dir() else []
        for folder in folders:
            try:
                yield self.facts(folder.name)
            except AgentError:
                continue

    def facts(self, run: str) -> RunFacts:
        """Raises AgentError for what is no run."""
        log = EventLog(self.place(run) / EVENTS)
        if not log.events:
            raise AgentError(f"reading the run {run}: it has no task. `ouvert agent runs` lists those there are.")
        first, state, asked = log.events[0], state_of(log), None
        if state.question is not None:
            asked = asked_facts(self.place(run), log, agent_of_run(self.place(run)).header.trusted_destinations)
        return RunFacts(run, first["agent"], first["text"], first.at, state, asked)

    def place(self, run: str) -> Path:
        """Raises AgentError for a name that no run has."""
        folder = self.runs_folder / run
        if not RUN.fullmatch(run) or not folder.is_dir():
            raise AgentError(
                f"reading the run {run!r:.80}: there is none of that name. `ouvert agent runs` lists those there are."
            )
        return folder

    def model_of(self, run: str) -> str:
        """Who answers in a run. Raises AgentError for what is no run."""
        return agent_of_run(self.place(run)).header.model

    def decide(self, run: str, call: str, *, allowed: bool, by: str) -> None:
        """Say yes or no to the call that waits; nothing goes on by that. Raises AgentError as `Run.verdict` does."""
        self._record(run).verdict(call, allowed=allowed, by=by)

    def end(self, run: str, why: str) -> None:
        """Stop a run that nobody goes on with. Raises AgentError where somebody does."""
        self._record(run).end(why)

    def _record(self, run: str) -> Run:
        """A run without its tools and its model: its record can be added to, and nothing else."""
        return Run(self.place(run), agent_of_run(self.place(run)), {}, NOBODY)

    def remove_run(self, run: str) -> None:
        """Delete a run, its files and its record. Raises AgentError where there is none."""
        shutil.rmtree(self.place(run))

    @contextmanager
    def begun(
        self,
        agent: Agent,
        asked: Asked,
        speaker_of: SpeakerOf,
        tools: Sequence[AgentTool] = (),
        folder: Path | None = None,
    ) -> Iterator[Run]:
        """A new run, with its tools open. `tools`: more of the program's own. Raises AgentError, and what opening a
        model or a tool raises."""
        place = folder or self.runs_folder / new_run_id()
        with ExitStack() as stack:
            box = self._open(stack, agent, place / FILES, tools)
            inner = self._inner(stack, speaker_of, tools)
            yield Run.begin(place, agent, asked, box, speaker_of(agent.header.model), inner)

    @contextmanager
    def reopened(self, run: str, speaker_of: SpeakerOf, tools: Sequence[AgentTool] = ()) -> Iterator[Run]:
        """A run to go on with. Raises as `begun` does."""
        place = self.place(run)
        agent = agent_of_run(place)
        with ExitStack() as stack:
            box = self._open(stack, agent, place / FILES, tools)
            reopen_pages(EventLog(place / EVENTS), box)
            yield Run(place, agent, box, speaker_of(agent.header.model), self._inner(stack, speaker_of, tools))

    def _open(self, stack: ExitStack, agent: Agent, files: Path, tools: Sequence[AgentTool]) -> dict[str, AgentTool]:
        equipment = Equipment(self._openings, self.read, tuple(tools))
        return stack.enter_context(equipment.opened(agent, files))

    def _inner(
        self, stack: ExitStack, speaker_of: SpeakerOf, tools: Sequence[AgentTool]
    ) -> Callable[[str, Path], Inner]:
        def opened(name: str, files: Path) -> Inner:
            agent = self.read(name)
            return Inner(agent, self._open(stack, agent, files, tools), speaker_of(agent.header.model), opened)

        return opened


def said_at_the_end(stopped: Mapping[str, Any]) -> str:
    """The answer with its citations resolved, or marked where they lead nowhere. Raises KeyError for what is no end."""
    return str(stopped.get("cited", stopped)["text"])


def reopen_pages(log: EventLog, tools: Mapping[str, AgentTool]) -> None:
    """Show a browser what it had shown before, so that its pages have the numbers by which the model cites them."""
    calls = {call["id"]: call for event in log if event.kind == "answer" for call in event["calls"]}
    for event in log:
        if event.kind == "result" and event["tool"] in BROWSER and event["ok"] and event["tool"] in tools:
            tool = tools[event["tool"]]
            tool.run(tool.arguments_of(calls[event["call"]]["arguments"]))


def shown_facts(facts: RunFacts) -> dict[str, Any]:
    """For programs. Raises nothing."""
    return {
        "id": facts.id,
        "object": "agent.run",
        "agent": facts.agent,
        "task": facts.task,
        "created": facts.at,
        "state": facts.state.name,
        "tainted": facts.state.tainted,
        "spent": dict(facts.state.spent),
        "budget": dict(facts.state.task["budget"]),
        "waits_for": facts.asked,
        "answer": None if facts.state.stopped is None else said_at_the_end(facts.state.stopped),
        "citations": None if facts.state.stopped is None else facts.state.stopped.get("cited", {}).get("places"),
    }  # fmt: skip
