"""`ouvert list`: the models on this machine, or the short names of those that can be fetched."""

import argparse
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from ouvert.cli.environment import open_store
from ouvert.cli.terminal import one_line, visible

if TYPE_CHECKING:
    from ouvert.store import Installed, Packed, Unfinished

SUMMARY = "List the models on this machine, or those that have a short name."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--all", action="store_true", help="also the short names of models that can be fetched")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    from ouvert.store import bytes_in_words, shown_state

    store = open_store()
    installed = store.list()
    kept = {model.digest for model in installed}
    unfinished = store.unfinished()
    orphans = [packed for packed in store.packed() if packed.digest not in kept]
    if args.json:
        print_json(installed, unfinished, short_names=args.all)
        return 0
    if installed:
        print_installed(installed)
    elif not args.all:
        print("There is no model on this machine yet. `ouvert pull smollm2` fetches a very small one (98 MB);")
        print("`ouvert list --all` shows others.")
    for each in unfinished:
        print(f"\n{unfinished_in_words(each)}")
    if adapters := store.adapters.readable():
        names = ", ".join(f"{one_line(each.base_name)}+{each.name} ({shown_state(each.state)})" for each in adapters)
        print(visible(f"\nWith adapters: {names}. `ouvert adapter list` says more."))
    if orphans:
        size = bytes_in_words(sum(packed.size for packed in orphans))
        print(f"\n{size} are packed forms of models that are not in the store; `ouvert remove --unused` frees them.")
    if args.all:
        if installed:
            print()
        print_short_names({model.name for model in installed})
    return 0


def unfinished_in_words(fetch: "Unfinished") -> str:
    from ouvert.store import bytes_in_words, find_alias

    here = bytes_in_words(fetch.arrived) + (f" of {bytes_in_words(fetch.total)}" if fetch.total is not None else "")
    if fetch.under_way:
        return f"{fetch.name} is being fetched: {here} are here."
    again = f"ouvert pull {fetch.name if find_alias(fetch.name) else f'{fetch.source} --name {fetch.name}'}"
    return visible(f"The fetch of {fetch.name} is not finished: {here} are here. `{again}` goes on with it.")


def print_json(installed: "Sequence[Installed]", unfinished: "Sequence[Unfinished]", *, short_names: bool) -> None:
    import json
    from dataclasses import asdict

    from ouvert.assistant import sizes_of
    from ouvert.cli.commands.show import provenance
    from ouvert.store import aliases

    answer: dict[str, object] = {
        "models": [provenance(model) for model in installed],
        "unfinished": [asdict(fetch) for fetch in unfinished],
    }
    if short_names:
        answer["short_names"] = [asdict(alias) | {"bytes_to": asdict(sizes_of(alias))} for alias in aliases()]
    print(json.dumps(answer, indent=2, ensure_ascii=False))


def print_installed(installed: "Sequence[Installed]") -> None:
    from ouvert.store import bytes_in_words

    rows = [
        (
            model.name,
            bytes_in_words(model.size) + (" (linked)" if model.linked else ""),
            all_packed_in_words(model.packed),
            model.licence or "not stated",
            model.source,
        )
        for model in installed
    ]
    print_columns(("NAME", "SIZE", "PACKED", "LICENCE", "SOURCE"), rows)


def all_packed_in_words(packed: "Sequence[Packed]") -> str:
    """The size of each, the smallest first, and to how many bits it was rounded."""
    from ouvert.store import bytes_in_words

    as_stored = " (as stored)" if len(packed) > 1 else ""
    return (
        ", ".join(
            bytes_in_words(each.size) + (as_stored if each.precision == "stored" else f" ({each.precision} bits)")
            for each in sorted(packed, key=lambda each: each.size)
        )
        or "-"
    )


def print_short_names(here: Collection[str]) -> None:
    """Every short name, with what the model takes, and its source, or that it is here."""
    from ouvert.assistant import USUAL_CONTEXT, sizes_of
    from ouvert.store import aliases, bytes_in_words

    rows = [
        (
            alias.name,
            *(
                ("" if alias.sha256 else "~ ") + bytes_in_words(size)
                for sizes in (sizes_of(alias),)
                for size in (sizes.fetch, sizes.store, sizes.run)
            ),
            alias.family + ("" if alias.built else " (not yet built)"),
            alias.licence,
            "here" if alias.name in here else alias.source,
        )
        for alias in aliases()
    ]
    print_columns(("SHORT NAME", "TO FETCH", "TO STORE", "TO RUN", "FAMILY", "LICENCE", "SOURCE"), rows)
    print(
        "\nTo store: as it is fetched, and packed, at 4 bits where its makers publish more. To run: memory, with a "
        f"conversation of {USUAL_CONTEXT} tokens."
    )


def print_columns(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Left-aligned columns, two spaces apart: easy to read, and to cut with other tools."""
    shown = [[one_line(cell) for cell in row] for row in (titles, *rows)]
    widths = [max(len(row[n]) for row in shown) for n in range(len(titles))]
    for row in shown:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def counted(number: int, what: str) -> str:
    """A number of things, as one says it: 1 receipt, 2 receipts."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
