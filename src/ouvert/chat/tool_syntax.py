"""How model families write tool calls: data, and one small reader for each.

hermes (Qwen2.5, Qwen3): `<tool_call>{"name": …, "arguments": {…}}</tool_call>`, repeated.
llama (Llama 3.1 and later): the whole answer is `{"name": …, "parameters": {…}}`, perhaps after `<|python_tag|>`.
mistral (Mistral, Mixtral): `[TOOL_CALLS][{"name": …, "arguments": {…}, "id": …}]`, or `[TOOL_CALLS]name[ARGS]{…}`.
deepseek (V3, R1 and later): one region, in it a name and a JSON text for each call, the JSON fenced in older ones.
kimi (K2): the same with other marks; the id carries the name.
qwen3-coder: each argument in a tag of its own, its value bare text (`chat/tagged_arguments.py`).

Sources: docs/formats/templates.md.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ouvert.chat.call_ids import IdForm
from ouvert.chat.tagged_arguments import tagged_calls

DECODER = json.JSONDecoder()
SPACE = " \t\r\n"


@dataclass(frozen=True, slots=True)
class WrittenCall:
    """A call as a model wrote it. `arguments` is its JSON text; `id` only in syntaxes that have one."""

    name: str
    arguments: str
    id: str | None = None


Marks = Mapping[str, str]  # a mark's text, and how it stands in what the reader gets


@dataclass(frozen=True, slots=True)
class ToolSyntax:
    """`opening` begins a region of calls and `closing` ends it; without `closing` it lasts to the end of the answer.

    `marks` are all texts with a meaning. `bare` says that an answer which is nothing but JSON may be a call.
    `read` gives the calls of a region, or None if it is not what it should be; of a region that was cut off, those
    that are whole. `first` are the characters with which a region may begin; none: any. `untyped`: arguments are
    texts, and the tool's schema says of what type each is. `forgotten` is how a call begins that has no opening.
    """

    name: str
    opening: str
    closing: str | None
    marks: tuple[str, ...]
    read: Callable[[str, Marks, bool], list[WrittenCall] | None]
    bare: bool = False
    id_form: IdForm | None = None  # of ids in prompts; None: any will do, or none are shown
    first: str = ""
    untyped: bool = False
    forgotten: str | None = None

    def begins(self, region: str) -> bool:
        """Whether what stands behind the opening, cut off, may be the beginning of calls."""
        start = region.lstrip()
        return not start or not self.first or start[0] in self.first


def members(text: str, start: int = 0) -> tuple[dict[str, str], int] | None:
    """The members of the JSON object at `start` as pieces of the text itself, and where the object ends."""
    try:
        whole, end = DECODER.raw_decode(text, start)
        if not isinstance(whole, dict):
            return None
        found: dict[str, str] = {}
        at = skip(text, start + 1)
        while text[at] != "}":
            key, at = DECODER.raw_decode(text, at)
            at = skip(text, skip(text, at) + 1)  # the colon
            _, stop = DECODER.raw_decode(text, at)
            found[key] = text[at:stop]
            at = skip(text, stop)
            at = skip(text, at + 1) if text[at] == "," else at
    except (ValueError, RecursionError, IndexError):
        return None
    return found, end


def skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in SPACE:
        at += 1
    return at


def call_of(found: Mapping[str, str], arguments: tuple[str, ...]) -> WrittenCall | None:
    """A call from the members of an object; `arguments` are the keys its arguments may stand under."""
    try:
        name = json.loads(found.get("name", "null"))
        identity = json.loads(found.get("id", "null"))
        written = next((found[key] for key in arguments if key in found), "{}")
        value = json.loads(written)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, str):  # arguments written as a string that holds JSON
        written, value = value, as_object(value)
    if not isinstance(name, str) or not isinstance(value, dict):
        return None
    return WrittenCall(name, written, identity if isinstance(identity, str) else None)


def as_object(text: str) -> object:
    """The JSON value of `text`, or None."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def read_hermes(region: str, marks: Marks, cut: bool) -> list[WrittenCall] | None:
    text = region.strip()
    if text.startswith("{{") and text.endswith("}}"):  # as Qwen2.5-Coder's template shows calls, by mistake
        region = text[1:-1]
    found = members(region, skip(region, 0))
    if found is None or region[found[1] :].strip():
        return None
    call = call_of(found[0], ("arguments", "parameters"))
    return [call] if call else None


def read_llama(region: str, marks: Marks, cut: bool) -> list[WrittenCall] | None:
    calls: list[WrittenCall] = []
    at = skip(region, 0)
    while at < len(region):
        found = members(region, at)
        if found is None:
            return calls or None if cut else None
        call = call_of(found[0], ("parameters", "arguments"))
        if call is None or not {"parameters", "arguments"} & found[0].keys():
            return None
        calls.append(call)
        at = skip(region, found[1])
        if region[at : at + 1] == ";":
            at = skip(region, at + 1)
    return calls or None


def read_mistral(region: str, marks: Marks, cut: bool) -> list[WrittenCall] | None:
    begin, arguments, identity = marks["[TOOL_CALLS]"], marks["[ARGS]"], marks["[CALL_ID]"]
    calls: list[WrittenCall] = []
    if arguments in region:
        for piece in region.split(begin):
            head, mark, written = piece.partition(arguments)
            name, _, written_id = head.partition(identity)
            if not mark or not isinstance(as_object(written), dict):
                return calls or None if cut else None
            calls.append(WrittenCall(name.strip(), written.strip(), written_id.strip() or None))
        return calls
    at = skip(region, 0)
    if region[at : at + 1] != "[":
        return None
    at = skip(region, at + 1)
    while region[at : at + 1] != "]" and not (calls and at == len(region)):  # some end without closing the list
        found = members(region, at)
        call = call_of(found[0], ("arguments",)) if found else None
        if found is None or call is None:
            return calls or None if cut else None
        calls.append(call)
        at = skip(region, found[1])
        at = skip(region, at + 1) if region[at : at + 1] == "," else at
    return None if region[at + 1 :].strip() else calls or None


def read_deepseek(region: str, marks: Marks, cut: bool) -> list[WrittenCall] | None:
    begin, separator, end = (marks[f"<｜tool▁{mark}｜>"] for mark in ("call▁begin", "sep", "call▁end"))
    calls: list[WrittenCall] = []
    for piece in filter(str.strip, region.split(end)):
        head, mark, body = piece.strip().removeprefix(begin).partition(separator)
        if not mark:
            return calls or None if cut else None
        named, fence, fenced = body.strip().partition("\n```json\n")
        if head.strip() in {"", "function"} and fence and fenced.endswith("\n```"):
            name, written = named, fenced.removesuffix("\n```")
        else:
            name, written = head, body
        if not isinstance(as_object(written), dict):
            return calls or None if cut else None
        calls.append(WrittenCall(name.strip(), written.strip()))
    return calls or None


def read_kimi(region: str, marks: Marks, cut: bool) -> list[WrittenCall] | None:
    begin, argument, end = (marks[f"<|tool_call_{mark}|>"] for mark in ("begin", "argument_begin", "end"))
    calls: list[WrittenCall] = []
    for piece in filter(str.strip, region.split(end)):
        written_id, mark, written = piece.strip().removeprefix(begin).partition(argument)
        name = re.fullmatch(r"(?:functions\.)?(.+?)(?::\d+)?", written_id.strip())
        if not mark or not name or not isinstance(as_object(written), dict):
            return calls or None if cut else None
        calls.append(WrittenCall(name[1], written.strip(), written_id.strip()))
    return calls or None


def read_tagged(region: str, marks: Marks, cut: bool) -> list[WrittenCall] | None:
    calls: list[WrittenCall] = []
    for found in tagged_calls(region, cut=cut):
        if found is None:
            return calls or None if cut else None
        calls.append(WrittenCall(found[0], json.dumps(found[1], ensure_ascii=False)))
    return calls or None


SYNTAXES = (
    ToolSyntax(
        "kimi",
        "<|tool_calls_section_begin|>",
        "<|tool_calls_section_end|>",
        ("<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>"),
        read_kimi,
        id_form="numbered",
    ),
    ToolSyntax(
        "deepseek",
        "<｜tool▁calls▁begin｜>",
        "<｜tool▁calls▁end｜>",
        ("<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"),
        read_deepseek,
    ),
    ToolSyntax(
        "qwen3-coder",
        "<tool_call>",
        "</tool_call>",
        (),
        read_tagged,
        first="<",
        untyped=True,
        forgotten="<function=",
    ),
    ToolSyntax("hermes", "<tool_call>", "</tool_call>", (), read_hermes, first="{"),
    ToolSyntax("mistral", "[TOOL_CALLS]", None, ("[ARGS]", "[CALL_ID]"), read_mistral, id_form="short"),
    ToolSyntax("llama", "<|python_tag|>", None, (), read_llama, bare=True, first="{"),
)
# What in a template or vocabulary tells that a model was trained on a syntax, besides the opening itself.
TELLTALES = {"llama": ("<|start_header_id|>",)}
# Where two syntaxes share an opening: what a template of this one has besides.
TAUGHT_WITH = {"qwen3-coder": "<parameter="}


def syntax_of(template: str, control_tokens: Mapping[str, int]) -> ToolSyntax | None:
    """The syntax a template teaches, else the one its vocabulary has marks for."""
    for place in (template, control_tokens):
        for syntax in SYNTAXES:
            told = any(mark in place for mark in (syntax.opening, *TELLTALES.get(syntax.name, ())))
            besides = TAUGHT_WITH.get(syntax.name)
            if told and (besides is None or besides in place):
                return syntax
    return None
