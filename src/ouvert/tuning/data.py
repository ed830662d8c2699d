"""A person's file as what is learnt: read, converted, masked, split, counted."""

import datetime
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ouvert.store import counted
from ouvert.tuning.error import TuningError
from ouvert.tuning.example import Example, Item, Labelled, Preference, Prompt
from ouvert.tuning.making import Maker, Tally, Think
from ouvert.tuning.recipe import MIXING, Recipe
from ouvert.tuning.rows import read_rows
from ouvert.tuning.safety_mix import chosen_talks
from ouvert.tuning.shapes import Converted, RowsError, Shape, converted, left_in
from ouvert.tuning.spans import Rules
from ouvert.tuning.split import FEWEST, held_out_places, question_of, whole_of
from ouvert.tuning.talk import RowError

if TYPE_CHECKING:
    from ouvert.chat import ChatFormat
    from ouvert.tokenization import Tokenizer

MOST_FAULTS = 10  # that one error lists
FIRST = 4  # rows that are named where the same is to be said of more


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """`rows` are those of the file. The others are of what is trained: `items` (examples, pairs or prompts), their
    `tokens` and how many of those are `trained`; `held_out` items; answers that were `cut` and rows that are
    `duplicates`, answers that are still `unthought` (their thoughts are written by the model when the run begins), and
    items of the safety mix (`mixed`), which are among `items`."""

    rows: int
    items: int
    held_out: int
    tokens: int
    trained: int
    cut: int = 0
    duplicates: int = 0
    unthought: int = 0
    mixed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dataset:
    """What is learnt, and what is only measured. `digest`, "sha256:<hex>", is of every id, mask and column of both.
    `notes` are sentences that a person should read: what was converted, cut, left out. `unit`: "line", or "row" of a
    file that has no lines: what the `line` of an item counts."""

    train: tuple[Item, ...]
    held_out: tuple[Item, ...]
    counts: Counts
    digest: str
    notes: tuple[str, ...]
    unit: str = "line"

    def order(self, seed: int, epoch: int) -> tuple[int, ...]:
        """Places in `train`, each once, in this epoch's order: the same for the same seed. Raises nothing."""

        def drawn(place: int) -> bytes:
            return hashlib.sha256(f"{seed}:{epoch}:{place}".encode()).digest()

        return tuple(sorted(range(len(self.train)), key=drawn))


def read_data(
    path: Path, recipe: Recipe, chat: "ChatFormat | None", tokenizer: "Tokenizer", *, think: Think | None = None
) -> Dataset:
    """The data at `path` for the recipe's method, as the model whose `chat` and `tokenizer` these are reads it.

    `chat` may be None for texts alone. `recipe.data.date` is the day that conversations take place; without it, today.
    `think` is asked for the thoughts that the data leaves out (`reasoning = "keep"`); without it these answers are
    written with no thought and counted as `unthought`: for a look, not for a run.

    Raises TuningError with file and line for data that cannot be used, and where nothing would be trained.
    """
    source = source_of(path, recipe)
    maker = Maker(recipe.method, chat, tokenizer, rules_of(recipe), source.unit)
    train, held_out = sides(source, recipe)
    tally = Tally()
    learnt = made_of(train, maker, think, tally)
    measured = made_of(held_out, maker, think, Tally())
    mix = mixed_in(recipe, maker, len(learnt), think)
    if not learnt:
        raise TuningError(
            f"{path}: nothing of its {len(source.values)} rows is trained (left out because too long: {tally.cut} "
            f"answers of more than {recipe.data.length} tokens). Raise [data] length."
        )
    items = (*learnt, *mix)
    counts = Counts(
        rows=len(source.values),
        items=len(items),
        held_out=len(measured),
        tokens=sum(len(each.ids) for item in items for each in sequences_of(item)),
        trained=sum(int((each.trained != 0).sum()) for item in items for each in examples_of(item)),
        cut=tally.cut,
        duplicates=len(source.values) - len({whole_of(value) for _, value in source.values}),
        unthought=tally.unthought,
        mixed=len(mix),
    )
    notes = [*notes_of_source(source, train, held_out, recipe), *notes_of(tally, source, recipe, len(mix))]
    digest = digest_of(items, measured)
    return Dataset(train=items, held_out=measured, counts=counts, digest=digest, notes=tuple(notes), unit=source.unit)


def rules_of(recipe: Recipe) -> Rules:
    data = recipe.data
    return Rules(
        trained=data.trained,
        reasoning=data.reasoning,
        length=data.length,
        cuts=data.too_long == "cut at message",
        date=datetime.date.fromisoformat(data.date) if data.date else datetime.date.today(),
    )


# --- from the file to two sides ---


@dataclass(frozen=True, slots=True)
class Source:
    """A file's values, each with its line or row (`unit`), the shape of all, and keys that are `left`."""

    path: Path
    values: Sequence[tuple[int, Converted]]
    shape: Shape
    unit: str
    left: tuple[str, ...]


Side = list[tuple[Source, int, Converted]]  # with where each value comes from


def source_of(path: Path, recipe: Recipe) -> Source:
    """Raises TuningError."""
    rows = read_rows(path)
    try:
        values, shape = converted(rows, recipe.method, recipe.data.ignore)
    except RowsError as problem:
        raise rows_unusable(path, len(rows), problem.found, recipe.method, rows[0].unit) from None
    left = set().union(*(left_in(shape, row.values) for row in rows)) - set(recipe.data.ignore)
    return Source(path, values, shape, rows[0].unit, tuple(sorted(left)))


def rows_unusable(path: Path, rows: int, found: Sequence[tuple[int, str]], method: str, unit: str) -> TuningError:
    """What is the same of many rows is said once."""
    alike: dict[str, list[int]] = {}
    for line, fault in found:
        alike.setdefault(fault.rstrip("."), []).append(line)
    listed = [f"  {places_in_words(lines, unit)}: {fault}." for fault, lines in list(alike.items())[:MOST_FAULTS]]
    if rest := sum(map(len, list(alike.values())[MOST_FAULTS:])):
        listed.append(f"  … and {rest} more")
    few = f"{len(found)} of {rows} rows cannot be used"
    return TuningError("\n".join([f"{path}: {few} for {method}:", *listed]))


def places_in_words(lines: Sequence[int], unit: str) -> str:
    """ "line 3"; "lines 1, 2, 3"; "200 rows (1, 2, 3, 4 …)". Raises nothing."""
    if len(lines) == 1:
        return f"{unit} {lines[0]}"
    shown = ", ".join(map(str, lines[:FIRST]))
    return f"{unit}s {shown}" if len(lines) <= FIRST else f"{len(lines)} {unit}s ({shown} …)"


def sides(source: Source, recipe: Recipe) -> tuple[Side, Side]:
    """What is trained and what is only measured. What stands in a file of held-out examples is left out of the others.
    Raises TuningError for such a file that cannot be used."""
    asked = recipe.data.held_out
    every = [(source, line, value) for line, value in source.values]
    if isinstance(asked, str):
        other = source_of(Path(asked), recipe)
        known = {question_of(value) for _, value in other.values}
        train = [each for each in every if question_of(each[2]) not in known]
        if not train:
            raise TuningError(
                f"{source.path}: each of its {len(every)} rows asks what stands in {other.path} as well, expected some "
                "to train on that do not. Is it the same file? A number, held_out = 0.05, divides one file."
            )
        return train, [(other, line, value) for line, value in other.values]
    places = held_out_places([value for _, _, value in every], asked)
    return (
        [each for n, each in enumerate(every) if n not in places],
        [each for n, each in enumerate(every) if n in places],
    )


# --- items ---


def made_of(side: Side, maker: Maker, think: Think | None, tally: Tally) -> tuple[Item, ...]:
    """Raises TuningError for rows that cannot be trained."""
    thoughts = maker.thoughts([value for _, _, value in side], think)
    items: list[Item] = []
    faults: list[tuple[int, str]] = []
    for (_, line, value), thought in zip(side, thoughts, strict=True):
        try:
            items += maker.items(value, line, tally, thought)
        except RowError as problem:
            faults.append((line, str(problem)))
    if faults:
        source = side[0][0]
        raise rows_unusable(source.path, len(side), faults, maker.method, source.unit)
    return tuple(items)


def mixed_in(recipe: Recipe, maker: Maker, examples: int, think: Think | None) -> tuple[Item, ...]:
    """Items of the safety mix: line 0. One that is too long is left out."""
    if maker.chat is None or recipe.method not in MIXING:
        return ()
    talks = chosen_talks(recipe.safety.mix, examples, recipe.seed)
    plainly = replace(maker, method="sft", rules=replace(maker.rules, trained="assistant", cuts=True))
    items: list[Item] = []
    for talk, thought in zip(talks, plainly.thoughts(talks, think), strict=True):
        for item in plainly.items(talk, 0, Tally(), thought):
            items.append(Labelled(item, True) if recipe.method == "kto" and isinstance(item, Example) else item)
    return tuple(items)


def examples_of(item: Item) -> tuple[Example, ...]:
    """The sequences that are trained. Raises nothing."""
    match item:
        case Preference(chosen, rejected):
            return chosen, rejected
        case Labelled(example):
            return (example,)
        case Example():
            return (item,)
    return ()


def sequences_of(item: Item) -> tuple[Example | Prompt, ...]:
    return (item,) if isinstance(item, Prompt) else examples_of(item)


def digest_of(train: Sequence[Item], held_out: Sequence[Item]) -> str:
    found = hashlib.sha256()
    for side in (train, held_out):
        found.update(b"side")
        for item in side:
            found.update(type(item).__name__.encode())
            for each in sequences_of(item):
                found.update(len(each.ids).to_bytes(8, "little") + each.ids.tobytes())
                if isinstance(each, Example):
                    found.update(each.trained.tobytes())
            if isinstance(item, Labelled):
                found.update(bytes([item.desirable]))
            if isinstance(item, Prompt):
                found.update(json.dumps(dict(item.columns), sort_keys=True, default=str).encode())
    return f"sha256:{found.hexdigest()}"


# --- what a person should read ---


def notes_of_source(source: Source, train: Side, held_out: Side, recipe: Recipe) -> Iterator[str]:
    name, rows = source.path.name, len(source.values)
    if not source.shape.as_written:
        yield f"{name} is read as {source.shape.name} and converted to messages."
    if source.left:
        these = f"the key {source.left[0]} is" if len(source.left) == 1 else f"the keys {', '.join(source.left)} are"
        yield f"Of {name} {these} not read: nothing of what is learnt depends on that."
    if repeated := repetitions(source):
        yield f"{name} has rows twice or more: {repeated}. They are trained as often as they stand there."
    asked = recipe.data.held_out
    if isinstance(asked, str):
        if left := rows - len(train):
            asks = "asks" if left == 1 else "ask"
            yield f"{counted(left, 'row')} of {name} {asks} what stands in the held-out file: not trained."
    elif asked and not held_out:
        few = f"fewer than {FEWEST}" if rows < FEWEST else "and too few of them ask different things"
        yield f"{name} has {counted(rows, 'row')}, {few}: nothing is held out, nor measured how well it is learnt."


def repetitions(source: Source) -> str:
    """Where the first rows are that stand there more than once, or ""."""
    lines: dict[str, list[int]] = {}
    for line, value in source.values:
        lines.setdefault(whole_of(value), []).append(line)
    groups = [group for group in lines.values() if len(group) > 1]
    shown = "; ".join(places_in_words(group, source.unit) for group in groups[:3])
    return shown + (f"; and {len(groups) - 3} more" if len(groups) > 3 else "")


LOST = {
    "words beside calls": "words beside a call, which the format leaves out",
    "calls behind the first": "calls behind the first, at which an answer of the format ends",
    "calls": "calls, which the server reads back in another way",
    "words": "words, which the server reads back in another way",
    "thoughts": "thoughts, which the server reads back in another way",
}


def notes_of(tally: Tally, source: Source, recipe: Recipe, mixed: int) -> Iterator[str]:
    def number(count: int, what: str, one: str, many: str) -> str:
        return f"{counted(count, what)} {one if count == 1 else many}"

    if tally.as_chat and source.shape.as_written:  # what was converted is said already
        prompts = number(tally.as_chat, "prompt", "that is a text is", "that are texts are")
        yield f"{prompts} asked as a user's message, as the model is used."
    if tally.apart:
        answers = number(tally.apart, "earlier answer", "is an example of its own", "are examples of their own")
        yield (
            f"{answers}: the format writes an answer in another way once the conversation goes on, and each is trained "
            "as it would be written."
        )
    if tally.cut:
        answers = number(tally.cut, "answer", "does not fit", "do not fit")
        yield f"{answers} into {recipe.data.length} tokens: cut (too_long)."
    for kind, count in tally.lost.items():
        first = f"(the first: {source.unit} {tally.first_lost[kind]})"
        yield f"{number(count, 'answer', 'loses', 'lose')} {LOST[kind]} {first}."
    if tally.own_thoughts:
        answers = number(tally.own_thoughts, "answer", "comes", "come")
        yield f"{answers} behind what the model thinks by itself, and that is not trained."
    if tally.unthought:
        answers = number(tally.unthought, "answer", "has no thoughts", "have no thoughts")
        yield (
            f"{answers}, and this model thinks first: it will be asked to once, before the run. reasoning = 'none' or "
            "'as given' leaves that out, and teaches it not to think."
        )
    if mixed:
        are = "is" if mixed == 1 else "are"
        examples = f"{counted(mixed, 'example')} of refusals and of harmless requests that look alike"
        yield f"{examples} {are} mixed in ([safety] mix)."
    elif recipe.method not in MIXING:
        yield f"No safety examples are mixed in: they are single answers, and {recipe.method} learns from others."
