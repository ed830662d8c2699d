"""Token ids being written for a request, and how they are said in vLLM's words."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ouvert.assistant import Generation, Reading, Stopped, Token, Usage, constraint_from
from ouvert.serving.errors import Refusal
from ouvert.serving.loaded_models import Lease
from ouvert.serving.token_ids.request import GenerateRequest

# Why an answer ended -> what vLLM calls it.
FINISH_REASONS = {
    "stop": "stop",
    "length": "length",
    "repetition": "repetition",
    "cancelled": "abort",
    "timeout": "abort",
}
Item = Reading | Token | Stopped
Scores = Sequence[Token]


class TokenTask:
    """One request for token ids."""

    choices = 1

    def __init__(self, model: str, request: GenerateRequest, timeout: float | None) -> None:
        """`timeout`: seconds that the server gives an answer."""
        self.model, self.variant = model, request.variant
        self.prompt_scores: Scores | None = None
        self._request, self._timeout = request, timeout

    def start(self, lease: Lease, number: int) -> "TokensInProgress":
        request, model = self._request, lease.model
        variant = model.variant_for(request.variant)
        refuse_another(request.ouvert.identity, model.engine.facts.identity.digest)
        end_ids = frozenset() if request.sampling_params.ignore_eos else model.tokenizer.end_ids
        source = self._constraint_source()
        constraint = None if source is None else constraint_from(source, model)
        limits = [limit for limit in (request.ouvert.timeout, self._timeout) if limit is not None]
        if (top := request.sampling_params.prompt_logprobs) is not None:
            self.prompt_scores = model.engine.score_all(
                [request.token_ids], top, variant, owner=salted(lease.owner, request.cache_salt)
            )[0]
        generation = model.engine.generate(
            request.token_ids,
            replace(request.sampling(end_ids), constraint=constraint),
            variant,
            written=request.ouvert.written,
            timeout=min(limits, default=None),
            owner=salted(lease.owner, request.cache_salt),
        )
        return TokensInProgress(generation, reading=request.ouvert.reading)

    def _constraint_source(self) -> Mapping[str, Any] | None:
        """The source of what the answer is held to. Raises Refusal for two of them."""
        stated = self._request.sampling_params.structured_outputs
        grammar = None if stated is None else stated.stated()
        source = self._request.ouvert.constraint
        if grammar is not None and source is not None:
            raise Refusal(
                400,
                "The answer is held to structured_outputs and to ouvert.constraint, expected one of them. Leave one "
                "out.",
                code="invalid_value",
                param="ouvert.constraint",
            )
        return source if grammar is None else grammar.source


class TokensInProgress:
    """An answer: how far the prompt is read where that is asked for, tokens, and why they ended."""

    def __init__(self, generation: Generation, *, reading: bool) -> None:
        self._generation, self._reading = generation, reading

    def __iter__(self) -> Iterator[Item]:
        if self._reading:
            yield from self._generation.reading()
        yield from self._generation
        yield self._generation.stopped

    def cancel(self) -> None:
        self._generation.cancel()


def refuse_another(meant: str | None, here: str) -> None:
    """Raises Refusal where another engine is meant than the one that is here now."""
    if meant is not None and meant != here:
        raise Refusal(
            409,
            f"ouvert.identity is {meant:.80}, and this engine's is {here}: it was started anew, with other weights, "
            "another build or other settings. Ask for its facts again.",
            code="another_engine",
            param="ouvert.identity",
        )


def salted(owner: str, salt: str | None) -> str:
    """Whose kept prefixes: within what a caller has, each salt its own."""
    return owner if salt is None else f"{owner}\0{salt}"


def usage_of(stopped: Stopped) -> Usage:
    return Usage(prompt=stopped.prompt_tokens, reused=stopped.reused_tokens, output=stopped.output_tokens, reasoning=0)


def usage_facts(stopped: Stopped) -> dict[str, Any]:
    return {
        "prompt_tokens": stopped.prompt_tokens,
        "completion_tokens": stopped.output_tokens,
        "total_tokens": stopped.prompt_tokens + stopped.output_tokens,
        "prompt_tokens_details": {"cached_tokens": stopped.reused_tokens},
    }


def choice_facts(
    tokens: Sequence[Token], stopped: Stopped | None, stop_ids: Sequence[int], *, scored: bool
) -> dict[str, Any]:
    """A choice, or a piece of one. `stop_ids`: those that the request named; one of them is why it stopped."""
    last = tokens[-1].id if tokens else None
    return {
        "index": 0,
        "token_ids": [token.id for token in tokens],
        "logprobs": {"content": [logprob_facts(token) for token in tokens]} if scored else None,
        "finish_reason": None if stopped is None else FINISH_REASONS[stopped.reason],
        "stop_reason": last if stopped is not None and stopped.reason == "stop" and last in stop_ids else None,
    }


def logprob_facts(token: Token) -> dict[str, Any]:
    """The chosen token comes first, then the likeliest ones, each once."""
    others = [{"token_id": id_, "logprob": logprob} for id_, logprob in token.top if id_ != token.id]
    chosen = {"token_id": token.id, "logprob": token.logprob}
    return {**chosen, "top_logprobs": [chosen, *others]}


def prompt_logprobs(scores: Scores) -> list[dict[str, Any] | None]:
    """For each token of a prompt its own log-probability and those of the likeliest; of the first there is none."""
    return [
        None,
        *(
            {str(id_): {"logprob": logprob} for id_, logprob in ((token.id, token.logprob), *token.top)}
            for token in scores
        ),
    ]


def ending_facts(stopped: Stopped) -> dict[str, Any]:
    """The field `ouvert` of the last event: what receipts say of an answer, and vLLM has no words for."""
    facts = {
        "reason": stopped.reason,
        "seed": stopped.seed,
        "seconds_queued": stopped.seconds_queued,
        "seconds_prefill": stopped.seconds_prefill,
        "seconds_decode": stopped.seconds_decode,
        "joules": stopped.joules,
    }
    return {"stopped": facts}


def reading_facts(reading: Reading) -> dict[str, Any]:
    facts = {"done": reading.done, "total": reading.total, "reused": reading.reused, "seconds": reading.seconds}
    return {"reading": facts}
