"""What is asked to be looked into, and in which answer or text it is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ouvert import inspection
from ouvert.assistant import (
    Edit,
    Model,
    ReplayInput,
    Transcript,
    as_conversation,
    conversation_as_asked,
    read_contents,
    receipt_digest,
    reopened,
    transcript_of,
    variant_of,
)
from ouvert.chat import Rendered
from ouvert.serving.edits import MOST_EDITS, StatedEdit
from ouvert.serving.endpoints import MOST_COUNT
from ouvert.serving.errors import Refusal

SHORT = 64  # tokens of an answer that is written to be looked into, unless max_tokens says otherwise
MOST_BYTES = 1_000_000_000  # of the values of one trace, and of all that are kept
USUAL_BYTES = 256_000_000
MOST_NAMES = 256  # of values and patterns, each compared with every value that the model has
Name = Annotated[str, Field(max_length=128)]


class TraceRequest(BaseModel):
    """One of: `receipt`, the id of an answer of this server or the receipt itself, with the `messages` that were sent
    unless what was said is kept beside it; `messages`, which are answered now; a `text`, or `ids`, which are only read.

    `record`, `positions` and `max_bytes` are those of `Model.trace`. `edits` are those of an edited answer, for what is
    computed now; those of a receipt are its own. `plan`: only say what it would take.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    model: str | None = None
    receipt: str | dict[str, Any] | None = None
    messages: list[dict[str, Any]] | None = None
    tools: list[dict[str, Any]] | None = None
    text: str | None = None
    ids: list[int] | None = None
    record: Annotated[list[Name], Field(max_length=MOST_NAMES)] = ["embedding", "layers.*.out"]
    positions: str | list[int] = "all"
    max_bytes: int = Field(USUAL_BYTES, ge=1, le=MOST_BYTES)
    max_tokens: int = Field(SHORT, ge=1, le=MOST_COUNT)
    temperature: float | None = Field(None, ge=0)
    seed: int | None = None
    edits: Annotated[list[StatedEdit], Field(max_length=MOST_EDITS)] = Field(default_factory=list)
    plan: bool = False

    @model_validator(mode="after")
    def one_of_them(self) -> Self:
        given = [name for name in ("text", "ids") if getattr(self, name) is not None]
        given += ["receipt" if self.receipt is not None else "messages"] * (
            self.receipt is not None or self.messages is not None
        )
        if len(given) != 1:
            raise ValueError("one of receipt, messages, text and ids is expected")
        if self.receipt is not None and self.edits:
            raise ValueError("edits beside a receipt are not expected: its answer had its own")
        if self.receipt is None and self.model is None:
            raise ValueError("a model is expected where no receipt says it")
        return self


@dataclass(frozen=True, slots=True)
class Asked:
    """The request with the receipt that it names, where it names one."""

    request: TraceRequest
    receipt: Mapping[str, Any] | None
    edits: tuple[Edit, ...] = ()
    reads_ledger: bool = False  # the owner asks: what was said may be read from the ledger

    @property
    def model(self) -> str:
        """The name of the model. Raises Refusal for a receipt that names none."""
        stated = (self.receipt or {}).get("model")
        named = self.request.model or (stated.get("name") if isinstance(stated, Mapping) else None)
        if not isinstance(named, str):
            raise Refusal(400, "The receipt names no model. Send the whole receipt.", param="receipt")
        return named

    def plans(self, model: Model) -> tuple[inspection.Price, inspection.Price]:
        """What it would take, and the same with the whole lens. Raises what `transcript` and `inspection.plan_of`
        raise."""
        subject, foreseen = inspection.subject_of(model), self._foreseen(model)
        rows = subject.layers * (len(foreseen.prompt_ids) + len(foreseen.output_ids))
        asked: dict[str, Any] = {"record": self.request.record, "positions": self.request.positions}
        return (
            inspection.plan_of(subject, foreseen, **asked),
            inspection.plan_of(subject, foreseen, lens_rows=rows, **asked),
        )

    def _foreseen(self, model: Model) -> Transcript:
        """A transcript of as many tokens."""
        request = self.request
        if self.receipt is not None:
            tokens = self.receipt.get("tokens")
            stated = tokens if isinstance(tokens, Mapping) else {}
            counts = stated.get("prompt"), stated.get("output")
            fit = [count for count in counts if isinstance(count, int) and 0 <= count <= model.engine.context]
            if len(fit) != len(counts):
                raise Refusal(400, "The receipt has no counts of tokens. Send the whole receipt.", param="receipt")
            return Transcript(prompt_ids=(0,) * fit[0], output_ids=(0,) * fit[1])
        if request.messages is None:
            return self.transcript(model)
        prompt = model.render(as_conversation(request.messages, request.tools).messages, request.tools).ids
        return Transcript(prompt_ids=prompt, output_ids=(0,) * min(request.max_tokens, model.engine.context))

    def transcript(self, model: Model) -> Transcript:
        """The tokens: of an answer that was given, of one that is written now, or of a text. Takes its time.

        Raises LedgerError for an answer that cannot be opened; what `Model.chat` and its answer raise.
        """
        request = self.request
        if self.receipt is not None:
            return reopened(model, self.receipt, self._said(model))
        if request.messages is not None:
            answer = model.chat(
                request.messages,
                request.tools,
                max_tokens=request.max_tokens,
                temperature=request.temperature,
                seed=request.seed,
                edits=self.edits,
            )
            return transcript_of(answer, model.chat_format)
        ids = tuple(model.text_ids(request.text) if request.text is not None else request.ids or ())
        variant = variant_of(model.variant, self.edits, Rendered(ids=ids, spans=(), text=""))
        return Transcript(prompt_ids=ids, variant=variant)

    def _said(self, model: Model) -> ReplayInput:
        receipt, request = self.receipt or {}, self.request
        if request.messages is not None:
            return ReplayInput(conversation=conversation_as_asked(receipt, request.messages, request.tools))
        contents = kept_beside(model, receipt) if self.reads_ledger else None
        return ReplayInput(contents=None if contents is None else read_contents(contents))


def kept_beside(model: Model, receipt: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What was said beside this receipt in the model's ledger; None where that was not kept."""
    return None if model.ledger is None else model.ledger.contents(receipt_digest(receipt))
