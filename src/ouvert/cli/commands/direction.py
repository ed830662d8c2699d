"""`ouvert direction make|test|list|show|import|export|remove`: directions of the residual stream."""

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ouvert.cli.arguments import complete_installed
from ouvert.cli.environment import open_store
from ouvert.cli.inside import add_json, counted, loaded, profile, read_prompts, said, subject_of

if TYPE_CHECKING:
    from ouvert.inspection import Direction, DirectionTest
    from ouvert.store import Directions

SUMMARY = "Make, test, import and export directions: what a model's stream moves along."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    make = actions.add_parser("make", help="from two files of prompts: the difference of their means")
    add_model(make)
    make.add_argument("--positive", type=Path, required=True, metavar="FILE", help="prompts, one a line, or .jsonl")
    make.add_argument("--negative", type=Path, required=True, metavar="FILE", help="prompts of the other kind")
    make.add_argument("--token", type=int, default=-1, metavar="N", help="which token of each prompt (-1, the last)")
    make.add_argument("--seed", type=int, default=0, metavar="N", help="how prompts are divided (0)")
    test = actions.add_parser("test", help="whether it is a cause, beside random directions, and at what cost")
    add_model(test)
    add_test_arguments(test)
    bring = actions.add_parser("import", help="a control vector (GGUF), .npz, .safetensors or .direction; no pickle")
    bring.add_argument("file", type=Path, metavar="FILE")
    bring.add_argument("--name", metavar="NAME", help="what it is called here (the file's name)")
    take = actions.add_parser("export", help="as FILE.gguf (llama.cpp), .npz, .safetensors or .direction")
    listing = actions.add_parser("list", help="the directions on this machine")
    show = actions.add_parser("show", help="what is known of one")
    remove = actions.add_parser("remove", help="delete one from this machine")
    acts = (make, make_one), (test, test_one), (bring, import_one), (take, export_one), (listing, list_all)
    for action, act in (*acts, (show, show_one), (remove, remove_one)):
        action.set_defaults(act=act)
        if action not in (bring, listing):
            named = action.add_argument("name", metavar="NAME", help="of the direction")
            named.completer = complete_directions  # type: ignore[attr-defined]
        if action not in (take, bring):
            add_json(action, "direction.md")
    take.add_argument("file", type=Path, metavar="FILE")


def add_model(parser: argparse.ArgumentParser) -> None:
    named = parser.add_argument("--model", required=True, metavar="MODEL", help="whose direction it is")
    named.completer = complete_installed  # type: ignore[attr-defined]


def add_test_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prompts", type=Path, required=True, metavar="FILE", help="one a line, or .jsonl")
    parser.add_argument("--for", dest="of", required=True, metavar="TEXT", help="a continuation, e.g. ' great'")
    parser.add_argument("--against", dest="less", required=True, metavar="TEXT", help="another, e.g. ' bad'")
    parser.add_argument("--strength", type=float, metavar="S", help="a share of the typical norm (the file's, or 0.25)")
    parser.add_argument("--layer", type=int, metavar="N", help="another than the one that was chosen")
    parser.add_argument("--random", type=int, default=8, metavar="N", help="random directions beside it (8)")
    parser.add_argument("--neutral", type=Path, metavar="FILE", help="the text that damage is measured on")


def complete_directions(prefix: str, **_: object) -> list[str]:
    """Names of the directions on this machine."""
    return [name for name in directions().names() if name.startswith(prefix)]


def run(args: argparse.Namespace) -> int:
    """0: done."""
    act: Callable[[argparse.Namespace], int] = args.act
    return act(args)


def directions() -> "Directions":
    from ouvert.store import Directions

    return Directions(open_store().home)


def read(name: str) -> "Direction":
    """The direction called so. Raises StoreError, and InspectionError for a file that was spoilt."""
    from ouvert.inspection import read_direction

    return read_direction(directions().path(name), ours=True)


def make_one(args: argparse.Namespace) -> int:
    from ouvert.inspection import mean_difference, write_direction

    store = directions()
    store.check_new(args.name)  # before anything is computed
    positive, negative = read_prompts(args.positive), read_prompts(args.negative)
    with loaded(args.model) as model:
        made = mean_difference(
            subject_of(model),
            positive,
            negative,
            token=args.token,
            seed=args.seed,
            price=said(""),
            progress=counted("prompts"),
        )
    store.put(args.name, partial(write_direction, made))
    print_direction(args.name, made, args.json)
    return 0


def test_one(args: argparse.Namespace) -> int:
    from ouvert.inspection import Trial, causal_test

    found = read(args.name)
    neutral = None if args.neutral is None else "\n".join(read_prompts(args.neutral))
    trial = Trial(
        prompts=read_prompts(args.prompts),
        of=args.of,
        less=args.less,
        strength=args.strength,
        layer=args.layer,
        randoms=args.random,
        neutral=neutral,
    )
    with loaded(args.model) as model:
        result = causal_test(subject_of(model), found, trial, counted("prompts"), said(", with edits"))
    if args.json:
        print(json.dumps(result.json(), ensure_ascii=False))
    else:
        print_test(args.name, result)
    return 0


def list_all(args: argparse.Namespace) -> int:
    from ouvert.cli.commands.list import print_columns

    names = directions().names()
    if args.json:
        print(json.dumps([{"name": name, **summary(name)} for name in names], ensure_ascii=False))
        return 0
    if not names:
        print("There is no direction on this machine yet. `ouvert direction make` makes one.")
        return 0
    rows = []
    for name in names:
        facts = summary(name)
        rows.append((name, *(str(facts[key]) for key in ("model", "layers", "layer", "auc", "state"))))
    print_columns(("NAME", "MODEL", "LAYERS", "CHOSEN", "AUC", "STATE"), rows)
    return 0


def summary(name: str) -> dict[str, Any]:
    """What stands in one line of the list; of a spoilt file, what is wrong with it."""
    from ouvert.inspection import InspectionError
    from ouvert.weights import CheckpointError

    try:
        found = read(name)
    except (InspectionError, CheckpointError) as problem:
        return {"model": "", "layers": 0, "layer": "", "auc": "", "state": f"not readable: {problem}"}
    model, auc = found.facts.get("model"), found.facts.get("auc")
    return {
        "model": model.get("name", "") if isinstance(model, dict) else found.facts.get("model_hint") or "",
        "layers": len(found.vectors),
        "layer": found.layer,
        "auc": auc.get("held_out", "") if isinstance(auc, dict) else "",
        "state": found.facts.get("state", ""),
    }


def show_one(args: argparse.Namespace) -> int:
    print_direction(args.name, read(args.name), args.json)
    return 0


def import_one(args: argparse.Namespace) -> int:
    from ouvert.inspection import read_direction, write_direction

    name = args.name or args.file.stem.lower()
    found = read_direction(args.file)
    directions().put(name, partial(write_direction, found))
    print_direction(name, found, False)
    return 0


def export_one(args: argparse.Namespace) -> int:
    from ouvert.inspection import InspectionError, write_direction

    found = read(args.name)
    if args.file.exists():
        raise InspectionError(f"{args.file} is there already. Choose another name, or remove it first.")
    write_direction(found, args.file)
    left_out = args.file.suffix.lower() == ".gguf" and 0 in found.vectors
    print(f"{args.file}: {len(found.vectors) - left_out} layers of {found.width} numbers.")
    if left_out:
        print("Layer 0 is not in it: llama.cpp adds nothing there.", file=sys.stderr)
    return 0


def remove_one(args: argparse.Namespace) -> int:
    freed = directions().remove(args.name)
    print(json.dumps({"name": args.name, "freed": freed}) if args.json else f"{args.name} is removed.")
    return 0


def print_direction(name: str, found: "Direction", as_json: bool) -> None:
    """What is known of it, and how well each layer's tells the prompts apart."""
    if as_json:
        facts = {"name": name, "layers": sorted(found.vectors), "width": found.width, **found.facts}
        print(json.dumps(facts, ensure_ascii=False))
        return
    print(f"{name}: {len(found.vectors)} layers of {found.width} numbers, {found.facts.get('method', 'unknown')}")
    model = found.facts.get("model")
    if isinstance(model, dict):
        print(f"  model      {model.get('name')} ({model.get('precision')})")
    for key in ("imported_from", "model_hint"):
        if found.facts.get(key):
            print(f"  {key.replace('_', ' '):<10} {found.facts[key]}")
    auc = found.facts.get("auc")
    if isinstance(auc, dict):
        shuffled = auc["shuffled"]
        print(f"  layer      {found.layer}, chosen of {len(auc['choosing'])}: {profile(auc['choosing'])}")
        print(f"  held out   AUC {auc['held_out']:.3f} on {' + '.join(map(str, auc['held_out_prompts']))} prompts")
        print(f"  shuffled   AUC {shuffled['mean']:.3f} ({shuffled['low']:.3f} to {shuffled['high']:.3f})")
        verdict = what_auc_says(auc["held_out"], shuffled["high"])
        print(f"(observation) {verdict} Whether it is a cause: ouvert direction test", file=sys.stderr)


def what_auc_says(held_out: float, by_chance: float) -> str:
    """What a held-out AUC shows, beside the most that shuffled labels reach."""
    if held_out > by_chance:
        return "It tells prompts apart that it has not seen."
    if by_chance >= 1:
        return "The held-out prompts are too few to say that it tells them apart: shuffled labels reach 1. Give more."
    return "It does not tell apart prompts that it has not seen: shuffled labels do as well."


def print_test(name: str, result: "DirectionTest") -> None:
    """One line an edit: its effect beside random directions, and its damage."""
    print(f"{name} in layer {result.layer} of {result.model['name']}, {result.strength:g} of the typical norm")
    measured = f"ln p({result.of!r}) - ln p({result.less!r})"
    print(f"{measured} over {result.prompts} prompts, without an edit: {result.before:+.2f}\n")
    print("edit           effect          random directions (95 %)       damage   of random")
    for edit in result.edits:
        band = f"{edit['random_mean']:+.2f} ({edit['random_low']:+.2f} to {edit['random_high']:+.2f})"
        beyond = "*" if edit["beyond_random"] else " "
        print(
            f"{edit['edit']:<12} {edit['effect']:+7.2f}{beyond} ± {2 * edit['error']:<6.2f} {band:<30} "
            f"{edit['damage']:<8.3f} {edit['damage_random']:.3f}"
        )
    print(
        "(intervention) * lies outside what random directions of the same length do. ± is two standard errors over "
        "prompts; damage is KL on a neutral text, in nats a token.",
        file=sys.stderr,
    )
