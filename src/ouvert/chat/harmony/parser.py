"""A Harmony answer, token by token, as typed pieces. No sequence of tokens makes it raise, and none of it is lost.

Who is spoken to decides what is a call, whatever the channel; only a declared tool can be spoken to. What is not a
call is reasoning on the analysis channel and text on every other.
"""

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from ouvert.chat.call_ids import new_call_id
from ouvert.chat.conversation import Delta, ReasoningDelta, TextDelta, ToolCall, ToolCallDelta
from ouvert.chat.format import Rendered
from ouvert.chat.harmony.header import CHANNEL_MARK, CONSTRAIN_MARK, HEADER_WORDS, Header, read_header
from ouvert.chat.harmony.sections import BUILTIN
from ouvert.chat.harmony.tokens import HarmonyTokens

if TYPE_CHECKING:
    from ouvert.tokenization import Tokenizer

HEADER_LIMIT = 128  # tokens; a longer "header" is text of a model that forgot to write one
BETWEEN_MESSAGES = "\n\n"  # what parts two messages that are given as one text
BUILTIN_RECIPIENTS = frozenset(name for namespace in BUILTIN.values() for name in namespace.recipients)

Kind = Literal["reasoning", "text", "call"]


class HarmonyParser:
    """Begins where the prompt ends: behind `<|start|>assistant`."""

    def __init__(self, tokenizer: "Tokenizer", tokens: HarmonyTokens, rendered: Rendered) -> None:
        self.tool_calls: list[ToolCall] = []
        self.reasoning_tokens = 0
        self._tokenizer = tokenizer
        self._decoder = tokenizer.decoder()
        self._tokens = tokens
        self._rendered = rendered
        self._control_ids = frozenset(tokenizer.control_tokens.values())
        self._ends = {tokens.end, tokens.end_return, tokens.call} | tokenizer.end_ids
        self._header: str | None = ""  # None inside a message's content, and behind its end
        self._header_tokens = 0
        self._kind: Kind | None = None  # of the message whose content is being read
        self._name = self._call_id = ""  # of the tool that is being called
        self._arguments: list[str] = []
        self._calls_begun = 0
        self._said: dict[Kind, bool] = {"reasoning": False, "text": False}
        self._parted = True  # whether the text to come needs nothing to part it from the text before

    @property
    def thinking(self) -> bool:
        return self._kind == "reasoning"

    def call_id(self) -> str:
        return new_call_id()

    def push(self, token: int) -> list[Delta]:
        if token < 0:
            return []
        text = self._decoder.push(token)
        if token in self._control_ids:
            # The decoder may show a control token as text; here it is none, except half a character before it.
            text = text.removesuffix(self._tokenizer.token_bytes(token).decode(errors="replace"))
        if self._kind is not None:
            return self._push_content(token, text)
        return self._push_header(token, text)

    def finish(self, reason: str) -> list[Delta]:
        text = self._decoder.flush()
        if self._kind is not None:
            return self._give(text) + self._close(complete=reason == "stop")
        if self._header is None:
            return []
        self._header += text
        if reason != "stop" and is_piece_of_header(read_header(self._header, self._rendered.tools).rest.strip()):
            return []
        return self._end_header_early(by_token=False)

    def _push_content(self, token: int, text: str) -> list[Delta]:
        deltas = self._give(text)
        if self._kind == "reasoning":
            self.reasoning_tokens += 1
        if token in self._ends:
            deltas += self._close(complete=True)
            self._header = None
        elif token == self._tokens.start:
            deltas += self._close(complete=True)
            self._begin_header("")
        elif token == self._tokens.channel:
            deltas += self._close(complete=True)
            self._begin_header(CHANNEL_MARK)
        return deltas

    def _push_header(self, token: int, text: str) -> list[Delta]:
        if self._header is None:  # between two messages
            if token in self._ends:
                return []
            self._begin_header("")
            if token == self._tokens.start:
                return []
        assert self._header is not None  # noqa: S101 - begun above
        self._header += text
        self._header_tokens += 1
        if token == self._tokens.message:
            return self._open(read_header(self._header, self._rendered.tools))
        if token == self._tokens.channel:
            self._header += CHANNEL_MARK
        elif token == self._tokens.constrain:
            self._header += CONSTRAIN_MARK
        elif token == self._tokens.start:
            deltas = self._end_header_early(by_token=True)
            self._begin_header("")
            return deltas
        elif token in self._ends:
            deltas = self._end_header_early(by_token=True)
            self._header = None
            return deltas
        elif self._header_tokens > HEADER_LIMIT:
            header = read_header(self._header, self._rendered.tools)
            return self._open(header) + self._give(header.rest)
        return []

    def _begin_header(self, text: str) -> None:
        self._header, self._header_tokens = text, 1

    def _end_header_early(self, *, by_token: bool) -> list[Delta]:
        """A message that ended before its content began. What was said in the header's place is given.

        A call that a token ended is one, even without arguments; one that was cut off in its header is none.
        """
        assert self._header is not None  # noqa: S101 - only called inside a header
        header = read_header(self._header, self._rendered.tools)
        self._header = None
        said = header.rest.strip()
        if header.call and said and not said.startswith("{") and header.call not in BUILTIN_RECIPIENTS:
            header = replace(header, call=None)
        if not said and not (header.call and by_token):
            return []
        return [*self._open(header), *self._give(header.rest), *self._close(complete=by_token)]

    def _open(self, header: Header) -> list[Delta]:
        """The content of a message begins."""
        self._header = None
        self._parted = False
        if header.call is not None:
            self._kind, self._name, self._arguments = "call", header.call, []
            index, self._calls_begun = self._calls_begun, self._calls_begun + 1
            self._call_id = self.call_id()
            return [ToolCallDelta(index, self._call_id, header.call, "")]
        self._kind = "reasoning" if header.channel == "analysis" or header.foreign else "text"
        if self._kind == "reasoning":
            self.reasoning_tokens += self._header_tokens
        return []

    def _give(self, text: str) -> list[Delta]:
        kind = self._kind
        if not text or kind is None:
            return []
        if kind == "call":
            self._arguments.append(text)
            return [ToolCallDelta(self._calls_begun - 1, None, None, text)]
        if not self._parted and self._said[kind]:
            text = BETWEEN_MESSAGES + text
        self._parted = self._said[kind] = True
        return [ReasoningDelta(text) if kind == "reasoning" else TextDelta(text)]

    def _close(self, *, complete: bool) -> list[Delta]:
        """The message is over. A call that was cut off counts only if its arguments are whole."""
        kind, self._kind = self._kind, None
        if kind != "call":
            return []
        deltas: list[Delta] = []
        arguments = "".join(self._arguments)
        index = self._calls_begun - 1
        if complete and not arguments.strip() and self._name not in BUILTIN_RECIPIENTS:
            arguments += "{}"
            deltas.append(ToolCallDelta(index, None, None, "{}"))
        if complete or is_object(arguments):
            self.tool_calls.append(ToolCall(self._call_id, self._name, arguments))
        return deltas


def is_piece_of_header(text: str) -> bool:
    """Whether a text may be the beginning of one of a header's own words, cut off."""
    return any(word.startswith(text) for word in HEADER_WORDS)


def is_object(text: str) -> bool:
    """Whether a text is a whole JSON object."""
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False
