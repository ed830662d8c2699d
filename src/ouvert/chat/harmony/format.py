"""The Harmony format of gpt-oss: conversations to tokens, tokens to typed pieces."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from ouvert.chat.conversation import EFFORTS, Conversation, Message
from ouvert.chat.format import Abilities, ChatFormat, Rendered, Source, Span, WrittenAnswer
from ouvert.chat.harmony.messages import CONSTRAIN, HarmonyMessage, messages_of
from ouvert.chat.harmony.outline import answer_segments, outline_of
from ouvert.chat.harmony.parser import HarmonyParser
from ouvert.chat.harmony.sections import BUILTIN, IDENTITY, KNOWLEDGE_CUTOFF
from ouvert.chat.harmony.tokens import HarmonyTokens
from ouvert.chat.outline import Calls, Outline

if TYPE_CHECKING:
    from ouvert.tokenization import Tokenizer

VERSION = "1"  # of how prompts are written; part of the digest


class HarmonyFormat:
    """Writes prompts as openai-harmony does, token for token, and reads answers more forgivingly."""

    name = "harmony"

    def __init__(
        self,
        tokenizer: "Tokenizer",
        *,
        identity: str | None = IDENTITY,
        knowledge_cutoff: str | None = KNOWLEDGE_CUTOFF,
    ) -> None:
        """Raises ChatError if the vocabulary lacks a control token of Harmony."""
        self.tokens = HarmonyTokens.of(tokenizer.control_tokens)
        self._tokenizer = tokenizer
        self._identity, self._knowledge_cutoff = identity, knowledge_cutoff
        facts = json.dumps([VERSION, self.name, identity, knowledge_cutoff])
        self.digest = "sha256:" + hashlib.sha256(facts.encode()).hexdigest()

    @property
    def variants(self) -> tuple[ChatFormat, ...]:
        return (self,)

    def for_conversation(self, conversation: Conversation) -> ChatFormat:
        return self

    @property
    def stop_ids(self) -> frozenset[int]:
        """<|return|>, <|call|> and the end of a text; not <|end|>, behind which an answer goes on."""
        return (self._tokenizer.end_ids | {self.tokens.end_return, self.tokens.call}) - {self.tokens.end}

    abilities = Abilities(thinks=True, optional=False, efforts=EFFORTS, tools=True)

    def render(self, conversation: Conversation) -> Rendered:
        """Raises ChatError for what Harmony cannot say."""
        messages = messages_of(conversation, identity=self._identity, knowledge_cutoff=self._knowledge_cutoff)
        ids, spans = self.render_messages(messages)
        builtin = {name for each in conversation.builtin_tools for name in BUILTIN[each].recipients}
        return Rendered(
            ids=tuple(ids),
            spans=tuple(spans),
            text=self._tokenizer.decode(ids, control=True),
            tools={**dict.fromkeys(builtin), **{tool.name: tool.parameters for tool in conversation.tools}},
        )

    def render_messages(self, messages: Iterable[HarmonyMessage]) -> tuple[list[int], list[Span]]:
        """The tokens of these messages and of the header of the assistant's next one, and where they come from."""
        writer = Writer()
        for message in messages:
            self._write(message, writer)
        writer.add([self.tokens.start, *self._tokenizer.encode("assistant")], None, None, "format")
        return writer.ids, writer.spans

    def _write(self, message: HarmonyMessage, writer: "Writer") -> None:
        """One message. Each part of the header is encoded by itself, as openai-harmony does."""
        encode, tokens = self._tokenizer.encode, self.tokens
        header = [tokens.start, *encode(message.author)]
        if message.name is not None:
            header += encode(f":{message.name}")
        if message.recipient is not None and message.recipient != "all":
            header += encode(f" to={message.recipient}")
        if message.channel is not None:
            header += [tokens.channel, *encode(message.channel)]
        if message.content_type is not None and message.content_type.startswith(CONSTRAIN):
            header += [*encode(" "), tokens.constrain, *encode(message.content_type.removeprefix(CONSTRAIN))]
        elif message.content_type is not None:
            header += encode(f" {message.content_type}")
        calls = message.author == "assistant" and message.recipient is not None
        channel = message.channel if message.author == "assistant" else None
        writer.add([*header, tokens.message], message.origin, channel, "format")
        writer.add(encode(message.text), message.origin, channel, message.source)
        writer.add([tokens.call if calls else tokens.end], message.origin, channel, "format")

    def answer(self, conversation: Conversation, rendered: Rendered, message: Message) -> WrittenAnswer:
        """In the segments of `outline`, to which every answer is held. It ends behind the first of several calls."""
        segments = answer_segments(self._tokenizer.encode, self.tokens, conversation, message)
        found: list[int] = []
        thought = 0
        for segment, text in segments:
            found += [*segment.header, *self._tokenizer.encode(text), *segment.ends]
            if segment.kind == "thought":
                thought = len(found) - len(segment.ends) + 1  # its own end; the header of what follows is no thought
        return WrittenAnswer(tuple(found), thought)

    def parser(self, rendered: Rendered) -> HarmonyParser:
        return HarmonyParser(self._tokenizer, self.tokens, rendered)

    def end_of_thinking(self) -> tuple[int, ...]:
        """Ends the analysis and begins the final answer."""
        encode, tokens = self._tokenizer.encode, self.tokens
        beginning = [tokens.end, tokens.start, *encode("assistant"), tokens.channel, *encode("final")]
        return (*beginning, tokens.message)

    guides = True

    def outline(
        self, conversation: Conversation, rendered: Rendered, *, calls: Calls = "auto", shaped: bool = False
    ) -> Outline:
        """Thoughts and preambles, then a call or the answer: `harmony.outline.outline_of` says it in full."""
        return outline_of(self._tokenizer.encode, self.tokens, conversation, calls, shaped=shaped)


class Writer:
    """Tokens and their spans, side by side."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.spans: list[Span] = []

    def add(self, ids: Sequence[int], message: int | None, channel: str | None, source: Source) -> None:
        if not ids:
            return
        start = len(self.ids)
        self.ids += ids
        last = self.spans[-1] if self.spans else None
        if last and (last.message, last.channel, last.source) == (message, channel, source):
            start = self.spans.pop().start
        self.spans.append(Span(start, len(self.ids), message, channel, source))
