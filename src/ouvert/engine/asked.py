"""What is asked of an engine, read once, and refused where it cannot be done."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches

from ouvert.engine.interface import ConstraintState, EngineError, Sampling
from ouvert.engine.sampler import check, number, shown, whole
from ouvert.engine.variant import BASE, Variant
from ouvert.packed import Adapter

LONGEST = 1e9  # seconds


def prompt_ids(ids: Sequence[int], *, context: int, vocabulary_size: int, room: int = 0) -> list[int]:
    """The ids, which leave room for so many more in the context.

    Raises EngineError if there are none, too many (both numbers in the message), or one is not in the vocabulary.
    """
    checked = [int(i) for i in ids]
    if not checked:
        raise EngineError("reading a prompt: it has no tokens, expected at least one. Send some text.")
    if len(checked) + room > context:
        raise EngineError(
            f"reading a prompt: it has {len(checked)} tokens, and this engine's context holds {context} for prompt and "
            "answer together. Shorten it, or load the model with a larger context, if it was made for one."
        )
    strange = [i for i in checked if not 0 <= i < vocabulary_size]
    if strange:
        raise EngineError(
            f"reading a prompt: token {strange[0]} is not in the vocabulary of {vocabulary_size}. "
            "Use the tokenizer that belongs to this model."
        )
    return checked


def refuse_not_shown(names: Iterable[str], shown: Mapping[str, int]) -> None:
    """Raises EngineError for names that an answer cannot be watched by."""
    if unknown := sorted(set(names).difference(shown)):
        near = sorted({each for name in unknown for each in get_close_matches(name, shown)})
        raise EngineError(
            f"watching an answer: {', '.join(unknown)}: this model has no such value that every token has a row of. "
            + (f"Near it are {', '.join(near)}; " if near else "")
            + "docs/formats/taps.md has all names."
        )


def asked_elsewhere(
    ids: Sequence[int],
    written: Sequence[int],
    sampling: Sampling,
    timeout: float | None,
    *,
    context: int,
    vocabulary_size: int,
) -> tuple[list[int], list[int]]:
    """The prompt, and how its answer began, as an engine in another program may be asked for the rest. It is refused
    here as one in this process would refuse it: raises EngineError."""
    given = prompt_ids([*ids, *written], context=context, vocabulary_size=vocabulary_size, room=0 if written else 1)
    prompt, beginning = given[: len(given) - len(written)], given[len(given) - len(written) :]
    if sampling.watch is not None:
        raise EngineError(
            "watching an answer: another program computes this model, and shows nothing of it. Leave `watch` out, or "
            "load the model here."
        )
    check_beginning(prompt, beginning, sampling)
    check(sampling, vocabulary_size)
    check_timeout(timeout)
    return prompt, beginning


def refuse_variant(variant: Variant) -> None:
    """Raises EngineError for all but the base, which is what another program computes."""
    if variant != BASE:
        raise EngineError(
            f"beginning a sequence: {', '.join(variant.parts)}: another program computes this model, without adapters "
            "and edits of ours. Leave them out, or load the model into this process."
        )


class NoAdapters:
    """`interface.EngineAdapters` of an engine that computes in other programs, without adapters of ours."""

    digests: frozenset[str] = frozenset()
    nbytes = 0

    def add(self, adapter: Adapter) -> str:
        raise EngineError(
            f"adding the adapter {adapter.digest}: another program computes this model, without adapters of ours. Load "
            "the model into this process."
        )

    def remove(self, digest: str) -> None:
        """There is none."""


def refuse_adapters(variant: Variant) -> None:
    """Raises EngineError for a variant with adapters, which not every member of a pool computes."""
    if variant.adapters:
        raise EngineError(
            f"beginning a sequence: {', '.join(Variant(variant.adapters).parts)}: a pool computes this model, without "
            "adapters: its members have none in common. Leave them out, or load the model into this process."
        )


def check_timeout(timeout: float | None) -> None:
    """Raises EngineError for what is no number of seconds."""
    if timeout is not None and not number(timeout, 0, LONGEST):
        raise EngineError(
            f"beginning an answer: timeout={shown(timeout)}, expected seconds, 0 to {LONGEST:g}. Leave it out, and "
            "there is no limit."
        )


def checked_starts(texts: Sequence[Sequence[int]], starts: Sequence[int] | None) -> list[int]:
    """One for each text; 1 where none were given. Raises EngineError for what is no place in its text."""
    given = [1] * len(texts) if starts is None else [int(start) for start in starts]
    if len(given) != len(texts) or any(start < 1 for start in given):
        raise EngineError(
            f"scoring texts: starts={given!s:.80} for {len(texts)} texts, expected one for each, 1 or more: the first "
            "token has none before it that it could be likely after."
        )
    return given


def check_top(top: int, vocabulary_size: int) -> None:
    """Raise EngineError for what is no number of likeliest tokens."""
    if not whole(top, 0, vocabulary_size):
        raise EngineError(
            f"scoring texts: top={shown(top)}, expected how many of the likeliest tokens to name, 0 to "
            f"{vocabulary_size}."
        )


def check_beginning(prompt: Sequence[int], written: Sequence[int], sampling: Sampling) -> None:
    """Raises EngineError where `written` cannot be how the answer to this request began."""
    if not written:
        return
    problem = None
    if not prompt:
        problem = "there is no prompt before it, expected at least one token"
    elif sampling.temperature > 0 and sampling.seed is None:
        problem = "seed is None, expected the seed that chose it"
    elif sampling.max_tokens is not None and len(written) > sampling.max_tokens:
        problem = f"it has {len(written)} tokens, expected max_tokens={sampling.max_tokens} at most"
    elif sampling.stop_ids.intersection(written[:-1]):
        problem = "a token that ends the answer stands in its middle, expected one at its end at most"
    if problem is not None:
        raise EngineError(
            f"going on with an answer: {problem}. Send the prompt, the tokens and the sampling that it began with."
        )


def state_behind(written: Sequence[int], sampling: Sampling) -> ConstraintState | None:
    """The constraint's state behind these tokens. Raises EngineError for tokens that it does not let through."""
    if sampling.constraint is None:
        return None
    state = sampling.constraint.begin()
    for token in written:
        if token not in sampling.stop_ids:
            state.advance(token)
    return state
