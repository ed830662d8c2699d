"""`ouvert remove NAME...`: remove models from this machine."""

import argparse
import sys
from typing import TYPE_CHECKING

from ouvert.cli.arguments import complete_stored
from ouvert.cli.environment import open_store

if TYPE_CHECKING:
    from ouvert.store import Store

SUMMARY = "Remove a model from this machine."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    names = parser.add_argument("names", metavar="NAME", nargs="*", help="a model in the store")
    names.completer = complete_stored  # type: ignore[attr-defined]
    parser.add_argument(
        "--unused", action="store_true", help="also what no model needs: leftovers of fetches that were given up"
    )


def run(args: argparse.Namespace) -> int:
    """0: removed. Files that were linked stay where they are; what other models share stays too."""
    from ouvert.store import bytes_in_words

    if not args.names and not args.unused:
        print("ouvert: name the models to remove (`ouvert list` shows them), or say --unused.", file=sys.stderr)
        return 2
    store = open_store()
    weights = {name: digest_of(store, name) for name in args.names}
    removals = [store.remove(name) for name in args.names]
    if args.unused:
        removals.append(store.sweep())
    for removed in removals:
        print(f"removed {removed.name}: {bytes_in_words(removed.freed)} freed")
    gone = set(weights.values()) - {each.digest for each in store.list()}
    if left := [each.name for each in store.adapters.readable() if each.base["weights"] in gone]:
        print(f"Its adapters are kept: {', '.join(left)}. `ouvert adapter remove` removes them.")
    return 0


def digest_of(store: "Store", name: str) -> str | None:
    """Of the weights of the model called so; None where nothing whole is."""
    from ouvert.store import StoreError

    try:
        return store.resolve(name).digest
    except StoreError:
        return None
