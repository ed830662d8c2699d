"""The copy of its data that a run keeps while it runs: ids, masks and columns, so that going on needs neither the file
nor a tokenizer, and an edited file changes nothing."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ouvert.tuning.data import Counts, Dataset
from ouvert.tuning.error import TuningError
from ouvert.tuning.example import Example, Item, Labelled, Preference, Prompt
from ouvert.tuning.learner import Array
from ouvert.weights import CheckpointError, SafetensorsWriter, open_checkpoint

FORM = "1"
TYPES = {"I32": "<i4", "F32": "<f4", "I64": "<i8", "U8": "u1"}
KINDS: Mapping[str, type[Item]] = {
    "example": Example, "preference": Preference, "labelled": Labelled, "prompt": Prompt,
}  # fmt: skip


def write_data(path: Path, data: Dataset) -> None:
    """Raises CheckpointError if it cannot be written."""
    splits = {"train": data.train, "held_out": data.held_out}
    facts: dict[str, Any] = {
        "counts": asdict(data.counts),
        "digest": data.digest,
        "notes": data.notes,
        "unit": data.unit,
    }
    facts["kind"] = next(name for name, kind in KINDS.items() if isinstance((data.train or data.held_out)[0], kind))
    arrays: dict[str, tuple[str, Array]] = {}
    for split, items in splits.items():
        sequences = [each for item in items for each in sequences_in(item)]
        ids, trained = [each[0] for each in sequences], [each[1] for each in sequences]
        arrays[f"{split}.ids"] = ("I32", np.concatenate([np.zeros(0, "i4"), *ids]))
        arrays[f"{split}.trained"] = ("F32", np.concatenate([np.zeros(0, "f4"), *trained]))
        arrays[f"{split}.lengths"] = ("I64", np.array([len(each) for each in ids], "i8"))
        arrays[f"{split}.lines"] = ("I64", np.array([line for _, _, line in sequences], "i8"))
        facts[split] = [beside(item) for item in items]
    arrays["facts"] = ("U8", np.frombuffer(json.dumps(facts, ensure_ascii=True).encode("ascii"), "u1"))
    shapes = {name: (encoding, each.shape) for name, (encoding, each) in arrays.items()}
    with SafetensorsWriter(path, shapes, {"ouvert tuning data": FORM}) as writer:
        for name, (_, each) in arrays.items():
            writer.write(name, each)


def read_data_again(path: Path) -> Dataset:
    """What `write_data` wrote. Raises TuningError for anything else."""
    try:
        with open_checkpoint(path) as file:
            if file.metadata.get("ouvert tuning data") != FORM:
                raise ValueError(f"it is of another form than {FORM}")
            arrays = {
                name: np.frombuffer(tensor.data.tobytes(), TYPES[tensor.encoding])
                for name, tensor in file.tensors.items()
            }
            facts = json.loads(arrays["facts"].tobytes())
            train, held_out = (items_of(split, arrays, facts) for split in ("train", "held_out"))
            return Dataset(
                train=train,
                held_out=held_out,
                counts=Counts(**facts["counts"]),
                digest=facts["digest"],
                notes=tuple(facts["notes"]),
                unit=facts.get("unit", "line"),
            )
    except (CheckpointError, OSError, ValueError, TypeError, KeyError) as problem:
        raise TuningError(
            f"reading {path}: {problem} Expected the copy of a run's data. Remove the run (`ouvert tune remove "
            f"{path.parent.name}`) and begin it again."
        ) from problem


def sequences_in(item: Item) -> list[tuple[Array, Array, int]]:
    """(ids, trained, line) of each sequence of an item."""
    match item:
        case Example():
            return [(item.ids, item.trained, item.line)]
        case Preference():
            return [(each.ids, each.trained, each.line) for each in (item.chosen, item.rejected)]
        case Labelled():
            return [(item.example.ids, item.example.trained, item.example.line)]
        case Prompt():
            return [(item.ids, np.zeros(len(item.ids), "f4"), item.line)]


def beside(item: Item) -> Any:
    """What an item has beside its sequences."""
    match item:
        case Labelled():
            return item.desirable
        case Prompt():
            return dict(item.columns)
    return None


def items_of(split: str, arrays: Mapping[str, Array], facts: Mapping[str, Any]) -> tuple[Item, ...]:
    ends = np.cumsum(arrays[f"{split}.lengths"])[:-1]
    parts = zip(
        np.split(arrays[f"{split}.ids"], ends),
        np.split(arrays[f"{split}.trained"], ends),
        arrays[f"{split}.lines"].tolist(),
        strict=False,  # no sequence at all is split into one empty array
    )
    return tuple(made(facts["kind"], list(parts), facts[split], facts.get("unit", "line")))


def made(kind: str, parts: Sequence[tuple[Array, Array, int]], rest: Sequence[Any], unit: str) -> Iterator[Item]:
    if kind == "prompt":
        yield from (Prompt(ids, columns, line, unit) for (ids, _, line), columns in zip(parts, rest, strict=True))
        return
    examples = [Example(ids, trained, line) for ids, trained, line in parts]
    if kind == "preference":
        yield from (Preference(*pair) for pair in zip(examples[::2], examples[1::2], strict=True))
    elif kind == "labelled":
        yield from (Labelled(example, bool(wanted)) for example, wanted in zip(examples, rest, strict=True))
    else:
        yield from examples
