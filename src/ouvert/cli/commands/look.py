"""`ouvert look RECEIPT` or `ouvert look MODEL PROMPT`: what happened inside, layer by layer and token by token."""

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ouvert.cli.answer_options import add_sampling_arguments, generation_settings
from ouvert.cli.arguments import add_engine_override, complete_installed
from ouvert.cli.commands.receipt import complete_receipts, memory_allowed, model_of, read_conversation
from ouvert.cli.environment import guard_asked_for, open_ledger, open_store
from ouvert.cli.looking import CELL, MARGIN, print_view

if TYPE_CHECKING:
    from ouvert.assistant import Model, Transcript
    from ouvert.inspection import Price, Subject, Trace, View

SUMMARY = "Look inside: what each layer would say, and how sure the model was."
VIEWS = ("lens", "confidence", "attention", "experts", "attribution", "states")
SHORT = 64  # tokens of an answer that is written to be looked at, unless --max-tokens says otherwise
WIDEST = 100  # columns, where the terminal does not say
TOP = 5  # tokens of the lens
# Which views an option is of: beside others it would do nothing, and is refused.
OF_VIEWS = {
    "layers": ("lens",),
    "top": ("lens",),
    "positions": ("lens", "confidence", "experts", "states"),
    "layer": ("attention",),
    "head": ("attention",),
    "at": ("attention", "attribution"),
    "heads": ("attention", "attribution"),
}
# Which options are of an answer that is written now.
OF_WRITING = (
    *("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "repetition_guard", "seed"),
    *("best_of", "max_tokens", "stop"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "ouvert look [OPTIONS] [RECEIPT] | MODEL PROMPT"
    parser.description = (
        f"{SUMMARY} Of an answer that was given, by its receipt (default: last), or of one that is written now. The "
        "weights that serve compute all of it once more, with the same bits. The price is said before."
    )
    what = parser.add_argument(
        "what",
        nargs="?",
        default="last",
        metavar="RECEIPT|MODEL",
        help="a receipt: its number, the beginning of its digest, or last; with a PROMPT, a model",
    )
    what.completer = complete_what  # type: ignore[attr-defined]
    parser.add_argument("prompt", nargs="*", metavar="PROMPT", help="what to ask the model")
    parser.add_argument("--raw", action="store_true", help="the prompt is a text that is only read: no chat, no answer")
    add_view_arguments(parser)
    add_form_arguments(parser)
    parser.add_argument(
        "--conversation", type=Path, metavar="FILE", help="JSON with messages: where nothing was kept beside a receipt"
    )
    parser.add_argument("--template", metavar="FILE|NAME", help="the chat template, where it was in a file")
    add_engine_override(parser)
    add_sampling_arguments(parser)


def add_view_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is shown")
    group.add_argument(
        "--view",
        action="append",
        choices=VIEWS,
        help="repeatable (default: lens; nothing is printed where a file is written)",
    )
    group.add_argument("--layers", metavar="WHICH", help='all, "every 4", or numbers: 0,12,29 (default: what fits)')
    group.add_argument("--top", type=int, metavar="K", help="how many tokens of the lens (5; a table: 1)")
    group.add_argument(
        "--positions", metavar="WHICH", help="all, prompt, answer, last, or numbers (default: answer, or all)"
    )
    group.add_argument("--layer", type=int, metavar="N", help="of the attention (default: the middle one)")
    group.add_argument("--head", type=int, metavar="N", help="of the attention (default: all)")
    group.add_argument("--at", type=int, metavar="PLACE", help="the token that looks, or that a logit stands behind")
    group.add_argument("--heads", action="store_true", help="attribution to every head, and what values add")


def add_form_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("where it goes")
    group.add_argument("--json", action="store_true", help="print JSON: docs/formats/trace.md")
    group.add_argument("--save", type=Path, metavar="FILE", help="write the trace, with the values of every layer")
    group.add_argument("--no-words", action="store_true", help="the files of --save and --page have no words in them")
    group.add_argument("--page", type=Path, metavar="FILE", help="write one HTML file that opens everywhere")
    group.add_argument("--max-bytes", default="1 GB", metavar="SIZE", help="most that may be kept (default: 1 GB)")


def complete_what(prefix: str, **_: object) -> list[str]:
    """Receipts, then models."""
    return [*complete_receipts(prefix), *complete_installed(prefix)]


def run(args: argparse.Namespace) -> int:
    """0: shown. 1: not, with a sentence on stderr."""
    from ouvert import inspection

    check_options(args)
    model, written = answer_to_write(args) if args.prompt else answer_of_a_receipt(args)
    with model:
        check_views(inspection.subject_of(model), args)
        transcript = written()
        subject = inspection.subject_of(model, transcript.variant)
        say_price(
            inspection.plan_of(subject, transcript, lens_rows=lens_rows(subject.layers, transcript, args)), subject.name
        )
        trace = inspection.trace_of(subject, transcript, max_bytes=args.max_bytes, progress=shown_progress())
        views = {name: view_of(trace, name, args) for name in chosen_views(trace, args)}
        if args.json:
            print(json.dumps({**trace.json(), "views": [view.json() for view in views.values()]}, ensure_ascii=False))
        elif args.view or (args.page is None and args.save is None):
            for name, view in views.items():
                print_view(trace, name, view, args.top or 1)
        write_files(trace, args)
    return 0


# --- what is checked before anything is computed ---


def check_options(args: argparse.Namespace) -> None:
    """Raises InspectionError for an option that would do nothing, and for a file that cannot be written."""
    from ouvert.inspection import InspectionError

    for option, of in idle_options(args):
        raise InspectionError(f"looking: {spelled(option)} is of {of}, which is not asked for. Leave it out, or ask.")
    for path in (args.save, args.page):
        if path is not None and (path.is_dir() or not path.parent.is_dir()):
            wrong = "is a folder" if path.is_dir() else f"would be in {path.parent}, which is no folder"
            raise InspectionError(f"looking: {path} {wrong}, expected a file that can be written. Give another name.")


def idle_options(args: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """Each option that was given and would do nothing, and what it is of."""
    given = [name for name, value in vars(args).items() if value is not None and value is not False and value != []]
    shown = args.view or ["lens"]
    of: dict[str, str] = {}
    if args.save is None and args.page is None:
        of["no_words"] = "a file that --save FILE or --page FILE writes"
    of |= {name: f"--view {' or '.join(views)}" for name, views in OF_VIEWS.items() if not set(views) & set(shown)}
    if args.prompt:
        of |= dict.fromkeys(("conversation", "model"), "an answer that was given (a RECEIPT)")
    else:
        of["raw"] = "a PROMPT"
    if args.raw or not args.prompt:
        of |= dict.fromkeys(OF_WRITING, "an answer that is written now (a MODEL, a PROMPT, no --raw)")
    return ((name, of[name]) for name in given if name in of)


def spelled(option: str) -> str:
    return "--" + option.replace("_", "-")


def check_views(subject: "Subject", args: argparse.Namespace) -> None:
    """Raises InspectionError for what cannot be shown of this model, before an answer is written for it."""
    from ouvert.inspection import check_asked

    check_asked(
        subject,
        args.view or (),
        layers=layers_asked_for(subject.layers, args),
        top=TOP if args.top is None else args.top,
        layer=args.layer,
        heads=args.head,
        max_bytes=args.max_bytes,
    )


# --- what is looked at ---


def answer_to_write(args: argparse.Namespace) -> "tuple[Model, Callable[[], Transcript]]":
    """The model, and what writes its answer to the prompt, which leaves no receipt."""
    from ouvert.assistant import Transcript, load, transcript_of
    from ouvert.cli.progress import show_progress

    model = load(
        args.what,
        exact=bool(args.exact),
        memory=memory_allowed(),
        cache=args.cache,
        store=open_store(),
        progress=show_progress(sys.stderr),
        receipts=False,
        guard=guard_asked_for(),
        template=args.template,
    )
    prompt = " ".join(args.prompt)
    if args.raw:
        return model, lambda: Transcript(prompt_ids=tuple(model.text_ids(prompt)))
    settings = generation_settings(args)
    settings["max_tokens"] = settings["max_tokens"] or SHORT
    return model, lambda: transcript_of(model.chat(prompt, stop=args.stop, **settings), model.chat_format)


def answer_of_a_receipt(args: argparse.Namespace) -> "tuple[Model, Callable[[], Transcript]]":
    """The model that a receipt names, and what opens the receipt's answer. Raises LedgerError, and so does that."""
    from ouvert.assistant import (
        LedgerError,
        ReplayInput,
        check_readable,
        conversation_as_asked,
        read_contents,
        reopened,
    )

    ledger = open_ledger()
    try:
        entry = ledger.find(args.what)
    except LedgerError as problem:
        model_named = "MODEL" if args.what == "last" or args.what.isdigit() else args.what
        raise LedgerError(f"{problem} To look into a model's answer now: ouvert look {model_named} PROMPT") from problem
    check_readable(entry.receipt, f"looking into receipt {entry.number}")
    contents = ledger.contents(entry.digest)
    given: Mapping[str, Any] = {} if args.conversation is None else read_conversation(args.conversation)
    said = ReplayInput(
        contents=read_contents(contents) if contents is not None and not given else None,
        conversation=conversation_as_asked(entry.receipt, **given) if given else None,
    )
    model = model_of(entry.receipt, args)
    return model, lambda: reopened(model, entry.receipt, said)


def lens_rows(layers: int, transcript: "Transcript", args: argparse.Namespace) -> int:
    """How many rows go through the output matrix for the lens, at most; 0 where it is not shown."""
    if args.view and "lens" not in args.view:
        return 0
    asked = layers_asked_for(layers, args)
    step = int(asked.split()[1]) if isinstance(asked, str) and asked.startswith("every ") and asked[6:].isdigit() else 1
    count = len(asked) if isinstance(asked, list) else -(-layers // step)
    tokens = len(transcript.output_ids) + 1 if transcript.output_ids and args.positions is None else None
    return count * (tokens or len(transcript.prompt_ids) + len(transcript.output_ids))


def say_price(price: "Price", name: str) -> None:
    kept = f"{price.bytes / 1e6:.1f} MB are kept"
    print(f"Looking into {price.tokens} tokens of {name}: about {price.seconds:.1f} s, {kept}.", file=sys.stderr)


def shown_progress() -> Callable[[int, int], None] | None:
    """A line that counts, on a terminal."""
    if not sys.stderr.isatty():
        return None

    def show(done: int, total: int) -> None:
        end = "\x1b[K" if done >= total else f"{done} of {total} tokens\x1b[K"
        print(f"\r{end}", end="", file=sys.stderr, flush=True)

    return show


# --- views ---


def chosen_views(trace: "Trace", args: argparse.Namespace) -> Sequence[str]:
    """Those that were asked for, each once; the lens where the model has one."""
    asked = list(dict.fromkeys(args.view or ()))
    return asked or [name for name in ("lens",) if name in trace.available]


def view_of(trace: "Trace", name: str, args: argparse.Namespace) -> "View":
    """Raises InspectionError for a view that the model does not have."""
    positions = positions_of(trace, args)
    match name:
        case "lens":
            top = args.top or TOP
            return trace.lens(top, layers_asked_for(trace.subject.layers, args), positions)
        case "confidence":
            answer = any(token.part == "answer" for token in trace.tokens)
            return trace.confidence("answer" if answer and args.positions is None else positions)
        case "attention":
            layer = trace.subject.layers // 2 if args.layer is None else args.layer
            return trace.attention(layer, args.head, "last" if args.at is None else args.at, values=args.heads)
        case "experts":
            return trace.experts(positions)
        case "states":
            return trace.states(positions)
        case _:
            return trace.attribution(position=args.at, heads=args.heads)


def positions_of(trace: "Trace", args: argparse.Namespace) -> Any:
    """Those of the line; without, the answer from the token that it came after on, or all tokens of a text."""
    if args.positions is not None:
        return whole_numbers(args.positions) or args.positions
    answer = [token.place for token in trace.tokens if token.part == "answer"]
    return [answer[0] - 1, *answer] if answer else "all"


def layers_asked_for(layers: int, args: argparse.Namespace) -> Any:
    """Those of the line; without, all for JSON and files, and as many as fit for a table."""
    if args.layers is not None:
        return whole_numbers(args.layers) or args.layers
    if args.json or args.page is not None:
        return "all"
    fit = max((shutil.get_terminal_size((WIDEST, 24)).columns - MARGIN) // CELL, 1)
    return f"every {-(-layers // fit)}"


def whole_numbers(text: str) -> list[int] | None:
    """Of "0,12,29"; None for words."""
    parts = text.split(",")
    return [int(part) for part in parts] if all(part.strip().lstrip("-").isdigit() for part in parts) else None


# --- where it goes ---


def write_files(trace: "Trace", args: argparse.Namespace) -> None:
    """What --save and --page ask for; it is said before that they hold the conversation."""
    for path in (args.save, args.page):
        if path is not None and not args.no_words:
            print(f"{path} will hold the conversation, word for word.", file=sys.stderr)
    if args.save is not None:
        trace.save(args.save, words=not args.no_words)
    if args.page is not None:
        trace.page(args.page, words=not args.no_words)
