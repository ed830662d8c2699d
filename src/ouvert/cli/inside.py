"""What the commands that look for causes share: a model loaded to be looked into, progress, small pictures."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ouvert.cli.environment import guard_asked_for, open_store

if TYPE_CHECKING:
    from ouvert.assistant import Model
    from ouvert.inspection import Price, Subject

BLOCKS = " ▁▂▃▄▅▆▇█"  # by height
# Behind a cell, by the size of its number, in 256 colours: from nothing to the most (cividis).
SHADES = ((0.8, 228, 16), (0.6, 185, 16), (0.4, 144, 16), (0.2, 102, 231), (0.05, 60, 231))
PLAIN = "\x1b[0m"


def loaded(name: str) -> "Model":
    """The model called so, to be looked into: no receipts, no kept prompts. Raises what `assistant.load` raises."""
    from ouvert.assistant import load
    from ouvert.cli.progress import show_progress

    return load(
        name,
        store=open_store(),
        progress=show_progress(sys.stderr),
        receipts=False,
        prefixes=False,
        guard=guard_asked_for(),
    )


def subject_of(model: "Model") -> "Subject":
    """Its weights, and how they compute. Raises InspectionError."""
    from ouvert.inspection import subject_of

    return subject_of(model)


def counted(what: str) -> Callable[[int, int], None] | None:
    """A line that counts, on a terminal."""
    if not sys.stderr.isatty():
        return None

    def show(done: int, total: int) -> None:
        end = "\x1b[K" if done >= total else f"{done} of {total} {what}\x1b[K"
        print(f"\r{end}", end="", file=sys.stderr, flush=True)

    return show


def said(what: str) -> "Callable[[Price], None]":
    """Says a price before it is paid."""

    def say(price: "Price") -> None:
        kept = f"{price.bytes / 1e6:.1f} MB are kept meanwhile"
        print(f"Reading {price.tokens} tokens{what}: about {price.seconds:.1f} s, {kept}.", file=sys.stderr)

    return say


def profile(numbers: Sequence[float]) -> str:
    """One block a number, the largest full: a small picture of a list."""
    most = max(map(abs, numbers), default=0.0) or 1.0
    return "".join(BLOCKS[min(8, round(8 * abs(number) / most))] for number in numbers)


def shaded(text: str, share: float, colours: bool) -> str:
    """A cell on a colour that says how large its number is, of 1."""
    found = next(((behind, ink) for least, behind, ink in SHADES if share >= least), None)
    if not colours or found is None:
        return text
    return f"\x1b[48;5;{found[0]};38;5;{found[1]}m{text}{PLAIN}"


def read_prompts(path: Path) -> list[str]:
    """The prompts in a file: one a line; of a .jsonl file, JSON strings or objects with "prompt" or "text".

    Raises InspectionError for a file that cannot be read, or that is something else.
    """
    from ouvert.inspection import InspectionError

    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as problem:
        raise InspectionError(f"reading prompts: {problem}. Give a text file in UTF-8, one prompt a line.") from None
    if path.suffix.lower() not in (".jsonl", ".ndjson"):
        return lines
    prompts = []
    for number, line in enumerate(lines, 1):
        try:
            value = json.loads(line)
        except ValueError as problem:
            raise InspectionError(f"{path}, line {number}: no JSON ({problem}). Write one value a line.") from None
        text = (value.get("prompt") or value.get("text")) if isinstance(value, dict) else value
        if not isinstance(text, str):
            raise InspectionError(
                f'{path}, line {number}: {line[:60]!r}, expected a string, or an object with "prompt" or "text".'
            )
        prompts.append(text)
    return prompts


def add_json(parser: argparse.ArgumentParser, page: str) -> None:
    """--json, whose form `page` describes."""
    parser.add_argument("--json", action="store_true", help=f"print JSON: docs/formats/{page}")
