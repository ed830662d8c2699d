"""`ouvert key create | list | revoke | owner | open`: the keys with which programs may use the server."""

import argparse
import sys
from typing import TYPE_CHECKING

from ouvert.cli.environment import open_store

if TYPE_CHECKING:
    from ouvert.serving import Keys

SUMMARY = "Make, list and revoke the keys of clients of the server."
CLOSED = (
    "The server stays closed. `ouvert key create NAME` makes another key; `ouvert key open` lets the programs of this "
    "machine in without one."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        f"{SUMMARY} As soon as a client has one, every request needs one. So it stays when the last one is revoked, "
        "until you open the server again. A running server notices changes at once."
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    create = actions.add_parser("create", help="make a key; it is shown once and kept hashed")
    create.add_argument("name", metavar="NAME", help="what it is for")
    create.add_argument("--per-minute", type=int, metavar="N", help="requests it may make a minute")
    create.add_argument("--model", action="append", metavar="MODEL", help="a model it may use; repeatable (else: all)")
    create.add_argument(
        "--scope",
        action="append",
        choices=("inspect", "edit", "agents", "documents"),
        help="what it may do besides: look inside models, edit them, let agents work, keep documents here; repeatable",
    )
    actions.add_parser("list", help="the keys there are")
    revoke = actions.add_parser("revoke", help="refuse a key from now on")
    revoke.add_argument("which", metavar="ID", help="its id, or its name")
    actions.add_parser("owner", help="make your own key, in place of the one before: it shows what is stored here")
    actions.add_parser("open", help="let the programs of this machine in without a key, once no client has one")


def run(args: argparse.Namespace) -> int:
    """0: done. 1: not; a sentence on stderr says why."""
    from ouvert.cli.answering import complain
    from ouvert.serving import KeyFileError, Keys

    keys = Keys(open_store().home / "server")
    try:
        match args.action:
            case "create":
                return create(keys, args)
            case "list":
                show(keys)
            case "revoke":
                revoke(keys, args.which)
            case "owner":
                create_owners(keys)
            case "open":
                keys.open()
                print("Programs of this machine need no key from now on.", file=sys.stderr)
    except KeyFileError as problem:
        complain(str(problem))
        return 1
    return 0


def create(keys: "Keys", args: argparse.Namespace) -> int:
    from ouvert.cli.answering import complain

    if args.per_minute is not None and args.per_minute < 1:
        complain(f"--per-minute is {args.per_minute}, expected 1 or more.")
        return 1
    named = [open_store().resolve(model) for model in args.model or ()]
    if adapted := next((each for each in named if each.adapters), None):
        complain(
            f"--model {adapted.called}: a key admits a model with whatever adapters are served with it, expected the "
            f"model's own name: --model {adapted.name}."
        )
        return 1
    models = tuple(each.name for each in named) or None
    scopes = tuple(dict.fromkeys(args.scope or ()))
    key, secret = keys.create(args.name, per_minute=args.per_minute, models=models, scopes=scopes)
    print(secret)
    print(f"This is the only time it is shown. `ouvert key revoke {key.id}` ends it.", file=sys.stderr)
    return 0


def create_owners(keys: "Keys") -> None:
    _, secret = keys.create_owners()
    print(secret)
    print(
        "This is the only time it is shown, and the one before counts no longer. The page asks for it where it cannot "
        "tell that you are its owner; programs send it as `Authorization: Bearer <key>`.",
        file=sys.stderr,
    )


def revoke(keys: "Keys", which: str) -> None:
    key = keys.revoke(which)
    print(f"{key.name} ({key.id}) is refused from now on.", file=sys.stderr)
    if keys.closed and not any(not each.owner for each in keys.every()):
        print(CLOSED, file=sys.stderr)


def show(keys: "Keys") -> None:
    from ouvert.cli.commands.list import print_columns

    rows = [
        (
            key.id,
            f"{key.name} (yours)" if key.owner else key.name,
            key.created,
            "-" if key.per_minute is None else str(key.per_minute),
            "all" if key.models is None else ", ".join(key.models),
            "all" if key.owner else ", ".join(key.scopes) or "-",
        )
        for key in keys.every()
    ]
    if not rows:
        print("There is no key. `ouvert key create NAME` makes one; from then on every request needs one.")
        return
    print_columns(("ID", "NAME", "CREATED", "A MINUTE", "MODELS", "SCOPES"), rows)
