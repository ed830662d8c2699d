"""What every chat format offers: conversations to tokens, tokens to typed pieces of an answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from ouvert.chat.conversation import Conversation, Delta, Effort, Message, ToolCall
from ouvert.chat.outline import Calls, Outline

Source = Literal["format", "supplied", "chosen"]


class ChatError(Exception):
    """A conversation cannot be written in this format. The message says what is in the way and what to do."""


@dataclass(frozen=True, slots=True)
class Span:
    """Tokens `start` to `stop` (exclusive) of a prompt, and where they come from.

    `message` is the index in the conversation, or None for what belongs to no message (tools, the header of the
    answer to come). `channel` is "analysis", "commentary" or "final" in what an assistant said, else None.
    `source` is "format" for what the format wrote, "supplied" for text from outside, "chosen" for what a model said
    before. A token that holds both counts as the text from outside.
    """

    start: int
    stop: int
    message: int | None
    channel: str | None
    source: Source

    @property
    def supplied(self) -> bool:
        """Whether the text came from outside or from the format, and not from a model. Raises nothing."""
        return self.source != "chosen"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A prompt. The spans follow each other without a gap from the first token to the last.

    `text` is for people: written out again, its control tokens look like any other text. `tools` are the names the
    model may call, each with the schema of its parameters. `thinking` says that the prompt ends inside the model's
    reasoning, `thoughtless` that it ends behind reasoning without words, which the format supplied.
    """

    ids: tuple[int, ...]
    spans: tuple[Span, ...]
    text: str = field(repr=False)
    tools: Mapping[str, Mapping[str, Any] | None] = field(default_factory=dict)
    thinking: bool = False
    thoughtless: bool = False

    @property
    def first_turn(self) -> int:
        """How many tokens it begins with before anything that the model said. Raises nothing."""
        return next((span.start for span in self.spans if span.source == "chosen"), len(self.ids))


@dataclass(frozen=True, slots=True)
class WrittenAnswer:
    """An answer as the model would have to write it behind a prompt: `ids` to the token at which the engine stops.

    The first `thought` of them are thinking, the marks around it among them.
    """

    ids: tuple[int, ...]
    thought: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """What a model can be asked for, as far as its format can say it.

    `thinks`: it reasons before it answers; `optional`: it can be told not to; `efforts`: how much, least first.
    `tools`: functions can be declared to it.
    """

    thinks: bool
    optional: bool
    efforts: tuple[Effort, ...]
    tools: bool


class Parser(Protocol):
    """Takes the tokens of one answer as they come. Its methods and properties raise nothing, whatever the model
    writes."""

    @property
    def tool_calls(self) -> list[ToolCall]:
        """The calls that are complete so far."""

    @property
    def reasoning_tokens(self) -> int:
        """Tokens so far that were spent on thinking, its opening and closing marks included."""

    @property
    def thinking(self) -> bool:
        """Whether the next token continues the model's reasoning."""

    def call_id(self) -> str:
        """The id of one more call, in the form that this format likes."""

    def push(self, token: int) -> list[Delta]:
        """What this token adds to the answer; often nothing, while a mark may still be coming."""

    def finish(self, reason: str) -> list[Delta]:
        """What was held back. `reason` is why the answer ended: "stop", "length" or "cancelled"."""


class ChatFormat(Protocol):
    """One model's way of writing conversations.

    Its properties raise nothing.
    """

    @property
    def name(self) -> str:
        """What receipts call it: "harmony", "template", "builtin chatml", ..."""

    @property
    def digest(self) -> str:
        """ "sha256:<hex>" of everything that decides how prompts are written."""

    @property
    def variants(self) -> "tuple[ChatFormat, ...]":
        """The formats that conversations may be written in: several where a model has more than one template."""

    def for_conversation(self, conversation: Conversation) -> "ChatFormat":
        """The variant that this conversation is written in. Raises nothing."""

    @property
    def stop_ids(self) -> frozenset[int]:
        """Tokens at which an answer ends."""

    @property
    def abilities(self) -> Abilities:
        """What conversations may ask for."""

    def render(self, conversation: Conversation) -> Rendered:
        """Raises ChatError if the conversation asks for what the format cannot do."""

    def parser(self, rendered: Rendered) -> Parser:
        """A parser for the answer to that prompt. Raises nothing."""

    @property
    def guides(self) -> bool:
        """Whether every answer can be held to its outline; else only those that must be, for a caller's sake."""

    def outline(
        self, conversation: Conversation, rendered: Rendered, *, calls: Calls = "auto", shaped: bool = False
    ) -> Outline:
        """What an answer may be made of. `shaped`: its contents are held to a grammar.

        Raises ChatError if the format cannot hold an answer to that.
        """

    def end_of_thinking(self) -> tuple[int, ...]:
        """The tokens that end the model's reasoning and begin its answer; none if it does not think. Raises nothing."""

    def answer(self, conversation: Conversation, rendered: Rendered, message: Message) -> WrittenAnswer:
        """An assistant's message as the answer to `rendered`, which is this conversation's prompt.

        What of the message the format cannot say in one answer is not in it: `parser` tells what is. Raises ChatError
        where nothing of it can be said, or no token ends it.
        """
