"""What a model thought before it called tools, kept until the results come back.

Many clients send back a call and its result but not the thoughts before the call, and reasoning models lose their
thread without them. They are kept by the call's id, in memory only.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import replace

from ouvert.chat import Conversation, Message, ToolCall

MOST_CALLS = 4096
MOST_CHARACTERS = 16_000_000


class KeptReasoning:
    """Bounded: what has gone unused longest is forgotten first. Safe from any thread."""

    def __init__(self, most_calls: int = MOST_CALLS, most_characters: int = MOST_CHARACTERS) -> None:
        self._most_calls, self._most_characters = most_calls, most_characters
        self._of_call: OrderedDict[tuple[str, str], str] = OrderedDict()  # (id, name) -> reasoning
        self._characters = 0
        self._lock = threading.Lock()

    def keep(self, calls: Iterable[ToolCall], reasoning: str) -> None:
        """The thoughts that led to these calls."""
        if not reasoning:
            return
        with self._lock:
            for call in calls:
                self._characters -= len(self._of_call.pop((call.id, call.name), ""))
                self._of_call[call.id, call.name] = reasoning
                self._characters += len(reasoning)
            while len(self._of_call) > self._most_calls or self._characters > self._most_characters:
                _, forgotten = self._of_call.popitem(last=False)
                self._characters -= len(forgotten)

    def restored(self, conversation: Conversation) -> tuple[Conversation, frozenset[int]]:
        """The conversation with the thoughts its caller left out, and which messages got some.

        Only in the open tool loop, behind the last answer; where a message brings thoughts of its own, or an earlier
        call of the loop brought some, the caller keeps them himself and nothing is put back.
        """
        messages = list(conversation.messages)
        finals = [n for n, message in enumerate(messages) if message.role == "assistant" and not message.tool_calls]
        loop = [n for n in range(max(finals, default=-1) + 1, len(messages)) if messages[n].tool_calls]
        if any(messages[n].reasoning for n in loop):
            return conversation, frozenset()
        found: set[int] = set()
        with self._lock:
            for n in loop:
                if (reasoning := self._find(messages[n])) is not None:
                    messages[n] = replace(messages[n], reasoning=reasoning)
                    found.add(n)
        return (replace(conversation, messages=tuple(messages)) if found else conversation), frozenset(found)

    def _find(self, message: Message) -> str | None:
        for call in message.tool_calls:
            if (call.id, call.name) in self._of_call:
                self._of_call.move_to_end((call.id, call.name))
                return self._of_call[call.id, call.name]
        return None
