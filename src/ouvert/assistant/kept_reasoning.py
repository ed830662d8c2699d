"""What a model thought before it called tools, kept until the results come back.

Many clients send back a call and its result but not the thoughts before the call, and reasoning models lose their
thread without them. They are kept in memory only, and put back where everything agrees: who asks, the turn in which the
call was made, and the call itself. An id alone is not enough: some models write ids that every conversation has.
"""

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from ouvert.chat import Conversation, Message, ToolCall

MOST_CALLS = 4096
MOST_CHARACTERS = 16_000_000
NOTHING_BEFORE = Conversation(messages=())


class KeptReasoning:
    """Bounded: what has gone unused longest is forgotten first. Safe from any thread."""

    def __init__(self, most_calls: int = MOST_CALLS, most_characters: int = MOST_CHARACTERS) -> None:
        self._most_calls, self._most_characters = most_calls, most_characters
        self._of_call: OrderedDict[bytes, str] = OrderedDict()  # `call_key` -> reasoning
        self._askers: dict[bytes, str] = {}  # `call_key` -> who asked
        self._characters = 0
        self._lock = threading.Lock()

    def keep(
        self, calls: Iterable[ToolCall], reasoning: str, before: Conversation = NOTHING_BEFORE, asker: str = ""
    ) -> None:
        """The thoughts that led to these calls, in the answer to `before`, which `asker` asked for."""
        if not reasoning:
            return
        turn = turn_digests(before.messages)[-1]
        with self._lock:
            for call in calls:
                key = call_key(asker, turn, call)
                self._characters -= len(self._of_call.pop(key, ""))
                self._of_call[key] = reasoning
                self._askers[key] = asker
                self._characters += len(reasoning)
            while len(self._of_call) > self._most_calls or self._characters > self._most_characters:
                key, forgotten = self._of_call.popitem(last=False)
                del self._askers[key]
                self._characters -= len(forgotten)

    def restored(self, conversation: Conversation, asker: str = "") -> tuple[Conversation, frozenset[int]]:
        """The conversation with the thoughts its caller left out, and which messages got some.

        Only in the open tool loop, behind the last answer; where a message brings thoughts of its own, or an earlier
        call of the loop brought some, the caller keeps them himself and nothing is put back.
        """
        messages = list(conversation.messages)
        finals = [n for n, message in enumerate(messages) if message.role == "assistant" and not message.tool_calls]
        loop = [n for n in range(max(finals, default=-1) + 1, len(messages)) if messages[n].tool_calls]
        if not loop or any(messages[n].reasoning for n in loop):
            return conversation, frozenset()
        found: set[int] = set()
        turns = turn_digests(messages)
        with self._lock:
            for n in loop:
                if (reasoning := self._find(asker, turns[n], messages[n].tool_calls)) is not None:
                    messages[n] = replace(messages[n], reasoning=reasoning)
                    found.add(n)
        return (replace(conversation, messages=tuple(messages)) if found else conversation), frozenset(found)

    def forget(self, asker: str) -> None:
        """Let go of the thoughts in this asker's answers."""
        with self._lock:
            for key in [key for key, whose in self._askers.items() if whose == asker]:
                self._characters -= len(self._of_call.pop(key))
                del self._askers[key]

    def _find(self, asker: str, turn: bytes, calls: Sequence[ToolCall]) -> str | None:
        """The thoughts that all of these calls came from."""
        keys = [call_key(asker, turn, call) for call in calls]
        thoughts = {self._of_call.get(key) for key in keys}
        if len(thoughts) != 1:
            return None
        reasoning = thoughts.pop()
        if reasoning is not None:
            for key in keys:
                self._of_call.move_to_end(key)
        return reasoning


def turn_digests(messages: Sequence[Message]) -> list[bytes]:
    """For the place of each message, and for the end: the digest of the turn so far, what the user said last and all
    since.

    What was said before, and instructions, may change: programs shorten old turns and write the time into the system
    prompt. Ids are left out, for some dialects have none, and thoughts, for they may be missing.
    """
    turn, digests = hashlib.sha256(), []
    for message in messages:
        digests.append(turn.digest())
        if message.role == "user":
            turn = hashlib.sha256()
        calls = [(call.name, plain_arguments(call.arguments)) for call in message.tool_calls]
        turn.update(json.dumps([message.role, message.content, calls]).encode())
    return [*digests, turn.digest()]


def call_key(asker: str, turn: bytes, call: ToolCall) -> bytes:
    facts = [asker, turn.hex(), call.id, call.name, plain_arguments(call.arguments)]
    return hashlib.sha256(json.dumps(facts).encode()).digest()


def plain_arguments(arguments: str) -> str:
    """The same text for the same JSON value: some dialects carry arguments as an object, and programs write it anew."""
    try:
        return json.dumps(json.loads(arguments), sort_keys=True)
    except (ValueError, RecursionError):
        return arguments
