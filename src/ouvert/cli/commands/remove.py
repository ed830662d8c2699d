"""`ouvert remove NAME...`: remove models from this machine."""

import argparse
import sys

from ouvert.cli.arguments import complete_stored
from ouvert.cli.environment import open_store

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
    removals = [store.remove(name) for name in args.names]
    if args.unused:
        removals.append(store.sweep())
    for removed in removals:
        print(f"removed {removed.name}: {bytes_in_words(removed.freed)} freed")
    return 0
