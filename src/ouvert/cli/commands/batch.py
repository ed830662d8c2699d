"""`ouvert batch FILE`: every request of a file is answered on this machine; interrupted, it goes on where it was."""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ouvert.cli.arguments import add_prefix_arguments, add_settings, complete_installed
from ouvert.cli.environment import guard_asked_for, ledger_asked_for, open_store, prefixes_asked_for

if TYPE_CHECKING:
    from ouvert.serving import BatchOutcome
    from ouvert.store import Store

SUMMARY = "Answer a file of requests; interrupted, it goes on where it was."
FOREVER = float("inf")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        f"{SUMMARY} The file is in OpenAI's batch format: a JSON object a line, with custom_id, method, url and body. "
        "No server is needed, and nothing leaves this machine. The same command, typed again, goes on at the first "
        "request without an answer."
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="the requests")
    model = parser.add_argument("--model", metavar="MODEL", help="the model that answers all (default: each one's own)")
    model.completer = complete_installed  # type: ignore[attr-defined]
    parser.add_argument("--output", type=Path, metavar="FILE", help="the answers (default: FILE.output.jsonl)")
    parser.add_argument("--errors", type=Path, metavar="FILE", help="what was refused (default: FILE.errors.jsonl)")
    parser.add_argument("--overwrite", action="store_true", help="replace these files, whoever wrote them")
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end instead of text")
    add_settings(parser, "jobs.parallel", "jobs.keep_finished", "receipts")
    group = parser.add_argument_group("how it is computed")
    add_settings(group, "threads", "context", "exact", "cache", "precision", "template")
    add_prefix_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """0: every request is answered. 1: not all, or none; a sentence on stderr says why. 130: interrupted."""
    from ouvert.cli.batch_progress import BatchProgress
    from ouvert.cli.progress import show_progress
    from ouvert.serving import BatchOptions, facts_of, run_batch

    store = open_store()
    options = BatchOptions(
        model=args.model,
        output=args.output,
        errors=args.errors,
        overwrite=args.overwrite,
        parallel=args.parallel,
        keep=None if args.keep_finished == FOREVER else args.keep_finished,
        load=load_options(args, store),
    )
    with BatchProgress(sys.stderr) as shown:
        try:
            outcome = run_batch(args.file, options, store, shown.show, show_progress(sys.stderr))
        except KeyboardInterrupt:
            shown.close()
            print(f"{shown.interrupted()} The same command goes on from here.", file=sys.stderr)
            raise
    if args.json:
        print(json.dumps(facts_of(outcome)))
    else:
        print(in_words(outcome, shown.speed()))
    return 0 if outcome.job.state == "finished" and not outcome.job.failed else 1


def load_options(args: argparse.Namespace, store: "Store") -> Mapping[str, Any]:
    return {
        "threads": args.threads,
        "context": args.context,
        "exact": args.exact,
        "cache": args.cache,
        "precision": args.precision,
        "receipts": ledger_asked_for(args.receipts, store) or False,
        "prefixes": prefixes_asked_for(store, args.prefix_cache, args.prefix_cache_quota, args.prefix_cache_key)
        or False,
        "guard": guard_asked_for(),
        "template": args.template,
    }


def in_words(outcome: "BatchOutcome", speed: str) -> str:
    job = outcome.job
    lines = [f"{job.answered} of {job.items} answered{speed}: {outcome.output}"]
    if outcome.errors is not None:
        lines.append(f"{(job.items or 0) - job.answered} not: {outcome.errors} says why.")
    if job.state == "cancelled":
        lines.append("It was cancelled. The same command goes on from here.")
    elif job.failed:
        lines.append(f"To ask all of them anew: `ouvert jobs rm {job.id}`, then the same command.")
    return "\n".join(lines)
