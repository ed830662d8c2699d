"""A trace as a file: one safetensors file with what was kept, and the tokens and views as JSON in its header.

A trace of a conversation holds the conversation, word for word. It can be written without its words; but whoever has
the model can tell something of them from the values.
"""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import numpy as np
from safetensors.numpy import save

from ouvert.inspection.subject import Array

HEADER = "ouvert.trace"  # the key of the file's metadata
NO_ID = -1
# What gives the tokens away at once: fields of views with ids, and values that are looked up by or score them.
IDS_IN_VIEWS = frozenset({"ids", "alternative_ids", "came", "tokens", "token"})
TELLING_VALUES = frozenset({"embedding", "logits"})


def trace_bytes(facts: Mapping[str, Any], values: Mapping[str, Array], *, words: bool) -> bytes:
    """The file of a trace's facts and values. Without `words`: no text and no id of a token, and not the values
    `embedding` and `logits`. Raises nothing."""
    if not words:
        facts = without_words(facts)
        values = {name: value for name, value in values.items() if name not in TELLING_VALUES}
    header = json.dumps({**facts, "words": words}, ensure_ascii=False, separators=(",", ":"))
    data: bytes = save({name: np.ascontiguousarray(value) for name, value in values.items()}, {HEADER: header})
    return data


def write_whole(path: Path, data: bytes) -> None:
    """The file is there whole or not at all, and only its owner can read it. Raises OSError, with this path, where
    it cannot be written."""
    try:
        with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:  # mode 0600
            try:
                file.write(data)
                file.flush()
                os.replace(file.name, path)
            except BaseException:
                os.unlink(file.name)
                raise
    except OSError as problem:  # of the file beside it, whose name nobody gave
        raise OSError(problem.errno, problem.strerror, str(path)) from problem


def without_words(facts: Mapping[str, Any]) -> dict[str, Any]:
    """A trace's JSON without texts and ids. Raises nothing."""
    tokens = [{**token, "text": "", "id": NO_ID} for token in facts["tokens"]]
    recorded = [each for each in facts["recorded"] if each["name"] not in TELLING_VALUES]
    shown = [(key, view) for key, view in facts["views"].items() if view["view"] != "focus"]
    # A view stands under what it was asked for, which of an attribution is a token.
    views = {
        f"attribution {n}" if view["view"] == "attribution" else key: view_without_words(view)
        for n, (key, view) in enumerate(shown)
    }
    return {**facts, "tokens": tokens, "recorded": recorded, "views": views}


def page_without_words(
    facts: Mapping[str, Any], views: Iterable[Mapping[str, Any]]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What a page shows, without texts and ids: the summary, which says so, and the views. Raises nothing."""
    silent = without_words({**facts, "views": {str(n): view for n, view in enumerate(views)}})
    shown = list(silent["views"].values())
    return {**silent, "views": [view["view"] for view in shown], "words": False}, shown


def view_without_words(view: Mapping[str, Any]) -> dict[str, Any]:
    silent = {name: hidden(value) if name in IDS_IN_VIEWS else value for name, value in view.items()}
    return {**silent, "pieces": {str(NO_ID): ""}} if "pieces" in view else silent


def hidden(value: Any) -> Any:
    return [hidden(each) for each in value] if isinstance(value, list) else NO_ID
