"""`ouvert adapter list|show|test|diff|import|export|remove`: the adapters on this machine."""

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ouvert.cli.adapter_check import add_test_arguments
from ouvert.cli.adapter_check import test as test_one
from ouvert.cli.adapter_files import add_export_arguments, add_import_arguments
from ouvert.cli.arguments import complete_adapters, model_of
from ouvert.cli.environment import open_store
from ouvert.cli.inside import add_json
from ouvert.cli.terminal import one_line, visible

if TYPE_CHECKING:
    from ouvert.store import AdapterRecord

SUMMARY = "List, show, check, compare, import, export and remove adapters: what is learnt beside the weights."
CARD, CHECK_LINES = "README.md", 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = f"{SUMMARY} An adapter is used by its name behind a model's: `ouvert run smollm2+tickets`."
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="the adapters on this machine, with base and state")
    show = actions.add_parser("show", help="what is known of one: record, model card, and what its check found")
    test = actions.add_parser("test", help="ask it and its base the same, and say what got worse")
    diff = actions.add_parser("diff", help="how two differ: size of what they add in each layer, recipe, data, figures")
    bring = actions.add_parser("import", help="bring one that another program made: a folder of peft, or a GGUF file")
    take = actions.add_parser("export", help="write one for peft or llama.cpp, or a whole model with it in its weights")
    remove = actions.add_parser("remove", help="delete one from this machine")
    add_import_arguments(bring)
    add_export_arguments(take)
    add_test_arguments(test)
    test.set_defaults(act=test_one)
    for action, act in ((listing, list_all), (show, show_one), (diff, diff_two), (remove, remove_one)):
        action.set_defaults(act=act)
        add_json(action, "adapter.md")
    for action, name in ((show, "name"), (diff, "name"), (diff, "other"), (take, "name"), (remove, "name")):
        named = action.add_argument(name, metavar=name.upper(), help="of an adapter")
        named.completer = complete_adapters  # type: ignore[attr-defined]
    remove.add_argument("--yes", action="store_true", help="do not ask")
    remove.add_argument(
        "--with-data",
        action="store_true",
        help="also its run: recipe, checkpoints and copies of the data; and kept beginnings of prompts that adapters "
        "have computed",
    )


def run(args: argparse.Namespace) -> int:
    """0: done. 1: not, with a sentence on stderr."""
    act: Callable[[argparse.Namespace], int] = args.act
    return act(args)


# --- list ---


def list_all(args: argparse.Namespace) -> int:
    from ouvert.cli.commands.list import print_columns
    from ouvert.store import bytes_in_words

    adapters = open_store().adapters
    rows = [summary(name) for name in adapters.names()]
    if args.json:
        print(json.dumps({"adapters": rows, "left": list(adapters.left())}, ensure_ascii=False))
        return 0
    if rows:
        shown = [
            (row["name"], row["base"], row["shown"], bytes_in_words(row["bytes"]), row["made"][:10], row["figures"])
            for row in rows
        ]
        print_columns(("NAME", "BASE", "STATE", "SIZE", "MADE", "FIGURES"), shown)
    else:
        print("There is no adapter on this machine yet. `ouvert tune MODEL DATA` makes one, `ouvert adapter import")
        print("PATH` brings one.")
    for name in adapters.left():
        print(
            f"\n{name} was removed, and its run was kept. `ouvert adapter remove {name} --with-data` deletes that, too."
        )
    return 0


def summary(name: str) -> dict[str, Any]:
    """What stands in one line of the list; of one whose record is damaged, what is wrong with it."""
    from ouvert.store import StoreError, shown_state

    try:
        record = open_store().adapters.record(name)
    except StoreError as problem:
        path = open_store().adapters.folder / name
        size = sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
        return {
            "name": name, "base": "", "digest": None, "state": None, "shown": "damaged", "bytes": size, "made": "",
            "figures": str(problem),
        }  # fmt: skip
    return {
        "name": name,
        "base": model_of(record),
        "digest": record.digest,
        "state": record.state,
        "shown": shown_state(record.state),
        "bytes": record.size,
        "made": record.made,
        "figures": ", ".join(figures(record)),
    }


def figures(record: "AdapterRecord") -> list[str]:
    """What it was made of, and what its check found, in a few words."""
    source = record.facts.get("source")
    words = []
    match source:
        case {"tuned": dict(made)}:
            words.append(str(made.get("method", "tuned")))
            counts = ((made.get("examples"), "examples"), (made.get("trained_tokens"), "trained tokens"))
            words += [f"{count:,} {what}" for count, what in counts if isinstance(count, int)]
        case {"imported": dict(brought)}:
            words.append(f"imported from {brought.get('from', 'elsewhere')}")
    check = record.facts.get("check")
    if isinstance(check, dict) and record.state == "regression":
        words += [f"worse: {each}" for each in check.get("why", ())]
    return words


# --- show ---


def show_one(args: argparse.Namespace) -> int:
    adapters = open_store().adapters
    record = adapters.record(args.name)
    allowed = adapters.allowed(record.digest)
    card = record.path / CARD
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else None
    if args.json:
        facts = {"name": record.name, "path": str(record.path), "bytes": record.size, **record.facts}
        print(json.dumps({**facts, "allowed": [dict(each) for each in allowed], "card": text}, ensure_ascii=False))
        return 0
    print_record(record)
    for each in allowed:
        print(f"{'allowed':>12}  {each.get('at', '')[:10]}: {one_line(str(each.get('reason')))}")
    if isinstance(check := record.facts.get("check"), dict):
        print_check(check)
    if text:
        print(f"\n{visible(text.rstrip())}")
    return 0


def print_record(record: "AdapterRecord") -> None:
    from ouvert.store import bytes_in_words, shown_state

    def say(title: str, line: object) -> None:
        if line not in (None, ""):
            print(one_line(f"{title:>12}  {line}"))

    model = model_of(record)
    say("name", record.name)
    say("base", f"{model} ({record.base.get('family')})")
    say("weights", record.base["weights"])
    say("state", shown_state(record.state))
    say("made", f"{record.made} with Ouvert {record.facts.get('ouvert')}")
    say("from", ", ".join(figures(record)))
    say("digest", record.digest)
    say("size", bytes_in_words(record.size))
    say("place", record.path)
    say("to use", f"ouvert run {model}+{record.name}")


def print_check(check: Mapping[str, Any]) -> None:
    """What the check after the run found: a line for each measure, before and after."""
    from ouvert.cli.commands.list import print_columns

    rows = []
    for each in check.get("findings", ()):
        before, after = (f"{each[name]:.4g}" if each.get(name) is not None else "-" for name in ("before", "after"))
        interval = each.get("interval")
        around = "" if interval is None else " to ".join(f"{value:+.4g}" for value in ends(interval))
        verdict = str(each.get("verdict", "")).replace("_", " ")
        rows.append((str(each.get("measure")), verdict, before, after, around, str(each.get("n", ""))))
    if rows:
        print()
        print_columns(("MEASURE", "VERDICT", "BASE", "ADAPTED", "CHANGE (95 %)", "N"), rows)


def ends(interval: Any) -> list[float]:
    """The two ends of an interval, as a list or as an object with `low` and `high`."""
    return [interval["low"], interval["high"]] if isinstance(interval, Mapping) else [float(each) for each in interval]


# --- diff ---


def diff_two(args: argparse.Namespace) -> int:
    from ouvert.cli.adapter_diff import difference

    store = open_store()
    one, other = store.adapters.record(args.name), store.adapters.record(args.other)
    found = difference(store, one, other)
    if args.json:
        print(json.dumps(found, ensure_ascii=False))
    else:
        print_difference(found)
    return 0


def print_difference(found: Mapping[str, Any]) -> None:
    from ouvert.cli.commands.list import print_columns

    first, second = found["adapters"]
    if found["same_numbers"]:
        print("Both add the same numbers.")
    rows = [
        (each["layer"], f"{each['first']:.4f}", f"{each['second']:.4f}", f"{each['apart']:.4f}",
         "-" if each["cosine"] is None else f"{each['cosine']:+.3f}")
        for each in found["layers"]
    ]  # fmt: skip
    print_columns(("LAYER", first.upper(), second.upper(), "APART", "COSINE"), rows)
    differences = [*found["records"], *({**each, "field": f"recipe.{each['field']}"} for each in found["recipes"])]
    if differences:
        print()
        shown = [(each["field"], shortened(each["first"]), shortened(each["second"])) for each in differences]
        print_columns(("FIELD", first.upper(), second.upper()), shown)
    print("Sizes are Frobenius norms of what is added to the weights of a layer, of both and of their difference.",
          file=sys.stderr)  # fmt: skip


def shortened(value: object, width: int = 48) -> str:
    text = "-" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= width else text[: width - 1] + "…"


# --- remove ---


def remove_one(args: argparse.Namespace) -> int:
    from ouvert.cli.answering import complain
    from ouvert.cli.commands.run import owner_agrees
    from ouvert.cli.environment import kept_prompts
    from ouvert.store import bytes_in_words

    adapters = open_store().adapters
    name = args.name
    if name not in (*adapters.names(), *adapters.left()):
        adapters.record(name)  # StoreError, with the names that there are
    what = "its numbers and record" + (", its run with all copies of its data" if args.with_data else "")
    if not args.yes and not owner_agrees(f"Remove the adapter {name}: {what}?"):
        complain(f"{name} is kept. Say --yes to remove it without being asked.")
        return 1
    freed = adapters.remove(name, with_run=args.with_data)
    prompts = None
    if args.with_data:
        kept = kept_prompts()
        prompts = 0 if kept is None else kept.forget_variants()
    if args.json:
        print(json.dumps({"name": name, "freed": freed, "kept_prompts_removed": prompts}))
        return 0
    print(f"removed {name}: {bytes_in_words(freed)} freed")
    if prompts:
        print(f"{prompts} kept pages of prompts were removed, of this adapter and of others.")
    if name in adapters.left():
        print(f"Its run is kept: `ouvert adapter remove {name} --with-data` deletes that, too.")
    return 0
