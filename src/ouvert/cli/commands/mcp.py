"""`ouvert mcp [MODEL…]`: this machine's models, documents and agents as tools of a program that speaks MCP."""

import argparse
import asyncio
import importlib.util
import logging
import signal
import sys
from typing import TYPE_CHECKING

from ouvert.cli.arguments import add_prefix_arguments, add_settings, complete_installed
from ouvert.cli.environment import (
    guard_asked_for,
    ledger_asked_for,
    open_store,
    prefixes_asked_for,
    stated_passphrase,
)

if TYPE_CHECKING:
    from ouvert.serving import Settings

SUMMARY = "Offer models, documents and agents as tools to a program that speaks MCP."
FOREVER = float("inf")
MISSING = (
    "starting the MCP server: the library mcp is not here, expected the extra `mcp`. Install it in the folder that "
    "Ouvert was installed from: `{python} -m pip install -e '.[mcp]'`."
)
CLOSED = (
    "starting the MCP server: its standard input or output is closed, expected both open: the program that starts it "
    "speaks to it there. Start it from such a program; docs/guides/mcp.md has how."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        f"{SUMMARY} The program starts this command and speaks to it by its standard input and output: "
        "docs/guides/mcp.md has what to write into the well-known ones. Programs on other machines, and those that "
        "speak HTTP, use the address /mcp of `ouvert serve`."
    )
    models = parser.add_argument("models", nargs="*", metavar="MODEL", help="the first is asked where none is named")
    models.completer = complete_installed  # type: ignore[attr-defined]
    add_settings(parser, "serve.only", "serve.keep", "serve.memory", "serve.answer_within", "receipts")
    group = parser.add_argument_group("how it is computed")
    add_settings(group, "threads", "context", "exact", "cache", "precision", "template")
    add_prefix_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """0: the program closed its end. 1: it could not start; a sentence on stderr says why."""
    from ouvert.cli.answering import complain
    from ouvert.cli.progress import show_progress
    from ouvert.serving import serve_mcp

    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    if importlib.util.find_spec("mcp") is None:
        complain(MISSING.format(python=sys.executable))
        return 1
    if sys.stdin is None or sys.stdout is None:
        complain(CLOSED)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    asyncio.run(serve_mcp(settings_of(args), open_store(), progress=show_progress()))
    return 0


def settings_of(args: argparse.Namespace) -> "Settings":
    from ouvert.cli.commands.serve import computing_of, memory_of, models_named
    from ouvert.serving import Settings

    store = open_store()
    options = {
        **computing_of(args),
        "receipts": ledger_asked_for(args.receipts, store) or False,
        "prefixes": prefixes_asked_for(store, args.prefix_cache, args.prefix_cache_quota, args.prefix_cache_key)
        or False,
        "guard": guard_asked_for(),
        "template": args.template,
    }
    return Settings(
        models=models_named(args),
        only_these=args.only,
        keep=None if args.keep == FOREVER else args.keep,
        memory=memory_of(args),
        load_options=options,
        answer_seconds=None if args.answer_within == FOREVER else args.answer_within,
        documents_passphrase=stated_passphrase(),
        state=store.home / "server",
    )
