"""An answer at its end: everything its receipt says, but for what the engine says of itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ouvert.assistant.demands import Demands
from ouvert.assistant.events import Reason, Usage
from ouvert.chat import Conversation, Message, ToolCall
from ouvert.engine import Sampling, Stopped

NO_FORMAT = "none"  # of a text that is continued


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which model is talking: its name here, the format it is talked to in, and the digests of what that rests on.

    Where a text is continued there is no format, and no template. `end_ids`: tokens that end an answer in this format.
    """

    model: str
    format: str
    tokenizer_digest: str
    template_digest: str | None = None
    end_ids: tuple[int, ...] = ()


@dataclass(slots=True)
class Outcome:
    """What became of holding an answer to its form. `loosened`: what of schemas that are not strict it is not held to.

    `untagged`: the answer was the JSON of calls without the marks of the model's syntax, and was read as such.
    """

    thinking_cut: bool = False
    untagged: bool = False
    loosened: list[str] = field(default_factory=list)
    thought_seconds: float | None = None

    def cut_thinking(self) -> None:
        self.thinking_cut = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """An answer to a conversation, or a text continued, at its end.

    `conversation` is the one that was sent, `messages` are as `sent_by_message` gives them, `left_out` are those that
    were given and not sent, by their place; of a text there are none.
    `sampling` is as it was used, `own_stop_ids` are those of its tokens that end an answer beside the chat format's.
    `stop_string` is the one of `stop` that ended it, if one did. `watched`: a summary of what was seen, or None.
    `cited`: parts of the receipt about sources and citations.
    """

    identity: Identity
    prompt_ids: Sequence[int]
    output_ids: Sequence[int]
    sampling: Sampling
    own_stop_ids: frozenset[int]
    stop: tuple[str, ...]
    demands: Demands
    stopped: Stopped
    reason: Reason
    stop_string: str | None = None
    reasoning_tokens: int = 0
    tool_calls: tuple[ToolCall, ...] = ()
    mean_logprob: float | None = None
    conversation: Conversation | None = None
    messages: Sequence[Mapping[str, Any]] = ()
    left_out: Mapping[int, Message] = field(default_factory=dict)
    outcome: Outcome = field(default_factory=Outcome)
    watched: Mapping[str, Any] | None = None
    cited: Mapping[str, Any] = field(default_factory=dict)

    @property
    def usage(self) -> Usage:
        return Usage(
            prompt=self.stopped.prompt_tokens,
            reused=self.stopped.reused_tokens,
            output=self.stopped.output_tokens,
            reasoning=self.reasoning_tokens,
        )
