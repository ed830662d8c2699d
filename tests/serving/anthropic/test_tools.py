"""Calls, thoughts and forms in this dialect, with Anthropic's own client held to its types."""

import json

import pydantic
import pytest

from ouvert.serving.anthropic.blocks import signature_of
from ouvert.serving.anthropic.events import input_of

from .asking import ANSWER, NAME, QUESTION, SCHEMA, TOOLS, fields, thinks, thoughtful


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "product"}])
def test_a_call_that_is_required_comes_and_follows_its_schema(thinker, choice):
    _, message = thoughtful(thinker, tools=TOOLS, tool_choice={**choice, "disable_parallel_tool_use": True})
    assert message.stop_reason == "tool_use"
    [call] = [block for block in message.content if block.type == "tool_use"]
    assert call.name in (("sum", "product") if choice["type"] == "any" else ("product",))
    assert isinstance(call.input["yes"], bool)


def test_a_call_streams_in_pieces_behind_its_thought(thinker):
    asked_for = {"tools": TOOLS, "tool_choice": {"type": "any", "disable_parallel_tool_use": True}}
    seed, whole = thoughtful(thinker, **asked_for)
    with thinker.messages.stream(**thinks(seed, **asked_for)) as stream:
        events = [event for event in stream if event.type.startswith("content_block")]
        message = stream.get_final_message()
    said, repeated = whole.to_dict()["content"], message.to_dict()["content"]
    for block in (*said, *repeated):
        block.pop("parsed_output", None)
    ids = [block.pop("id") for block in (*said, *repeated) if block["type"] == "tool_use"]
    assert len(set(ids)) == len(ids), "the same call again has another id"
    assert repeated == said
    starts = [event.content_block for event in events if event.type == "content_block_start"]
    assert [block.type for block in starts] == [block.type for block in whole.content]
    deltas = [event.delta for event in events if event.type == "content_block_delta"]
    pieces = [delta.partial_json for delta in deltas if delta.type == "input_json_delta"]
    assert len(pieces) > 1
    assert json.loads("".join(pieces)) == message.content[-1].input
    assert isinstance(message.content[-1].input["yes"], bool)
    thought = message.content[0]
    assert "".join(delta.thinking for delta in deltas if delta.type == "thinking_delta") == thought.thinking
    assert thought.signature == signature_of(thought.thinking)


def test_no_call_comes_where_none_may(thinker):
    message = thinker.messages.create(**thinks(tools=TOOLS, tool_choice={"type": "none"}, max_tokens=60))
    assert all(block.type != "tool_use" for block in message.content)


def test_a_tool_loop_goes_round_with_its_thoughts(thinker):
    _, first = thoughtful(thinker, tools=TOOLS, tool_choice={"type": "any"})
    calls = [block for block in first.content if block.type == "tool_use"]
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": "42"} for call in calls]
    whole = [*QUESTION, {"role": "assistant", "content": first.content}, {"role": "user", "content": results}]
    count = thinker.messages.count_tokens(model=NAME, messages=whole, tools=TOOLS).input_tokens
    answer = thinker.messages.create(**thinks(messages=whole, tools=TOOLS, max_tokens=20))
    assert answer.usage.input_tokens + answer.usage.cache_read_input_tokens == count
    without = [*QUESTION, {"role": "assistant", "content": calls}, {"role": "user", "content": results}]
    restored = thinker.messages.create(
        **thinks(messages=without, tools=TOOLS, max_tokens=20, extra_body={"ouvert": {"receipt": "full"}})
    )
    assert restored.ouvert["receipt"]["messages"][1]["reasoning_restored"] is True
    assert restored.usage.input_tokens + restored.usage.cache_read_input_tokens == count


def test_thoughts_are_counted_hidden_or_left_out_as_asked(thinker):
    seed, shown = thoughtful(thinker)
    assert 0 < shown.usage.output_tokens_details.thinking_tokens < shown.usage.output_tokens
    omitted = {"type": "enabled", "budget_tokens": 8, "display": "omitted"}
    hidden = thinker.messages.create(**thinks(seed, thinking=omitted))
    assert (hidden.content[0].thinking, hidden.content[0].signature) == ("", shown.content[0].signature)
    events = list(thinker.messages.create(**thinks(seed, thinking=omitted, stream=True)))
    assert "thinking_delta" not in [event.delta.type for event in events if event.type == "content_block_delta"]
    silent = [thinker.messages.create(**thinks(n, thinking={"type": "disabled"})) for n in range(20)]
    assert any(message.usage.output_tokens_details.thinking_tokens for message in silent)
    assert all(block.type != "thinking" for message in silent for block in message.content)
    for message in silent:
        least, left_out = message.ouvert["not_honoured"]
        assert "always thinks" in least
        assert "left out of this message" in left_out


@pytest.mark.parametrize(
    ("word", "effort"),
    [("low", "low"), ("medium", "medium"), ("high", "high"), ("xhigh", "high"), ("max", "high")],
)
def test_an_effort_is_moved_to_the_nearest(thinker, word, effort):
    message = thinker.messages.create(
        **thinks(output_config={"effort": word}, max_tokens=1, extra_body={"ouvert": {"receipt": "full"}})
    )
    assert message.ouvert["receipt"]["asked"]["effort"] == effort


def test_a_budget_for_thoughts_holds_and_is_said_where_a_model_has_none(thinker, sdk):
    message = thinker.messages.create(**thinks(extra_body={"ouvert": {"receipt": "full"}}))
    assert message.ouvert["receipt"]["asked"]["think_budget"] == 8
    plain = sdk.messages.create(**fields(thinking={"type": "enabled", "budget_tokens": 1024}))
    assert plain.content[0].text == ANSWER
    assert any("does not think" in note for note in plain.ouvert["not_honoured"])


def test_a_form_is_followed(thinker):
    class Verdict(pydantic.BaseModel):
        yes: bool

    seed, message = thoughtful(thinker, output_config={"format": {"type": "json_schema", "schema": SCHEMA}})
    assert isinstance(json.loads(message.content[-1].text)["yes"], bool)
    parsed = thinker.messages.parse(**thinks(seed), output_format=Verdict)
    assert isinstance(parsed.parsed_output, Verdict)


def test_counting_counts_tools_and_form_as_the_answer_does(thinker):
    more = {
        "tools": TOOLS,
        "system": "Be brief.",
        "output_config": {"effort": "high", "format": {"type": "json_schema", "schema": SCHEMA}},
    }
    counted = thinker.messages.count_tokens(model=NAME, messages=QUESTION, **more).input_tokens
    usage = thinker.messages.create(**thinks(**more, max_tokens=2)).usage
    assert usage.input_tokens + usage.cache_read_input_tokens == counted
    assert counted > thinker.messages.count_tokens(model=NAME, messages=QUESTION).input_tokens + 20


def test_arguments_that_are_no_object_are_shown_as_they_are():
    assert input_of("") == {}
    assert input_of('{"a": 1}') == {"a": 1}
    assert input_of("[1]") == {"INVALID_JSON": "[1]"}
    assert input_of('{"a":') == {"INVALID_JSON": '{"a":'}


def test_a_cut_off_call_is_no_call(thinker):
    """Wherever the limit falls into the arguments of a call, the whole message has no such call."""
    asked_for = {"tools": TOOLS, "tool_choice": {"type": "any", "disable_parallel_tool_use": True}}
    seed, whole = thoughtful(thinker, **asked_for)
    begun = 0
    for limit in range(1, whole.usage.output_tokens - 1):
        limited = thinks(seed, **asked_for, max_tokens=limit)
        message = thinker.messages.create(**limited)
        assert message.stop_reason == "max_tokens"
        assert all(block.type != "tool_use" for block in message.content)
        told = list(thinker.messages.create(**limited, stream=True))
        begun += any(e.type == "content_block_start" and e.content_block.type == "tool_use" for e in told)
    assert begun
