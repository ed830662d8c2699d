"""`ouvert corrections list|export|remove`: answers that the owner corrected, for tuning."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ouvert.cli.environment import open_store
from ouvert.cli.terminal import visible
from ouvert.store import counted

if TYPE_CHECKING:
    from ouvert.store import Corrections

SUMMARY = "List, export and remove the answers that you corrected."
WIDTH = 40  # characters of a text in the list


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="what was asked, what was answered, and what you wanted")
    take = actions.add_parser("export", help="all of them as a file that `ouvert tune MODEL FILE` takes as it is")
    remove = actions.add_parser("remove", help="delete one, or all with --all")
    take.add_argument("file", type=Path, metavar="FILE", help="JSON Lines, readable by you alone")
    remove.add_argument("id", nargs="?", metavar="ID", help="as `ouvert corrections list` shows it")
    remove.add_argument("--all", action="store_true", dest="every", help="delete all of them")
    for action, act in ((listing, list_all), (take, export_all), (remove, remove_some)):
        action.add_argument("--json", action="store_true", help="print JSON: docs/formats/tuning-data.md")
        action.set_defaults(act=act)


def run(args: argparse.Namespace) -> int:
    """0: done."""
    act: Callable[[argparse.Namespace], int] = args.act
    return act(args)


def corrections() -> "Corrections":
    from ouvert.store import Corrections

    return Corrections(open_store().home)


def list_all(args: argparse.Namespace) -> int:
    from ouvert.cli.commands.list import print_columns

    found = corrections().all()
    if args.json:
        print(json.dumps([each.facts for each in found], ensure_ascii=False))
        return 0
    if not found:
        print("There are no corrections on this machine yet: correct an answer in the page, and it is kept here.")
        return 0
    rows = [
        (
            each.id,
            each.created[:10],
            *(shortened(text) for text in (each.asked, each.facts["given"], each.facts["wanted"])),
        )
        for each in found
    ]
    print_columns(("ID", "DAY", "ASKED", "ANSWERED", "WANTED"), rows)
    return 0


def shortened(text: str) -> str:
    line = visible(" ".join(text.split()))
    return line if len(line) <= WIDTH else line[: WIDTH - 1] + "…"


def export_all(args: argparse.Namespace) -> int:
    count = corrections().export(args.file)
    if args.json:
        print(json.dumps({"file": str(args.file), "corrections": count}))
    else:
        print(f"{args.file}: {counted(count, 'correction')}. `ouvert tune MODEL {args.file}` learns from them.")
    return 0


def removed_in_words(count: int) -> str:
    return f"{counted(count, 'correction')} {'is' if count == 1 else 'are'} removed."


def remove_some(args: argparse.Namespace) -> int:
    from ouvert.store import StoreError

    store = corrections()
    if args.every == (args.id is not None):
        raise StoreError("removing corrections: name one by its ID, or all with --all, and not both.")
    ids = [each.id for each in store.all()] if args.every else [args.id]
    for identity in ids:
        store.remove(identity)
    print(json.dumps({"removed": ids}) if args.json else removed_in_words(len(ids)))
    return 0
