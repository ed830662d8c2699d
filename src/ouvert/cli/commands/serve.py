"""`ouvert serve [MODEL…]`: the server. Models load when they are asked for, and leave when they are not."""

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ouvert.cli.arguments import (
    adapted_name,
    add_adapter_argument,
    add_prefix_arguments,
    add_settings,
    complete_installed,
)
from ouvert.cli.configuration import Configuration, precision_for_all
from ouvert.cli.environment import (
    guard_asked_for,
    hub,
    ledger_asked_for,
    open_store,
    prefixes_asked_for,
    stated_passphrase,
)
from ouvert.cli.other_engine import ENGINE_SETTINGS, asked_of_this_command, engine_asked_for
from ouvert.cli.settings import SETTINGS

if TYPE_CHECKING:
    from ouvert.assistant import Elsewhere
    from ouvert.cli.replicas.cluster import Replicas
    from ouvert.safety import Guard
    from ouvert.serving import Keys, Refusal, Service, Settings
    from ouvert.store import Store

SUMMARY = "Serve models to other programs, on this machine."
LOOPBACK = ("127.0.0.1", "::1", "localhost")
SHARE_OF_MEMORY = 0.8  # for all models together; the rest is for caches and everything else
FOREVER = float("inf")
LOOK_AGAIN_SECONDS = 0.02
EXAMPLE = "`ouvert serve smollm2 --engine-only`"
VLLM = "--engine vllm"
NO_MODEL = "none yet. `ouvert pull smollm2`, in another terminal, fetches a very small one; it is served at once."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        f"{SUMMARY} It speaks the OpenAI, Ollama and Anthropic protocols. Models named here are loaded at once; every "
        "other model in the store is loaded when a client asks for it. Nothing is fetched unless its owner asks for it."
    )
    models = parser.add_argument("models", nargs="*", metavar="MODEL", help="load these first: names, folders or files")
    models.completer = complete_installed  # type: ignore[attr-defined]
    add_adapter_argument(
        parser,
        "begin with this adapter loaded, and do not begin without it. Every other adapter of the "
        "models is offered all the same, also one made meanwhile; --only leaves them out",
    )
    parser.add_argument(
        "--allow",
        metavar="REASON",
        help="serve adapters in which a check found a regression as well; the reason is kept: `ouvert adapter show`",
    )
    parser.add_argument(
        "--engine-only",
        action="store_true",
        help="serve nothing but the engine of one MODEL, as token ids: for a pool of several machines",
    )
    service = parser.add_mutually_exclusive_group()
    service.add_argument(
        "--install-service",
        action="store_true",
        help="run it so, now and with every session of yours, as a systemd user unit",
    )
    service.add_argument("--uninstall-service", action="store_true", help="stop that and take the unit away")
    add_settings(
        parser,
        *(key for key, setting in SETTINGS.items() if key.startswith("serve.") and setting.flag),
        "receipts",
        "jobs.parallel",
        "jobs.keep_finished",
    )
    group = parser.add_argument_group("how it is computed")
    add_settings(group, "threads", "context", "exact", "cache", "precision", "template", *ENGINE_SETTINGS)
    add_prefix_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """0: stopped as it was told to. 1: it could not start, or not load what it was to serve; a sentence on stderr says
    why."""
    from ouvert.cli.answering import complain
    from ouvert.serving import allow_more_files
    from ouvert.store import sweep_strays

    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    if not args.uninstall_service:
        for name in models_named(args):  # StoreError, before anything is bound or written
            open_store().resolve(name)
        computing = who_computes(args)
        if refusal := problem_with_adapters(args, computing):
            complain(refusal)
            return 1
        if len(computing) > 1:
            complain(f"{' and '.join(computing)} each say who computes. Leave all but one out.")
            return 1
        if args.engine_only and VLLM in computing:
            complain(
                f"--engine-only serves this program's engine to a pool, and {VLLM} says that another program computes: "
                "no other member could go on with its answers token for token. Leave one of them out."
            )
            return 1
        alone = "--engine-only" if args.engine_only else next(iter(computing), None)
        if alone is not None and len(models_named(args)) != 1:
            complain(f"{alone} serves one model, and {len(models_named(args))} are named. Name one: {EXAMPLE}")
            return 1
    if args.install_service or args.uninstall_service:
        return change_service(args)
    settings = settings_of(args)
    listening = bound(settings)
    if listening is None:
        return 1
    allow_more_files()
    for path in sweep_strays(open_store().home):
        print(f"Removed {path}: a writer that was ended left it.", file=sys.stderr)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn raises it again when all is done
    with listening:
        return asyncio.run(serve(settings, listening, engine_only=args.engine_only))


def who_computes(args: argparse.Namespace) -> list[str]:
    """The options, or settings, that say that other processes do: one at most makes sense."""
    said = {
        "--pool": args.pool,
        VLLM: args.engine == "vllm",
        "--replicas": args.replicas is not None or args.cluster is not None,
    }
    return [option for option, is_said in said.items() if is_said]


def problem_with_adapters(args: argparse.Namespace, computing: Sequence[str]) -> str | None:
    """What is said of adapters that cannot be served, or must not be; None if all is well. Raises StoreError for one
    that is not here, and ConfigurationError for what can be none."""
    store = open_store()
    named = [each for name in models_named(args) for each in store.resolve(name).adapters]
    adapted_name("", args.adapters)
    named += args.adapters
    if named and computing:
        return (
            f"{computing[0]}: another program computes, and has none of the adapters of this machine. Leave them out."
        )
    if args.allow is not None and not args.allow.strip():
        return '--allow is empty, expected why: --allow "REASON" is kept for whoever asks later.'
    for name in named:
        record = store.adapters.record(name)
        if record.state == "regression" and args.allow is None:
            return (
                f"a check of the adapter {name} found a regression: `ouvert adapter show {name}` says what. To serve "
                'it all the same, say why: --allow "REASON".'
            )
    return None


def bound(settings: "Settings") -> socket.socket | None:
    """The socket to listen at; None, with a sentence on stderr, where the server must not or cannot listen there."""
    from ouvert.cli.answering import complain
    from ouvert.serving import KeyFileError, Keys, bound_socket

    try:
        has_key = bool(Keys(settings.state).every())
    except KeyFileError as problem:
        complain(str(problem))
        return None
    if settings.host not in LOOPBACK and not has_key:
        complain(
            f"--host {settings.host} would open this server to other machines, and it has no key. Make one first: "
            "`ouvert key create NAME`."
        )
        return None
    try:
        return bound_socket(settings.host, settings.port)
    except OSError as problem:
        complain(
            f"cannot listen at {settings.host} port {settings.port} ({problem.strerror}). "
            f"{who_is_there(settings.host, settings.port)} Choose another with --port."
        )
        return None


def who_is_there(host: str, port: int) -> str:
    """What is said of an address that is taken. Whoever opens the page there types to that program."""
    from ouvert.serving import this_user, user_who_listens

    try:
        user = user_who_listens(host, port)
    except ValueError:  # a name
        user = None
    if user is None or user == this_user():
        return "Is a server running there already?"
    return (
        f"A program of another user of this machine (number {user}) listens there: what you type at that address goes "
        "to them."
    )


def change_service(args: argparse.Namespace) -> int:
    from ouvert.cli.answering import complain
    from ouvert.cli.service import NAME, ServiceError, install, uninstall

    try:
        if args.uninstall_service:
            path = uninstall()
            print("There is no such service." if path is None else f"Stopped; {path} is gone.", file=sys.stderr)
            return 0
        path = install(words_for_service(args.words), args.stop_within)
    except ServiceError as problem:
        complain(str(problem))
        return 1
    print(f"Started, by {path}. `systemctl --user status {NAME}` shows it.", file=sys.stderr)
    print("To keep it running while nobody is logged in: `loginctl enable-linger`.", file=sys.stderr)
    return 0


def words_for_service(words: Sequence[str]) -> list[str]:
    """The command's words without itself and --install-service; a relative path is made to work from anywhere."""
    option = "--install-service"
    kept = [word for word in words[1:] if not (word.startswith("--i") and option.startswith(word))]
    return [str(Path(word).absolute()) if os.sep in word and Path(word).exists() else word for word in kept]


def models_named(args: argparse.Namespace) -> tuple[str, ...]:
    """The models named on the command line, else in the configuration."""
    return tuple(args.models or cast("tuple[str, ...]", Configuration().value("serve.models")))


def settings_of(args: argparse.Namespace) -> "Settings":
    from ouvert.serving import Settings

    store = open_store()
    ledger = ledger_asked_for(args.receipts, store)
    prefixes = prefixes_asked_for(store, args.prefix_cache, args.prefix_cache_quota, args.prefix_cache_key)
    memory = memory_of(args)
    replicas = replicas_of(args, store, memory)
    guard = guard_asked_for()
    computing = computing_of(args)
    if replicas is not None:
        elsewhere: Elsewhere | None = replicas.elsewhere(guard)
        computing = dict.fromkeys(computing)
    else:
        elsewhere = elsewhere_asked_for(args.pool, guard) or engine_asked_for(args)
        computing = computing if elsewhere is None else asked_of_this_command(computing)
    one = args.engine_only or elsewhere is not None
    options = {
        **computing,
        "receipts": ledger or False,
        "prefixes": prefixes or False,
        "guard": guard,
        "template": args.template,
        "elsewhere": elsewhere,
    }
    return Settings(
        host="127.0.0.1" if args.host == "localhost" else args.host,
        port=args.port,
        models=models_named(args),
        adapters=tuple(args.adapters),
        allow=args.allow,
        documents_passphrase=stated_passphrase(),
        only_these=args.only or one,
        keep=None if args.keep == FOREVER or one else args.keep,
        memory=memory if elsewhere is None else None,
        load_options=options,
        most_answers=args.most,
        answer_seconds=None if args.answer_within == FOREVER else args.answer_within,
        stop_seconds=None if args.stop_within == FOREVER else args.stop_within,
        body_bytes=args.largest_request,
        file_bytes=args.largest_file,
        files_bytes=args.all_files,
        job_items=args.most_items,
        job_places=args.parallel,
        job_keep=None if args.keep_finished == FOREVER else args.keep_finished,
        share_prefixes=args.share_prefixes,
        names=tuple(args.names),
        origins=tuple(args.origins),
        key_required=args.host not in LOOPBACK,
        state=store.home / "server",
        hub=hub(),
    )


def memory_of(args: argparse.Namespace) -> int | None:
    """The most that all models together may take, in bytes; None for no limit."""
    from ouvert.engine import memory_bytes

    machine = memory_bytes()
    stated: int | None = args.memory
    return int(machine * SHARE_OF_MEMORY) if stated is None and machine is not None else stated


def computing_of(args: argparse.Namespace) -> dict[str, object]:
    """The options of `ouvert.load` that say how it is computed. The precision is for every model that clients name."""
    options = {name: getattr(args, name) for name in ("threads", "context", "exact", "cache")}
    return options | {"precision": precision_for_all(args.precision)}


def replicas_of(args: argparse.Namespace, store: "Store", memory: int | None) -> "Replicas | None":
    """Replicas on this machine share its memory, and its cores where --threads says nothing: it holds for each.

    Raises ConfigurationError for what cannot be had.
    """
    if args.replicas is None and args.cluster is None:
        return None
    from ouvert.cli.replicas.cluster import replicas_asked_for
    from ouvert.cli.replicas.replica import Order
    from ouvert.engine import physical_cores

    [name] = models_named(args)
    model = str(Path(name).absolute()) if Path(name).exists() else name
    computing, home = computing_of(args), str(store.home)
    if args.cluster is not None:
        serves = Order(model=model, home=None, options=computing, most=args.most, memory=args.memory)
        return replicas_asked_for(args.replicas, args.cluster, serves)
    count = args.replicas or 1
    computing["threads"] = computing["threads"] or max(1, physical_cores() // count)
    share = None if memory is None else memory // count
    serves = Order(model=model, home=home, options=computing, most=args.most, memory=share)
    return replicas_asked_for(args.replicas, None, serves)


def elsewhere_asked_for(pool: str | None, guard: "Guard | None") -> "Elsewhere | None":
    """What makes the engine, where other machines compute. The guard lets their hosts through, and no others.

    Raises ConfigurationError for a file that cannot be used.
    """
    if pool is None:
        return None
    from ouvert.cli.pool_file import read_pool_file

    file = read_pool_file(Path(pool).expanduser())
    if guard is not None:
        guard.allow(file.hosts)
    for host in file.in_the_clear:
        print(
            f"{host} is asked by http: whoever is on the way reads what is said. Use https or a tunnel.",
            file=sys.stderr,
        )
    return file.elsewhere()


async def serve(settings: "Settings", listening: socket.socket, *, engine_only: bool) -> int:
    """Serve until told to stop; 1 where a model that was named cannot be loaded: nobody would get what was promised."""
    from ouvert.cli.answering import complain
    from ouvert.cli.progress import show_progress
    from ouvert.cli.served_comparisons import Comparisons
    from ouvert.cli.served_tunings import Tunings
    from ouvert.serving import ENGINE_ENDPOINTS, EVERY_ENDPOINT, JOB_KINDS, JobKind, make_app, make_server

    address = listening.getsockname()
    status = 0

    async def ready(service: "Service", refusals: "Sequence[Refusal]") -> None:
        nonlocal status
        if refusals:
            status = 1
            for refusal in refusals:
                complain(refusal.message)
            while not server.started:  # until then it does not look whether it is to end
                await asyncio.sleep(LOOK_AGAIN_SECONDS)
            server.should_exit = True
            return
        host = f"[{address[0]}]" if ":" in address[0] else address[0]
        base = f"http://{host}:{address[1]}"
        models = ", ".join(offered(service, settings))
        served = f"token ids: {base}/inference/v1/generate" if engine_only else f"OpenAI: {base}/v1"
        print(f"Ready at {base} ({served}). Models: {models or NO_MODEL}", file=sys.stderr)
        if settings.adapters and not settings.only_these:
            print(f"Loaded at once: {', '.join(settings.adapters)}. Every other adapter of these models is offered, "
                  "too, also one made meanwhile; --only leaves them out.", file=sys.stderr)  # fmt: skip
        for line in about_keys(service.keys):
            print(line, file=sys.stderr)
        sys.stderr.flush()

    kinds: tuple[JobKind, ...] = () if engine_only else JOB_KINDS
    if not engine_only and settings.load_options.get("elsewhere") is None:  # these are computed on this machine
        kinds = (*kinds, Comparisons(), Tunings())
    endpoints = ENGINE_ENDPOINTS if engine_only else EVERY_ENDPOINT
    shown = show_progress(sys.stderr)
    app = make_app(settings, open_store(), progress=shown, endpoints=endpoints, kinds=kinds, ready=ready)
    server = make_server(app, settings, leave_within)
    await server.serve([listening])
    return status


def offered(service: "Service", settings: "Settings") -> Iterator[str]:
    """By which names models are asked for, those with an adapter with its state."""
    from ouvert.store import shown_state

    catalog = service.loaded_models.catalog
    for model in catalog.every():
        yield model.called
        for each in catalog.adapters_of(model):
            refused = "; refused without --allow" if each.state == "regression" and settings.allow is None else ""
            yield f"{model.called}+{each.name} ({shown_state(each.state)}{refused})"


def about_keys(keys: "Keys") -> Iterator[str]:
    """What the owner has to know to come in."""
    from ouvert.serving import users_can_be_told

    if keys.closed and not keys.every():
        yield (
            "Every key was revoked, so nobody is let in. `ouvert key create NAME` makes a key, `ouvert key owner` one "
            "for you; `ouvert key open` lets the programs of this machine in without one."
        )
    elif not keys.closed and not users_can_be_told():
        yield (
            "This system does not say whose a connection is, so the page shows conversations to a key alone: `ouvert "
            "key owner` makes yours."
        )


def leave_within(seconds: float) -> None:
    """End the process then, whatever it still does: what could be put in order by then is. Threads that nobody waits
    for, in the middle of something long, would keep it from ending otherwise."""
    import faulthandler

    def leave() -> None:
        names = ", ".join(sorted(thread.name for thread in threading.enumerate() if not thread.daemon))
        print(f"Stopping took longer than {seconds:g} s, and ends here. Still at work: {names}.", file=sys.stderr)
        sys.stderr.flush()
        os._exit(0)

    timer = threading.Timer(seconds, leave)
    timer.daemon = True
    timer.start()
    # Work that gives no other thread a turn: this one needs none.
    nowhere = open(os.devnull, "w")  # noqa: SIM115 - open until the process ends
    faulthandler.dump_traceback_later(seconds + 2, exit=True, file=nowhere)
