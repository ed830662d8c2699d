"""What stands beside the numbers of an adapter that was trained: a model card, and how it was made."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ouvert.packed import json_digest
from ouvert.store import counted, write_whole
from ouvert.tuning.chart import curves_of, svg_of
from ouvert.tuning.kept_data import write_data
from ouvert.tuning.metrics import followed
from ouvert.tuning.recipe import Recipe
from ouvert.tuning.reward_files import without_folders
from ouvert.tuning.runs import DATA, METRICS, RECIPE, OpenRun

CARD, RUN = "README.md", "run"


def source_of(run: OpenRun) -> dict[str, Any]:
    """The `source` of the adapter's record: docs/formats/adapter.md. Raises nothing."""
    counts = run.data.counts
    return {
        "tuned": {
            "recipe": json_digest(recipe_given(run).mapping()),
            "data": run.data.digest,
            "method": run.recipe.method,
            "examples": counts.items,
            "held_out": counts.held_out,
            "trained_tokens": counts.trained,
            "steps": run.state.standing.best_step if run.state.best else run.state.standing.step,
        }
    }


def recipe_given(run: OpenRun) -> Recipe:
    """As the adapter keeps it, without folders of this machine. Raises nothing."""
    reward = run.recipe.reward
    return replace(run.recipe, reward=replace(reward, use=without_folders(reward.use)))


def facts_given(run: OpenRun) -> dict[str, Any]:
    """As the adapter keeps them, without folders of this machine. Raises nothing."""
    rewards = {without_folders([name])[0]: digest for name, digest in run.facts.get("rewards", {}).items()}
    return {**run.facts, **({"rewards": rewards} if rewards else {})}


def write_beside(run: OpenRun, folder: Path) -> None:
    """README.md, and run/ with recipe, metrics, picture and the held-out examples, with which it may be checked again,
    into the adapter's folder. What it was trained on does not go there, nor does the optimiser's state. Raises OSError,
    and CheckpointError if the disk takes no more."""
    inside = folder / RUN
    inside.mkdir(mode=0o700)
    if run.data.held_out:
        write_data(inside / DATA, replace(run.data, train=()))
    rows = run.metrics.rows()
    write_whole(inside / RECIPE, [recipe_given(run).toml.encode("utf-8")])
    write_whole(inside / METRICS, [run.metrics.path.read_bytes()])
    write_whole(inside / "run.json", [json.dumps(facts_given(run), indent=1).encode("ascii"), b"\n"])
    curves = curves_of(rows, run.course.steps)
    if curves is not None:
        title = f"{run.name}: {followed(rows)[0]} of {run.facts['base']['name']} with its adapter"
        write_whole(inside / "loss.svg", [svg_of(curves, title).encode("utf-8")])
    write_whole(folder / CARD, [card(run, rows).encode("utf-8")])


def card(run: OpenRun, rows: Sequence[Mapping[str, Any]]) -> str:
    """The model card. Raises nothing."""
    base, recipe, standing = run.facts["base"], run.recipe, run.state.standing
    lines = [
        "---",
        f"base_model: {json.dumps(base['name'])}",
        "library_name: peft",
        *([f"license: {json.dumps(run.facts['licence'])}"] if run.facts.get("licence") else []),
        "tags: [lora, ouvert]",
        "---",
        "",
        f"# {run.name}",
        "",
        (
            f"An adapter of low rank (LoRA) for {base['name']}, trained with Ouvert {run.facts.get('ouvert', '')} on "
            "the weights that are served."
        ),
        "",
        f"    ouvert run {base['name']}+{run.name}",
        "",
        "| | |",
        "|---|---|",
        f"| Base | {base['name']}, weights {base['weights']} |",
        f"| Licence of the base | {run.facts.get('licence') or 'not stated'} |",
        f"| Method | {recipe.method} |",
        f"| Data | {data_in_words(run)} |",
        (
            f"| Length | {standing.step} of {counted(run.course.steps, 'step')}, {recipe.optimise.batch} "
            f"{'prompts' if recipe.method == 'grpo' else 'examples'} a step, {duration_in_words(standing.seconds)} |"
        ),
    ]
    lines += outcome_in_words(run, rows)
    mix = run.data.counts.mixed
    lines += [
        f"| Safety mix | {counted(mix, 'example')} |",
        "",
        f"![{followed(rows)[0].capitalize()}](run/loss.svg)",
        "",
        (
            "Whether it was checked, and whether that found a regression, stands in `ouvert.json` (`state`, `check`; "
            f"`unchecked`: no check was made); `ouvert adapter show {run.name}` says it. Whatever is not `gated` has "
            "not been let through by a release gate."
        ),
        "",
    ]
    return "\n".join(lines)


def duration_in_words(seconds: float) -> str:
    """Raises nothing."""
    return counted(round(seconds), "second") if seconds < 90 else counted(round(seconds / 60), "minute")


def outcome_in_words(run: OpenRun, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    standing, what = run.state.standing, followed(rows)[0]
    seen, sign = [row[what] for row in rows if what in row], -1 if what == "reward" else 1
    lines = [f"| {what.capitalize()} | {seen[0]:.3f} in the first step, {seen[-1]:.3f} in the last |"] if seen else []
    if standing.held_out is not None and standing.best is not None:
        before, best = sign * standing.held_out, sign * standing.best
        steps = counted(standing.best_step, "step")
        lines.append(f"| Held-out {what} | {before:.3f} before, {best:.3f} at its best, after {steps} |")
    return lines


def data_in_words(run: OpenRun) -> str:
    counts = run.data.counts
    if run.recipe.method == "grpo":
        rewards = ", ".join(without_folders(run.recipe.reward.use))
        return f"{counted(counts.items, 'prompt')}, {counts.held_out} held out; {run.data.digest}; rewards: {rewards}"
    trained = f"{counted(counts.items, 'example')}, {counted(counts.trained, 'trained token')}"
    return f"{trained}, {counts.held_out} held out; {run.data.digest}"
