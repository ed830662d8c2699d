"""/tokenize, /detokenize, /tokenizer_info: text to tokens and back, as lm-eval and vLLM's clients know it."""

import asyncio
from typing import Any

from pydantic import Field
from starlette.responses import Response

from ouvert.assistant import ChatRequest, Model, Thinking, as_conversation
from ouvert.serving.body import TOKEN_VALUES
from ouvert.serving.endpoints import Call, Endpoint
from ouvert.serving.errors import Refusal
from ouvert.serving.function_tools import DeclaredTool, as_tool
from ouvert.serving.openai.chat_request import ChatMessage, as_message
from ouvert.serving.streams import JSONAnswer
from ouvert.serving.wire import Several, Wire


class TokenizeRequest(Wire):
    """A text (`prompt`), or a conversation as the model would read it (`messages`)."""

    model: str | None = None
    prompt: str | None = None
    messages: Several[ChatMessage] | None = Field(None, min_length=1)
    tools: Several[DeclaredTool] | None = None
    reasoning_effort: str | None = None
    add_special_tokens: bool | None = None
    add_generation_prompt: bool = True
    return_token_strs: bool | None = None


class DetokenizeRequest(Wire):
    model: str | None = None
    tokens: Several[int] = Field(max_length=TOKEN_VALUES)
    skip_special_tokens: bool = False


def named_or_only(call: Call, name: str | None) -> str:
    """The model's name; where a request names none, the model in memory that was used last, else the first offered.

    Only models that the caller may know of are considered."""
    if name is not None:
        return name
    loaded_models, admits = call.service.loaded_models, call.caller.admits
    loaded = [entry for entry in loaded_models.loaded() if admits(entry.installed.name)]
    if loaded:
        return max(loaded, key=lambda entry: entry.last_used).installed.called
    every = [installed for installed in loaded_models.catalog.every() if admits(installed.name)]
    if not every:
        raise Refusal(404, "There is no model here yet: `ouvert pull smollm2` brings one.", code="model_not_found")
    return every[0].name


async def tokenize(call: Call) -> Response:
    request: TokenizeRequest = call.body
    if (request.prompt is None) == (request.messages is None):
        raise Refusal(400, "Send either prompt or messages.", code="invalid_value", param="prompt")
    if request.messages is not None and not request.add_generation_prompt:
        raise Refusal(
            400,
            "add_generation_prompt: false is not supported: conversations are counted as the model reads them.",
            code="unsupported_parameter",
            param="add_generation_prompt",
        )
    lease = await call.service.borrow(named_or_only(call, request.model), call.caller)
    try:
        tokens = await asyncio.to_thread(tokens_of, lease.model, request)
        answer: dict[str, Any] = {"count": len(tokens), "max_model_len": lease.model.info.context, "tokens": tokens}
        answer |= request.beside
        if request.return_token_strs:
            spelled = lease.model.tokenizer.token_bytes
            answer["token_strs"] = [spelled(token).decode("utf-8", "replace") for token in tokens]
        return JSONAnswer(answer)
    finally:
        lease.give_back()


def tokens_of(model: Model, request: TokenizeRequest) -> list[int]:
    if request.messages is not None:
        messages = [as_message(message, n) for n, message in enumerate(request.messages)]
        tools = [as_tool(tool.function) for tool in request.tools or ()]
        to_read = ChatRequest(
            conversation=as_conversation(messages, tools),
            thinking=Thinking(effort=request.reasoning_effort),
            lenient=True,
        )
        return list(model.assistant.prompt(to_read).ids)
    tokenizer = model.tokenizer
    ids = model.tokenize(request.prompt or "")
    if request.add_special_tokens is not False and tokenizer.adds_bos and tokenizer.bos is not None:
        return [tokenizer.bos, *ids]
    return ids


async def detokenize(call: Call) -> Response:
    request: DetokenizeRequest = call.body
    lease = await call.service.borrow(named_or_only(call, request.model), call.caller)
    try:
        tokenizer = lease.model.tokenizer
        strange = [token for token in request.tokens if not 0 <= token < tokenizer.vocabulary_size]
        if strange:
            raise Refusal(
                400,
                f"tokens: {strange[0]} is not in the vocabulary of {tokenizer.vocabulary_size}.",
                code="invalid_value",
                param="tokens",
            )
        text = await asyncio.to_thread(lease.model.detokenize, request.tokens, control=not request.skip_special_tokens)
        return JSONAnswer({"prompt": text, **request.beside})
    finally:
        lease.give_back()


async def tokenizer_info(call: Call) -> Response:
    name = call.request.query_params.get("model")
    lease = await call.service.borrow(named_or_only(call, name), call.caller)
    try:
        model, tokenizer = lease.model, lease.model.tokenizer

        def text(token: int | None) -> str | None:
            return None if token is None else tokenizer.token_bytes(token).decode("utf-8", "replace")

        return JSONAnswer(
            {
                "tokenizer_class": "ouvert",
                "name_or_path": model.info.name,
                "vocab_size": tokenizer.vocabulary_size,
                "model_max_length": model.info.context,
                "bos_token": text(tokenizer.bos),
                "eos_token": text(tokenizer.eos),
                "pad_token": text(tokenizer.eos),
                "add_bos_token": tokenizer.adds_bos,
                "chat_template": model.template,
                "digest": tokenizer.digest,
            }
        )
    finally:
        lease.give_back()


ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/tokenize",
        handler=tokenize,
        summary="The tokens of a text or a conversation",
        body=TokenizeRequest,
    ),
    Endpoint(
        method="POST",
        path="/detokenize",
        handler=detokenize,
        summary="The text of tokens",
        body=DetokenizeRequest,
        values=TOKEN_VALUES,
    ),
    Endpoint(method="GET", path="/tokenizer_info", handler=tokenizer_info, summary="What the tokenizer is"),
)
