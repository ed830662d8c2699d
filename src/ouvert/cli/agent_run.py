"""Running an agent at the terminal: what it says and does as it comes, and its questions to the owner."""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ouvert.cli.arguments import (
    add_prefix_arguments,
    add_settings,
    complete_agents_files,
    complete_installed,
    complete_runs,
)
from ouvert.cli.environment import open_store
from ouvert.cli.other_engine import ENGINE_SETTINGS
from ouvert.cli.terminal import visible

if TYPE_CHECKING:
    from ouvert.agents import Agents, Event, Run
    from ouvert.assistant import Event as Written
    from ouvert.cli.answering import Screen

WAITS, FAILED = 3, 1
LONGEST_SHOWN = 2000  # characters of a result


def add_running_arguments(*actions: argparse.ArgumentParser) -> None:
    running, again, test, replaying = actions
    for action in (running, test):
        named = action.add_argument("agent", metavar="AGENT", help="a name, or the path of an agent's file")
        named.completer = complete_agents_files  # type: ignore[attr-defined]
    running.add_argument(
        "task", nargs="+", metavar="TASK", help="what it is to do: these are your words, and count as such"
    )
    for action in (again, replaying):
        which = action.add_argument("run_id", metavar="RUN", help="as `ouvert agent runs` lists it")
        which.completer = complete_runs  # type: ignore[attr-defined]
    again.add_argument("--allow", metavar="CALL", help="say yes to the call that waits, and go on")
    again.add_argument("--refuse", metavar="CALL", help="say no to it, and go on")
    again.add_argument("--end", action="store_true", help="end the run instead")
    replaying.add_argument("--rerun-tools", action="store_true", help="run tools that only read once more, and compare")
    for action in actions:
        model = action.add_argument(
            "--model", default=None, metavar="MODEL", help="instead of the one in the agent's file"
        )
        model.completer = complete_installed  # type: ignore[attr-defined]
        action.add_argument("--pull", action="store_true", help="fetch the model if it is not on this machine")
        add_settings(action, "receipts")
        group = action.add_argument_group("how it is computed")
        add_settings(group, "threads", "context", "exact", "cache", "precision", "memory", "template")
        add_prefix_arguments(action)


class Speakers:
    """The models that answer, opened once each and closed together."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args, self._open = args, {}  # type: ignore[var-annotated]

    def __call__(self, name: str) -> Any:
        from ouvert.cli.commands.run import open_model

        wanted = self._args.model or name
        if wanted not in self._open:
            self._open[wanted] = open_model(self._args, wanted)
        return self._open[wanted]

    def close(self) -> None:
        for model in self._open.values():
            model.close()


@contextmanager
def speakers(args: argparse.Namespace) -> Iterator[Speakers]:
    args.adapters = []
    for name in ENGINE_SETTINGS:  # an agent's model is on this machine
        vars(args).setdefault(name, None)
    opened = Speakers(args)
    try:
        yield opened
    finally:
        opened.close()


def agents() -> "Agents":
    from ouvert.agents import Agents
    from ouvert.cli.environment import open_collections

    return Agents(open_store().home, open_collections())


def run_one(args: argparse.Namespace) -> int:
    from ouvert.agents import Asked

    here = agents()
    agent = here.find(args.agent)
    asked = Asked(text=" ".join(args.task))
    with speakers(args) as speaker_of, here.begun(agent, asked, speaker_of) as run:
        return through(run, args)


def resume(args: argparse.Namespace) -> int:
    from ouvert.agents import AgentError

    here = agents()
    facts = here.facts(args.run_id)
    if facts.state.stopped is not None:
        raise AgentError(
            f"going on with {args.run_id}: it is over ({facts.state.name}), expected one that waits or was "
            f"interrupted. `ouvert agent show {args.run_id}` says what happened."
        )
    with speakers(args) as speaker_of, here.reopened(args.run_id, speaker_of) as run:
        if args.end:
            run.end("You ended it.")
            return report(run, args)
        for call, allowed in ((args.allow, True), (args.refuse, False)):
            if call is not None:
                run.verdict(call, allowed=allowed, by="command line")
        return through(run, args)


def through(run: "Run", args: argparse.Namespace) -> int:
    """To its end, or to a question that nobody is here to answer."""
    from ouvert.cli.answering import Screen, ctrl_c_calls

    screen = Screen(sys.stdout, sys.stderr, silent=args.json)
    with ctrl_c_calls(run.cancel):
        while True:
            for event in run.steps():
                show(event, screen, silent=args.json, held=run.agent.header.held)
            if run.state.question is None or args.json or not asked_at_terminal(run):
                break
    return report(run, args)


def show(event: "Event | Written", screen: "Screen", *, silent: bool, held: bool) -> None:
    """`held`: the agent's answer is a call."""
    from ouvert.agents import ANSWER, Event
    from ouvert.assistant import ToolCallDelta

    if not isinstance(event, Event):
        if not isinstance(event, ToolCallDelta):  # a call is shown whole, when it is decided on
            screen.show(event)
        return
    if silent:
        return
    screen.end_line()
    match event.kind:
        case "answer":
            for call in event["calls"]:
                if not (held and call["name"] == ANSWER):
                    screen.note(visible(f"→ {call['name']} {call['arguments']}"))
        case "result" | "refused":
            text = event["text"]
            shown = text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}… ({len(text):,} characters)"
            screen.note(visible(f"← {shown}"))
        case "warned":
            screen.note(visible(event["text"]))
        case "stopped":
            if event["reason"] == "done" and held:
                screen.write(f"{event['text']}\n")


def asked_at_terminal(run: "Run") -> bool:
    """Ask the owner, and write the verdict down. False where nobody is here."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    for line in question_lines(run):
        print(visible(line), file=sys.stderr)
    print("Do it? [y/N] ", end="", file=sys.stderr, flush=True)
    said = sys.stdin.readline()
    question = run.state.question
    assert question is not None  # noqa: S101 - looked at by the caller
    if not said:
        return False
    run.verdict(question.call.id, allowed=said.strip().lower() in ("y", "yes"), by="terminal")
    return True


def question_lines(run: "Run") -> list[str]:
    """What, to whom, why, and the exact arguments."""
    from ouvert.agents import shown_arguments

    asked = next(each for each in reversed(run.log.events) if each.kind == "ask")
    to = f" to {', '.join(asked['targets'])}" if asked["targets"] else ""
    return [f"\nIt wants to use {asked['tool']} ({asked['effect']}){to}.", f"Why you are asked: {asked['why']}.",
            shown_arguments(asked["arguments"])]  # fmt: skip


def report(run: "Run", args: argparse.Namespace) -> int:
    from ouvert.agents import RunFacts, shown_facts

    state = run.state
    if args.json:
        first = run.log.events[0]
        print(
            json.dumps(
                shown_facts(RunFacts(run.id, run.agent.name, first["text"], first.at, state)), ensure_ascii=False
            )
        )
    elif (question := state.question) is not None:
        for line in question_lines(run):
            print(visible(line), file=sys.stderr)
        print(
            f"{run.id} waits. `ouvert agent resume {run.id} --allow {question.call.id}` says yes, --refuse no.",
            file=sys.stderr,
        )
    else:
        spent = f"{state.spent['steps']:.0f} steps, {state.spent['tokens']:,.0f} tokens, {state.spent['seconds']:.0f} s"
        ended = "" if state.name == "done" else f"{state.name}: {(state.stopped or {'text': ''})['text']} "
        print(visible(f"[{ended}{run.id}: {spent}]"), file=sys.stderr)
    if state.question is not None:
        return WAITS
    return 0 if state.name == "done" else FAILED


def test_one(args: argparse.Namespace) -> int:
    from ouvert.agents import EVALS, Asked, read_cases, result_of, tried, write_result

    here = agents()
    agent = here.find(args.agent)
    assert agent.path is not None  # noqa: S101 - it was read from a file
    cases = read_cases(agent.path.parent / EVALS)
    found = []
    with speakers(args) as speaker_of:
        for number, case in enumerate(cases, start=1):
            with here.begun(agent, Asked(text=case.task), speaker_of) as run:
                one = tried(case, run)
            found.append(one)
            if not args.json:
                verdict = "passed" if not one.failed else "; ".join(one.failed)
                print(visible(f"{number:>3}/{len(cases)}  {verdict}  ({case.task[:60]})"))
    result = result_of(found, agent.digest, args.model or agent.header.model)
    write_result(agent.path.parent / "evals.result.json", result)
    print(json.dumps(result, ensure_ascii=False) if args.json else f"{result['passed']} of {result['of']} passed.")
    return 0 if result["passed"] == result["of"] else FAILED


def replay_one(args: argparse.Namespace) -> int:
    from ouvert.agents import agent_of_run, replay

    here = agents()
    place = here.place(args.run_id)
    agent = agent_of_run(place)
    with speakers(args) as speaker_of:
        speaker = speaker_of(agent.header.model)
        if args.rerun_tools:
            with here.reopened(args.run_id, speaker_of) as run:
                found = list(replay(place, speaker, run.tools))
        else:
            found = list(replay(place, speaker))
    rows: list[dict[str, Any]] = [
        {"n": each.event.n, "event": each.event.kind, "how": each.how, "differs": list(each.differs)} for each in found
    ]
    same = all(not each.differs for each in found)
    if args.json:
        print(json.dumps({"run": args.run_id, "same": same, "events": rows}))
    else:
        for row in rows:
            print(f"{row['n']:>3}  {row['event']:<8} {row['how']:<22} {', '.join(row['differs']) or 'the same'}")
        if not any(row["event"] == "answer" for row in rows):
            print("The run has no answer yet, so none was written again.")
        else:
            print("Every event is as it was, bit for bit." if same else "Not every event is as it was.")
    return 0 if same else FAILED
