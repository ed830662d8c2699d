"""`ouvert documents add|list|show|search|page|update|remove`: the owner's documents, from which models answer."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ouvert.cli.arguments import complete_collections, within
from ouvert.cli.environment import documents_passphrase, kept_prompts, open_collections
from ouvert.cli.terminal import visible

if TYPE_CHECKING:
    from ouvert.documents import Changes, Collection, Collections, Document, Found

SUMMARY = "Keep documents that models answer from: add, search, update, remove them for good."
FAILED = 1
NAMED = 5  # files of a folder that are named where they are left out
WIDTH = 100  # characters of a passage that `search` shows


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        f"{SUMMARY} `ouvert run MODEL --documents NAME QUESTION` asks them. Files are read in a box, each by a program "
        "of its own."
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    add = action(actions, "add", "add files and folders to a collection, which is made if it is not there", add_paths)
    add.add_argument("path", nargs="+", type=Path, metavar="PATH", help="a file, or a folder with all that is below it")
    lock = add.add_mutually_exclusive_group()
    lock.add_argument("--passphrase", action="store_true", help="a new collection is encrypted: asks for a passphrase")
    lock.add_argument(
        "--key-file",
        type=Path,
        metavar="FILE",
        help="a new collection is encrypted with this file, which is made if it is not there; its place is remembered",
    )
    listing = actions.add_parser("list", help="the collections on this machine")
    listing.set_defaults(act=list_collections)
    show = action(actions, "show", "the documents of a collection; with DOCUMENT its text, page by page", show_one)
    show.add_argument("document", nargs="?", metavar="DOCUMENT", help="its name or id")
    search = action(actions, "search", "the passages that fit a question best", search_in)
    search.add_argument("question", nargs="+", metavar="QUESTION", help="words that the documents may use")
    search.add_argument("--most", type=within(1, 1000), default=5, metavar="N", help="how many passages (default: 5)")
    page = action(actions, "page", "a page of a PDF as a picture, with words marked", draw_page)
    page.add_argument("document", metavar="DOCUMENT", help="its name or id")
    page.add_argument("page", type=int, metavar="PAGE", help="from 1")
    page.add_argument("--mark", default="", metavar="WORDS", help="what is marked, as it stands there")
    page.add_argument("--output", "-o", type=Path, required=True, metavar="FILE", help="a PNG")
    action(actions, "update", "read again what has changed on disk, and what is new in added folders", update)
    remove = action(actions, "remove", "remove a document for good, or with --all the collection", remove_some)
    remove.add_argument("document", nargs="?", metavar="DOCUMENT", help="its name or id")
    remove.add_argument("--all", action="store_true", dest="every", help="the whole collection")
    for each in actions.choices.values():
        each.add_argument("--json", action="store_true", help="print JSON: docs/formats/documents.md")


def action(actions: Any, name: str, words: str, act: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
    made: argparse.ArgumentParser = actions.add_parser(name, help=words)
    named = made.add_argument("collection", metavar="NAME", help="of the collection")
    named.completer = complete_collections  # type: ignore[attr-defined]
    made.set_defaults(act=act)
    return made


def run(args: argparse.Namespace) -> int:
    """0: done; 1: some of what was asked could not be done, with a sentence for each on stderr."""
    act: Callable[[argparse.Namespace], int] = args.act
    return act(args)


def said(args: argparse.Namespace, facts: Any, words: str) -> None:
    print(json.dumps(facts, ensure_ascii=False) if args.json else visible(words))


def opened_or_made(collections: "Collections", args: argparse.Namespace) -> AbstractContextManager["Collection"]:
    from ouvert.documents import DocumentError

    if args.collection in collections.names():
        if args.passphrase or args.key_file is not None:
            raise DocumentError(
                f"adding to {args.collection}: --passphrase and --key-file are for a new collection, and this one is "
                "there. Leave them out."
            )
        return collections.open(args.collection)
    if args.key_file is not None and not args.key_file.exists():
        print(
            visible(
                f"{args.key_file} is made: the key of {args.collection}. Keep a copy: without it nothing can be read."
            ),
            file=sys.stderr,
        )
    passphrase = documents_passphrase(args.collection) if args.passphrase else None
    if args.passphrase and passphrase is None:
        raise DocumentError(
            f"making {args.collection}: a passphrase is needed, and there is nobody to ask. Set "
            "OUVERT_DOCUMENTS_PASSPHRASE, or name a --key-file."
        )
    return collections.begun(args.collection, passphrase=passphrase, key_file=args.key_file)


def add_paths(args: argparse.Namespace) -> int:
    from ouvert.documents import Changes, DocumentError

    said_of_other_kinds(args.path)
    with opened_or_made(open_collections(), args) as collection:
        done = Changes()
        for path in args.path:
            try:
                done = together(done, collection.add_path(path))
            except DocumentError as problem:
                done = together(done, Changes(refused=(str(problem),)))
        status = changes_said(args, collection, done)
        if not collection.documents and not args.json:
            print("Nothing was read, so there is no such collection.")
        elif not collection.encrypted and not args.json:
            print("It is not encrypted: the encryption of your disk protects it, or `--key-file` for a new one.")
    return status


def said_of_other_kinds(paths: "Sequence[Path]") -> None:
    """Files of folders that are passed over are named: they are not in the collection."""
    from ouvert.documents import other_files_of

    others = [file for path in paths if path.is_dir() for file in other_files_of(path.resolve())]
    if others:
        names = ", ".join(file.name for file in others[:NAMED]) + (", …" if len(others) > NAMED else "")
        print(visible(f"of kinds that are not read, and left out: {names} ({len(others)} in all)"), file=sys.stderr)


def together(one: "Changes", other: "Changes") -> "Changes":
    from ouvert.documents import Changes

    return Changes(**{name: (*getattr(one, name), *getattr(other, name)) for name in one.facts})


def changes_said(args: argparse.Namespace, collection: "Collection", done: "Changes") -> int:
    """What was done, and 1 where something could not be read."""
    for refusal in done.refused:
        print(visible(f"ouvert: {refusal}"), file=sys.stderr)
    documents = collection.documents
    unread = {each.name: each.unread for each in documents if each.unread}
    if not args.json:
        for name in (*done.added, *done.changed):
            pages = ", ".join(map(str, unread.get(name, ())))
            print(visible(f"{name}: read" + (f"; page {pages}: scan, not read" if pages else "")))
        for name in done.missing:
            print(visible(f"{name}: is gone from the disk, and stays here until `ouvert documents remove`"))
        same = f", {len(done.unchanged)} are as they were" if done.unchanged else ""
        print(f"{collection.name}: {len(documents)} {'document' if len(documents) == 1 else 'documents'}{same}")
    else:
        scans = [{"document": name, "pages": list(pages)} for name, pages in unread.items()]
        print(json.dumps({**done.facts, "not_read": scans}, ensure_ascii=False))
    return FAILED if done.refused else 0


def list_collections(args: argparse.Namespace) -> int:
    from ouvert.cli.commands.list import print_columns

    collections = open_collections()
    stated = [collections.stated(name) for name in collections.names()]
    if args.json:
        print(json.dumps([{"name": each.name, "encrypted": each.encrypted} for each in stated]))
    elif not stated:
        print("There are no collections on this machine yet: `ouvert documents add NAME FOLDER` makes one.")
    else:
        print_columns(("NAME", "ENCRYPTED", "SINCE"), [(e.name, e.encrypted or "no", e.created[:10]) for e in stated])
    return 0


def show_one(args: argparse.Namespace) -> int:
    from ouvert.cli.commands.list import print_columns

    with open_collections().open(args.collection) as collection:
        if args.document is not None:
            document = collection.document(args.document)
            said(args, text_facts(collection, document), text_in_words(collection, document))
        elif args.json:
            print(json.dumps([each.facts for each in collection.documents], ensure_ascii=False))
        else:
            rows = [
                (e.id[:8], e.kind, str(e.pages), ",".join(map(str, e.unread)) or "-", visible(e.name))
                for e in collection.documents
            ]
            print_columns(("ID", "KIND", "PAGES", "NOT READ", "NAME"), rows)
    return 0


def text_facts(collection: "Collection", document: "Document") -> dict[str, Any]:
    pages = [
        {"page": page, "start": start, "stop": stop, "scan": scan, "text": collection.text(document.id, start, stop)}
        for page, start, stop, scan in collection.pages(document.id)
    ]
    return {**document.facts, "pages": pages}


def text_in_words(collection: "Collection", document: "Document") -> str:
    parts = []
    for page, start, stop, scan in collection.pages(document.id):
        head = f"--- page {page}{': scan, not read' if scan else ''} ---\n" if document.paged or scan else ""
        parts.append(head + collection.text(document.id, start, stop))
    return "\n\n".join(parts)


def search_in(args: argparse.Namespace) -> int:
    with open_collections().open(args.collection) as collection:
        found = collection.search(" ".join(args.question), args.most)
    said(args, [each.facts for each in found], found_in_words(found))
    return 0


def found_in_words(found: "Sequence[Found]") -> str:
    if not found:
        return "0 passages found: no document holds a word of the question."
    return "\n".join(f"{n}. {each.place}\n   {shortened(each.text)}" for n, each in enumerate(found, 1))


def shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= WIDTH else line[: WIDTH - 1] + "…"


def draw_page(args: argparse.Namespace) -> int:
    from ouvert.store import write_whole

    with open_collections().open(args.collection) as collection:
        picture = collection.picture(args.document, args.page, args.mark)
        marked = stands_on(collection, args.document, args.page, args.mark)
    write_whole(args.output.absolute(), [picture])
    said(args, {"file": str(args.output), "bytes": len(picture)}, f"{args.output}: page {args.page}")
    if not marked:
        print(
            visible(f"{args.mark!r} does not stand on page {args.page} as it is written here, so nothing is marked."),
            file=sys.stderr,
        )
    return 0


def stands_on(collection: "Collection", name: str, page: int, words: str) -> bool:
    """White space and hyphens count for nothing: lines are broken anew."""
    document = collection.document(name)
    text = "".join(collection.text(document.id, b, e) for n, b, e, _ in collection.pages(document.id) if n == page)
    return letters(words) in letters(text)


def letters(text: str) -> str:
    return "".join(each for each in text if not each.isspace() and each not in "-\u00ad\u2010")


def update(args: argparse.Namespace) -> int:
    with open_collections().open(args.collection) as collection:
        done = collection.update()
        if done.changed:
            forget_prompts(args.collection)
        return changes_said(args, collection, done)


def remove_some(args: argparse.Namespace) -> int:
    from ouvert.documents import DocumentError, deletion_receipt

    if args.every == (args.document is not None):
        raise DocumentError("removing: name one document, or the whole collection with --all, and not both.")
    collections = open_collections()
    if args.every:
        removed = collections.remove(args.collection)
    else:
        with collections.open(args.collection) as collection:
            removed = collection.remove(collection.document(args.document))
    receipt = deletion_receipt(args.collection, [removed], kept_prompts=forget_prompts(args.collection))
    said(args, receipt, deletion_in_words(receipt))
    return 0


def forget_prompts(collection: str) -> int | None:
    """Remove the kept beginnings of prompts that hold words of it; how many, None where none are kept on disk."""
    from ouvert.documents import uses_collection

    kept = kept_prompts()
    return None if kept is None else kept.forget_owners(lambda owner: uses_collection(owner, "", collection))


def deletion_in_words(receipt: dict[str, Any]) -> str:
    removed = receipt["removed"][0]
    what = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in removed.items())
    pages = receipt["kept_prompt_pages"]
    kept = "none are kept on disk" if pages is None else f"{pages} pages on disk, and what servers had in memory"
    remains = "\n".join(f"  {each}" for each in receipt["remains"])
    return f"removed       {what}\nkept prompts  {kept}\nnot reached\n{remains}"
