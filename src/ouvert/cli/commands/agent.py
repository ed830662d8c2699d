"""`ouvert agent …`: agents on this machine: their files, their runs, and what they ask."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ouvert.cli.agent_run import add_running_arguments, replay_one, resume, run_one, test_one
from ouvert.cli.arguments import complete_agents_runs, complete_installed
from ouvert.cli.environment import open_store
from ouvert.cli.inside import add_json
from ouvert.cli.terminal import visible

if TYPE_CHECKING:
    from ouvert.agents import Agents, Event

SUMMARY = "Run agents, answer what they ask, test, replay and import them."
NEW = """---
name: {name}
description: What this agent is for, in a sentence.
model: {model}
tools: [files]
approve: default
budget: {{steps: 20, tokens: 60000, seconds: 900}}
---
You help with …
"""
WIDTH = 50  # characters of a text in a list


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="the agents that are kept here")
    show = actions.add_parser("show", help="an agent, or a run: what happened, and what it waits for")
    new = actions.add_parser("new", help="write the file of a new agent, to be edited")
    bring = actions.add_parser("import", help="bring one of Claude Code, OpenCode, Gemini CLI or Codex")
    remove = actions.add_parser("remove", help="delete an agent, or a run with its files")
    runs = actions.add_parser("runs", help="the runs on this machine, the newest first")
    running = actions.add_parser("run", help="give an agent a task")
    again = actions.add_parser("resume", help="go on with a run: one that waits, or was interrupted")
    test = actions.add_parser("test", help="ask what stands in evals.jsonl beside it, and check the answers")
    replaying = actions.add_parser("replay", help="write a run's answers once more, and compare them bit for bit")
    for action, act in (
        (listing, list_all), (show, show_one), (new, write_new), (bring, bring_one), (remove, remove_one),
        (runs, list_runs),
        (running, run_one), (again, resume), (test, test_one), (replaying, replay_one),
    ):  # fmt: skip
        action.set_defaults(act=act)
        add_json(action, "agent-run.md")
    add_running_arguments(running, again, test, replaying)
    for action in (show, remove):
        named = action.add_argument("name", metavar="NAME", help="of an agent, or of a run")
        named.completer = complete_agents_runs  # type: ignore[attr-defined]
    new.add_argument("name", metavar="NAME", help="lower-case letters, digits and -")
    bring.add_argument("file", type=Path, metavar="FILE", help="the agent's file")
    for action in (new, bring):
        model = action.add_argument(
            "--model", default=None, metavar="MODEL", help="who answers (default: the model of `ouvert run`)"
        )
        model.completer = complete_installed  # type: ignore[attr-defined]
    bring.add_argument(
        "--without", action="append", default=[], metavar="TOOL", help="leave this tool out; may be repeated"
    )
    remove.add_argument("--yes", action="store_true", help="do not ask")


def run(args: argparse.Namespace) -> int:
    """0: done. 1: not, with a sentence on stderr. 3: a run waits for an answer."""
    act: Callable[[argparse.Namespace], int] = args.act
    return act(args)


def agents() -> "Agents":
    from ouvert.agents import Agents

    return Agents(open_store().home)


def list_all(args: argparse.Namespace) -> int:
    from ouvert.agents import AgentError
    from ouvert.cli.commands.list import print_columns

    here = agents()
    rows: list[tuple[str, str, str, str, str]] = []
    for name in here.names():
        try:
            header = here.read(name).header
            rows.append((name, header.model, header.approve, ", ".join(header.tools), header.description))
        except AgentError as problem:
            rows.append((name, "", "damaged", "", str(problem)))
    if args.json:
        keys = ("name", "model", "approve", "tools", "description")
        print(json.dumps([dict(zip(keys, row, strict=True)) for row in rows], ensure_ascii=False))
    elif rows:
        print_columns(("NAME", "MODEL", "ASKS", "TOOLS", "WHAT FOR"), [(*row[:4], shortened(row[4])) for row in rows])
    else:
        print("No agent is kept here yet. `ouvert agent new NAME` writes one, `ouvert agent import FILE` brings one.")
    return 0


def shortened(text: str) -> str:
    line = visible(" ".join(text.split()))
    return line if len(line) <= WIDTH else line[: WIDTH - 1] + "…"


def show_one(args: argparse.Namespace) -> int:
    from ouvert.agents import EventLog, shown_facts

    here = agents()
    if not args.name.startswith("run-"):
        agent = here.find(args.name)
        known = {"name": agent.name, "digest": agent.digest, "header": agent.header.model_dump(mode="json")}
        print(json.dumps({**known, "text": agent.text}, ensure_ascii=False) if args.json else visible(agent.text))
        return 0
    log = EventLog(here.place(args.name) / "events.jsonl")
    if args.json:
        shown = {**shown_facts(here.facts(args.name)), "head": log.head}
        print(json.dumps(shown, ensure_ascii=False))
        return 0
    for event in log:
        print(visible(f"{event.n:>3}  {event.kind:<8} {in_a_line(event)}"))
    facts = here.facts(args.name)
    print(f"\nstate: {facts.state.name}{', has read words of others' if facts.state.tainted else ''}; head {log.head}")
    if facts.state.question is not None:
        print(f"`ouvert agent resume {args.name}` asks you.")
    return 0


def in_a_line(event: "Event") -> str:
    """What happened, in one line."""
    match event.kind:
        case "task":
            return f"{event['agent']}: {shortened(event['text'])}"
        case "answer":
            calls = ", ".join(f"{each['name']} {shortened(each['arguments'])}" for each in event["calls"])
            return calls or shortened(event["text"])
        case "ask":
            return f"{event['tool']} {shortened(event['arguments'])}: {event['why']}"
        case "verdict":
            return f"{'yes' if event['allowed'] else 'no'}, by {event['by']}"
        case "started":
            return str(event["call"])
        case "stopped":
            return f"{event['reason']}: {shortened(event['text'])}"
        case _:
            return shortened(event["text"])


def write_new(args: argparse.Namespace) -> int:
    from ouvert.agents import agent_of

    agent = agent_of(NEW.format(name=args.name, model=args.model or default_model()), repr(args.name))
    return kept(args, agents().keep(agent), [])


def bring_one(args: argparse.Namespace) -> int:
    from ouvert.agents import import_agent

    found = import_agent(args.file, args.model or default_model(), without=args.without)
    return kept(args, agents().keep(found.agent), list(found.notes))


def kept(args: argparse.Namespace, place: Path, notes: list[str]) -> int:
    if args.json:
        print(json.dumps({"file": str(place), "notes": notes}, ensure_ascii=False))
        return 0
    for note in notes:
        print(visible(f"- {note}"))
    print(f"{place}: read it, and edit what it may do.")
    return 0


def default_model() -> str:
    from ouvert.cli.commands.run import configured_model

    return configured_model()


def remove_one(args: argparse.Namespace) -> int:
    here = agents()
    is_run = args.name.startswith("run-")
    what = f"the run {args.name} with its files" if is_run else f"the agent {args.name}"
    if is_run:
        here.place(args.name)
    else:
        here.read(args.name)
    if not args.yes and not agreed(f"Delete {what}?"):
        print("Nothing was deleted.", file=sys.stderr)
        return 1
    if is_run:
        here.remove_run(args.name)
    else:
        here.remove(args.name)
    print(json.dumps({"removed": args.name}) if args.json else f"Deleted: {what}.")
    return 0


def agreed(question: str) -> bool:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def list_runs(args: argparse.Namespace) -> int:
    from ouvert.agents import shown_facts
    from ouvert.cli.commands.list import print_columns

    found = list(agents().runs())
    if args.json:
        print(json.dumps([shown_facts(each) for each in found], ensure_ascii=False))
    elif found:
        rows: list[Any] = [(each.id, each.agent, each.state.name, shortened(each.task)) for each in found]
        print_columns(("RUN", "AGENT", "STATE", "TASK"), rows)
    else:
        print('There are no runs yet. `ouvert agent run NAME "…"` begins one.')
    return 0
