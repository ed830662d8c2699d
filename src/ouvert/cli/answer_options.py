"""Options that say how an answer is to be, and what they ask of a model."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ouvert.assistant import Grammar


def add_form_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "what the answer may be",
        "No token that would break it is chosen. Thoughts and tool calls are not held to it; an answer that "
        "--max-tokens cuts off is only the beginning of such a text.",
    )
    form = group.add_mutually_exclusive_group()
    form.add_argument("--schema", type=Path, metavar="FILE", help="JSON that follows the JSON schema in FILE")
    form.add_argument("--regex", metavar="PATTERN", help="a text that PATTERN matches from end to end (Rust's syntax)")
    form.add_argument(
        "--grammar", type=Path, metavar="FILE", help="a text of the grammar in FILE: .gbnf (llama.cpp's) or .lark"
    )
    form.add_argument("--choice", action="append", metavar="TEXT", help="one of several texts; repeat it for each")


def add_thinking_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "thinking",
        "For models that think before they answer. At a terminal their thoughts pass by dimmed, and are then folded "
        "into one line with their time and size.",
    )
    group.add_argument("--effort", choices=["low", "medium", "high"], help="how much to think; only some models listen")
    group.add_argument(
        "--think-budget", type=int, metavar="N", help="end the thoughts after N tokens and go on to the answer"
    )
    shown = group.add_mutually_exclusive_group()
    shown.add_argument("--hide-thinking", action="store_true", help="do not show thoughts")
    shown.add_argument("--show-thinking", action="store_true", help="leave all thoughts on the screen")


def add_sampling_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "how tokens are chosen",
        "Left out, they are as the model's makers advise (generation_config.json, general.sampling in GGUF); if these "
        "say nothing: temperature 0.7 and top-p 0.95, or temperature 0 and a repetition guard for models below a "
        "billion parameters.",
    )
    group.add_argument("--temperature", type=float, metavar="T", help="0: always the likeliest token")
    group.add_argument("--top-k", type=int, metavar="K", help="choose among the K likeliest; 0: among all")
    group.add_argument("--top-p", type=float, metavar="P", help="choose among the likeliest that have P of the chance")
    group.add_argument(
        "--min-p", type=float, metavar="P", help="leave out tokens with less than P of the best's chance"
    )
    group.add_argument("--repetition-penalty", type=float, metavar="R", help="above 1: say less of what was said")
    group.add_argument(
        "--repetition-guard",
        type=int,
        metavar="N",
        help="end an answer that goes in circles for N tokens (models below a billion parameters: 256); 0: never",
    )
    group.add_argument("--seed", type=int, metavar="N", help="the same seed gives the same answer")
    group.add_argument(
        "--best-of",
        type=int,
        metavar="N",
        help="write N answers and show the one with the highest mean log-probability of its tokens",
    )
    group.add_argument("--max-tokens", type=int, metavar="N", help="end the answer after N tokens")
    group.add_argument("--stop", action="append", default=[], metavar="TEXT", help="end the answer at TEXT; repeatable")


class SchemaError(Exception):
    """A file that is no JSON schema, or no grammar. The message says why and what to do."""


def read_schema(path: Path | None) -> dict[str, Any] | None:
    """Raises SchemaError."""
    if path is None:
        return None
    try:
        schema = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as problem:
        raise SchemaError(
            f"--schema {path} cannot be read ({problem.strerror}): name a file with a JSON schema."
        ) from None
    except ValueError as problem:
        raise SchemaError(f"--schema {path} is not JSON ({problem}): correct it.") from None
    if not isinstance(schema, dict):
        raise SchemaError(f"--schema {path} holds {type(schema).__name__}, expected a JSON object: a schema.")
    return schema


def read_grammar(args: argparse.Namespace) -> "Grammar | None":
    """What --regex, --grammar or --choice ask for. Raises SchemaError; EngineError for choices that are none."""
    from ouvert.assistant import Grammar

    if args.regex is not None:
        return Grammar.regex(args.regex)
    if args.choice is not None:
        return Grammar.one_of(args.choice)
    return None if args.grammar is None else grammar_in(args.grammar)


def grammar_in(path: Path) -> "Grammar":
    """The grammar in a file, by the ending of its name. Raises SchemaError."""
    from ouvert.assistant import Grammar

    kinds = {".gbnf": Grammar.gbnf, ".lark": Grammar.lark}
    kind = kinds.get(path.suffix.lower())
    if kind is None:
        raise SchemaError(
            f"--grammar {path} ends in {path.suffix or 'nothing'!r}, expected {' or '.join(kinds)}: "
            "name it after the language it is written in."
        )
    try:
        return kind(path.read_text(encoding="utf-8-sig"))
    except OSError as problem:
        raise SchemaError(
            f"--grammar {path} cannot be read ({problem.strerror}): name a file with a grammar."
        ) from None
    except UnicodeDecodeError as problem:
        raise SchemaError(f"--grammar {path} is not UTF-8 text (byte {problem.start}): convert it.") from None


def chat_settings(args: argparse.Namespace) -> dict[str, Any]:
    """What `Model.chat` is told beside the sampling."""
    return {
        "effort": args.effort,
        "think_budget": args.think_budget,
        "response_schema": args.response_schema,
        "response_grammar": args.response_grammar,
        **({} if (consult := getattr(args, "consult", None)) is None else {"consult": consult}),
    }


def generation_settings(args: argparse.Namespace) -> dict[str, Any]:
    names = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "repetition_guard", "seed", "max_tokens")
    return {name: getattr(args, name) for name in names}
