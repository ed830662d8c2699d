"""Wire types that several of OpenAI's endpoints share, and what their answers have in common."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field

from ouvert.assistant import AnswerForm, Tool, Usage, sampling_asked
from ouvert.serving.answer_form import FormedRequest, StatedFormat
from ouvert.serving.answers import AnswerInProgress
from ouvert.serving.bounds import Bias, OpenAITemperature, Penalty, RepetitionPenalty, Share, StopList
from ouvert.serving.endpoints import MOST_COUNT, MOST_TOKENS
from ouvert.serving.errors import Refusal, openai_error
from ouvert.serving.streams import sse
from ouvert.serving.wire import Wire

DONE = b"data: [DONE]\n\n"
TEXT_PARTS = frozenset({"text", "input_text", "output_text", "refusal", "summary_text", "reasoning_text"})
MOST_BIASED = 4096  # tokens; OpenAI's clients send a few hundred
# Why an answer ended -> what OpenAI calls it. One that was cut off, by whatever, is not whole: "length".
FINISH_REASONS = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "cancelled": "length",
    "timeout": "length",
    "repetition": "length",
}


def unlimited_is_none(value: Any) -> Any:
    """n8n writes -1 where it means no limit."""
    return None if value == -1 and not isinstance(value, bool) else value


Limit = Annotated[Annotated[int, Field(ge=1, le=MOST_TOKENS)] | None, BeforeValidator(unlimited_is_none)]


class Part(Wire):
    """A piece of a message. This server's models read text."""

    without_effect: ClassVar[frozenset[str]] = frozenset({"annotations", "cache_control", "id", "logprobs"})

    type: str
    text: str | None = None
    refusal: str | None = None


def part_text(part: Part, where: str) -> str:
    if part.type not in TEXT_PARTS:
        raise Refusal(
            400,
            f"{where} is of the type {part.type!r:.40}, and these models read text only. Describe it in words.",
            code="unsupported_content",
            param=where,
        )
    text = part.text if part.text is not None else part.refusal
    if text is None:
        name = "refusal" if part.type == "refusal" else "text"
        raise Refusal(
            400,
            f"{where}.{name} is missing or null, expected text, as the part is of the type {part.type!r}. Send it.",
            code="invalid_value",
            param=f"{where}.{name}",
        )
    return text


class StreamOptions(Wire):
    without_effect: ClassVar[frozenset[str]] = frozenset({"include_obfuscation"})

    include_usage: bool | None = None


class SamplingFields(FormedRequest):
    """How tokens are chosen: fields that all endpoints of answers share. What is left out is as the model's makers
    advise."""

    temperature: OpenAITemperature | None = None
    top_p: Share | None = None
    top_k: int | None = Field(None, ge=-1, le=MOST_COUNT)
    min_p: Share | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repetition_penalty: RepetitionPenalty | None = None
    seed: int | None = None

    def sampling(self) -> dict[str, Any]:
        """Fields of `Model.sampling`."""
        return sampling_asked(
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            min_p=self.min_p,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            repetition_penalty=self.repetition_penalty,
            seed=self.seed,
        )


class SampledRequest(SamplingFields):
    """What Chat Completions and Completions share besides: how tokens are chosen, and what the answer must be."""

    repetition_guard: Annotated[int, Field(ge=0, le=MOST_COUNT)] | None = None
    logit_bias: Annotated[dict[Annotated[str, Field(max_length=10)], Bias], Field(max_length=MOST_BIASED)] | None = None
    stop: str | StopList | None = None
    response_format: StatedFormat | None = None

    def stated_forms(self) -> Iterator[tuple[str, AnswerForm]]:
        if self.response_format is not None and self.response_format.type != "text":
            yield "response_format", self.response_format.form("response_format")
        yield from super().stated_forms()

    @property
    def stops(self) -> tuple[str, ...]:
        stops = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        return tuple(stop for stop in stops if stop)

    def sampling(self) -> dict[str, Any]:
        more = {
            "repetition_guard": self.repetition_guard,
            "logit_bias": bias_by_token(self.logit_bias) if self.logit_bias else None,
        }
        return super().sampling() | sampling_asked(**more)


def bias_by_token(bias: Mapping[str, float]) -> dict[int, float]:
    try:
        return {int(token): value for token, value in bias.items()}
    except ValueError:
        raise Refusal(
            400, "logit_bias: its keys are token ids, written as digits.", code="invalid_value", param="logit_bias"
        ) from None


def chosen_tools(
    tools: list[Tool], choice: str | Mapping[str, Any] | None
) -> tuple[list[Tool], str | Mapping[str, Any]]:
    """The tools that may be called, and the choice in the assistant's words: auto, none, required or OpenAI's dict."""
    match choice:
        case None:
            return tools, "auto"
        case {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": list(listed)}} | {
            "type": "allowed_tools",
            "mode": mode,
            "tools": list(listed),
        }:
            names = {name for each in listed if (name := tool_name(each)) is not None}
            return [tool for tool in tools if tool.name in names], "required" if mode == "required" else "auto"
        case str() if choice not in ("auto", "none", "required"):
            raise Refusal(
                400,
                f"tool_choice is {choice!r:.80}, expected auto, none, required or "
                "{'type': 'function', 'function': {'name': ...}}.",
                code="invalid_value",
                param="tool_choice",
            )
    return tools, choice


def tool_name(listed: Any) -> str | None:
    match listed:
        case {"function": {"name": str(name)}} | {"name": str(name)}:
            return name
    return None


def frame(answer: AnswerInProgress[Any], kind: str) -> dict[str, Any]:
    return {
        "id": answer.id,
        "object": kind,
        "created": answer.created,
        "model": answer.name,
        "system_fingerprint": answer.fingerprint,
    }


def in_openais_words(refusal: Refusal) -> bytes:
    """What went wrong in a stream, as its last event."""
    return sse(openai_error(refusal))


def usage_of(usages: Sequence[Usage]) -> dict[str, Any]:
    """The usage of all choices together: the prompt counts once."""
    prompt = max((usage.prompt for usage in usages), default=0)
    output = sum(usage.output for usage in usages)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
        "prompt_tokens_details": {"cached_tokens": min((usage.reused for usage in usages), default=0)},
        "completion_tokens_details": {"reasoning_tokens": sum(usage.reasoning for usage in usages)},
    }
