"""Tools of Responses: custom ones are called with their text, what is left out is said, and nothing is a 500."""

import json

import pytest
from openai import OpenAI

from ouvert.assistant import Message, ToolCall, ToolCallDelta
from ouvert.serving.openai.response_events import ResponseWriter
from ouvert.serving.openai.response_items import messages_of
from ouvert.serving.openai.response_tools import declared_tools, text_in

NAME = "gpt-oss:tiny"
PATCH = {"type": "custom", "name": "apply_patch", "description": "Edit files.", "format": {"type": "text"}}
SUM = {"type": "function", "name": "sum", "description": "Adds.", "parameters": {"type": "object"}}
HELD_TO_NOTHING = "is offered as a function with one text; its grammar is shown to the model, and not held"
LEFT_OUT = ["web_search", "local_shell", "mcp", "file_search", "computer_use_preview", "namespace", "image_generation"]


class NothingStored:
    def item(self, item_id):
        return None


@pytest.fixture(scope="module")
def harmony(start_server, tiny_gpt_oss, tmp_path_factory):
    model = tmp_path_factory.mktemp("models") / NAME
    model.symlink_to(tiny_gpt_oss)
    return start_server(models=(str(model),))


@pytest.fixture
def client(harmony):
    with harmony.client() as client:
        yield client


def ask(client, **fields):
    return client.post("/v1/responses", json={"model": NAME, "input": "Hi", "max_output_tokens": 3, **fields})


@pytest.mark.parametrize("kind", LEFT_OUT)
def test_a_tool_that_is_left_out_is_said(client, kind):
    body = ask(client, tools=[{"type": kind}, SUM]).json()
    assert body["ouvert"]["not_honoured"] == [f"tools: {kind} is not offered here, and was left out"]
    assert [tool["name"] for tool in body["tools"]] == ["sum"]


def test_a_custom_tool_is_offered_as_a_function_with_one_text_and_that_is_said():
    grammar = {"type": "grammar", "syntax": "lark", "definition": "start: /a+/"}
    declared = declared_tools([PATCH, {**PATCH, "name": "count", "format": grammar}])
    first, second = declared.tools
    assert first.parameters["required"] == ["input"]
    assert "start: /a+/" in second.description
    assert declared.custom == {"apply_patch", "count"}
    assert declared.notes == [
        "tools: the custom tool apply_patch is offered as a function with one text",
        f"tools: the custom tool count {HELD_TO_NOTHING}",
    ]


def test_a_custom_tool_is_called_with_its_text():
    response = {"output": []}
    writer = ResponseWriter(response, {"apply_patch"})
    events = []
    for delta in (
        ToolCallDelta(0, "call_1", "apply_patch", ""),
        ToolCallDelta(0, None, None, '{"input": "a\\n'),
        ToolCallDelta(0, None, None, 'b"}'),
        ToolCallDelta(1, "call_2", "sum", "{}"),
    ):
        events += writer.take(delta)
    events += writer.end("completed", None)
    custom, function = response["output"]
    assert {name: custom[name] for name in ("type", "call_id", "name", "input", "status")} == {
        "type": "custom_tool_call",
        "call_id": "call_1",
        "name": "apply_patch",
        "input": "a\nb",
        "status": "completed",
    }
    assert (function["type"], function["arguments"]) == ("function_call", "{}")
    of_custom = [event["type"] for event in events if event.get("item_id") == custom["id"]]
    assert of_custom == ["response.custom_tool_call_input.delta", "response.custom_tool_call_input.done"]


@pytest.mark.parametrize(("arguments", "text"), [('{"input": "a"}', "a"), ("a", "a"), ('{"x": 1}', '{"x": 1}')])
def test_arguments_that_are_not_the_one_text_stand_as_they_are(arguments, text):
    assert text_in(arguments) == text


def test_the_official_library_reads_a_custom_call_and_sends_it_back(harmony):
    with OpenAI(base_url=harmony.base + "/v1", api_key="none", _strict_response_validation=True, max_retries=0) as sdk:
        choice = {"type": "custom", "name": "apply_patch"}
        asked = {"model": NAME, "tools": [PATCH], "max_output_tokens": 400, "temperature": 1}
        for seed in range(100):  # this model of noise ends few of its texts
            asked["extra_body"] = {"seed": seed, "think_budget": 8}
            response = sdk.responses.create(**asked, input="Hi", tool_choice=choice)
            calls = [item for item in response.output if item.type == "custom_tool_call"]
            if calls and response.status == "completed":
                break
        assert [call.name for call in calls] == ["apply_patch"]
        with sdk.responses.create(**asked, input="Hi", tool_choice=choice, stream=True) as stream:
            done = [event for event in stream if event.type == "response.custom_tool_call_input.done"]
        assert [event.input for event in done] == [call.input for call in calls]
        result = {"type": "custom_tool_call_output", "call_id": calls[0].call_id, "output": "done"}
        again = sdk.responses.create(**asked, input=[result], previous_response_id=response.id)
    assert again.status in ("completed", "incomplete")


def test_a_custom_call_in_a_history_is_a_call():
    history = [
        {"type": "message", "role": "user", "content": "Hi"},
        {"type": "custom_tool_call", "id": "ctc_1", "call_id": "call_1", "name": "apply_patch", "input": "a"},
        {"type": "custom_tool_call_output", "call_id": "call_1", "output": "done"},
    ]
    _, call, result = messages_of(history, NothingStored())
    assert call.tool_calls == (ToolCall("call_1", "apply_patch", json.dumps({"input": "a"}, separators=(",", ":"))),)
    assert result == Message(role="tool", content="done", tool_call_id="call_1")


def test_a_function_in_the_shape_of_chat_completions_is_the_same_function():
    inner = {name: value for name, value in SUM.items() if name != "type"}
    assert declared_tools([{"type": "function", "function": inner}]).tools == declared_tools([SUM]).tools


@pytest.mark.parametrize(
    ("tool", "param"),
    [
        ({"type": "function"}, "tools[1].name"),
        ({}, "tools[1].name"),
        ({"a": 1}, "tools[1].name"),
        ({"type": "custom"}, "tools[1].name"),
        ({"type": "function", "name": 5}, "tools[1].name"),
        ({"type": "function", "name": "f", "parameters": "no schema"}, "tools[1]"),
        ({"type": "function", "function": "f"}, "tools[1]"),
        ({"type": 5, "name": "f"}, "tools[1]"),
        ({"type": "custom", "name": "f", "format": "text"}, "tools[1]"),
    ],
)
def test_a_tool_that_is_declared_wrongly_is_refused_with_its_place(client, tool, param):
    response = ask(client, tools=[SUM, tool])
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param
