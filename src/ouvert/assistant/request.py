"""What is asked of a model, as one value: every face makes it, and what it means for a model is said in `meaning`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral
from typing import Any, Self

from ouvert.assistant.cited import Consult
from ouvert.assistant.demands import Demands
from ouvert.assistant.edits import Edit
from ouvert.assistant.error import AssistantError
from ouvert.assistant.watching import Probe, check_watch
from ouvert.chat import Conversation
from ouvert.engine import BASE, Variant

# Words for an effort, least first. A model that lacks one of them takes the nearest that it has.
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")
SEEDS = 2**64  # a seed is below it
# What a field takes, where the name of its class does not say it.
EXPECTED = {
    "edits": "a tuple of ouvert.Edit",
    "conversation": "a Conversation (`ouvert.as_conversation` makes one of messages)",
    "prompt_ids": "a tuple of token ids (`Model.text_ids` makes one of a text)",
    "sampling": "a mapping of fields of ouvert.Sampling",
    "stop": "a tuple of strings",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Thinking:
    """How much a model is asked to think.

    `effort` is one of EFFORTS. `enabled`: whether it thinks at all. `unasked`: where neither is said, a model that can
    do either thinks.
    """

    effort: str | None = None
    enabled: bool | None = None
    unasked: bool = True

    def or_effort(self, effort: str | None) -> Self:
        """The same, but with the effort in the model's name if none was asked for. Raises nothing."""
        return self if effort is None else replace(self, effort=self.effort or effort, unasked=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """A conversation to be answered.

    Making one raises AssistantError for a field that is not of its kind.

    `conversation` and `demands`: what was said, and what the answer is held to. `thinking` counts where it says
    something; else what the conversation says.

    `lenient`: an effort that the model lacks is replaced by the nearest one that it has, or left out. A strict tool is
    declared as not strict where nothing holds its calls to the schema. Where `thinking` is enabled and the model does
    not think, `demands.think_budget` is left out. `Answer.notes` names the last two. Without `lenient` such requests
    are refused.

    `sampling`: fields of `Sampling` that are not as the model's makers advise. `stop`: texts that end the answer and
    are not shown. `timeout`: seconds after which the answer ends as it is. `truncate`: where there is no room for an
    answer, the oldest turns are left out, and the receipt says which. `progress`: Reading events come first. `variant`:
    of the model, with its adapters and edits. `edits`: more of them, at places of the conversation. `watch`: what is
    seen while the answer is written, "confidence", "experts" and probes: Watched events come (docs/formats/watch.md).
    `owner`: whose prompts it shares caches with, as in `Engine.generate`. `asker`: whose thoughts before open tool
    calls may be put back. `consult`: sources are put before the last message, which is the question, and citations are
    read: Cited events come. Prompts with sources share caches with those alone that have the same.
    """

    conversation: Conversation
    demands: Demands = field(default_factory=Demands)
    thinking: Thinking = field(default_factory=Thinking)
    lenient: bool = False
    sampling: Mapping[str, Any] = field(default_factory=dict)
    stop: tuple[str, ...] = ()
    timeout: float | None = None
    truncate: bool = False
    progress: bool = False
    variant: Variant = BASE
    edits: tuple[Edit, ...] = ()
    watch: tuple[str | Probe, ...] = ()
    owner: str = ""
    asker: str = ""
    consult: Consult | None = None

    def __post_init__(self) -> None:
        check_fields(self, ("conversation", Conversation), ("thinking", Thinking), ("edits", Sequence), *SHARED_KINDS)
        check_watch(self.watch)
        if wrong := [each for each in self.edits if not isinstance(each, Edit)]:
            raise AssistantError(f"making a ChatRequest: edits has {wrong[0]!r:.80}, expected values of ouvert.Edit.")

    def choice(self, number: int) -> Self:
        """The request of choice `number`, from 0, where several answers are asked for: each has the next seed.

        Raises nothing.
        """
        return replace(self, sampling=with_seed_of_choice(self.sampling, number))


@dataclass(frozen=True, slots=True, kw_only=True)
class TextRequest:
    """A text to be continued, without a chat format. Making one raises AssistantError as ChatRequest does.

    `prompt_ids` are read as they are. `control`: control tokens are shown, but for those that end the text. The other
    fields mean what they mean in ChatRequest; of `demands` only `answer`, `best_of` and `candidate` make sense.
    """

    prompt_ids: tuple[int, ...]
    demands: Demands = field(default_factory=Demands)
    control: bool = False
    sampling: Mapping[str, Any] = field(default_factory=dict)
    stop: tuple[str, ...] = ()
    timeout: float | None = None
    progress: bool = False
    variant: Variant = BASE
    owner: str = ""

    def __post_init__(self) -> None:
        check_fields(self, ("prompt_ids", Sequence), *SHARED_KINDS)
        if wrong := [each for each in self.prompt_ids if not isinstance(each, Integral)]:
            raise AssistantError(
                f"asking to continue a text: prompt_ids has {wrong[0]!r:.80}, expected whole numbers. "
                "`Model.text_ids` makes them of a text."
            )

    def choice(self, number: int) -> Self:
        """As `ChatRequest.choice`. Raises nothing."""
        return replace(self, sampling=with_seed_of_choice(self.sampling, number))


# Fields of both requests, and of what kind each is.
SHARED_KINDS = (("demands", Demands), ("sampling", Mapping), ("variant", Variant), ("stop", Sequence))


def check_fields(request: "ChatRequest | TextRequest", *kinds: tuple[str, type]) -> None:
    """Raises AssistantError for a field that is not of its kind. A string is a sequence of letters, not of stops."""
    for name, kind in kinds:
        value = getattr(request, name)
        if not isinstance(value, kind) or (kind is Sequence and isinstance(value, str)):
            expected = EXPECTED.get(name, f"an ouvert.assistant.{kind.__name__}")
            raise AssistantError(
                f"making a {type(request).__name__}: {name}={value!r:.80}, expected {expected}. `Model.chat` "
                "and `continue_text` make the request from plain values."
            )
    if wrong := [each for each in request.stop if not isinstance(each, str)]:
        raise AssistantError(
            f"making a {type(request).__name__}: stop has {wrong[0]!r:.80}, expected strings. Leave it out."
        )


def check_request(given: object, kind: type, plain: str) -> None:
    """Raises AssistantError unless a request of that kind is given. `plain`: the method that takes messages or text."""
    if not isinstance(given, kind):
        raise AssistantError(
            f"answering: a {type(given).__name__} was given, expected a {kind.__name__}. `{plain}` takes plain values."
        )


def with_seed_of_choice(sampling: Mapping[str, Any], number: int) -> Mapping[str, Any]:
    """A seed is the first choice's; the others have the next ones. Without a seed each draws its own."""
    seed = sampling.get("seed")
    return sampling if seed is None or number == 0 else {**sampling, "seed": (seed + number) % SEEDS}
