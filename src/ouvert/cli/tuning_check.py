"""`ouvert tune check DATA --model MODEL`: what would be trained, token by token, before anything is."""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ouvert.cli.environment import open_store
from ouvert.cli.terminal import visible
from ouvert.cli.tuning_data import Reader, data_file, reader_of, recipe_of, require_length
from ouvert.store import counted

if TYPE_CHECKING:
    from ouvert.tokenization import Tokenizer
    from ouvert.tuning import Dataset, Example, Item, Recipe

UNDERLINED, PLAIN = "\x1b[4;32m", "\x1b[0m"  # green, and underlined for whoever sees no colours


def run(args: argparse.Namespace) -> int:
    """0: usable. 1: something is wrong with the data; it is said by line."""
    from ouvert.tuning import TuningError, read_data

    args.data = args.named[1]
    if args.model is None:
        print("ouvert: tune check needs --model MODEL: whose tokens it shows.", file=sys.stderr)
        return 2
    store = open_store()
    reader = reader_of(store.resolve(args.model))
    recipe = recipe_of(args)
    try:
        require_length(recipe.data.length, reader)
        with tempfile.TemporaryDirectory() as copies:
            data = read_data(data_file(args.data, store, Path(copies)), recipe, reader.chat, reader.tokenizer)
    except TuningError as problem:
        if not args.json:
            raise
        print(json.dumps({"data": args.data, "model": reader.name, "fault": str(problem)}, ensure_ascii=False))
        return 1
    chosen = shown_items(data, args.show, args.line)
    if args.json:
        print(json.dumps(as_json(args.data, reader, recipe, data, chosen), ensure_ascii=False))
    else:
        print_data(args.data, reader, recipe, data, chosen)
    return 0


def shown_items(data: "Dataset", count: int, line: int | None) -> "list[Item]":
    """The first `count`, or all of a line (a row, where the file has no lines). Raises TuningError where nothing of it
    is trained."""
    from ouvert.tuning import TuningError

    if line is None:
        return list(data.train[: max(0, count)])
    found = [item for item in (*data.train, *data.held_out) if line_of(item) == line]
    if not found:
        raise TuningError(f"{data.unit} {line} of the data has nothing that is trained. Name one of an example.")
    return found


# --- what is shown ---


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a sequence that is trained whole, or not at all."""

    text: str
    trained: bool


def pieces_of(example: "Example", tokenizer: "Tokenizer") -> list[Piece]:
    """The text of an example, control tokens shown. Raises nothing."""
    decoder = tokenizer.decoder(control=True)
    found: list[Piece] = []
    text, inside = "", False
    for token, weight in zip(example.ids.tolist(), example.trained.tolist(), strict=True):
        if bool(weight) != inside:
            found.append(Piece(text + decoder.flush(), inside))
            text, inside = "", bool(weight)
        text += decoder.push(token)
    found.append(Piece(text + decoder.flush(), inside))
    return [piece for piece in found if piece.text]


def parts_of(item: "Item") -> "list[tuple[str, Example]]":
    """The sequences of an item, each with its title."""
    import numpy as np

    from ouvert.tuning import Example, Labelled, Preference

    match item:
        case Preference(chosen, rejected):
            return [("chosen", chosen), ("rejected", rejected)]
        case Labelled(example, desirable):
            return [("desirable" if desirable else "not desirable", example)]
        case Example():
            return [("", item)]
    return [("prompt", Example(item.ids, np.zeros(len(item.ids), np.float32), item.line))]


def line_of(item: "Item") -> int:
    return parts_of(item)[0][1].line


def print_data(name: str, reader: Reader, recipe: "Recipe", data: "Dataset", chosen: "Sequence[Item]") -> None:
    colours = sys.stdout.isatty()
    for item in chosen:
        for title, example in parts_of(item):
            print(visible(heading(title, example, data.unit)))
            print("".join(marked(piece, colours) for piece in pieces_of(example, reader.tokenizer)) + "\n")
    for title, fact in facts_of(name, reader, recipe, data):
        print(visible(f"{title:>10}  {fact}"))
    for note in data.notes:
        print(visible(f"note: {note}"))
    if not chosen:
        return
    mark = "underlined" if colours else "in [[ ]]"
    print(f"What is trained is {mark}: what {reader.name} would have to write itself.", file=sys.stderr)


def heading(title: str, example: "Example", unit: str) -> str:
    where = f"{unit} {example.line}" if example.line else "of the safety mix"
    size = f"{counted(len(example.ids), 'token')}, {int((example.trained != 0).sum())} of them trained"
    return f"--- {where}{f', {title}' if title else ''}: {size}"


def marked(piece: Piece, colours: bool) -> str:
    text = visible(piece.text)
    if not piece.trained:
        return text
    return f"{UNDERLINED}{text}{PLAIN}" if colours else f"[[{text}]]"


def facts_of(name: str, reader: Reader, recipe: "Recipe", data: "Dataset") -> Iterator[tuple[str, str]]:
    counts = data.counts
    chat = "no chat format: texts that go on" if reader.chat is None else f"chat format {reader.chat.name}"
    yield "data", f"{name}, {counted(counts.rows, 'row')}, for {recipe.method}"
    yield "model", f"{reader.name}, {chat}"
    share = f" ({counts.trained / counts.tokens:.0%})" if counts.tokens else ""
    items = counted(counts.items, what_of(recipe))
    yield "trained", f"{items} of {counts.tokens:,} tokens, {counts.trained:,} of them trained{share}"
    longest = max(len(example.ids) for item in data.train for _, example in parts_of(item))
    yield "longest", f"{counted(longest, 'token')} (length = {recipe.data.length})"
    yield "held out", counted(counts.held_out, what_of(recipe))
    for title, count in (("cut", counts.cut), ("twice", counts.duplicates), ("mixed in", counts.mixed)):
        if count:
            yield title, str(count)
    yield "digest", data.digest


def what_of(recipe: "Recipe") -> str:
    """What one of the counted items is called. Raises nothing."""
    return {"dpo": "pair", "orpo": "pair", "grpo": "prompt"}.get(recipe.method, "example")


def as_json(name: str, reader: Reader, recipe: "Recipe", data: "Dataset", chosen: "Sequence[Item]") -> dict[str, Any]:
    return {
        "data": name,
        "model": reader.name,
        "format": None if reader.chat is None else reader.chat.name,
        "method": recipe.method,
        "length": recipe.data.length,
        "counts": asdict(data.counts),
        "digest": data.digest,
        "unit": data.unit,
        "notes": list(data.notes),
        "fault": None,
        "examples": [
            {
                "line": example.line,
                "title": title or None,
                "tokens": len(example.ids),
                "trained": int((example.trained != 0).sum()),
                "pieces": [asdict(piece) for piece in pieces_of(example, reader.tokenizer)],
            }
            for item in chosen
            for title, example in parts_of(item)
        ],
    }
