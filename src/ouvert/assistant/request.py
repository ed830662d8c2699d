"""What is asked of a model, as one value: every face makes it, and what it means for a model is said in `meaning`."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from ouvert.assistant.demands import Demands
from ouvert.chat import Conversation
from ouvert.engine import BASE, Variant

# Words for an effort, least first. A model that lacks one of them takes the nearest that it has.
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")
SEEDS = 2**64  # a seed is below it


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

    `conversation` and `demands`: what was said, and what the answer is held to. `thinking` counts where it says
    something; else what the conversation says.

    `lenient`: an effort that the model lacks is replaced by the nearest one that it has, or left out. A strict tool is
    declared as not strict where nothing holds its calls to the schema. Where `thinking` is enabled and the model does
    not think, `demands.think_budget` is left out. `Answer.notes` names the last two. Without `lenient` such requests
    are refused.

    `sampling`: fields of `Sampling` that are not as the model's makers advise. `stop`: texts that end the answer and
    are not shown. `timeout`: seconds after which the answer ends as it is. `truncate`: where there is no room for an
    answer, the oldest turns are left out, and the receipt says which. `progress`: Reading events come first. `variant`:
    of the model, with its adapters and edits.
    `owner`: whose prompts it shares caches with, as in `Engine.generate`. `asker`: whose thoughts before open tool
    calls may be put back.
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
    owner: str = ""
    asker: str = ""

    def choice(self, number: int) -> Self:
        """The request of choice `number`, from 0, where several answers are asked for: each has the next seed.

        Raises nothing.
        """
        return replace(self, sampling=with_seed_of_choice(self.sampling, number))


@dataclass(frozen=True, slots=True, kw_only=True)
class TextRequest:
    """A text to be continued, without a chat format.

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

    def choice(self, number: int) -> Self:
        """As `ChatRequest.choice`. Raises nothing."""
        return replace(self, sampling=with_seed_of_choice(self.sampling, number))


def with_seed_of_choice(sampling: Mapping[str, Any], number: int) -> Mapping[str, Any]:
    """A seed is the first choice's; the others have the next ones. Without a seed each draws its own."""
    seed = sampling.get("seed")
    return sampling if seed is None or number == 0 else {**sampling, "seed": (seed + number) % SEEDS}
