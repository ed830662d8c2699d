"""Tokens with their log-probabilities, in the shape that OpenAI's and Ollama's clients read."""

from typing import Any

from ouvert.assistant import ScoredToken

LOWEST_LOGPROB = -9999.0  # OpenAI's way to say "never"


def scored_token(token: ScoredToken) -> dict[str, Any]:
    top = [spelled(text, logprob) for _, text, logprob in token.top]
    return {**spelled(token.spelled, token.logprob), "top_logprobs": top}


def spelled(text: bytes, logprob: float) -> dict[str, Any]:
    return {
        "token": text.decode("utf-8", "replace"),
        "bytes": list(text),
        "logprob": max(logprob, LOWEST_LOGPROB),
    }
