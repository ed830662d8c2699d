"""POST /api/generate: one question answered, or a text continued as it is."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from starlette.responses import Response

from ouvert.assistant import Message, ToolCall
from ouvert.serving.endpoints import Call
from ouvert.serving.errors import Refusal
from ouvert.serving.ollama.answer_lines import lines_of, new_id, only_loaded, sent
from ouvert.serving.ollama.foreign_fields import OLLAMA_REFUSED
from ouvert.serving.ollama.wire import AnswerRequest, refuse_images
from ouvert.serving.streams import unless_gone
from ouvert.serving.text_continuation import TextsToContinue, TextTask
from ouvert.serving.wire import Several


class OllamaGenerate(AnswerRequest):
    refused: ClassVar[Mapping[str, str]] = {
        **OLLAMA_REFUSED,
        "context": "send the conversation to /api/chat; what was read before is kept and not read again",
        "height": "these models write text only",
        "messages": "send them to /api/chat",
        "steps": "these models write text only",
        "template": "a model's own template is used; send raw: true to write all of the prompt yourself",
        "tools": "send messages and tools to /api/chat",
        "width": "these models write text only",
    }

    prompt: str = ""
    system: str | None = None
    suffix: str | None = None
    raw: bool | None = None
    images: Several[Any] | None = None


class GeneratedShape:
    """A line has the text itself."""

    text_field = "response"

    def line(self, text: str, thinking: str | None, _calls: Sequence[ToolCall]) -> dict[str, Any]:
        return {"response": text} if thinking is None else {"response": text, "thinking": thinking}

    def inner(self, line: Mapping[str, Any]) -> dict[str, Any]:
        return dict(line)

    def with_inner(self, _line: Mapping[str, Any], inner: dict[str, Any]) -> dict[str, Any]:
        return inner


async def generate(call: Call) -> Response:
    request: OllamaGenerate = call.body
    refuse_images(request.images, "images")
    if not request.prompt and not request.suffix:
        return await only_loaded(call, request, GeneratedShape())
    if request.raw or request.suffix:
        return await continued(call, request)
    system = [Message(role="system", content=request.system)] if request.system else []
    messages = [*system, Message(role="user", content=request.prompt)]
    wanted = request.chat_request(messages)
    lines = await lines_of(call, request, GeneratedShape())
    answer = await unless_gone(
        call.request, call.service.answer(request.model, wanted, call.caller, new_id(), notes=request.unknown)
    )
    return await sent(call, request, answer, lines)


async def continued(call: Call, request: OllamaGenerate) -> Response:
    """A text as it is, or the gap between two, without a template: what editors complete code with."""
    for name in ("format", "think", "system", "logprobs"):
        if getattr(request, name):
            raise Refusal(
                400,
                f"{name} needs the model's template, which raw and suffix leave out. Leave {name} out.",
                code="unsupported_parameter",
                param=name,
            )
    sampling = request.sampling
    texts = TextsToContinue(
        model=request.model,
        prompts=[request.prompt],
        suffix=request.suffix,
        limit=sampling.pop("max_tokens", None),
        form=request.form,
        stop=request.chosen.stops,
        sampling=sampling,
    )
    task = TextTask(texts, call.service.settings.answer_seconds)
    lines = await lines_of(call, request, GeneratedShape())
    answer = await unless_gone(call.request, call.service.begin(task, call.caller, new_id()))
    answer.notes += request.unknown
    return await sent(call, request, answer, lines)
