"""Outlines of answers in template formats: thoughts between tags, calls in the family's syntax, then the answer."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from ouvert.chat.answer import CLOSE_THINKING, OPEN_THINKING
from ouvert.chat.conversation import NO_ARGUMENTS, Tool
from ouvert.chat.format import ChatError
from ouvert.chat.outline import ANSWER_END, ANSWER_START, Calls, Outline, Segment
from ouvert.chat.tool_syntax import ToolSyntax

if TYPE_CHECKING:
    from ouvert.tokenization import Tokenizer


@dataclass(frozen=True, slots=True)
class Spelling:
    """How calls are written in a syntax: `opening`, then calls with `between` from one to the next, then `closing`.

    White space at the beginning of `between` is the outline's `gap`. A call is `before`, the arguments, `behind`. In
    `before`, NAME stands for the tool's name (a JSON string if `quoted`), NUMBER for how many calls the conversation
    had before. Without `between` an answer has one call. `taught` is a text that templates of this spelling have: the
    first one that fits counts.
    """

    syntax: str
    before: str
    behind: str
    between: str | None = ""
    opening: str = ""
    closing: str = ""
    quoted: bool = False
    taught: str = ""


LIST = Spelling(
    "mistral",
    '{"name": NAME, "arguments": ',
    "}",
    between=", ",
    opening="[TOOL_CALLS][",
    closing="]",
    quoted=True,
)
REGION = Spelling(
    "deepseek",
    "<｜tool▁call▁begin｜>NAME<｜tool▁sep｜>",
    "<｜tool▁call▁end｜>",
    opening="<｜tool▁calls▁begin｜>",
    closing="<｜tool▁calls▁end｜>",
)
# Sources: docs/formats/templates.md.
SPELLINGS = (
    Spelling("hermes", '<tool_call>\n{"name": NAME, "arguments": ', "}\n</tool_call>", between="\n", quoted=True),
    Spelling("llama", '{"name": NAME, "parameters": ', "}", between=None, quoted=True),
    Spelling("mistral", "[TOOL_CALLS]NAME[ARGS]", "", taught="[ARGS]"),
    replace(LIST, opening="[TOOL_CALLS] [", taught="[TOOL_CALLS] ["),
    LIST,
    replace(
        REGION,
        before="<｜tool▁call▁begin｜>function<｜tool▁sep｜>NAME\n```json\n",
        behind="\n```<｜tool▁call▁end｜>",
        between="\n",
        taught="```json",
    ),
    REGION,
    Spelling(
        "kimi",
        "<|tool_call_begin|>functions.NAME:NUMBER<|tool_call_argument_begin|>",
        "<|tool_call_end|>",
        opening="<|tool_calls_section_begin|>",
        closing="<|tool_calls_section_end|>",
    ),
)


def template_outline(
    tokenizer: "Tokenizer",
    template: str,
    syntax: ToolSyntax | None,
    tools: Sequence[Tool],
    *,
    called: int,
    thinks: bool,
    thinking: bool,
    cut: tuple[int, ...],
    calls: Calls,
    shaped: bool,
) -> Outline:
    """`called`: how many calls the conversation has already; `thinks`: the model may think first; `thinking`: the
    prompt ends inside its thoughts.

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
    spelling = spelling_of(template, syntax, mixed=calls == "auto") if apart else None
    spelled = None if syntax is None or spelling is None else Speller(tokenizer, syntax, spelling, called)
    written = () if spelled is None else tuple(map(spelled.segment, tools))
    answer = () if calls == "required" else (Segment("answer", (), ()),)

    first = frozenset(segment.kind for segment in (*written, *answer))
    again = {"call"} if spelling is not None and spelling.between is not None else set()
    return Outline(
        segments=(*thoughts, *written, *answer),
        follows={
            ANSWER_START: first | {"thought"} if thoughts else first,
            "thought": first,
            "call": frozenset(again | {ANSWER_END}),
            "answer": frozenset({ANSWER_END}),
        },
        cut=cut,
        inside=thoughts[0] if thinking else None,
        between=newlines(tokenizer),
        gap=() if spelled is None else spelled.gap,
        closing=() if spelled is None or spelling is None else spelled(spelling.closing),
    )


def spelling_of(template: str, syntax: ToolSyntax | None, *, mixed: bool) -> Spelling:
    """`mixed`: an answer may stand in the place of a call, so the two must begin differently. Raises ChatError."""
    if syntax is None or (mixed and syntax.bare):
        kind = "of no known syntax" if syntax is None else f"in the syntax {syntax.name!r}"
        known = ", ".join(dict.fromkeys(each.syntax for each in SPELLINGS))
        raise ChatError(
            f"holding tool calls to a form: this model writes calls {kind}; those that can be held are {known}"
            f"{', llama not beside a form of the answer' if mixed else ''}. Ask with tool_choice 'none', or with "
            "'auto' and no form."
        )
    return next(each for each in SPELLINGS if each.syntax == syntax.name and each.taught in template)


class Speller:
    """The tokens of calls. `called`: how many stand in the conversation already."""

    def __init__(self, tokenizer: "Tokenizer", syntax: ToolSyntax, spelling: Spelling, called: int) -> None:
        self.tokenizer, self.syntax, self.spelling, self.called = tokenizer, syntax, spelling, called
        # The longest first: no mark of a syntax is part of another, and none may become so unseen.
        marks = filter(None, (syntax.opening, syntax.closing, *syntax.marks))
        self.marks = re.compile("(" + "|".join(map(re.escape, sorted(marks, key=len, reverse=True))) + ")")
        between = spelling.between or ""
        self.gap = self(between[: len(between) - len(between.lstrip())])

    def segment(self, tool: Tool) -> Segment:
        """Raises ChatError for a name that could not be read back."""
        self._refuse_what_reads_otherwise(tool.name)
        return Segment(
            kind="call",
            header=self._header(tool.name, 0),
            ends=self(self.spelling.behind),
            schema=tool.parameters if tool.parameters is not None else NO_ARGUMENTS,
            later=partial(self._header, tool.name),
        )

    def _header(self, name: str, before: int) -> tuple[int, ...]:
        """What stands before the arguments of a call with so many before it in the answer."""
        gap, start = ((), self.spelling.opening) if not before else (self.gap, (self.spelling.between or "").lstrip())
        return (*gap, *self(start + self.spelling.before, self._name(name), str(self.called + before)))

    def _name(self, name: str) -> str:
        return json.dumps(name, ensure_ascii=False) if self.spelling.quoted else name

    def __call__(self, text: str, name: str = "", number: str = "") -> tuple[int, ...]:
        """The tokens of a text in the middle of an answer. Only the syntax's own marks become control tokens."""
        parts: list[str | int] = []
        for piece in filter(None, self.marks.split(text)):
            mark = self.tokenizer.control_tokens.get(piece) if self.marks.fullmatch(piece) else None
            parts.append(piece.replace("NUMBER", number).replace("NAME", name) if mark is None else mark)
        return inside(self.tokenizer, parts)

    def _refuse_what_reads_otherwise(self, name: str) -> None:
        """Where names are not quoted, one may look like something else."""
        if self.spelling.quoted:
            return
        marks = {mark: mark for mark in (self.syntax.opening, self.syntax.closing or "", *self.syntax.marks)}
        call = self.spelling.before.replace("NUMBER", "0").replace("NAME", name) + "{}" + self.spelling.behind
        read = self.syntax.read(call.removeprefix(self.syntax.opening), marks, False)
        if read is None or [each.name for each in read] != [name]:
            raise ChatError(
                f"holding tool calls to a form: the tool's name {name!r:.80} cannot be told from what stands around it "
                f"in the syntax {self.syntax.name!r}, expected letters, digits, _ and -. Call the tool something else."
            )


def inside(tokenizer: "Tokenizer", parts: Sequence[str | int]) -> tuple[int, ...]:
    """Ids of parts that stand behind others: no text gets a space in front, as some tokenizers give to every text.

    Raises ChatError where the vocabulary has no way to spell a text like that.
    """
    before: tuple[str | int, ...] = tuple(tokenizer.control_tokens.values())[:1]
    if tokenizer.space_prefix == "never" or (before and tokenizer.space_prefix == "start"):
        return tuple(tokenizer.encode_parts([*before, *parts])[len(before) :])
    # A line break takes the space, and is taken off again with it: SentencePiece joins none with what follows.
    found: list[int] = []
    start = tokenizer.encode_parts([*before, "\n"])
    for part in parts:
        if isinstance(part, int):
            found.append(part)
            continue
        ids = tokenizer.encode_parts([*before, "\n" + part])
        if ids[: len(start)] != start:
            raise ChatError(
                f"holding an answer to a form: this vocabulary joins a line break with {part!r:.40}, expected a token "
                "that ends before it. Ask without a form."
            )
        found += ids[len(start) :]
    return tuple(found)


def newlines(tokenizer: "Tokenizer") -> frozenset[int]:
    """The tokens that are nothing but one or two line breaks."""
    spellings = (inside(tokenizer, [text]) for text in ("\n", "\n\n"))
    return frozenset(ids[0] for ids in spellings if len(ids) == 1)
