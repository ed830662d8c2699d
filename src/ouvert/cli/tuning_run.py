"""A run that goes on to its end: the steps, what is kept, its check, and what to type next."""

import argparse
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING

from ouvert.cli.environment import open_store
from ouvert.cli.tuning_base import open_base_of, require_torch
from ouvert.cli.tuning_progress import TuningProgress
from ouvert.cli.tuning_sampler import EngineSampler, model_that_answers

if TYPE_CHECKING:
    from ouvert.store import AdapterRecord, Store
    from ouvert.tuning import OpenRun

NICE = 10  # whoever waits for an answer goes first
INTERRUPTED = 130


def resume(args: argparse.Namespace) -> int:
    """0: the adapter is there. 130: stopped again."""
    require_torch()
    return go_on(args.named[1], args)


def go_on(name: str, args: argparse.Namespace) -> int:
    """The run of that name to its end."""
    from ouvert.tuning import Runs, StopAskedError

    store = open_store()
    with suppress(AttributeError, OSError):
        os.nice(NICE)
    with Runs(store.home).open(name) as run:
        if not run.trained:
            try:
                train_here(store, run, args)
            except StopAskedError:
                done = f"Stopped after step {run.state.standing.step} of {run.course.steps}."
                print(f"{done} `ouvert tune resume {name}` goes on from here.", file=sys.stderr)
                return INTERRUPTED
        print(f"ouvert: {done_in_words(run)}", file=sys.stderr)
        record = kept(store, run, args.name or name)
    Runs(store.home).remove(name)
    return checked(store, record, run, args)


def train_here(store: "Store", run: "OpenRun", args: argparse.Namespace) -> None:
    """All steps that are left. Raises StopAskedError, and what the steps raise."""
    from ouvert.tuning import Manners, learner_of, require_same_base, train, way_of

    named, computing = run.facts["model"], run.facts["computing"]
    with ExitStack() as held:
        base = open_base_of(store, store.resolve(named), args.threads, computing)
        held.callback(base.close)
        require_same_base(run, base)
        learner = learner_of(base, run.recipe, run.adapter)
        held.callback(learner.close)
        way = way_of(
            run.recipe,
            lambda: EngineSampler(held.enter_context(model_that_answers(store, named, args.threads, computing))),
        )
        every = run.course.measure_every if run.data.held_out else 0
        shown = TuningProgress(run.course.steps, run.state.standing.step, run.facts["plan"]["seconds"], every)
        with shown, interrupts() as interrupted:
            home = store.home if args.polite else None
            stop, waiting = interrupted.__bool__, shown.waiting
            train(run, learner, way, Manners(told=shown.show, stop=stop, waiting=waiting, home=home))


def done_in_words(run: "OpenRun") -> str:
    """How it ended: steps, losses or rewards, and which adapter is taken."""
    standing, rewarded = run.state.standing, run.recipe.method == "grpo"
    what, sign = ("reward", -1) if rewarded else ("loss", 1)
    seen = [row[what] for row in run.metrics.rows() if what in row]
    said = [f"{standing.step} of {run.course.steps} steps are done: {what} {seen[0]:.3f}, then {seen[-1]:.3f}"]
    if standing.best is not None and standing.held_out is not None:
        before, best = sign * standing.held_out, sign * standing.best
        said.append(f"held out {before:.3f}, then {best:.3f} after step {standing.best_step}")
        if standing.best > standing.held_out:
            said.append("that is worse than before: the bare model is better at this")
    if standing.stopped:
        said.append(f"no improvement in {standing.worse} measurements since: it stopped early")
    if run.state.best and standing.best_step < standing.step:
        said.append(f"the adapter of step {standing.best_step} is taken")
    return "; ".join(said) + "."


class Interrupted:
    """Whether somebody typed Ctrl-C, or the system asked the process to end."""

    def __init__(self) -> None:
        self._asked = False

    def __bool__(self) -> bool:
        return self._asked

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt  # for good: what was kept last stays
        self._asked = True
        print(
            "\nStopping after what is computed now; what is done is kept. Ctrl-C again stops at once.", file=sys.stderr
        )


@contextmanager
def interrupts() -> Iterator[Interrupted]:
    """While this lasts, the first Ctrl-C or SIGTERM is a wish."""
    asked = Interrupted()
    before = {number: signal.signal(number, asked) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def kept(store: "Store", run: "OpenRun", name: str) -> "AdapterRecord":
    """The adapter, kept in the store; one that was kept before this run was killed is left as it is. Raises StoreError
    for a name that is taken, and what loading the model raises."""
    from ouvert.store import StoreError
    from ouvert.tuning import source_of, write_beside

    adapter = run.answer
    if name in store.adapters.names() and store.adapters.record(name).digest == adapter.digest:
        return store.adapters.record(name)
    with model_that_answers(store, run.facts["model"], None, run.facts["computing"]) as model:
        try:
            return model.adapters.keep(name, adapter, source_of(run), beside=partial(write_beside, run))
        except StoreError as problem:
            raise StoreError(
                f"{problem} What was learnt is kept: `ouvert tune resume {run.name} --name OTHER` gives it another "
                "name."
            ) from problem


def checked(store: "Store", record: "AdapterRecord", run: "OpenRun", args: argparse.Namespace) -> int:
    """Its check, unless none is wanted; what is known of it then, and what to type next. 1 where the check found a
    regression."""
    from ouvert.cli.adapter_check import HowToCheck, check_adapter, kept_apart_of, not_checked, print_report
    from ouvert.evaluation import page_of_check

    if args.no_check or not run.recipe.safety.check:
        not_checked(record.name, "--no-check" if args.no_check else "[safety] check = false")
    else:
        how = HowToCheck(model=run.facts["model"], computing={**run.facts["computing"], "threads": args.threads})
        report = check_adapter(record.name, kept_apart_of(store, record), how)
        if not args.json:
            print_report(report, page_of_check(record.path / "run"))
    now = store.adapters.record(record.name)
    if args.json:
        facts = {name: now.facts[name] for name in ("source", "check")}
        print(json.dumps({"adapter": now.name, "digest": now.digest, "state": now.state, "path": str(now.path),
                          "model": now.base_name, **facts}))  # fmt: skip
    else:
        print(f"\n{now.name} is {now.state}, not gated: {now.path}\n\n    ouvert run {now.base_name}+{now.name}")
    return 1 if now.state == "regression" else 0
