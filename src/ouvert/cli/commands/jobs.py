"""`ouvert jobs list | show | cancel | rm`: the batches and other long work of this machine."""

import argparse
import json
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING

from ouvert.cli.environment import open_store

if TYPE_CHECKING:
    from ouvert.store import Job, JobStore, KeptFiles

SUMMARY = "List, show, cancel and remove batches and other long work."
CANCEL_SECONDS = 10.0  # that a process which works on a job gets to end it, before the command says that it was asked


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        f"{SUMMARY} Jobs of `ouvert batch` and of the server, whichever key's. A job that nobody works on is paused: "
        "the server goes on with its own when it starts, `ouvert batch` when the same command is typed again."
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="all jobs, the newest first")
    showing = actions.add_parser("show", help="what is known of a job")
    cancelling = actions.add_parser("cancel", help="end a job; what is answered stays")
    removing = actions.add_parser("rm", help="remove jobs with their results")
    for action in (showing, cancelling):
        action.add_argument("id", metavar="ID", help="the job's id, or its beginning")
    removing.add_argument("ids", nargs="*", metavar="ID", help="their ids, or the beginnings of them")
    removing.add_argument("--over", action="store_true", help="all that are finished, failed, expired or cancelled")
    for action in (listing, showing):
        action.add_argument("--json", action="store_true", help="print JSON instead of text")


def run(args: argparse.Namespace) -> int:
    """0: done. 1: not; a sentence on stderr says why."""
    from ouvert.store import JobStore, KeptFiles

    home = open_store().home
    store = JobStore(home / "jobs")
    match args.action:
        case "list":
            return show_all(store, as_json=args.json)
        case "show":
            show(store.get(found(store, args.id)), as_json=args.json)
        case "cancel":
            cancel(store, found(store, args.id))
        case "rm":
            return remove(store, KeptFiles(home / "files"), args)
    return 0


def found(store: "JobStore", beginning: str) -> str:
    """The whole id. What is the beginning of no id, or of several, is left for the store to refuse."""
    ids = [place.name for place in store.folder.glob("*_*") if place.name.startswith(beginning)] if beginning else []
    return ids[0] if len(ids) == 1 else beginning


def show_all(store: "JobStore", *, as_json: bool) -> int:
    from ouvert.cli.answering import complain
    from ouvert.cli.commands.list import print_columns

    listed = store.every()
    for sentence in listed.damaged:
        complain(sentence)
    if as_json:
        print(json.dumps([asdict(job) for job in listed.jobs]))
    elif listed.jobs:
        heads = ("ID", "KIND", "STATE", "DONE", "OF", "ERRORS", "MADE", "BY", "WHOSE")
        print_columns(heads, [row(job) for job in listed.jobs])
    elif not listed.damaged:
        print("There is no job. `ouvert batch FILE` makes one.")
    return 1 if listed.damaged else 0


def row(job: "Job") -> tuple[str, ...]:
    return (
        job.id,
        job.kind,
        job.state,
        str(job.answered),
        "-" if job.items is None else str(job.items),
        str(job.failed),
        moment(job.created),
        job.runner,
        job.owner or "you",
    )


def moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def show(job: "Job", *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(asdict(job)))
        return
    facts = {
        "id": job.id,
        "kind": job.kind,
        "state": job.state,
        "whose": job.owner or "yours",
        "done": f"{job.answered} answered, {job.failed} with an error, of {'?' if job.items is None else job.items}",
        **{name: moment(value) for name, value in sorted(job.times.items(), key=lambda time: time[1])},
        "kept until": None if job.removal is None else moment(job.removal),
        "ends by": None if job.deadline is None else moment(job.deadline),
        **{name: str(value) for name, value in job.totals.items() if name.endswith("_tokens")},
        **{name: job.settings.get(name) for name in ("input", "input_file_id", "model", "endpoint")},
        **dict(job.outcome),
    }
    for name, value in facts.items():
        if value is not None:
            print(f"{name.replace('_', ' '):>16}  {value}")


def cancel(store: "JobStore", job_id: str) -> None:
    """Ask for its end and wait a while for it."""
    job = store.cancel(job_id)
    until = time.monotonic() + CANCEL_SECONDS
    while job.state == "running" and time.monotonic() < until:
        time.sleep(0.1)
        job = store.get(job_id)
    if job.is_over:
        print(f"{job_id} is {job.state}: {job.answered} answered.", file=sys.stderr)
    else:
        print(f"{job_id} was asked to end; whoever does it has not ended it yet.", file=sys.stderr)


def remove(store: "JobStore", files: "KeptFiles", args: argparse.Namespace) -> int:
    from ouvert.cli.answering import complain
    from ouvert.store import JobError

    ids = [found(store, each) for each in args.ids]
    if args.over:
        ids += [job.id for job in store.every().jobs if job.is_over and job.id not in ids]
    if not ids and not args.over:
        complain("removing jobs: none is named. Name their ids, or say --over.")
        return 1
    for job_id in ids:
        with suppress(JobError):  # of a job that cannot be read: it is removed, and that is said
            outcome = store.get(job_id).outcome
            for name in ("output_file_id", "error_file_id"):
                if name in outcome:
                    files.remove(outcome[name])
        store.remove(job_id)
        print(f"{job_id} is gone.", file=sys.stderr)
    return 0
