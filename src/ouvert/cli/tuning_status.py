"""`ouvert tune status|log|stop|remove`: what is known of runs that are not over, and what is done with them."""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ouvert.cli.environment import open_store
from ouvert.cli.progress import seconds_in_words

if TYPE_CHECKING:
    from ouvert.tuning import Runs, Seen

LOOK_SECONDS = 1.0  # between two looks of --follow


def status(args: argparse.Namespace) -> int:
    """Of one run, or a line for each. 0: said."""
    runs = runs_here()
    names = args.named[1:] or list(runs.names())
    seen = [runs.look(name) for name in names]
    if args.json:
        print(json.dumps([facts_of(each) for each in seen]))
        return 0
    if not seen:
        print("There is no unfinished run. `ouvert adapter list` lists what was learnt.")
    for each in seen:
        print(in_words(each))
    return 0


def log(args: argparse.Namespace) -> int:
    """The losses of a run, or of an adapter that came of one. 0: shown."""
    name = args.named[1]
    rows, steps, state = logged(name)
    if args.json:
        print("\n".join(json.dumps(row) for row in rows))
        return 0
    show_chart(rows, steps, state)
    shown = len(rows)
    while args.follow and state == "running":
        time.sleep(LOOK_SECONDS)
        rows, steps, state = logged(name)
        if len(rows) != shown or state != "running":
            shown = len(rows)
            show_chart(rows, steps, state)
    return 0


def stop(args: argparse.Namespace) -> int:
    """0: it was asked to. 1: nobody works on it."""
    name = args.named[1]
    if runs_here().stop(name):
        print(f"{name} stops after what it is computing now. `ouvert tune resume {name}` goes on with it.")
        return 0
    print(f"ouvert: no process works on {name}: there is nothing to stop.", file=sys.stderr)
    return 1


def remove(args: argparse.Namespace) -> int:
    """0: it is gone. 1: its owner did not agree."""
    name = args.named[1]
    seen = runs_here().look(name)
    if not args.yes:
        if sys.stdin is None or not sys.stdin.isatty():
            print(f"ouvert: removing {name} gives up {seen.standing.step} steps. Add --yes.", file=sys.stderr)
            return 1
        print(f"{in_words(seen)}\nGive it up? [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes", "o", "oui"):
            return 1
    runs_here().remove(name)
    return 0


# --- what they share ---


def runs_here() -> "Runs":
    from ouvert.tuning import Runs

    return Runs(open_store().home)


def state_of(seen: "Seen") -> str:
    if seen.running:
        return "running"
    return "trained, not kept yet" if seen.trained else "stopped"


def facts_of(seen: "Seen") -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "name": seen.name,
        "state": state_of(seen),
        "model": seen.facts["base"]["name"],
        "method": seen.recipe.method,
        "steps": seen.course.steps,
        **asdict(seen.standing),
        "last": dict(seen.rows[-1]) if seen.rows else None,
    }


def in_words(seen: "Seen") -> str:
    """A line: where it is, its losses or rewards, how to go on."""
    from ouvert.tuning import followed

    what, apart = followed(seen.rows)
    steps = [row for row in seen.rows if what in row]
    held_out = [row[apart] for row in seen.rows if apart in row]
    done = int(steps[-1]["step"]) if steps and seen.running else seen.standing.step
    said = [f"{seen.name}: {state_of(seen)}, step {done} of {seen.course.steps}"]
    if steps:
        said.append(f"{what} {steps[-1][what]:.3f}")
    if held_out:
        said.append(f"held out {held_out[0]:.3f} at first, {held_out[-1]:.3f} now")
    if seen.running and done:
        each = seen.rows[-1]["seconds"] / done
        said.append(f"{seconds_in_words(each * (seen.course.steps - done))} to go")
    elif not seen.running:
        said.append(f"`ouvert tune resume {seen.name}` goes on")
    return ", ".join(said)


def logged(name: str) -> tuple[Sequence[Mapping[str, Any]], int, str]:
    """(metrics, steps, state) of a run, or of the adapter of that name."""
    from ouvert.store import StoreError
    from ouvert.tuning import TuningError, rows_in

    runs = runs_here()
    if name in runs.names():
        seen = runs.look(name)
        return seen.rows, seen.course.steps, state_of(seen)
    try:
        path = open_store().adapters.record(name).path / "run" / "metrics.jsonl"
    except StoreError:
        runs.look(name)  # TuningError, with the names that there are
        raise
    if not path.exists():
        raise TuningError(
            f"showing the log of {name}: it was not trained here, expected an adapter with run/metrics.jsonl. "
            f"`ouvert adapter show {name}` says where it comes from."
        )
    rows = list(rows_in(path))
    return rows, max((int(row["step"]) for row in rows), default=1), "finished"


def show_chart(rows: Sequence[Mapping[str, Any]], steps: int, state: str) -> None:
    from ouvert.tuning import curves_of, followed, lines_of

    curves = curves_of(rows, steps)
    lines = ["nothing is measured yet"] if curves is None else lines_of(curves, shutil.get_terminal_size().columns)
    print("\n".join(lines))
    what = followed(rows)[0]
    last = next((row for row in reversed(rows) if what in row), None)
    if last is not None:
        print(f"{state}, step {last['step']}: {what} {last[what]:.4f}, rate {last['rate']:.3g}, gradient norm "
              f"{last['gradient_norm']:.3f}, {last['tokens_per_second']:.0f} tokens/s", flush=True)  # fmt: skip
