"""Outlines of answers in template formats: thoughts between tags, calls in the family's syntax, then the answer."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ouvert.chat.answer import CLOSE_THINKING, OPEN_THINKING
from ouvert.chat.conversation import Tool
from ouvert.chat.format import ChatError
from ouvert.chat.outline import END, START, Calls, Outline, Segment
from ouvert.chat.tool_syntax import ToolSyntax

if TYPE_CHECKING:
    from ouvert.tokenization import Tokenizer

NO_ARGUMENTS: Mapping[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
# Syntax -> what stands before the arguments of a call and behind them, and whether another call may follow.
SPELLINGS = {
    "hermes": ('<tool_call>\n{"name": NAME, "arguments": ', "}\n</tool_call>", True),
    "llama": ('{"name": NAME, "parameters": ', "}", False),
}


def template_outline(
    tokenizer: "Tokenizer",
    syntax: ToolSyntax | None,
    tools: Sequence[Tool],
    *,
    thinks: bool,
    thinking: bool,
    cut: tuple[int, ...],
    calls: Calls,
    shaped: bool,
) -> Outline:
    """`thinks`: the model may think first; `thinking`: the prompt ends inside its thoughts.

    Where neither calls nor the answer are held to anything, everything behind the thoughts counts as the answer, calls
    too. Raises ChatError if the outline cannot be told in tokens of this vocabulary.
    """
    opening, closing = (tokenizer.control_tokens.get(tag) for tag in (OPEN_THINKING, CLOSE_THINKING))
    thoughts: list[Segment] = []
    if closing is not None:
        header = () if opening is None else (opening,)
        thoughts = [Segment("thought", header, (closing,))] if thinking or (thinks and header) else []
    elif thinking:
        raise ChatError(
            f"holding an answer to a form: the model thinks first, and {CLOSE_THINKING} is no token of its vocabulary, "
            "so the end of its thoughts cannot be told. Ask without a form and without a budget for thinking."
        )
    apart = calls == "required" or (calls == "auto" and shaped and bool(tools))
    written = call_segments(tokenizer, syntax, tools, mixed=calls == "auto") if apart else ()
    answer = () if calls == "required" else (Segment("answer", (), ()),)

    first = frozenset(segment.kind for segment in (*written, *answer))
    again = {"call"} if syntax is not None and SPELLINGS.get(syntax.name, ("", "", False))[2] else set()
    return Outline(
        segments=(*thoughts, *written, *answer),
        follows={
            START: first | {"thought"} if thoughts else first,
            "thought": first,
            "call": frozenset(again | {END}),
            "answer": frozenset({END}),
        },
        cut=cut,
        inside=thoughts[0] if thinking else None,
        between=newlines(tokenizer),
    )


def call_segments(
    tokenizer: "Tokenizer", syntax: ToolSyntax | None, tools: Sequence[Tool], *, mixed: bool
) -> tuple[Segment, ...]:
    """One for each tool. `mixed`: an answer may stand in the place of a call, so the two must begin differently."""
    if syntax is None or syntax.name not in SPELLINGS or (mixed and syntax.bare):
        kind = "of no known syntax" if syntax is None else f"in the syntax {syntax.name!r}"
        known = " and ".join(SPELLINGS)
        raise ChatError(
            f"holding tool calls to a form: this model writes calls {kind}; those that can be held are {known}"
            f"{', the latter not beside a form of the answer' if mixed else ''}. Ask with tool_choice 'none', or with "
            "'auto' and no form."
        )
    before, behind, _ = SPELLINGS[syntax.name]
    return tuple(
        Segment(
            kind="call",
            header=spelled(tokenizer, syntax, before, json.dumps(tool.name, ensure_ascii=False)),
            ends=spelled(tokenizer, syntax, behind),
            schema=tool.parameters if tool.parameters is not None else NO_ARGUMENTS,
        )
        for tool in tools
    )


def spelled(tokenizer: "Tokenizer", syntax: ToolSyntax, text: str, name: str = "") -> tuple[int, ...]:
    """The tokens of a text in the middle of an answer. Only the syntax's own marks become control tokens."""
    marks = [mark for mark in (syntax.opening, syntax.closing) if mark]
    pieces = re.split("(" + "|".join(map(re.escape, marks)) + ")", text)
    parts: list[str | int] = []
    for piece in filter(None, pieces):
        mark = tokenizer.control_tokens.get(piece) if piece in marks else None
        parts.append(piece.replace("NAME", name) if mark is None else mark)
    return inside(tokenizer, parts)


def inside(tokenizer: "Tokenizer", parts: Sequence[str | int]) -> tuple[int, ...]:
    """Ids of parts that stand behind others: no space is put before the first, as some tokenizers do with a text."""
    anchor = next(iter(tokenizer.control_tokens.values()), None)
    if anchor is None:
        return tuple(tokenizer.encode_parts(list(parts)))
    return tuple(tokenizer.encode_parts([anchor, *parts])[1:])


def newlines(tokenizer: "Tokenizer") -> frozenset[int]:
    """The tokens that are nothing but one or two line breaks."""
    spellings = (inside(tokenizer, [text]) for text in ("\n", "\n\n"))
    return frozenset(ids[0] for ids in spellings if len(ids) == 1)
