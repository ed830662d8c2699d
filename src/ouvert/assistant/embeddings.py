"""Texts to vectors, with models made for that."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ouvert.assistant.error import AssistantError
from ouvert.tokenization import Tokenizer


@dataclass(frozen=True, slots=True)
class Embeddings:
    """`vectors`: float32 (texts, size), each of length 1. `tokens`: how many of each text were read."""

    vectors: np.ndarray
    tokens: tuple[int, ...]


def ids_to_embed(tokenizer: Tokenizer, text: str | Sequence[int], most: int | None) -> list[int]:
    """A text's ids between the tokens that the model wants around it, or ids as they are; at most `most` of them,
    whose end is kept. Raises AssistantError where there is nothing to read."""
    if not isinstance(text, str):
        ids, closing = list(text), []
    else:
        opening = [tokenizer.bos] if tokenizer.adds_bos and tokenizer.bos is not None else []
        ids = [*opening, *tokenizer.encode(text)] if text else []
        closing = [] if tokenizer.closing is None else [tokenizer.closing]
    if not ids:
        raise AssistantError("making embeddings: a text is empty, expected some words. Leave it out.")
    if most is not None:
        ids = ids[: max(most - len(closing), 0)]
    return [*ids, *closing]


def shortened(vectors: np.ndarray, dimensions: int | None) -> np.ndarray:
    """The first of each vector's numbers, at length 1 again: for models trained so that these say most (Kusupati et
    al., Matryoshka Representation Learning, arXiv:2205.13147). Raises AssistantError for more than there are."""
    if dimensions is None:
        return vectors
    if not 1 <= dimensions <= vectors.shape[1]:
        raise AssistantError(
            f"making embeddings: dimensions is {dimensions}, expected 1 to {vectors.shape[1]}, which this model has."
        )
    first = vectors[:, :dimensions]
    return np.asarray(first / np.maximum(np.linalg.norm(first, axis=1, keepdims=True), np.finfo(np.float32).tiny))
