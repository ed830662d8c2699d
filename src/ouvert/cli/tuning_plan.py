"""The plan of a run, in words, and whether its owner agrees."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ouvert.cli.progress import seconds_in_words
from ouvert.store import counted

if TYPE_CHECKING:
    from ouvert.tuning import Plan, TrainedWeight

CHECKED = "the probe, held-out loss, answers side by side, whether answers end, what was lost, refusals"
TOO_LARGE = (
    "This machine has less memory than that: it would read from disk all the time. Make length, batch or rank smaller, "
    "or take a smaller model."
)


def in_words(plan: "Plan", model: str, name: str, *, memory: int | None, checking: float | None) -> str:
    """`memory`: of this machine, in bytes. `checking`: seconds of the check that follows; None without one. Raises
    nothing."""
    counts, recipe, settings = plan.counts, plan.recipe, plan.recipe.optimise
    held_out = f"{counts.held_out} held out" if counts.held_out else "nothing held out"
    lines = [
        f"{model} learns {name} ({recipe.method})",
        "",
        examples_in_words(plan, held_out),
        f"steps     {steps_in_words(plan)}",
    ]
    if plan.measurements:
        stops = f"; stops after {settings.stop_early} without improvement" if settings.stop_early else ""
        often = f"every {plan.course.measure_every} steps" if plan.course.measure_every > 1 else "every step"
        what = "what answers to held-out prompts are worth" if recipe.method == "grpo" else "the held-out loss"
        lines.append(f"measured  {what}, {often}, {counted(plan.measurements, 'time')}{stops}")
    of = f" of {memory / 1e9:.1f} GB" if memory else ""
    per_step = plan.seconds / plan.course.steps
    lines += [
        f"memory    {plan.memory / 1e9:.2f} GB{of}, the mapped weights among it",
        f"time      {seconds_in_words(plan.seconds)}, {per_step:.1f} s a step (measured here, on the first examples)",
        "checked   not: the adapter stays unchecked"
        if checking is None
        else f"checked   {CHECKED}: "
        f"{seconds_in_words(checking)}, and as long again for {model} itself, once for all its adapters",
        "",
        *table(plan.weights),
    ]
    if counts.unthought:
        answers = counted(counts.unthought, "answer")
        lines += ["", f"{answers} without a thought: {model} writes these first, which takes more time."]
    if memory and plan.memory > memory:
        lines += ["", TOO_LARGE]
    return "\n".join([*lines, *([""] if plan.notes else []), *plan.notes])


def examples_in_words(plan: "Plan", held_out: str) -> str:
    counts, reward = plan.counts, plan.recipe.reward
    if plan.recipe.method == "grpo":
        rewards = ", ".join(reward.use)
        return f"prompts   {counts.items} ({counts.tokens:,} tokens), {held_out}; answers are worth: {rewards}"
    mixed = f", {counted(counts.mixed, 'example')} of the safety mix" if counts.mixed else ""
    return f"examples  {counts.items:,} ({counts.tokens:,} tokens, {counts.trained:,} trained{mixed}), {held_out}"


def steps_in_words(plan: "Plan") -> str:
    settings, reward = plan.recipe.optimise, plan.recipe.reward
    minutes = f"{settings.minutes:g} {'minute' if settings.minutes == 1 else 'minutes'}"
    fitting = f" (of {plan.steps_asked}: what fits into {minutes})"
    fits = fitting * (plan.course.steps < plan.steps_asked)
    what, count = ("prompt" if plan.recipe.method == "grpo" else "example"), plan.counts.items
    steps = f"{plan.course.steps:,}{fits}, {counted(settings.batch, what)} a step"
    if settings.batch > count:
        steps += f", and there {'is' if count == 1 else 'are'} {count:,}"
    seen = f"each {what} {plan.epochs:.3g} times"
    if plan.recipe.method == "grpo":
        return f"{steps}, {reward.answers} answers of at most {reward.length} tokens to each; {seen}"
    return f"{steps}; {seen}: {plan.tokens:,} tokens, {plan.trained:,} trained"


def table(weights: "tuple[TrainedWeight, ...]") -> Iterator[str]:
    """What is trained: weights of one kind in one line."""
    kinds: dict[tuple[str, tuple[int, int], int], list[TrainedWeight]] = {}
    for each in weights:
        kinds.setdefault((each.name.split(".", 2)[2], each.shape, each.rank), []).append(each)
    rows = [("TRAINED", "LAYERS", "EXPERTS", "SHAPE", "RANK", "NUMBERS")]
    for (kind, shape, rank), members in kinds.items():
        experts = {0 if each.experts is None else len(each.experts) for each in members}
        rows.append((
            kind, layers_of(members), "-" if experts == {0} else f"{min(experts)} to {max(experts)}".replace(
                f"{min(experts)} to {min(experts)}", f"{min(experts)}") + " a layer",
            f"{shape[0]} x {shape[1]}", str(rank), f"{sum(each.numbers for each in members):,}",
        ))  # fmt: skip
    rows.append(("", "", "", "", "", f"{sum(each.numbers for each in weights):,}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        left = "  ".join(cell.ljust(width) for cell, width in zip(row[:4], widths, strict=False))
        yield f"{left}  {row[4]:>{widths[4]}}  {row[5]:>{widths[5]}}".rstrip()


def layers_of(members: "list[TrainedWeight]") -> str:
    numbers = [int(each.name.split(".")[1]) for each in members]
    whole = numbers == list(range(numbers[0], numbers[-1] + 1))
    return f"{numbers[0]} to {numbers[-1]}" if whole and len(numbers) > 1 else f"{len(numbers)} of them"


def agreed(words: str, *, yes: bool) -> bool:
    """Show the plan and ask; without a terminal, say what to add."""
    print(words, file=sys.stderr)
    if yes:
        return True
    if sys.stdin is None or not sys.stdin.isatty():
        print("ouvert: nobody is here to agree to this plan. Add --yes, or --plan to see it only.", file=sys.stderr)
        return False
    print("\nTrain it? [y/N] ", end="", file=sys.stderr, flush=True)
    try:
        return sys.stdin.readline().strip().lower() in ("y", "yes", "o", "oui")
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return False
