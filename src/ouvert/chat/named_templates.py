"""A model with two templates of its own: one of them for conversations with tools."""

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

from ouvert.chat.conversation import Conversation, Message
from ouvert.chat.format import Abilities, ChatFormat, Parser, Rendered, WrittenAnswer
from ouvert.chat.outline import Calls, Outline

if TYPE_CHECKING:
    from ouvert.chat.template import TemplateFormat


class NamedTemplates:
    """Writes conversations with tools by one template and all others by the other, as transformers does."""

    guides = False

    def __init__(self, default: "TemplateFormat", with_tools: "TemplateFormat") -> None:
        self.name = default.name
        self.variants: tuple[ChatFormat, ...] = (default, with_tools)
        digests = "\n".join(each.digest for each in self.variants)
        self.digest = "sha256:" + hashlib.sha256(digests.encode()).hexdigest()

    def for_conversation(self, conversation: Conversation) -> ChatFormat:
        return self._variant(tools=bool(conversation.tools))

    def _variant(self, *, tools: bool) -> ChatFormat:
        return self.variants[tools]

    @property
    def stop_ids(self) -> frozenset[int]:
        return self._variant(tools=False).stop_ids

    @property
    def abilities(self) -> Abilities:
        return replace(self._variant(tools=False).abilities, tools=self._variant(tools=True).abilities.tools)

    def render(self, conversation: Conversation) -> Rendered:
        return self.for_conversation(conversation).render(conversation)

    def parser(self, rendered: Rendered) -> Parser:
        return self._variant(tools=bool(rendered.tools)).parser(rendered)

    def outline(
        self, conversation: Conversation, rendered: Rendered, *, calls: Calls = "auto", shaped: bool = False
    ) -> Outline:
        return self._variant(tools=bool(rendered.tools)).outline(conversation, rendered, calls=calls, shaped=shaped)

    def end_of_thinking(self) -> tuple[int, ...]:
        return self._variant(tools=False).end_of_thinking()

    def answer(self, conversation: Conversation, rendered: Rendered, message: Message) -> WrittenAnswer:
        return self.for_conversation(conversation).answer(conversation, rendered, message)
