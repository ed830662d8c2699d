"""`ouvert run [MODEL] [PROMPT]`: one answer, or a conversation."""

import argparse
import json
import os
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, cast

from ouvert.cli.answer_options import (
    SchemaError,
    add_form_arguments,
    add_sampling_arguments,
    add_thinking_arguments,
    chat_settings,
    generation_settings,
    read_grammar,
    read_schema,
)
from ouvert.cli.arguments import (
    adapted_name,
    add_adapter_argument,
    add_model_argument,
    add_prefix_arguments,
    add_settings,
    complete_collections,
)
from ouvert.cli.configuration import Configuration
from ouvert.cli.environment import guard_asked_for, hub, ledger_asked_for, open_store, prefixes_asked_for
from ouvert.cli.other_engine import ENGINE_SETTINGS, asked_of_this_command, engine_asked_for
from ouvert.cli.settings import SETTINGS
from ouvert.cli.terminal import visible

if TYPE_CHECKING:
    from ouvert.assistant import Answer, AskedPrecision, Best, Consult, Continuation, Model, Precision
    from ouvert.cli.answering import Screen, Shown
    from ouvert.store import Store

SUMMARY = "Ask a model one thing, or hold a conversation with it."
DEFAULT_MODEL = SETTINGS["model"].default
FAILED, INTERRUPTED = 1, 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        f"{SUMMARY} Without PROMPT, and with a terminal to type at, it is a conversation. What comes through a pipe is "
        "the prompt, or with a PROMPT the document it is about. The answer goes to stdout, everything else to stderr."
    )
    add_model_argument(
        parser,
        nargs="?",
        default=None,
        help=f"a short name, a name in the store, a folder or a file (default: what `ouvert config model` says; "
        f"{DEFAULT_MODEL} is fetched when needed)",
    )
    parser.usage = "ouvert run [OPTIONS] [MODEL] [PROMPT]"
    parser.add_argument("prompt", nargs="*", metavar="PROMPT", help="what to ask; without it: a conversation")
    add_adapter_argument(parser, "answer with this adapter of the model, as MODEL+NAME does")
    parser.add_argument("--system", metavar="TEXT", help="instructions that stand before everything else")
    parser.add_argument("--raw", action="store_true", help="continue the prompt as plain text: no chat template")
    parser.add_argument("--json", action="store_true", help="print one JSON object with answer, usage and receipt")
    add_settings(parser, "receipts")
    parser.add_argument("--pull", action="store_true", help="fetch the model if it is not on this machine")
    collection = parser.add_argument(
        "--documents",
        action="append",
        default=[],
        metavar="NAME",
        help="answer from this collection of documents, with citations (`ouvert documents`); repeatable",
    )
    collection.completer = complete_collections  # type: ignore[attr-defined]
    add_form_arguments(parser)
    add_thinking_arguments(parser)
    add_sampling_arguments(parser)
    add_engine_arguments(parser)
    add_prefix_arguments(parser)


def add_engine_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how it is computed")
    add_settings(group, "threads", "context", "exact", "cache", "precision", "memory", "template", *ENGINE_SETTINGS)


def run(args: argparse.Namespace) -> int:
    """0: answered, 1: not, with a sentence on stderr; 130: stopped by Ctrl-C."""
    from ouvert.cli.answering import complain

    args.prompt = " ".join(args.prompt) or None  # what was not put in quotes is one prompt all the same
    try:
        piped = read_pipe()
    except UnicodeDecodeError as problem:
        complain(f"what came through the pipe is not UTF-8 text (byte {problem.start}). Convert it to text first.")
        return FAILED
    if args.prompt is None and args.model is not None and " " in args.model and not os.path.exists(args.model):
        complain(f"{args.model!r} is no model. To ask the default model: ouvert run {DEFAULT_MODEL} {args.model!r}")
        return FAILED
    prompt = joined(piped, args.prompt)
    if refusal := problem_with_options(args, prompt):
        complain(refusal)
        return FAILED
    try:
        args.response_schema = read_schema(args.schema)
        args.response_grammar = read_grammar(args)
    except SchemaError as problem:
        complain(str(problem))
        return FAILED

    with consulted(args) as args.consult, open_model(args) as model:
        if args.raw:
            return continue_text(model, str(prompt), args)
        if prompt is not None:
            return answer_once(model, prompt, args)
        from ouvert.cli.conversing import converse

        return converse(model, args, lambda name: open_model(args, name))


@contextmanager
def consulted(args: argparse.Namespace) -> "Iterator[Consult | None]":
    """What finds sources in the collections that --documents names, open as long as it is used; None where it names
    none. Raises DocumentError."""
    if not args.documents:
        yield None
        return
    from ouvert.cli.environment import open_collections
    from ouvert.documents import asking

    there = open_collections()
    with ExitStack() as opened:
        yield asking(*[opened.enter_context(there.open(name)) for name in dict.fromkeys(args.documents)])


def problem_with_options(args: argparse.Namespace, prompt: str | None) -> str | None:
    """What is said of options that do not go together, or that need what is not there; None if all is well."""
    needs_prompt = {"--json": args.json, "--raw": args.raw, "--best-of": args.best_of is not None}
    if prompt is None and any(needs_prompt.values()):
        option = next(option for option, given in needs_prompt.items() if given)
        return f"{option} needs a prompt: give one after the model, or through a pipe."
    if prompt is None and not (sys.stdin.isatty() and sys.stdout.isatty()):
        return "a conversation needs a terminal: give a prompt after the model, or through a pipe."
    if args.raw and args.system is not None:
        return "--system needs a chat template, and --raw uses none: put the instructions into the prompt."
    if args.raw and (args.effort is not None or args.think_budget is not None):
        return "--effort and --think-budget need a chat template, and --raw uses none: leave them out."
    if args.raw and args.documents:
        return "--documents needs a chat template, and --raw uses none: leave one of them out."
    return "--stop needs a text that is not empty." if "" in args.stop else None


def read_pipe() -> str | None:
    """What comes through a pipe or from a file, or None if stdin is neither or holds nothing but white space.

    Raises UnicodeDecodeError.
    """
    if sys.stdin is None or sys.stdin.closed or sys.stdin.isatty():
        return None
    kind = os.fstat(sys.stdin.fileno()).st_mode
    if not (stat.S_ISFIFO(kind) or stat.S_ISREG(kind) or stat.S_ISSOCK(kind)):
        return None
    text = sys.stdin.buffer.read().decode("utf-8-sig")
    return text if text.strip() else None


def joined(document: str | None, prompt: str | None) -> str | None:
    """Document first, question last: what a model read last it remembers best."""
    if document is None or prompt is None:
        return prompt if document is None else document.rstrip("\n")
    return document.rstrip("\n") + "\n\n" + prompt


def open_model(args: argparse.Namespace, name: str | None = None) -> "Model":
    """The model that is meant, fetched first where that was asked for. A word on stderr where a person should know."""
    from ouvert.assistant import load
    from ouvert.cli.progress import show_progress

    wanted = name or adapted_name(args.model or configured_model(), args.adapters)
    store = open_store()
    ledger, guard = ledger_asked_for(args.receipts, store), guard_asked_for()
    prefixes = prefixes_asked_for(store, args.prefix_cache, args.prefix_cache_quota, args.prefix_cache_key)
    with guard.fetching() if guard is not None else nullcontext():
        is_default = (name or args.model) is None and configured_model() == DEFAULT_MODEL
        allowed = args.pull or is_default
        fetch_if_absent(store, wanted, allowed=allowed, precision=args.precision)
    computing = {name: getattr(args, name) for name in ("threads", "context", "exact", "cache", "precision", "memory")}
    if (elsewhere := engine_asked_for(args)) is not None:
        computing = asked_of_this_command(computing)
    model = load(
        wanted,
        **computing,
        clip_context=True,
        store=store,
        progress=show_progress(sys.stderr),
        receipts=ledger or False,
        guard=guard,
        prefixes=prefixes or False,
        template=args.template,
        elsewhere=elsewhere,
    )
    if model.info.adapters:
        print(f"{model.called}: {adapters_in_words(model)}.", file=sys.stderr)
    elif model.info.name == DEFAULT_MODEL:
        from ouvert.cli.machine import advice

        print(advice(DEFAULT_MODEL, model.info.parameters), file=sys.stderr)
    return model


def adapters_in_words(model: "Model") -> str:
    """The state of each adapter that answers, and what to do where a check found a regression."""
    from ouvert.store import shown_state

    records = [each for each in model.adapters.records(model.variant) if not isinstance(each, str)]
    words = [f"{each.name} is {shown_state(each.state)}" for each in records]
    regressed = next((each.name for each in records if each.state == "regression"), None)
    advice = "" if regressed is None else f" (`ouvert adapter show {regressed}` says what was found)"
    return "; ".join(words) + advice


def configured_model() -> str:
    return str(Configuration().value("model"))


def fetch_if_absent(store: "Store", wanted: str, *, allowed: bool, precision: "AskedPrecision | None" = None) -> None:
    """Bring the model onto this machine if it is not there and its owner agrees: beforehand, or when asked. It is to
    run at the precision of its name, or that.

    Raises StoreError, with what to do, if it is neither here nor to be fetched.
    """
    from ouvert.assistant import packed_bytes_foreseen
    from ouvert.cli.progress import show_progress
    from ouvert.store import StoreError, bytes_in_words, find_alias, split_adapters, split_precision

    try:
        store.resolve(wanted)
        return
    except StoreError:
        plain, adapters = split_adapters(wanted)
        if adapters and is_here(store, plain):
            raise
        for each in adapters:
            store.adapters.record(each)  # before anything is fetched for it
        wanted = plain
        alias = find_alias(wanted)
        if alias is None and not wanted.startswith(("hf:", "pypi:")):
            raise
        if alias is not None and not alias.built:
            raise StoreError(
                f"{alias.name} is of the family {alias.family}, which this version cannot run yet. "
                "`ouvert list --all` shows which models it can."
            ) from None
        size = f" It is {bytes_in_words(alias.size)} ({alias.licence})." if alias else ""
        if allowed:
            print(f"{wanted} is not on this machine yet: fetching it.{size}", file=sys.stderr)
        elif not owner_agrees(f"{wanted} is not on this machine.{size} Fetch it now?"):
            raise
    named = cast("Precision | None", split_precision(wanted)[1])
    store.pull(wanted, hub=hub(), progress=show_progress(sys.stderr), made=packed_bytes_foreseen(named or precision))


def is_here(store: "Store", name: str) -> bool:
    from ouvert.store import StoreError

    try:
        store.resolve(name)
    except StoreError:
        return False
    return True


def owner_agrees(question: str) -> bool:
    """Ask at the terminal; no where there is nobody to ask."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    print(f"{question} [Y/n] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().lower() in ("\n", "y\n", "yes\n")


def answer_once(model: "Model", prompt: str, args: argparse.Namespace) -> int:
    from ouvert.assistant import Message

    messages = [Message(role="system", content=args.system)] if args.system is not None else []
    messages.append(Message(role="user", content=prompt))
    settings = {"stop": args.stop, **chat_settings(args), **generation_settings(args)}
    if args.best_of is not None:
        return show_best(model.best_of(args.best_of, messages, **settings), args)
    return show_one(model.chat(messages, progress=True, **settings), args)


def continue_text(model: "Model", prompt: str, args: argparse.Namespace) -> int:
    """--raw: the prompt's tokens as they are, after the token a text begins with if the model has one."""
    settings = {
        "stop": args.stop,
        "response_schema": args.response_schema,
        "response_grammar": args.response_grammar,
        **generation_settings(args),
    }
    if args.best_of is not None:
        return show_best(model.best_text_of(args.best_of, prompt, **settings), args)
    return show_one(model.continue_text(prompt, progress=True, **settings), args)


def show_one(answer: "Answer | Continuation", args: argparse.Namespace) -> int:
    from ouvert.cli.answering import ctrl_c_calls, show_answer

    screen = screen_of(args)
    with ctrl_c_calls(answer.cancel):
        shown = show_answer(answer, screen)
    tokens = {"prompt": list(answer.prompt_ids), "output": answer.token_ids}
    return report_answer(screen, shown, args, {"tokens": tokens})


def show_best(best: "Best", args: argparse.Namespace) -> int:
    """The best of several answers is shown when all are written."""
    from ouvert.cli.answering import ctrl_c_calls, show_answer

    screen = screen_of(args)
    with ctrl_c_calls(best.cancel):
        written = best.read()
    shown = show_answer(written[0].events, screen)
    candidates = [
        {
            "candidate": each.finished.receipt["asked"]["candidate"],
            "mean_logprob": each.mean_logprob,
            "reason": each.finished.reason,
            "output": each.finished.usage.output,
        }
        for each in written
    ]
    if not args.json:
        first, last = (each["mean_logprob"] for each in (candidates[0], candidates[-1]))
        if first is not None and last is not None:
            screen.note(f"the likeliest of {len(written)}: {first:.3f} a token, the least likely {last:.3f}")
    return report_answer(screen, shown, args, {"candidates": candidates})


def screen_of(args: argparse.Namespace) -> "Screen":
    from ouvert.cli.answering import Screen

    return Screen(
        sys.stdout,
        sys.stderr,
        hide_thinking=args.hide_thinking,
        show_thinking=args.show_thinking,
        silent=args.json,
    )


def report_answer(screen: "Screen", shown: "Shown", args: argparse.Namespace, more: Mapping[str, Any]) -> int:
    from ouvert.cli.answering import complain, facts_of, sources_in_words

    finished = shown.finished
    if finished.unrecorded is not None:
        complain(finished.unrecorded)
    if args.json:
        usage = {name: getattr(finished.usage, name) for name in ("prompt", "reused", "output", "reasoning")}
        calls = [{"id": call.id, "name": call.name, "arguments": call.arguments} for call in finished.tool_calls]
        print_json(
            {
                "text": shown.text,
                "reasoning": shown.reasoning or None,
                "tool_calls": calls,
                "reason": finished.reason,
                "usage": usage,
                **more,
                **({"citations": [dict(each.facts) for each in shown.cited]} if args.documents else {}),
                "receipt": finished.receipt,
            }
        )
    else:
        if listed := sources_in_words(shown.cited):
            print("\n" + visible(listed))
        elif args.documents:
            screen.note("No place is cited: `ouvert documents search` shows what the documents say.")
        screen.note(facts_of(finished))
    return INTERRUPTED if finished.reason == "cancelled" else 0


def print_json(facts: Mapping[str, Any]) -> None:
    print(json.dumps(facts, ensure_ascii=False))
