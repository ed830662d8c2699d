"""Messages and tools in OpenAI's shape become ours, and what makes no sense is refused by name and place."""

import pytest

from ouvert.assistant import AssistantError, Message, Tool, ToolCall
from ouvert.assistant.messages import as_conversation, as_message

CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"role": "user", "content": "hi"}, Message(role="user", content="hi")),
        ({"role": "developer", "content": "x"}, Message(role="developer", content="x")),
        ({"role": "user", "content": None}, Message(role="user")),
        ({"role": "user"}, Message(role="user")),
        ({"role": "user", "content": []}, Message(role="user")),
        (
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            Message(role="user", content="ab"),
        ),
        (
            {"role": "assistant", "content": "a", "reasoning_content": "r", "refusal": None},
            Message(role="assistant", content="a", reasoning="r"),
        ),
        (
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            Message(role="assistant", tool_calls=(ToolCall("1", "f", '{"x": 1}'),)),
        ),
        (
            {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": {"x": "é"}}}]},
            Message(role="assistant", tool_calls=(ToolCall("1", "f", '{"x": "é"}'),)),
        ),
        (
            {"role": "tool", "content": "4", "tool_call_id": "1", "name": "f"},
            Message(role="tool", content="4", tool_call_id="1", name="f"),
        ),
        (Message(role="user", content="ours"), Message(role="user", content="ours")),
    ],
)
def test_a_message_becomes_ours(given, expected):
    assert as_message(given, 0) == expected


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ([], "no messages"),
        ([{"role": "user"}, {"role": "robot"}], r"messages\[1\].role is 'robot'"),
        ([{"content": "hi"}], r"messages\[0\].role is None"),
        ([{"role": "user", "contents": "hi"}], r"unknown keys \['contents'\]"),
        ([{"role": "user", "content": 3}], r"messages\[0\].content is int"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "'image_url'.*only text"),
        ([{"role": "user", "content": [3]}], r"content\[0\] is 3"),
        ([{"role": "assistant", "tool_calls": [{"id": "1"}]}], r"messages\[0\].tool_calls\[0\]"),
        ([{"role": "assistant", "refusal": "no"}], "refusal"),
        (["hi"], "messages.0. is str"),
    ],
)
def test_what_makes_no_sense_is_named(given, named):
    with pytest.raises(AssistantError, match=named):
        as_conversation(given)


def test_tools_become_ours():
    ours = Tool(name="f", description="d", parameters={"type": "object"})
    assert as_conversation("hi", [TOOL, ours]).tools == (ours, ours)
    assert as_conversation("hi", [{"type": "function", "function": {"name": "f"}}]).tools == (Tool(name="f"),)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"type": "web_search"}, r"tools\[0\]"),
        ({"type": "function", "function": {"name": "f", "parallel": True}}, "parallel"),
        ({"type": "function", "function": {"name": "f", "params": {}}}, "params"),
    ],
)
def test_tools_that_cannot_be_offered_are_named(given, named):
    with pytest.raises(AssistantError, match=named):
        as_conversation("hi", [given])
