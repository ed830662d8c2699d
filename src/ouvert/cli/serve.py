"""`ouvert serve [MODEL…]`: the server. Models load when they are asked for, and leave when they are not."""

import argparse
import asyncio
import logging
import re
import socket
import sys
from typing import TYPE_CHECKING

from ouvert.cli.environment import (
    add_cache_argument,
    add_prefix_arguments,
    add_receipts_argument,
    complete_installed,
    guard_asked_for,
    ledger_asked_for,
    open_store,
    prefixes_asked_for,
)

if TYPE_CHECKING:
    from ouvert.serving import House, Settings

SUMMARY = "Serve models to other programs, on this machine."
PORT = 11435
LOOPBACK = ("127.0.0.1", "::1", "localhost")
SHARE_OF_MEMORY = 0.8  # for all models together; the rest is for caches and everything else
UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        f"{SUMMARY} It speaks the OpenAI, Ollama and Anthropic protocols. Models named here are loaded at once; every "
        "other model in the store is loaded when a client asks for it. Nothing is fetched."
    )
    models = parser.add_argument("models", nargs="*", metavar="MODEL", help="load these first: names, folders or files")
    models.completer = complete_installed  # type: ignore[attr-defined]
    parser.add_argument("--only", action="store_true", help="serve none but the models named here")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (127.0.0.1); others need a key")
    parser.add_argument("--port", type=int, default=PORT, help=f"port to listen at ({PORT}); 0: any free one")
    parser.add_argument("--keep", type=seconds, default=1800.0, metavar="TIME", help="idle models stay so long (30m)")
    parser.add_argument("--memory", type=size, metavar="SIZE", help="models together take at most so much, e.g. 12GB")
    parser.add_argument("--name", action="append", default=[], help="host name by which clients call it; repeatable")
    parser.add_argument("--origin", action="append", default=[], help="web page that may use it; repeatable")
    parser.add_argument("--most", type=int, default=256, metavar="N", help="answers written or waiting at once (256)")
    parser.add_argument("--stop-within", type=seconds, default=10.0, metavar="TIME", help="when told to stop (10s)")
    add_receipts_argument(parser)
    group = parser.add_argument_group("how it is computed")
    group.add_argument("--threads", type=int, metavar="N", help="threads that compute (without: what serves best)")
    group.add_argument("--context", type=int, metavar="N", help="most tokens of a conversation (without: the model's)")
    group.add_argument("--exact", action="store_true", help="keep activations in float32 where it is faster not to")
    add_cache_argument(group)
    add_prefix_arguments(parser)


def seconds(text: str) -> float | None:
    """30m, 90, 1h; forever is None."""
    if text == "forever":
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: write 90s, 30m, 2h or forever")
    return float(found[1]) * UNITS[found[2] or "s"]


def size(text: str) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kMGT]?)B?", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no size: write 800MB or 12GB")
    return int(float(found[1]) * 1000 ** " kMGT".index(found[2] or " "))


def run(args: argparse.Namespace) -> int:
    """0: stopped as it was told to. 1: it could not start; a sentence on stderr says why."""
    from ouvert.cli.answering import complain
    from ouvert.serving import Keys
    from ouvert.serving.server import bound_socket

    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    settings = settings_of(args)
    if settings.host not in LOOPBACK and not Keys(settings.state).every():
        complain(
            f"--host {settings.host} would open this server to other machines, and it has no key. Make one first: "
            "`ouvert key create NAME`."
        )
        return 1
    try:
        listening = bound_socket(settings.host, settings.port)
    except OSError as problem:
        complain(
            f"cannot listen at {settings.host} port {settings.port} ({problem.strerror}). Is a server running there "
            "already? Choose another with --port."
        )
        return 1
    with listening:
        asyncio.run(serve(settings, listening))
    return 0


def settings_of(args: argparse.Namespace) -> "Settings":
    from ouvert.engine.machine import memory_bytes
    from ouvert.serving import Settings

    memory = memory_bytes() if args.memory is None else None
    ledger = ledger_asked_for(args.receipts, open_store())
    prefixes = prefixes_asked_for(args, open_store())
    options = {
        "threads": args.threads,
        "context": args.context,
        "exact": args.exact,
        "cache": args.cache,
        "receipts": ledger or False,
        "prefixes": prefixes or False,
        "guard": guard_asked_for(),
    }
    return Settings(
        host="127.0.0.1" if args.host == "localhost" else args.host,
        port=args.port,
        models=tuple(args.models),
        only_these=args.only,
        keep=args.keep,
        memory=args.memory if memory is None else int(memory * SHARE_OF_MEMORY),
        load_options=options,
        most_answers=args.most,
        stop_seconds=args.stop_within or 10.0,
        names=tuple(args.name),
        origins=tuple(args.origin),
        key_required=args.host not in LOOPBACK,
        state=open_store().home / "server",
    )


async def serve(settings: "Settings", listening: socket.socket) -> None:
    from ouvert.cli.progress import show_progress
    from ouvert.serving import make_app, make_server

    address = listening.getsockname()

    async def ready(house: "House") -> None:
        host = f"[{address[0]}]" if ":" in address[0] else address[0]
        base = f"http://{host}:{address[1]}"
        models = ", ".join(model.name for model in house.residents.catalog.every())
        print(f"Ready at {base} (OpenAI: {base}/v1). Models: {models or 'none yet'}", file=sys.stderr, flush=True)

    app = make_app(settings, open_store(), progress=show_progress(sys.stderr), ready=ready)
    await make_server(app, settings).serve([listening])
