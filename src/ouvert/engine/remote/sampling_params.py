"""Sampling in vLLM's words: the `sampling_params` of a request. What it says otherwise: docs/formats/engine-http.md."""

import json
from collections.abc import Iterable
from typing import Any

from ouvert.engine.constraints.grammar import Grammar
from ouvert.engine.interface import Sampling


def sampling_params(sampling: Sampling, *, seed: int, max_tokens: int) -> dict[str, Any]:
    """All but the ids that end the answer and what holds it to a form. Its model ends none by itself.

    One more likely token is asked for than is wanted: the chosen one is counted among them, however unlikely it is.
    Raises nothing.
    """
    params: dict[str, Any] = {
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p,
        "repetition_penalty": sampling.repetition_penalty,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "seed": seed,
        "max_tokens": max_tokens,
        "ignore_eos": True,
        "detokenize": False,
    }
    if sampling.logprobs is not None:
        params["logprobs"] = sampling.logprobs + 1 if sampling.logprobs else 0
    if sampling.logit_bias:
        params["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias.items()}
    return params


def held_to(grammar: Grammar) -> dict[str, Any]:
    """`structured_outputs` for a grammar. Raises nothing."""
    match grammar.kind:
        case "json schema":
            return {"json": json.loads(grammar.text)}
        case "regex":
            return {"regex": grammar.text}
        case "one of":
            return {"choice": json.loads(grammar.text)}
        case "lark" | "gbnf":
            return {"grammar": grammar.text}


def one_of_these(ids: Iterable[int]) -> dict[str, Any]:
    """For a single token, one of these. Raises nothing."""
    return {"allowed_token_ids": [int(token) for token in ids], "max_tokens": 1}
