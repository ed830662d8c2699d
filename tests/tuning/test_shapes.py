"""Every shape of docs/formats/tuning-data.md: found by its keys, converted by its name, refused by line."""

import json

import pytest

from ouvert.assistant.messages import as_conversation
from ouvert.chat import Message, ToolCall
from ouvert.tuning.rows import Row
from ouvert.tuning.shapes import Asked, Judged, Pair, PlainText, RowsError, converted

HELLO = Message(role="user", content="Hello")
HI = Message(role="assistant", content="Hi")
NO = Message(role="assistant", content="No")


def one(values, method="sft", ignore=()):
    [(line, value)], shape = converted([Row(7, values)], method, ignore)
    assert line == 7
    return value, shape.name


def said(*pairs):
    return [{"role": role, "content": content} for role, content in pairs]


def test_messages():
    value, name = one({"messages": said(("user", "Hello"), ("assistant", "Hi"))})
    assert (name, value.messages, value.weights) == ("messages", (HELLO, HI), (None, None))


CALL = {"id": "x1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}
LOOP = [
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "content": "r", "tool_call_id": "x1"},
    {"role": "assistant", "content": [{"type": "text", "text": "Hi"}], "reasoning_content": "hm"},
]


def test_messages_are_those_that_the_server_reads():
    value, _ = one({"messages": LOOP, "tools": [TOOL], "reasoning_effort": "low"})
    served = as_conversation([*LOOP[:1], LOOP[1] | {"tool_calls": [CALL | {"id": "call_x1"}]},
                              LOOP[2] | {"tool_call_id": "call_x1"}, LOOP[3]], [TOOL], effort="low")  # fmt: skip
    assert (value.messages, value.tools, value.effort) == (served.messages, served.tools, served.effort)


@pytest.mark.parametrize("key", ["reasoning", "reasoning_content", "thinking"])
def test_thoughts_have_several_names(key):
    value, _ = one({"messages": [*said(("user", "Hello")), {"role": "assistant", "content": "Hi", key: "hm"}]})
    assert value.messages[-1].reasoning == "hm"


def test_thoughts_in_the_text_are_taken_out_of_it():
    value, _ = one({"messages": said(("user", "Hello"), ("assistant", "<think>\nhm\n</think>\n\nHi"))})
    assert (value.messages[-1].content, value.messages[-1].reasoning) == ("Hi", "hm")


@pytest.mark.parametrize(
    ("more", "weight"), [({"weight": 0}, 0.0), ({"weight": 1}, 1.0), ({"train": False}, 0.0), ({"train": True}, 1.0)]
)
def test_weights_of_openai_and_axolotl(more, weight):
    value, _ = one({"messages": [*said(("user", "Hello")), {"role": "assistant", "content": "Hi"} | more]})
    assert value.weights == (None, weight)


def test_results_come_in_the_order_of_their_calls_and_calls_need_no_ids():
    calls = [{"function": {"name": name, "arguments": {}}} for name in ("f", "g")]
    results = [{"role": "tool", "name": name, "content": name} for name in ("g", "f")]
    value, _ = one({"messages": [*said(("user", "Hello")), {"role": "assistant", "tool_calls": calls}, *results,
                                 *said(("assistant", "Hi"))]})  # fmt: skip
    assert [call.id for call in value.messages[1].tool_calls] == ["call_1", "call_2"]
    assert [message.content for message in value.messages[2:4]] == ["f", "g"]


def test_prompt_and_completion_as_texts_and_as_messages():
    value, name = one({"prompt": "Hello", "completion": "Hi"})
    assert (name, value.messages, value.plain) == ("prompt and completion", (HELLO, HI), True)
    value, _ = one({"prompt": said(("user", "Hello")), "completion": said(("assistant", "Hi"))})
    assert (value.messages, value.plain) == ((HELLO, HI), False)


def test_text():
    assert one({"text": "Once"}) == (PlainText("Once"), "text")


def test_alpaca_with_its_history():
    row = {"instruction": "Translate", "input": "Hi", "output": "Salut", "system": "Be brief.", "history": [["a", "b"]]}
    value, name = one(row)
    assert name == "Alpaca"
    assert [(m.role, m.content) for m in value.messages] == [
        ("system", "Be brief."), ("user", "a"), ("assistant", "b"), ("user", "Translate\nHi"), ("assistant", "Salut"),
    ]  # fmt: skip
    assert one({"instruction": "Hello", "input": "", "output": "Hi"})[0].messages == (HELLO, HI)


def test_sharegpt_with_calls():
    turns = [("human", "Hello"), ("function_call", '{"name": "f", "arguments": {"a": 1}}'), ("observation", "r"),
             ("gpt", "Hi")]  # fmt: skip
    row = {"conversations": [{"from": who, "value": what} for who, what in turns], "tools": json.dumps([TOOL])}
    value, name = one(row)
    assert (name, [m.role for m in value.messages]) == ("ShareGPT", ["user", "assistant", "tool", "assistant"])
    assert value.messages[1].tool_calls == (ToolCall("call_1", "f", '{"a": 1}'),)
    assert value.messages[2].tool_call_id == "call_1"
    assert value.tools[0].name == "f"


TURNS = [{"from": "human", "value": "Hello"}]
PREFERENCES = {
    "preference": {"prompt": "Hello", "chosen": "Hi", "rejected": "No"},
    "preference without a prompt of its own": {
        "chosen": said(("user", "Hello"), ("assistant", "Hi")),
        "rejected": said(("user", "Hello"), ("assistant", "No")),
    },
    "OpenAI's preference": {
        "input": {"messages": said(("user", "Hello")), "tools": [], "parallel_tool_calls": True},
        "preferred_output": said(("assistant", "Hi")),
        "non_preferred_output": said(("assistant", "No")),
    },
    "ShareGPT preference": {
        "conversations": TURNS,
        "chosen": {"from": "gpt", "value": "Hi"},
        "rejected": {"from": "gpt", "value": "No"},
    },
    "Alpaca preference": {"instruction": "Hello", "input": "", "chosen": "Hi", "rejected": "No"},
    "correction": {
        "ouvert_correction": 1,
        "id": "c1",
        "created": "2026-11-05T10:00:00Z",
        "messages": said(("user", "Hello")),
        "given": "No",
        "wanted": "Hi",
        "receipt": "sha256:00",
    },
}


@pytest.mark.parametrize("name", PREFERENCES)
@pytest.mark.parametrize("method", ["dpo", "orpo", "kto"])
def test_preferences(name, method):
    value, found = one(PREFERENCES[name], method)
    assert found == name
    assert isinstance(value, Pair)
    assert (value.prompt.messages, value.chosen, value.rejected) == ((HELLO,), HI, NO)


def test_a_correction_teaches_what_was_wanted():
    value, name = one(PREFERENCES["correction"])
    assert (name, value.chosen) == ("correction", HI)


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("labelled answer", {"prompt": "Hello", "completion": "Hi", "label": True}),
        ("labelled answer", {"prompt": "Hello", "completion": "Hi", "label": "True"}),  # of CSV
        ("labelled Alpaca", {"instruction": "Hello", "output": "Hi", "kto_tag": True}),
        ("labelled ShareGPT", {"conversations": [*TURNS, {"from": "gpt", "value": "Hi"}], "kto_tag": True}),
    ],
)
def test_labelled_answers(name, row):
    value, found = one(row, "kto")
    assert found == name
    assert isinstance(value, Judged)
    assert (value.prompt.messages, value.answer, value.desirable) == ((HELLO,), HI, True)


def test_prompts_keep_their_columns():
    value, _ = one({"prompt": "Hello", "answer": 4, "tests": ["x"]}, "grpo")
    assert isinstance(value, Asked)
    assert (value.prompt.messages, value.columns) == ((HELLO,), {"answer": 4, "tests": ["x"]})
    value, _ = one({"messages": said(("user", "Hello")), "answer": 4}, "grpo")
    assert (value.prompt.messages, value.columns) == ((HELLO,), {"answer": 4})


USER = {"role": "user", "content": "Hello"}


def ending(message):
    return {"messages": [USER, message]}


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"messages": [USER], "mood": "x"}, "unknown keys mood in the shape messages.*ignore = ..mood"),
        ({"instruction": "a", "answer": "b"}, "answer, instruction, expected the keys of a shape"),
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, "preference, which sft does not learn from. Choose --method"),
        ({"messages": []}, "messages is .*expected a list of messages"),
        ({"messages": [USER]}, "not the assistant's, expected an answer"),
        (ending({"role": "bot", "content": "a"}), r"messages\[1\].role is \"bot\", expected one of"),
        (ending({"role": "assistant", "content": "a", "mood": 1}), r"messages\[1\] has the keys mood"),
        (ending({"role": "assistant", "content": ""}), "says nothing"),
        (ending({"role": "assistant", "content": 3}), r"messages\[1\].content is 3, expected text"),
        (ending({"role": "assistant", "content": [{"type": "image_url"}]}), "trains no images"),
        (ending({"role": "assistant", "content": "a", "weight": 2}), "weight is 2, expected a number from 0 to 1"),
        (ending({"role": "assistant", "content": "a", "weight": 0, "train": True}), "expected one of the two"),
        (ending({"role": "assistant", "content": "a\ud800"}), "lone surrogate"),
        (ending({"role": "assistant", "content": "a", "thinking": "b", "reasoning": "c"}), "they differ"),
        (ending({"role": "assistant", "tool_calls": [{"name": "f", "arguments": "[1"}]}), "JSON text of one"),
        (ending({"role": "assistant", "content": "a", "refusal": "no"}), "refusal is not read"),
        ({"messages": LOOP[:2] + LOOP[3:]} | {"tools": [{"name": 1}]}, r"tools\[0\] is"),
        ({"conversations": [{"from": "bing", "value": "a"}]}, r"conversations\[0\].from is \"bing\""),
        ({"messages": said(("user", "a"), ("tool", "b"), ("assistant", "c"))}, "matching results with calls"),
        ({"prompt": said(("assistant", "a")), "completion": "b"}, "expected it to end before the answer"),
    ],
)  # fmt: skip
def test_a_row_that_is_not_understood_is_refused_by_line(row, says):
    import re

    with pytest.raises(RowsError) as caught:
        one(row)
    [(line, fault)] = caught.value.found
    assert line == 7
    assert re.search(says, fault), fault


def test_keys_named_in_the_recipe_are_left_out():
    row = {"messages": said(("user", "Hello"), ("assistant", "Hi")), "mood": "x"}
    assert one(row, ignore=("mood",))[0].messages == (HELLO, HI)


@pytest.mark.parametrize(
    ("row", "method"),
    [
        ({"messages": said(("user", "Hello"), ("assistant", "Hi")), "prompt": "Hello", "prompt_id": "ab"}, "sft"),
        ({"text": "a", "url": "https://example.org", "id": 3}, "sft"),
        ({"chosen": said(("user", "Hello"), ("assistant", "Hi")), "score_chosen": 8.0,
          "rejected": said(("user", "Hello"), ("assistant", "No")), "score_rejected": 5.0}, "dpo"),
        ({"prompt": "Hello", "chosen": "Hi", "rejected": "No", "chosen-rating": 5, "rejected-model": "x"}, "orpo"),
        ({"instruction": "Hello", "output": "Hi", "prompt": "### Instruction:\nHello"}, "sft"),
    ],
)  # fmt: skip
def test_keys_that_change_nothing_are_no_fault_and_change_nothing(row, method):
    read = {"messages", "text", "chosen", "rejected", "instruction", "output"} | (
        {"prompt"} if method == "orpo" else set()
    )
    assert one(row, method) == one({key: value for key, value in row.items() if key in read}, method)


@pytest.mark.parametrize("key", ["prompt", "text", "system_prompt", "score_chosen", "weight"])
def test_what_may_change_what_is_learnt_is_refused(key):
    with pytest.raises(RowsError) as caught:
        one({"messages": said(("user", "Hello"), ("assistant", "Hi")), key: "You are a bear."})
    assert f"unknown keys {key} " in caught.value.found[0][1]


def test_a_mixed_file_is_refused_by_line():
    rows = [Row(1, {"text": "a"}), Row(2, {"prompt": "a", "completion": "b"}), Row(3, {"text": "b"})]
    with pytest.raises(RowsError) as caught:
        converted(rows, "sft", ())
    assert caught.value.found == ((2, "the shape prompt and completion, while line 1 is text: one shape a file"),)


def test_the_same_answers_are_no_preference():
    with pytest.raises(RowsError) as caught:
        one({"prompt": "a", "chosen": "b", "rejected": "b"}, "dpo")
    assert "the same" in caught.value.found[0][1]
