"""How likely a text is, asked of another server: completions that echo their prompt with its log-probabilities.

OpenAI's old completions (`echo`, `logprobs`), which vLLM has and so does `ouvert serve`; llama.cpp's server, LM Studio
and Ollama do not.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ouvert.evaluation.contestants.exchange import Exchange, RefusedError
from ouvert.evaluation.item import Likelihood, Text

PATH = "/completions"
PROBE = "One two three"


@dataclass(frozen=True, slots=True)
class Echoed:
    """A prompt as it was read: where each token begins, in characters, and its log-probability (None of the first)."""

    offsets: tuple[int, ...]
    logprobs: tuple[float | None, ...]
    tokens: int
    attempts: int


def can_echo(exchange: Exchange, model: str) -> bool:
    """Whether that server reads a text so. Asks it to, once. Raises EvaluationError where it is gone."""
    try:
        return echo_in(exchange.once("POST", PATH, body_of(model, PROBE)), PROBE, 1) is not None
    except RefusedError:
        return False


def echoed(exchange: Exchange, model: str, text: str) -> Echoed:
    """Raises RefusedError for a text that it cannot read so, EvaluationError where it is gone."""
    answered, attempts = exchange.post(PATH, body_of(model, text))
    found = echo_in(answered, text, attempts)
    if found is None:
        raise RefusedError("the server does not say where in the text its tokens are")
    return found


def logprobs_of_text(exchange: Exchange, model: str, ask: Text) -> tuple[tuple[float, ...], Echoed]:
    """One number a token but the first. Raises as `echoed` does."""
    read = echoed(exchange, model, ask.text)
    return tuple(each for each in read.logprobs if each is not None), read


def logprobs_of_choices(exchange: Exchange, model: str, ask: Likelihood) -> tuple[tuple[float, ...], list[Echoed]]:
    """For each choice the sum over its tokens. Raises as `echoed` does."""
    if ask.chat:
        raise RefusedError("the server's template cannot be followed by an answer of ours, so whole answers have no "
                           "likelihood there")  # fmt: skip
    if not ask.context:
        raise RefusedError("nothing stands before the choices, and a text's first token has no likelihood there")
    read = [echoed(exchange, model, ask.context + choice) for choice in ask.choices]
    start = common_start(read, len(ask.context))
    return tuple(sum_from(each, start) for each in read), read


def common_start(read: Sequence[Echoed], start: int) -> int:
    """The last character, `start` or before it, at which a token begins in all the texts, with the same tokens before.

    A token may reach over the end of the context ("chats " + "mangent" has " mangent"); then what the choices are
    summed from is the same in all of them, and they stay comparable.
    """
    shared = set.intersection(*(set(each.offsets) for each in read))
    for place in sorted((each for each in shared if each <= start), reverse=True):
        if len({tuple(offset for offset in each.offsets if offset < place) for each in read}) == 1:
            return place
    return 0


def sum_from(read: Echoed, start: int) -> float:
    """Over the tokens that begin at that character or behind it."""
    return math.fsum(
        logprob or 0.0 for offset, logprob in zip(read.offsets, read.logprobs, strict=True) if offset >= start
    )


def body_of(model: str, text: str) -> dict[str, Any]:
    """lm-eval's form: one token more than the prompt, because some servers refuse to write none."""
    return {"model": model, "prompt": text, "echo": True, "logprobs": 1, "max_tokens": 1, "temperature": 0}


def echo_in(answered: Any, text: str, attempts: int) -> Echoed | None:
    """The tokens of the prompt; None where the answer has none, or does not place them in the text as it was sent."""
    try:
        stated = answered["choices"][0]["logprobs"]
        offsets, logprobs = list(stated["text_offset"]), list(stated["token_logprobs"])
    except (KeyError, IndexError, TypeError):
        return None
    placed = all(isinstance(each, int) for each in offsets) and offsets == sorted(offsets) and offsets[:1] == [0]
    measured = logprobs[:1] == [None] and all(isinstance(each, float | int) and each <= 0 for each in logprobs[1:])
    if not placed or not measured or len(offsets) != len(logprobs):
        return None
    before = [place for place, offset in enumerate(offsets) if offset < len(text)]
    if len(before) not in (len(offsets), len(offsets) - 1) or (len(before) < len(offsets) and offsets[-1] != len(text)):
        return None
    usage = answered.get("usage") if isinstance(answered, Mapping) else None
    prompt = usage.get("prompt_tokens") if isinstance(usage, Mapping) else None
    if isinstance(prompt, int) and prompt != len(before):
        return None  # it reads something before the text, or says less than it read
    return Echoed(tuple(offsets[: len(before)]), tuple(logprobs[: len(before)]), len(before), attempts)
