"""POST /inference/v1/generate: the request. What is vLLM's, and what is ours beside it (the field `ouvert`)."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from ouvert.assistant import BASE, Grammar, Sampling, Variant
from ouvert.serving.body import TOKEN_VALUES
from ouvert.serving.endpoints import MOST_COUNT, MOST_TOKENS
from ouvert.serving.errors import Refusal
from ouvert.serving.wire import Several, Wire

TEXT = "token ids alone are read and written here. Turn them into text where you are"
CHOICES = "one answer is written for a request. Send several"
NOT_HERE = "it belongs to vLLM. Leave it out"
Ids = Several[Annotated[int, Field(ge=0, le=MOST_COUNT)]]


class StructuredOutputs(Wire):
    """What an answer is held to, in vLLM's words: one of these."""

    refused: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("disable_any_whitespace", "disable_additional_properties", "whitespace_pattern", "structural_tag"),
        "a JSON schema is kept as it is, its white space bounded. Leave it out",
    )

    json_schema: dict[str, Any] | str | None = Field(None, alias="json")
    regex: str | None = None
    choice: Several[str] | None = None
    grammar: str | None = None
    json_object: bool | None = None

    def stated(self) -> Grammar | None:
        """Raises Refusal for several at once, EngineError for what is no grammar, ValueError for what is no JSON."""
        found: list[Grammar] = []
        if self.json_schema is not None:
            schema = json.loads(self.json_schema) if isinstance(self.json_schema, str) else self.json_schema
            found.append(Grammar.json_schema(schema))
        if self.regex is not None:
            found.append(Grammar.regex(self.regex))
        if self.choice is not None:
            found.append(Grammar.one_of(self.choice))
        if self.grammar is not None:
            found.append(Grammar.lark(self.grammar))
        if self.json_object:
            found.append(Grammar.json_object())
        if len(found) > 1:
            raise Refusal(
                400,
                f"structured_outputs states {len(found)} forms, expected one. Leave the others out.",
                code="invalid_value",
                param="sampling_params.structured_outputs",
            )
        return found[0] if found else None


class SamplingParams(Wire):
    """vLLM's SamplingParams, as far as they are honoured. What is left out changes nothing, as there."""

    without_effect: ClassVar[frozenset[str]] = frozenset(
        {"detokenize", "output_kind", "skip_special_tokens", "spaces_between_special_tokens", "skip_clone"}
    )
    refused: ClassVar[Mapping[str, str]] = {
        "n": CHOICES,
        "best_of": CHOICES,
        **dict.fromkeys(("stop", "bad_words", "include_stop_str_in_output"), TEXT),
        **dict.fromkeys(
            (
                *("min_tokens", "allowed_token_ids", "logprob_token_ids", "extra_args", "thinking_token_budget"),
                *("repetition_detection", "watermarking", "prompt_logprob_token_ids", "flat_logprobs"),
            ),
            NOT_HERE,
        ),
    }

    temperature: float = 1.0
    top_k: Annotated[int, Field(ge=-1, le=MOST_COUNT)] = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: dict[Annotated[str, Field(max_length=10, pattern=r"^[0-9]+$")], float] | None = None
    seed: int | None = None
    max_tokens: Annotated[int, Field(ge=1, le=MOST_TOKENS)] | None = None
    stop_token_ids: Ids | None = None
    ignore_eos: bool = False
    logprobs: Annotated[int, Field(ge=0, le=MOST_COUNT)] | None = None
    prompt_logprobs: Annotated[int, Field(ge=0, le=MOST_COUNT)] | None = None
    structured_outputs: StructuredOutputs | None = None


class Beside(Wire):
    """The field `ouvert`: what our engine takes, and vLLM does not know.

    `identity`: the digest of the engine that is meant; another one refuses. `written`: the ids with which the answer
    began elsewhere. `constraint`: what it is held to, as `Constraint.source` writes it. `timeout`: seconds. `reading`:
    events say how far the prompt is read.
    """

    identity: str | None = None
    written: Ids = Field(default_factory=list)
    constraint: dict[str, Any] | None = None
    repetition_guard: Annotated[int, Field(ge=0, le=MOST_COUNT)] = 0
    timeout: Annotated[float, Field(ge=0)] | None = None
    reading: bool = False


class StreamOptions(Wire):
    include_usage: bool | None = None
    continuous_usage_stats: Literal[False] | None = None


class GenerateRequest(Wire):
    """The whole request. `cache_salt`: whose kept prefixes the prompt uses and adds to, of all that the caller has."""

    without_effect: ClassVar[frozenset[str]] = frozenset(
        {"token_offsets", "reasoning_ended", "reasoning_parser_kwargs"}
    )
    refused: ClassVar[Mapping[str, str]] = dict.fromkeys(
        (
            *("features", "content_parts", "kv_transfer_params", "ec_transfer_params", "priority"),
            "return_token_ids",
        ),
        NOT_HERE,
    )

    token_ids: Annotated[Ids, Field(min_length=1, max_length=TOKEN_VALUES)]
    sampling_params: SamplingParams
    request_id: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    model: str | None = None
    output_mode: Literal["tokens"] = "tokens"
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    cache_salt: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    ouvert: Beside = Field(default_factory=Beside)

    @property
    def variant(self) -> Variant:
        """The variant that answers."""
        return BASE

    def sampling(self, end_ids: frozenset[int]) -> Sampling:
        """Without what the answer is held to. `end_ids` are those with which the model itself ends an answer."""
        params = self.sampling_params
        stops = frozenset(params.stop_token_ids or ())
        return Sampling(
            temperature=params.temperature,
            top_k=max(0, params.top_k),
            top_p=params.top_p,
            min_p=params.min_p,
            repetition_penalty=params.repetition_penalty,
            presence_penalty=params.presence_penalty,
            frequency_penalty=params.frequency_penalty,
            logit_bias={int(token): bias for token, bias in (params.logit_bias or {}).items()},
            seed=params.seed,
            max_tokens=params.max_tokens,
            stop_ids=stops if params.ignore_eos else stops | end_ids,
            repetition_guard=self.ouvert.repetition_guard,
            logprobs=params.logprobs,
        )
