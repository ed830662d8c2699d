"""The engine alone over HTTP: tokens, what can be asked of it, what members of a pool say of themselves."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Annotated, Any

from pydantic import Field
from starlette.responses import Response

from ouvert.assistant import Reading, Stopped, Token
from ouvert.serving.answers import AnswerInProgress
from ouvert.serving.body import TOKEN_VALUES
from ouvert.serving.endpoints import MOST_COUNT, Call, Endpoint
from ouvert.serving.errors import Refusal, openai_error
from ouvert.serving.streams import JSONAnswer, Streamed, saying_what_goes_wrong, sse, unless_gone
from ouvert.serving.token_ids.answer import (
    Item,
    TokenTask,
    choice_facts,
    ending_facts,
    prompt_logprobs,
    reading_facts,
    refuse_another,
    salted,
    usage_facts,
    usage_of,
)
from ouvert.serving.token_ids.request import GenerateRequest, Ids
from ouvert.serving.wire import Several, Wire

FORMAT = 1  # of the facts
DONE = b"data: [DONE]\n\n"
MOST_ABORTED = 10_000


def model_meant(call: Call, name: str | None) -> str:
    """The name that was stated, or that of the first model that the owner named. Raises Refusal where there is none."""
    if name is not None:
        return name
    first = call.service.loaded_models.catalog.first
    if not first:
        raise Refusal(404, "This server was told of no model. Name one.", code="model_not_found", param="model")
    return first[0].name


async def generate(call: Call) -> Response:
    request: GenerateRequest = call.body
    if request.ouvert.written and request.sampling_params.prompt_logprobs is not None:
        raise Refusal(
            400, "An answer that goes on has no prompt_logprobs. Leave them out.", code="invalid_value", param="written"
        )
    if request.stream and request.sampling_params.prompt_logprobs is not None:
        raise Refusal(
            400, "prompt_logprobs are not streamed. Ask with stream: false.", code="invalid_value", param="stream"
        )
    task = TokenTask(model_meant(call, request.model), request, call.service.settings.answer_seconds)
    answer_id = request.request_id or f"gen-{secrets.token_hex(12)}"
    answer = await unless_gone(call.request, call.service.begin(task, call.caller, answer_id))
    if request.stream:
        return Streamed(
            saying_what_goes_wrong(chunks(answer, request), in_vllms_words),
            answer.close,
            ping_seconds=call.service.settings.ping_seconds,
            headers=answer.headers,
        )
    try:
        tokens, stopped = await unless_gone(call.request, collected(answer))
    finally:
        await answer.close()
    params = request.sampling_params
    scores = task.prompt_scores
    return JSONAnswer(
        {
            "request_id": answer.id,
            "output_mode": "tokens",
            "created": answer.created,
            "model": answer.name,
            "choices": [choice_facts(tokens, stopped, params.stop_token_ids or (), scored=params.logprobs is not None)],
            "usage": usage_facts(stopped),
            "prompt_logprobs": None if scores is None else prompt_logprobs(scores),
            "ouvert": ending_facts(stopped) | not_honoured(request),
        },
        headers=answer.headers,
    )


async def collected(answer: AnswerInProgress[Item]) -> tuple[list[Token], Stopped]:
    tokens: list[Token] = []
    async for _, item in answer:
        if isinstance(item, Token):
            tokens.append(item)
        elif isinstance(item, Stopped):
            answer.count_tokens(usage_of(item))
            return tokens, item
    raise RuntimeError("an answer ended without saying why")


async def chunks(answer: AnswerInProgress[Item], request: GenerateRequest) -> AsyncIterator[bytes]:
    """One event a token; the last one says why it ended, and is followed by one with what it took."""
    frame = {"request_id": answer.id, "output_mode": "tokens"}
    params = request.sampling_params
    scored, stop_ids = params.logprobs is not None, params.stop_token_ids or ()
    last: list[Token] = []  # held back for a moment: it may be the one that ended the answer
    async for _, item in answer:
        if isinstance(item, Reading):
            yield sse({**frame, "choices": [], "ouvert": reading_facts(item)})
        elif isinstance(item, Token):
            yield sse({**frame, "choices": [choice_facts([item], None, (), scored=scored)]})
            last = [item]
        else:
            answer.count_tokens(usage_of(item))
            ended = choice_facts(last, item, stop_ids, scored=False) | {"token_ids": []}
            yield sse({**frame, "choices": [ended]})
            facts = {"usage": usage_facts(item), "ouvert": ending_facts(item) | not_honoured(request)}
            yield sse({**frame, "choices": [], **facts})
    yield DONE


def not_honoured(request: GenerateRequest) -> dict[str, Any]:
    return {"not_honoured": list(request.unknown)} if request.unknown else {}


def in_vllms_words(refusal: Refusal) -> bytes:
    """What went wrong in a stream, as its last event: `code` is the status."""
    said = openai_error(refusal)["error"]
    return sse({"error": {**said, "code": refusal.status, "reason": refusal.code}}) + DONE


class AbortRequest(Wire):
    request_ids: Annotated[Several[str], Field(max_length=MOST_ABORTED)]


async def abort(call: Call) -> Response:
    """End the answers to these requests, as far as they are this caller's and are still being written."""
    wanted = set(call.body.request_ids)
    for answer in tuple(call.service.answers.in_progress):
        if answer.id in wanted and answer.caller.whose == call.caller.whose:
            answer.cancel()
    return JSONAnswer({})


class EmbedRequest(Wire):
    token_ids: Annotated[Several[Several[int]], Field(min_length=1, max_length=TOKEN_VALUES)]
    model: str | None = None


async def embed(call: Call) -> Response:
    """The vector of each text."""
    lease = await call.service.borrow(model_meant(call, call.body.model), call.caller)
    try:
        model = lease.model
        vectors = await asyncio.to_thread(model.engine.embed, call.body.token_ids, model.variant)
        return JSONAnswer({"embeddings": vectors.tolist()})
    finally:
        lease.give_back()


class ScoreRequest(Wire):
    """Texts to score: for each the position of the first token that is wanted, 1 or later."""

    token_ids: Annotated[Several[Ids], Field(min_length=1, max_length=TOKEN_VALUES)]
    starts: Annotated[Ids, Field(max_length=TOKEN_VALUES)] | None = None
    top: Annotated[int, Field(ge=0, le=MOST_COUNT)] = 0
    identity: str | None = None
    cache_salt: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    model: str | None = None


async def score(call: Call) -> Response:
    """For each text its tokens from the start on: [id, log-probability, [[id, log-probability], ...]]."""
    request: ScoreRequest = call.body
    lease = await call.service.borrow(model_meant(call, request.model), call.caller)
    try:
        engine, variant = lease.model.engine, lease.model.variant
        stated = await asyncio.to_thread(lambda: engine.facts)
        refuse_another(request.identity, stated.identity.digest)
        owner = salted(lease.owner, request.cache_salt)
        found = await asyncio.to_thread(
            engine.score_all, request.token_ids, request.top, variant, starts=request.starts, owner=owner
        )
        return JSONAnswer({"scores": [[[each.id, each.logprob, each.top] for each in text] for text in found]})
    finally:
        lease.give_back()


class ForgetRequest(Wire):
    cache_salt: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    model: str | None = None


async def forget(call: Call) -> Response:
    """Nothing is kept any more of this caller's prompts of that salt, in memory or on disk."""
    lease = await call.service.borrow(model_meant(call, call.body.model), call.caller)
    try:
        owner = salted(lease.owner, call.body.cache_salt)
        await asyncio.to_thread(lease.model.engine.forget, lambda ids: True, owner)
        return JSONAnswer({})
    finally:
        lease.give_back()


async def facts(call: Call) -> Response:
    """What the model of this engine is, how it computes, and how busy it is."""
    name = model_meant(call, call.request.query_params.get("model"))
    lease = await call.service.borrow(name, call.caller)
    try:
        model, engine = lease.model, lease.model.engine
        stated = await asyncio.to_thread(lambda: engine.facts)
        return JSONAnswer(
            {
                "format": FORMAT,
                "model": model.info.name,
                "context": engine.context,
                "vocabulary_size": engine.vocabulary_size,
                "embedding_size": engine.embedding_size,
                "tokenizer_digest": await asyncio.to_thread(lambda: model.tokenizer.digest),
                "version": stated.version,
                "instruction_set": stated.instruction_set,
                "threads": stated.threads,
                "identity": stated.identity.facts(),
                "identity_digest": stated.identity.digest,
                "packed_digest": stated.packed_digest,
                "weights_checked": stated.weights_checked,
                "load": asdict(engine.load),
            }
        )
    finally:
        lease.give_back()


async def server_load(call: Call) -> Response:
    """How many answers are written or wait, in vLLM's words."""
    return JSONAnswer({"server_load": call.service.answers.in_flight})


ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/inference/v1/generate",
        handler=generate,
        summary="Token ids that follow token ids",
        body=GenerateRequest,
        values=TOKEN_VALUES,
        versioned=False,
        both_ways=False,
    ),
    Endpoint(
        method="POST",
        path="/inference/v1/abort_requests",
        handler=abort,
        summary="End answers by the ids of their requests",
        body=AbortRequest,
        versioned=False,
        both_ways=False,
    ),
    Endpoint(
        method="POST",
        path="/inference/v1/embed",
        handler=embed,
        summary="Vectors of token ids",
        body=EmbedRequest,
        values=TOKEN_VALUES,
        versioned=False,
        both_ways=False,
    ),
    Endpoint(
        method="POST",
        path="/inference/v1/score",
        handler=score,
        summary="Log-probabilities of token ids",
        body=ScoreRequest,
        values=TOKEN_VALUES,
        versioned=False,
        both_ways=False,
    ),
    Endpoint(
        method="POST",
        path="/inference/v1/forget",
        handler=forget,
        summary="Keep nothing of a salt's prompts any more",
        body=ForgetRequest,
        versioned=False,
        both_ways=False,
    ),
    Endpoint(
        method="GET",
        path="/inference/v1/facts",
        handler=facts,
        summary="What the engine is, for members of a pool",
        versioned=False,
        both_ways=False,
    ),
    Endpoint(
        method="GET",
        path="/load",
        handler=server_load,
        summary="How many answers are in progress",
        versioned=False,
        both_ways=False,
    ),
)
