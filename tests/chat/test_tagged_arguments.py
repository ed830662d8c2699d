"""Calls as Qwen3-Coder writes them: a tag for each argument, and values whose type only the tool's schema knows."""

import importlib.util
import json
from pathlib import Path

import pytest

from ouvert.chat import Conversation, Message, TextDelta, Tool, ToolCallDelta, builtin_template
from ouvert.chat.tagged_arguments import typed, typed_arguments
from ouvert.chat.template import TemplateFormat

TAUGHT = "{# <tool_call> <function=NAME> <parameter=KEY> #}"
EDIT = Tool(
    name="edit",
    parameters={
        "type": "object",
        "properties": {
            "path": {"type": "string"},
            "text": {"type": "string"},
            "line": {"type": "integer"},
            "tags": {"type": "array"},
        },
    },
)
CALL = """<tool_call>
<function=edit>
<parameter=path>
007
</parameter>
<parameter=text>
one
  two </parameter> three

</parameter>
<parameter=line>
20
</parameter>
<parameter=tags>
["a", 1]
</parameter>
</function>
</tool_call>"""
ARGUMENTS = {"path": "007", "text": "one\n  two </parameter> three\n", "line": 20, "tags": ["a", 1]}


@pytest.fixture(params=["qwen3", "chatml"])  # marks that are tokens, marks that are text
def chat(request, tokenizer_of):
    return TemplateFormat(tokenizer_of(request.param), builtin_template("chatml") + TAUGHT)


def answered(chat, written, *, reason="stop"):
    rendered = chat.render(Conversation(messages=(Message(role="user", content="?"),), tools=(EDIT, Tool(name="ls"))))
    parser = chat.parser(rendered)
    tokenizer = chat._tokenizer
    tokens = tokenizer.encode_parts(tokenizer.split_control(written))
    deltas = [delta for token in tokens for delta in parser.push(token)] + parser.finish(reason)
    text = "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))
    return text, [(each.name, json.loads(each.arguments)) for each in deltas if isinstance(each, ToolCallDelta)]


def test_values_have_the_types_of_the_schema_and_keep_their_lines(chat):
    assert answered(chat, "I edit it.\n" + CALL + "\n<tool_call>\n<function=ls>\n</function>\n</tool_call>") == (
        "I edit it.",
        [("edit", ARGUMENTS), ("ls", {})],
    )


def test_two_calls_in_one_region_are_two(chat):
    inner = CALL.removeprefix("<tool_call>\n").removesuffix("</tool_call>")
    assert answered(chat, f"<tool_call>\n{inner}{inner}</tool_call>")[1] == [("edit", ARGUMENTS)] * 2


@pytest.mark.parametrize("closed", ["</tool_call>", ""])
def test_a_call_whose_opening_was_forgotten_is_a_call(chat, closed):
    inner = CALL.removeprefix("<tool_call>\n").removesuffix("</tool_call>")
    assert answered(chat, "So:\n" + inner + closed) == ("So:", [("edit", ARGUMENTS)])


@pytest.mark.parametrize(
    "written",
    [
        "<tool_call>\n<function=rm>\n</function>\n</tool_call>",
        "<tool_call>\n<function=edit>\n<parameter=path>\na\n</function>\n</tool_call>",
        "<tool_call>\n<function=edit>\nwords\n</function>\n</tool_call>",
        "Write <function=f> or <function=edit then.",
        "<function=edit> is how a call begins.",
    ],
)
def test_what_is_no_call_of_a_declared_tool_stays_text(chat, written):
    assert answered(chat, written) == (written, [])


def test_a_call_that_was_cut_off_is_neither_text_nor_call(chat):
    for end in range(len("<tool_call>") + 1, len(CALL) - len("</function>\n</tool_call>")):
        assert answered(chat, "Now.\n" + CALL[:end], reason="length") == ("Now.", []), CALL[:end]


@pytest.mark.parametrize(
    ("text", "schema", "value"),
    [
        ("20", {"type": "string"}, "20"),
        ("20", {"type": "integer"}, 20),
        ("20", {"type": "number"}, 20),
        ("20.5", {"type": ["number", "null"]}, 20.5),
        ("null", {"type": ["string", "null"]}, None),
        ("null", {"type": "string"}, "null"),
        ("True", {"type": "boolean"}, True),
        ("true", {"type": "string"}, "true"),
        ('{"a": 1}', {"type": "object"}, {"a": 1}),
        ('{"a": 1}', {"type": "string"}, '{"a": 1}'),
        ('{"a": 1}', {"anyOf": [{"type": "string"}, {"type": "object"}]}, {"a": 1}),
        ("[1]", {"anyOf": [{"type": "string"}, {"type": "object"}]}, "[1]"),
        ("2", {"enum": ["1", "2"]}, "2"),
        ("2", {"enum": [1, 2]}, 2),
        ("2", {"const": 2}, 2),
        ("2", None, 2),
        ("two", None, "two"),
        ("two", {"type": "integer"}, "two"),
        ("2", {"$ref": "#/x"}, 2),
        ('"quoted"', {"type": "string"}, '"quoted"'),
        ("NaN", {"type": "number"}, "NaN"),
        ("1e999", {"type": "number"}, "1e999"),
        ("[" * 3000, {"type": "array"}, "[" * 3000),
    ],
)
def test_a_text_is_what_its_schema_allows(text, schema, value):
    found = json.loads(typed(text, schema))
    assert found == value
    assert type(found) is type(value)


def test_a_number_keeps_its_spelling():
    written = typed_arguments('{"a": "1.50", "b": "x"}', {"properties": {"a": {"type": "number"}}})
    assert written == '{"a": 1.50, "b": "x"}'


@pytest.mark.parametrize("said", [7, None, {"a": 1}, [["x"]]])
def test_a_type_that_is_none_says_nothing(said):
    assert typed_arguments('{"a": "5"}', {"properties": {"a": {"type": said}}}) == '{"a": 5}'


spec = importlib.util.spec_from_file_location("bounded", Path(__file__).parents[1] / "bounded.py")
assert spec is not None
assert spec.loader is not None
bounded = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bounded)

LONG = {
    "deepseek": "function<｜tool▁sep｜>" + "\n```json\n" * 200_000 + "x",
    "qwen3-coder": "<function=f><parameter=a>" + "</parameter>\n" * 100_000 + "x",
    "kimi": "<|tool_call_begin|>functions." + ":1" * 500_000 + "x<|tool_call_argument_begin|>{}",
    "hermes": '{"name": ' + "[" * 1_000_000,
    "mistral": "[" + '{"name": "a", "arguments": {}},' * 30_000,
    "llama": '{"name": "a", "parameters": {}};' * 30_000,
}
READS = """
from ouvert.chat.tool_syntax import SYNTAXES
readers = {each.name: each for each in SYNTAXES}
def task(value):
    syntax, region = value
    marks = {mark: mark for mark in (readers[syntax].opening, *readers[syntax].marks)}
    readers[syntax].read(region, marks, False)
"""


def test_what_a_model_writes_in_place_of_calls_is_read_in_time_that_grows_with_it():
    """A million characters each; ten times as long takes ten times as long, or the server stands still meanwhile."""
    assert bounded.unfinished(READS, {name: (name, region) for name, region in LONG.items()}, seconds=20) is None
