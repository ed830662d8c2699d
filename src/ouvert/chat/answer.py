"""The answer of a template model, token by token: reasoning between tags, text, tool calls."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ouvert.chat.call_ids import new_call_id
from ouvert.chat.conversation import Delta, ReasoningDelta, TextDelta, ToolCall, ToolCallDelta
from ouvert.chat.format import Rendered
from ouvert.chat.tagged_arguments import typed_arguments
from ouvert.chat.tool_syntax import ToolSyntax, WrittenCall
from ouvert.chat.untagged_calls import CallRow

if TYPE_CHECKING:
    from ouvert.tokenization import Tokenizer

OPEN_THINKING, CLOSE_THINKING = "<think>", "</think>"
# Marks that are tokens of their own stand in the text as lone surrogates, which no token's bytes can spell. So a tag
# that the model merely quotes stays apart from one that it means.
FIRST_MARK = 0xD800


def held_back(text: str, wanted: Sequence[str]) -> int:
    """How many characters at the end of `text` may be the beginning of one of `wanted`."""
    longest = max((len(each) for each in wanted), default=0)
    for length in range(min(longest - 1, len(text)), 0, -1):
        if any(each.startswith(text[-length:]) for each in wanted):
            return length
    return 0


class AnswerParser:
    """Reasoning counts only where it may stand: open at the end of the prompt, or first thing in the answer.

    Calls count only where tools were declared, and only of declared tools; everything else is text.
    """

    def __init__(self, tokenizer: "Tokenizer", rendered: Rendered, *, thinks: bool, syntax: ToolSyntax | None) -> None:
        self.tool_calls: list[ToolCall] = []
        self.reasoning_tokens = 0
        self.thinking = rendered.thinking
        self._tokenizer = tokenizer
        self._decoder = tokenizer.decoder()
        self._rendered = rendered
        self._syntax = syntax if rendered.tools else None
        self._may_think = thinks and not rendered.thinking
        self._begun = False  # whether any of the answer (or of the reasoning, while thinking) has been given
        self._trims = thinks or self._syntax is not None
        self._text = ""  # what was not given yet
        self._reasoning = ""
        self._region: str | None = None  # what stands behind the opening of a region of calls
        self._opening = ""  # the mark that opened it
        self._bare: CallRow | None = None  # what the region has to be that began without an opening mark
        self._control_ids = frozenset(tokenizer.control_tokens.values())
        texts = [OPEN_THINKING, CLOSE_THINKING]
        if self._syntax:
            texts += [
                self._syntax.opening,
                *([self._syntax.closing] if self._syntax.closing else []),
                *self._syntax.marks,
            ]
        self._marks = {
            text: chr(FIRST_MARK + n) if text in tokenizer.control_tokens else text for n, text in enumerate(texts)
        }
        self._mark_of_id = {tokenizer.control_tokens[text]: mark for text, mark in self._marks.items() if mark != text}
        self._openings = self._all_openings()
        self._shown = str.maketrans({mark: text for text, mark in self._marks.items() if mark != text})

    def _all_openings(self) -> dict[str, str]:
        """What may open a region of calls, and what of it belongs to the region already."""
        if self._syntax is None:
            return {}
        openings = {self._marks[self._syntax.opening]: ""}
        if self._syntax.forgotten is not None:
            starts = [f"{self._syntax.forgotten}{name}>" for name in self._rendered.tools]
            openings |= dict(zip(starts, starts, strict=True))
        return openings

    def push(self, token: int) -> list[Delta]:
        was_thinking = self.thinking
        if token < 0:
            return []
        text = self._decoder.push(token)
        if token in self._control_ids:
            mark = self._mark_of_id.get(token)
            if token in self._tokenizer.end_ids:
                mark = ""
            if mark is not None:
                text = text.removesuffix(self._tokenizer.token_bytes(token).decode(errors="replace")) + mark
        self._text += text
        deltas = self._advance()
        self.reasoning_tokens += was_thinking or self.thinking
        return deltas

    def finish(self, reason: str) -> list[Delta]:
        self._text += self._decoder.flush()
        deltas = self._advance()
        if self.thinking:
            self._reasoning += self._text
            deltas += self._reason(self._text)
            self._text = ""
            return deltas + self._calls_left_in_reasoning(reason)
        cut = reason != "stop"
        if self._region is not None:
            deltas += self._end_region(self._region + self._text, "", cut=cut)
        else:
            if cut:  # the beginning of a mark that was cut off is no text
                self._text = self._text[: len(self._text) - held_back(self._text, [*self._openings])]
            deltas += self._say("" if self.tool_calls and not self._text.strip() else self._text)
        self._text = ""
        return deltas

    def _advance(self) -> list[Delta]:
        """Give all that is certain. Each step either consumes text or ends."""
        deltas: list[Delta] = []
        while True:
            if self.thinking:
                step = self._advance_reasoning()
            elif self._region is not None:
                step = self._advance_region()
            else:
                step = self._advance_text()
            if step is None:
                return deltas
            deltas += step

    def _advance_reasoning(self) -> list[Delta] | None:
        close = self._marks[CLOSE_THINKING]
        before, found, after = self._text.partition(close)
        if found:
            self.thinking, self._begun, self._text = False, False, after
            self._reasoning = ""
            return self._reason(before.rstrip("\n"))
        sure = len(before) - held_back(before, [close])
        sure = len(before[:sure].rstrip("\n"))
        if not sure:
            return None
        self._text = before[sure:]
        if self._syntax:
            self._reasoning += before[:sure]
        return self._reason(before[:sure]) or None

    def _advance_text(self) -> list[Delta] | None:
        if not self._begun and self._trims:
            start = self._text.lstrip()
            if not start:
                return None
            if self._may_think:
                opening = self._marks[OPEN_THINKING]
                if start.startswith(opening):
                    self.thinking, self._may_think, self._text = True, False, start.removeprefix(opening)
                    return []
                if opening.startswith(start):
                    return None
                self._may_think = False
            if self._syntax and self._syntax.bare and start.startswith("{"):
                self._region, self._text, self._bare = "", start, CallRow(self._rendered.tools)
                self._opening = ""
                return []
        if not self._syntax:
            text, self._text = self._text, ""
            return self._say(text) or None
        opening = min(self._openings, key=self._where)
        before, found, after = self._text.partition(opening)
        if found:
            self._region, self._text, self._bare = self._openings[opening], after, None
            self._opening = opening.removesuffix(self._region)
            return self._say(before.rstrip())
        sure = len(before) - held_back(before, [*self._openings])
        sure = len(before[:sure].rstrip())  # white space before a call is not part of the answer
        if not sure:
            return None
        self._text = before[sure:]
        return self._say(before[:sure]) or None

    def _where(self, mark: str) -> int:
        """Where in the text a mark stands first; behind all of it if nowhere."""
        at = self._text.find(mark)
        return len(self._text) if at < 0 else at

    def _advance_region(self) -> list[Delta] | None:
        assert self._syntax is not None  # noqa: S101 - regions are only opened by a syntax
        if self._syntax.closing is None or self._region is None:
            new, self._text = self._text, ""
            self._region = (self._region or "") + new
            if self._bare is not None and not all(map(self._bare.push, new)):
                text, self._region, self._bare = self._region, None, None
                return self._say(text)
            return None
        closing = self._marks[self._syntax.closing]
        before, found, after = self._text.partition(closing)
        if found:
            self._text = after
            return self._end_region(self._region + before, closing)
        sure = len(before) - held_back(before, [closing])
        self._region += before[:sure]
        self._text = before[sure:]
        return None

    def _end_region(self, region: str, closing: str, *, cut: bool = False) -> list[Delta]:
        """`cut`: the answer was cut off inside. Calls that are whole are calls, and the beginning of one is nothing."""
        assert self._syntax is not None  # noqa: S101 - regions are only opened by a syntax
        self._region = None
        calls = self._syntax.read(region, self._marks, cut)
        if calls is not None and all(call.name in self._rendered.tools for call in calls):
            return [self._call(call) for call in calls]
        if cut and (self._bare.clear if self._bare is not None else self._syntax.begins(region)):
            return []
        return self._say(self._opening + region + closing)

    def _calls_left_in_reasoning(self, reason: str) -> list[Delta]:
        """Some models call a tool without ending their reasoning first. A call at its very end is meant."""
        if self._syntax is None or reason != "stop":
            return []
        opening = self._marks[self._syntax.opening]
        _, found, rest = self._reasoning.partition(opening)
        if not found:
            return []
        calls: list[WrittenCall] = []
        closing = self._marks[self._syntax.closing] if self._syntax.closing else None
        for region in rest.split(opening) if closing else [rest]:
            inside, _, after = region.partition(closing) if closing else (region, "", "")
            read = self._syntax.read(inside, self._marks, False)
            if read is None or after.strip() or any(call.name not in self._rendered.tools for call in read):
                return []
            calls += read
        self.thinking = False
        return [self._call(call) for call in calls]

    def call_id(self) -> str:
        return new_call_id(None if self._syntax is None else self._syntax.id_form)

    def _call(self, written: WrittenCall) -> ToolCallDelta:
        index = len(self.tool_calls)
        identity = self.call_id()
        arguments = written.arguments
        if self._syntax is not None and self._syntax.untyped:
            arguments = typed_arguments(arguments, self._rendered.tools[written.name])
        call = ToolCall(identity, written.name, arguments.translate(self._shown))
        self.tool_calls.append(call)
        return ToolCallDelta(index, call.id, call.name, call.arguments)

    def _say(self, text: str) -> list[Delta]:
        if not self._begun and self._trims:
            text = text.lstrip("\r\n")
        if not text:
            return []
        self._begun = True
        return [TextDelta(text.translate(self._shown))]

    def _reason(self, text: str) -> list[Delta]:
        if not self._begun:
            text = text.lstrip("\n")
        if not text:
            return []
        self._begun = True
        return [ReasoningDelta(text.translate(self._shown))]
