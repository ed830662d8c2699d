"""Wire types that Ollama's endpoints of answers share."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from ouvert.assistant import (
    EFFORTS,
    AnswerForm,
    ChatRequest,
    Message,
    Thinking,
    Tool,
    as_conversation,
    as_demands,
    sampling_asked,
)
from ouvert.serving import receipts
from ouvert.serving.answer_form import ANY_OBJECT, FormedRequest
from ouvert.serving.bounds import OllamaTemperature, Penalty, RepetitionPenalty, Share, StopList, TopLogprobs
from ouvert.serving.endpoints import MOST_COUNT, MOST_TOKENS
from ouvert.serving.errors import Refusal
from ouvert.serving.ollama.foreign_fields import IN_OPTIONS, OLLAMA_REFUSED, OPTIONS_HARMLESS, OPTIONS_REFUSED
from ouvert.serving.wire import Wire


class Options(Wire):
    """How tokens are chosen. Those that say how Ollama should use a machine are ignored: this server knows its own."""

    without_effect: ClassVar[frozenset[str]] = OPTIONS_HARMLESS
    refused: ClassVar[Mapping[str, str]] = OPTIONS_REFUSED
    unkept: ClassVar[Mapping[str, str]] = {"penalize_newline": "penalties treat a line break as any other token"}

    num_ctx: int | None = Field(None, ge=1, le=MOST_TOKENS)
    num_predict: int | None = Field(None, ge=-2, le=MOST_TOKENS)
    temperature: OllamaTemperature | None = None
    top_k: int | None = Field(None, ge=-1, le=MOST_COUNT)
    top_p: Share | None = None
    min_p: Share | None = None
    repeat_penalty: RepetitionPenalty | None = None
    repeat_last_n: int | None = Field(None, ge=-1, le=MOST_TOKENS)
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    seed: int | None = None
    stop: str | StopList | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        stops = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        return tuple(stop for stop in stops if stop)

    def sampling(self) -> dict[str, Any]:
        """Fields of `Model.sampling`."""
        # A num_predict of -1 is no limit, -2 is until the context is full; both are what happens without one.
        limit = self.num_predict if self.num_predict is not None and self.num_predict >= 1 else None
        return sampling_asked(
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            min_p=self.min_p,
            repetition_penalty=self.repeat_penalty,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            seed=self.seed,
            max_tokens=limit,
        )

    def not_kept(self, context: int) -> list[str]:
        """What cannot be promised, and harms nobody."""
        notes = []
        if self.num_ctx is not None and self.num_ctx > context:
            notes.append(f"options.num_ctx: this server gives {context}")
        if self.repeat_last_n not in (None, -1) and self.repeat_penalty not in (None, 1.0):
            notes.append("options.repeat_last_n: penalties look at the whole text")
        return notes


class AnswerRequest(FormedRequest):
    """What /api/chat and /api/generate have in common."""

    refused: ClassVar[Mapping[str, str]] = OLLAMA_REFUSED

    @model_validator(mode="before")
    @classmethod
    def put_into_options(cls, sent: Any) -> Any:
        """What belongs into options and stands beside them is taken as if it stood there; what stands there counts."""
        if not isinstance(sent, dict):
            return sent
        options = sent.get("options")
        beside = {IN_OPTIONS[name]: sent[name] for name in IN_OPTIONS if sent.get(name) is not None}
        if not beside or not isinstance(options, dict | None):
            return sent
        kept = {name: value for name, value in sent.items() if name not in IN_OPTIONS}
        return {**kept, "options": beside | (options or {})}

    model: str = Field(min_length=1, max_length=512)
    stream: bool | None = None
    format: Literal["", "json"] | dict[str, Any] | None = None
    think: bool | str | None = None
    options: Options | None = None
    keep_alive: float | str | None = None
    logprobs: bool | None = None
    top_logprobs: TopLogprobs | None = None
    ouvert: receipts.Extras | None = None

    @property
    def chosen(self) -> Options:
        return self.options or Options.model_validate({})

    @property
    def sampling(self) -> dict[str, Any]:
        sampling = self.chosen.sampling()
        if self.logprobs:
            sampling["logprobs"] = self.top_logprobs or 0
        return sampling

    def stated_forms(self) -> Iterator[tuple[str, AnswerForm]]:
        if isinstance(self.format, dict):
            yield "format", AnswerForm(schema=self.format)
        elif self.format == "json":
            yield "format", ANY_OBJECT
        yield from super().stated_forms()

    @property
    def thought(self) -> Thinking:
        """How much the model is to think. Raises Refusal."""
        if not isinstance(self.think, str):
            return Thinking(enabled=self.think)
        if self.think not in EFFORTS:
            raise Refusal(
                400,
                f"think is {self.think!r:.80}, expected true, false, or one of {', '.join(EFFORTS)}.",
                code="invalid_value",
                param="think",
            )
        return Thinking(effort=self.think)

    def chat_request(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> ChatRequest:
        """A request to answer these messages, as the other fields say. Raises Refusal for what cannot be honoured."""
        form = self.form
        return ChatRequest(
            conversation=as_conversation(messages, tools, schema=form.schema),
            demands=as_demands("auto", tools, form),
            thinking=self.thought,
            lenient=True,
            sampling=self.sampling,
            stop=self.chosen.stops,
        )


def refuse_images(images: Sequence[Any] | None, where: str) -> None:
    if images:
        raise Refusal(
            400, f"{where}: these models read text only. Describe it in words.", code="unsupported_content", param=where
        )
