"""Texts without a conversation: to be continued as they are, and completions for models that do not chat."""

from typing import TYPE_CHECKING

import numpy as np

from ouvert.tokenization import TokenizerError
from ouvert.tuning.example import Example
from ouvert.tuning.spans import Masked, Rules, too_long
from ouvert.tuning.talk import RowError, Talk

if TYPE_CHECKING:
    from ouvert.tokenization import Tokenizer


def text_examples(text: str, line: int, tokenizer: "Tokenizer", rules: Rules) -> Masked:
    """Every token but the first is trained, the one that ends texts among them. Where texts may be cut, one that is too
    long becomes several, cut where lines end. Raises RowError."""
    ids = behind_the_beginning(encoded(text, tokenizer), tokenizer)
    if tokenizer.eos is not None:
        ids.append(tokenizer.eos)
    if len(ids) < 2:
        raise RowError("the text is one token, expected something to learn. Leave it out")
    if len(ids) <= rules.length:
        return Masked(examples=(trained_from(ids, 1, line),), turns=())
    if not rules.cuts:
        raise too_long(len(ids), rules)
    found = [trained_from(piece, 1, line) for piece in pieces_of(text, tokenizer, rules.length)]
    return Masked(examples=tuple(found), turns=(), cut=1)


def pieces_of(text: str, tokenizer: "Tokenizer", length: int) -> list[list[int]]:
    """The text's ids in pieces of at most `length`, each begun as texts are; only the last one ends one."""
    pieces: list[list[int]] = []
    ids: list[int] = behind_the_beginning([], tokenizer)
    begun = len(ids)
    end = [] if tokenizer.eos is None else [tokenizer.eos]
    for line in text.splitlines(keepends=True):
        more = encoded(line, tokenizer)
        while len(ids) + len(more) > length - len(end):
            if len(ids) == begun:  # one line that is too long by itself
                taken, more = more[: length - len(end) - begun], more[length - len(end) - begun :]
                ids += taken
            pieces.append(ids)
            ids = behind_the_beginning([], tokenizer)
        ids += more
    return [piece for piece in (*pieces, ids + end) if len(piece) > max(1, begun)]


def completion_example(talk: Talk, line: int, tokenizer: "Tokenizer", rules: Rules) -> Masked:
    """A prompt and its completion, as text that goes on: for models without a chat format. Raises RowError."""
    prompt, completion = (message.content for message in talk.messages)
    before = encoded(prompt, tokenizer)
    together = encoded(prompt + completion, tokenizer)
    # Where one token would hold the end of the prompt and the beginning of the completion, each is encoded by itself.
    after = together[len(before) :] if together[: len(before)] == before else encoded(completion, tokenizer)
    ids = behind_the_beginning(before, tokenizer)
    start = len(ids)
    ids += after
    if tokenizer.eos is not None:
        ids.append(tokenizer.eos)
    if len(ids) > rules.length:
        raise too_long(len(ids), rules)
    return Masked(examples=(trained_from(ids, max(1, start), line),), turns=())


def behind_the_beginning(ids: list[int], tokenizer: "Tokenizer") -> list[int]:
    """With the token that the server puts in front of a text, where it does."""
    return [tokenizer.bos, *ids] if tokenizer.adds_bos and tokenizer.bos is not None else list(ids)


def encoded(text: str, tokenizer: "Tokenizer") -> list[int]:
    try:
        return tokenizer.encode(text)
    except TokenizerError as problem:
        raise RowError(str(problem)) from problem


def trained_from(ids: list[int], start: int, line: int) -> Example:
    trained = np.ones(len(ids), np.float32)
    trained[:start] = 0
    return Example(np.array(ids, np.int32), trained, line)
