"""`ouvert receipt list|show|verify|replay|forget`: the receipts of this owner's answers."""

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ouvert.cli.arguments import add_engine_override
from ouvert.cli.environment import open_ledger, open_store

if TYPE_CHECKING:
    from ouvert.assistant import Entry, Ledger, Model, Replayed

SUMMARY = "List, show, verify and replay the receipts of answers."
DIFFERENT = 1
DIGITS = 12  # of a digest, where people read it


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="one line a receipt, the latest last")
    listing.add_argument("-n", "--last", type=int, metavar="N", help="only the last N")
    show = actions.add_parser("show", help="print a receipt, and what was said if it was kept")
    verify = actions.add_parser(
        "verify", help="check the chain; with RECEIPT also that the model here is still the one of the receipt"
    )
    again = actions.add_parser("replay", help="make the answer once more and compare it token by token")
    for action, act in ((listing, list_receipts), (show, show_receipt), (verify, verify_receipts), (again, replay_one)):
        action.set_defaults(act=act)
        action.add_argument("--json", action="store_true", help="print JSON")
    forget = actions.add_parser(
        "forget", help="delete what was said beside a receipt; the receipt stays, and so does the chain"
    )
    forget.set_defaults(act=forget_contents)
    forget.add_argument("--json", action="store_true", help="print JSON")
    forget.add_argument("--all", action="store_true", help="beside all receipts")
    for action in (show, verify, again, forget):
        named = action.add_argument(
            "receipt",
            metavar="RECEIPT",
            nargs="?",
            default="last" if action in (show, again) else None,
            help="its number, the beginning of its digest, or last",
        )
        named.completer = complete_receipts  # type: ignore[attr-defined]
    add_engine_override(verify)
    add_engine_override(again)
    for action in (verify, again):
        action.add_argument(
            "--template",
            metavar="FILE|NAME",
            help="the chat template of the answer, where it was in a file: of files a receipt has only name and digest",
        )
    given = again.add_mutually_exclusive_group()
    given.add_argument(
        "--conversation",
        type=Path,
        metavar="FILE",
        help="JSON with messages (and tools), as /save writes it: where no contents were kept",
    )
    given.add_argument(
        "--tokens",
        type=Path,
        metavar="FILE",
        help="JSON with the prompt's token ids, a list of them or what `run --json` printed",
    )
    again.add_argument("--schema", type=Path, metavar="FILE", help="the JSON schema the answer was held to")
    again.add_argument("--seed", type=int, metavar="N", help="replay with another seed")
    again.add_argument("--temperature", type=float, metavar="T", help="replay with another temperature")


def complete_receipts(prefix: str, **_: object) -> list[str]:
    """last, numbers, and digests of the receipts there are."""
    entries = list(open_ledger().entries())
    names = ["last", *(str(each.number) for each in entries), *(short(each.digest) for each in entries)]
    return [name for name in names if name.startswith(prefix)]


def run(args: argparse.Namespace) -> int:
    """0: done, and the chain is whole, the model the same, the tokens the same. 1: not so; it is said what."""
    act: Callable[[argparse.Namespace], int] = args.act
    return act(args)


def short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:DIGITS]


def print_json(facts: Any) -> None:
    print(json.dumps(facts, indent=2, ensure_ascii=False))


def list_receipts(args: argparse.Namespace) -> int:
    from ouvert.cli.commands.list import print_columns

    entries = list(open_ledger().entries())
    entries = entries[-args.last :] if args.last else entries
    if args.json:
        print_json([{"number": e.number, "digest": e.digest, "problem": e.problem, **e.receipt} for e in entries])
        return 0
    if not entries:
        print("No receipt is kept on this machine yet. Every answer leaves one, unless the setting `receipts` is off.")
        return 0
    rows = [row_of(entry) for entry in entries]
    print_columns(("NO", "DIGEST", "WHEN", "MODEL", "TOKENS", "ENDED", "CONNECTIONS"), rows)
    return 0


def row_of(entry: "Entry") -> tuple[str, ...]:
    receipt = entry.receipt
    if not receipt:
        return (str(entry.number), short(entry.digest), entry.problem or "", "", "", "", "")
    connections = receipt.get("connections")
    reach = "not watched" if connections is None else f"{connections['attempted']} ({connections['denied']} denied)"
    tokens = receipt.get("tokens", {})
    return (
        str(entry.number),
        short(entry.digest),
        str(receipt.get("created", ""))[:19],
        str(receipt.get("model", {}).get("name", "")),
        f"{tokens.get('prompt', '')}+{tokens.get('output', '')}",
        str(receipt.get("ended", {}).get("reason", "")),
        reach if entry.problem is None else f"CHAIN BROKEN: {entry.problem}",
    )


def show_receipt(args: argparse.Namespace) -> int:
    ledger = open_ledger()
    entry = ledger.find(args.receipt)
    facts: dict[str, Any] = {"number": entry.number, "digest": entry.digest, "receipt": entry.receipt}
    if entry.problem is not None:
        facts["problem"] = entry.problem
    if (contents := ledger.contents(entry.digest)) is not None:
        facts["contents"] = contents
    print_json(facts)
    return 0 if entry.problem is None else DIFFERENT


def forget_contents(args: argparse.Namespace) -> int:
    """Kept beginnings of prompts go as well, all of them: which hold what was said only a loaded model could tell."""
    from ouvert.assistant import LedgerError
    from ouvert.cli.commands.list import counted
    from ouvert.cli.environment import kept_on_disk
    from ouvert.store import bytes_in_words

    if (args.receipt is None) != args.all:
        raise LedgerError(
            f"forgetting what was said: {'a receipt and --all' if args.all else 'neither a receipt nor --all'} was "
            "given, expected one of them. `ouvert receipt list` shows the receipts."
        )
    ledger = open_ledger()
    gone = ledger.forget_contents(None if args.all else ledger.find(args.receipt).digest)
    files = kept_on_disk()
    freed = 0 if files is None else files.clear()
    if args.json:
        print_json({"forgotten": gone, "freed": freed})
    else:
        which = "any receipt" if args.all else f"receipt {args.receipt}"
        what = (
            f"What was said beside {counted(gone, 'receipt')} is deleted"
            if gone
            else f"Nothing was kept beside {which}"
        )
        print(f"{what}; {bytes_in_words(freed)} of kept prompts are deleted as well.")
    return 0


def verify_receipts(args: argparse.Namespace) -> int:
    from ouvert.assistant import check_readable

    ledger = open_ledger()
    entry = None if args.receipt is None else ledger.find(args.receipt)
    checked = ledger.check()
    facts: dict[str, Any] = {
        "ledger": str(ledger.path),
        "receipts": checked.receipts,
        "head": checked.head,
        "whole": checked.whole,
        "problems": checked.problems,
        "torn_bytes": checked.torn_bytes,
        "set_aside": [str(path) for path in checked.set_aside],
    }
    good = checked.whole
    if entry is not None:
        check_readable(entry.receipt, f"verifying receipt {entry.number}")
        with model_of(entry.receipt, args) as model:
            verified = model.verify(entry.receipt)
        facts["receipt"] = {
            "number": entry.number,
            "digest": entry.digest,
            "fields": verified.fields,
            "changes": [asdict(change) for change in verified.changes],
            "not_recorded": list(verified.not_recorded),
            "weights_checked": verified.weights_checked,
        } | ({} if verified.damage is None else {"damage": verified.damage})
        good = good and verified.same_model
    if args.json:
        print_json(facts)
    else:
        print_verified(facts)
    return 0 if good else DIFFERENT


def print_verified(facts: Mapping[str, Any]) -> None:
    from ouvert.cli.commands.list import counted

    state = "the chain is whole" if facts["whole"] else "THE CHAIN IS BROKEN"
    print(f"{facts['ledger']}: {counted(facts['receipts'], 'receipt')}, {state}.")
    for problem in facts["problems"]:
        print(f"  {problem}")
    if facts["head"]:
        print(f"The last one is {facts['head']}")
    if facts["torn_bytes"]:
        print(f"{facts['torn_bytes']} bytes of an unfinished receipt are at its end; the next answer sets them aside.")
    for path in facts["set_aside"]:
        print(f"Set aside earlier, never finished: {path}")
    if "receipt" in facts:
        print(f"Receipt {facts['receipt']['number']}, {facts['receipt']['digest']}:")
        changed = {change["field"]: change for change in facts["receipt"]["changes"]}
        for field, same in facts["receipt"]["fields"].items():
            print(
                f"  {field:<24} " + ("the same" if same else f"was {changed[field]['was']}, is {changed[field]['now']}")
            )
        for field, change in changed.items():
            if field not in facts["receipt"]["fields"]:
                print(f"  {field:<24} was absent, is {change['now']}")
        if facts["receipt"]["weights_checked"]:
            print("  All weights were compared with their digests just now.")
        if "damage" in facts["receipt"]:
            print(f"  DAMAGED: {facts['receipt']['damage']}")
        if unknown := facts["receipt"]["not_recorded"]:
            print(f"  A receipt of its version does not say, so that a change would not show: {', '.join(unknown)}.")


def model_of(receipt: Mapping[str, Any], args: argparse.Namespace) -> "Model":
    """The model a receipt names, loaded as it was; or the one --model names."""
    from ouvert.assistant import load
    from ouvert.cli.environment import guard_asked_for
    from ouvert.cli.progress import show_progress
    from ouvert.store import StoreError

    name = args.model or receipt["model"]["name"]
    store = open_store()
    try:
        store.resolve(name)
    except StoreError as problem:
        raise StoreError(
            f"{problem} Of a receipt the name is known, not the place: --model says where it is."
        ) from None
    return load(
        name,
        exact=receipt["engine"].get("exact", False) if args.exact is None else args.exact,
        memory=memory_allowed(),
        cache=args.cache or ("q8" if receipt["engine"].get("cache_type") == "q8" else None),
        store=store,
        progress=show_progress(sys.stderr),
        receipts=False,
        guard=guard_asked_for(),
        template=template_of(receipt, args),
        precision=receipt["engine"].get("precision", "stored"),
    )


def memory_allowed() -> int | None:
    """What the configuration allows a model."""
    from ouvert.cli.configuration import Configuration

    return cast("int | None", Configuration().value("memory"))


def template_of(receipt: Mapping[str, Any], args: argparse.Namespace) -> str | None:
    """What --template has to say for the format that a receipt names. Raises LedgerError where only its owner knows."""
    from ouvert.assistant import LedgerError

    kind, _, name = str(receipt["model"].get("format")).partition(" ")
    if args.template is not None:
        return str(args.template)
    if kind == "file":
        raise LedgerError(
            f"reading a receipt: the chat template of its answer was in a file, {name!r:.80}; its digest is "
            f"{receipt['model'].get('template_digest')}. Give that file: --template FILE."
        )
    return {"builtin": f"builtin:{name}", "template": name or None}.get(kind)


def replay_one(args: argparse.Namespace) -> int:
    from ouvert.assistant import check_readable

    ledger = open_ledger()
    entry = ledger.find(args.receipt)
    check_readable(entry.receipt, f"replaying receipt {entry.number}")
    given = what_was_said(args, ledger, entry)
    changes = {"seed": args.seed, "temperature": args.temperature}
    changes = {name: value for name, value in changes.items() if value is not None}
    with model_of(entry.receipt, args) as model:
        if args.tokens is not None:
            given |= read_tokens(args.tokens, model.engine.vocabulary_size)
        replayed = model.replay(entry.receipt, **given, **changes)
    if args.conversation is not None and not replayed.prompt_agrees:
        print("The prompt of no beginning of that conversation has the receipt's digest.", file=sys.stderr)
    facts = {"number": entry.number, "digest": entry.digest, "verdict": verdict(replayed), **asdict(replayed)}
    if args.json:
        print_json(facts)
    else:
        print(facts["verdict"])
        for change in replayed.changes:
            print(f"  {change.field}: was {change.was}, is {change.now}")
    return 0 if replayed.agrees else DIFFERENT


def what_was_said(args: argparse.Namespace, ledger: "Ledger", entry: "Entry") -> dict[str, Any]:
    """For `Model.replay`: the contents that were kept, or what the command was given instead. Raises LedgerError."""
    from ouvert.assistant import LedgerError
    from ouvert.cli.answer_options import SchemaError, read_schema

    operation = f"replaying receipt {entry.number}"
    if args.conversation is not None and entry.receipt.get("messages") == []:
        raise LedgerError(
            f"{operation}: it is of a text that was continued, not of a conversation. Give the prompt's token ids with "
            "--tokens FILE."
        )
    try:
        given: dict[str, Any] = {"response_schema": read_schema(args.schema)}
    except SchemaError as problem:
        raise LedgerError(f"{operation}: {problem}") from problem
    if args.conversation is not None:
        return given | read_conversation(args.conversation)
    if args.tokens is not None:
        return given
    if (contents := ledger.contents(entry.digest)) is None:
        raise LedgerError(
            f"{operation}: what was said was not kept, only its digest. Give it: --conversation FILE (JSON with "
            "messages, as /save writes it) or --tokens FILE (the prompt's token ids). `--receipts contents` keeps it."
        )
    return given | {"contents": contents}


def read_conversation(path: Path) -> dict[str, Any]:
    """Messages and tools, for `Model.replay`. Raises LedgerError."""
    from ouvert.assistant import LedgerError

    try:
        given = json.loads(path.read_text(encoding="utf-8-sig"))
        return {"messages": given["messages"], "tools": given.get("tools")}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        raise LedgerError(f'reading {path}: {problem}, expected JSON: {{"messages": [...]}}. Correct it.') from problem


def read_tokens(path: Path, vocabulary_size: int) -> dict[str, Any]:
    """The prompt's ids, and the answer's where the file has them, for `Model.replay`. Raises LedgerError."""
    from ouvert.assistant import LedgerError

    try:
        given = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as problem:
        raise LedgerError(f"reading {path}: {problem}, expected JSON with token ids. Correct it.") from problem
    given = given["tokens"] if isinstance(given, dict) and "tokens" in given else given
    found = given if isinstance(given, dict) else {"prompt": given}
    prompt: Any = found.get("prompt")
    output: Any = found.get("output")
    for ids in (prompt,) if output is None else (prompt, output):
        if not (isinstance(ids, list) and all(type(each) is int and 0 <= each < vocabulary_size for each in ids)):
            raise LedgerError(
                f"reading {path}: {ids!r:.60} stands where token ids should, expected a list of whole numbers below "
                f'{vocabulary_size}: [...] or {{"prompt": [...], "output": [...]}}. Correct it.'
            )
    return {"prompt": prompt, "output": output}


def verdict(replayed: "Replayed") -> str:
    """One sentence: the same tokens or not, and what is to blame."""
    if replayed.agrees:
        changed = " What has changed since made no difference:" if replayed.changes else " Nothing has changed since."
        return f"The same {replayed.tokens} tokens, one by one.{changed}"
    where = ""
    if replayed.differs_at is not None:
        where = f" at token {replayed.differs_at} (was {replayed.was}, is {replayed.now})"
    prompt = "" if replayed.prompt_agrees else " Already the prompt is not the same."
    if replayed.changes:
        return f"Not the same tokens{where}.{prompt} Changed since, and the cause:"
    if not replayed.prompt_agrees:
        return f"Not the same tokens{where}.{prompt} It was another conversation: nothing else has changed."
    return (
        f"Not the same tokens{where}, and nothing that a receipt records has changed. With numpy a near "
        "tie may fall the other way; otherwise please report it."
    )
