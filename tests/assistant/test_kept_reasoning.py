"""Thoughts behind an open tool call: put back where the caller lacks them, and only for the very call."""

from dataclasses import replace

import pytest

from ouvert.assistant import ChatRequest, Demands, Message, Tool, ToolCall
from ouvert.assistant.kept_reasoning import KeptReasoning, turn_digests
from ouvert.chat import Conversation

ONE, TWO = ToolCall("call_1", "weather", "{}"), ToolCall("call_2", "time", "{}")
USER = Message(role="user", content="?")
CALLED = Message(role="assistant", tool_calls=(ONE,))
RESULT = Message(role="tool", tool_call_id="call_1", content="sun")


@pytest.fixture
def kept():
    kept = KeptReasoning()
    kept.keep([ONE], "it is about weather", Conversation(messages=(USER,)))
    kept.keep([TWO], "it is about time", Conversation(messages=(USER, CALLED, RESULT)))
    return kept


def restored(kept, *messages):
    conversation, indexes = kept.restored(Conversation(messages=messages))
    return [message.reasoning for message in conversation.messages], indexes


def test_what_the_caller_left_out_is_put_back(kept):
    again = Message(role="assistant", tool_calls=(TWO,))
    assert restored(kept, USER, CALLED, RESULT, again) == (
        [None, "it is about weather", None, "it is about time"],
        {1, 3},
    )


def test_a_caller_who_keeps_thoughts_keeps_them_all(kept):
    own = replace(CALLED, reasoning="my own")
    again = Message(role="assistant", tool_calls=(TWO,))
    assert restored(kept, USER, own, RESULT, again) == ([None, "my own", None, None], frozenset())


def test_a_loop_that_was_closed_by_an_answer_is_left_alone(kept):
    answer = Message(role="assistant", content="sunny")
    assert restored(kept, USER, CALLED, RESULT, answer, USER) == ([None] * 5, frozenset())
    assert restored(kept, USER, CALLED, RESULT, answer, USER, CALLED)[1] == {5}, "the same turn once more"


@pytest.mark.parametrize(
    "calls",
    [
        (ToolCall("call_1", "delete", "{}"),),
        (ToolCall("x", "weather", "{}"),),
        (ToolCall("call_1", "weather", '{"city": "Oslo"}'),),
        (ONE, TWO),
        (ONE, ToolCall("call_3", "weather", "{}")),
    ],
)
def test_only_the_very_calls_that_the_thoughts_led_to_get_them(kept, calls):
    assert restored(kept, USER, Message(role="assistant", tool_calls=calls)) == ([None] * 2, frozenset())


def test_another_conversation_gets_nothing_whatever_ids_it_has(kept):
    """Some models write ids that every conversation has: Kimi's first call is functions.NAME:0."""
    for other in (Message(role="user", content="Another question"), replace(USER, role="system")):
        assert restored(kept, other, CALLED, RESULT) == ([None] * 3, frozenset())
    changed = replace(RESULT, content="rain")
    assert restored(kept, USER, CALLED, changed, Message(role="assistant", tool_calls=(TWO,)))[1] == {1}


def test_nobody_else_gets_them(kept):
    kept.keep([ONE], "a key's thoughts", Conversation(messages=(USER,)), "key:1")
    talk = Conversation(messages=(USER, CALLED, RESULT))
    found = {asker: kept.restored(talk, asker)[0].messages[1].reasoning for asker in ("", "key:1", "key:2")}
    assert found == {"": "it is about weather", "key:1": "a key's thoughts", "key:2": None}


def test_what_was_said_before_the_turn_may_change_and_arguments_may_be_written_anew(kept):
    call = ToolCall("call_5", "weather", '{"city": "Rome", "days": 2}')
    kept.keep([call], "it rains", Conversation(messages=(Message(role="system", content="It is noon."), USER)))
    written_anew = replace(call, arguments='{"days":2,"city":"Rome"}')
    later = Message(role="system", content="It is one o'clock.")
    assert restored(kept, later, USER, Message(role="assistant", tool_calls=(written_anew,)))[1] == {2}


def test_calls_of_one_answer_get_its_thoughts_together_or_alone():
    kept = KeptReasoning()
    kept.keep([ONE, TWO], "both", Conversation(messages=(USER,)))
    for calls in ((ONE, TWO), (TWO, ONE), (TWO,)):
        assert restored(kept, USER, Message(role="assistant", tool_calls=calls))[0] == [None, "both"]


def test_every_place_of_a_long_tool_loop_is_a_turn_of_its_own(kept):
    talk = Conversation(messages=(USER, *([CALLED, RESULT] * 5000)))
    digests = turn_digests(talk.messages)
    assert len(digests) == len(talk.messages) + 1
    assert len(set(digests[1:])) == len(digests) - 1
    assert kept.restored(talk)[1] == {1}


def test_the_conversation_itself_is_never_changed(kept):
    given = Conversation(messages=(USER, CALLED, RESULT))
    kept.restored(given)
    assert given.messages == (USER, CALLED, RESULT)


def test_what_is_forgotten_is_not_put_back_and_others_thoughts_are():
    kept = KeptReasoning(most_characters=20)
    before = Conversation(messages=(USER,))
    kept.keep([ONE], "swordfish", before)
    kept.keep([ONE], "swordfish", before, "key:1")
    kept.forget("")
    assert restored(kept, USER, CALLED, RESULT)[0][1] is None
    assert kept.restored(Conversation(messages=(USER, CALLED, RESULT)), "key:1")[0].messages[1].reasoning == "swordfish"
    kept.keep([TWO], "eleven more", before)  # there is room for it again
    assert kept.restored(Conversation(messages=(USER, CALLED, RESULT)), "key:1")[0].messages[1].reasoning == "swordfish"


def test_what_has_gone_unused_longest_is_forgotten():
    kept = KeptReasoning(most_calls=2)
    calls = [ToolCall(f"c{n}", "f", "{}") for n in range(3)]
    kept.keep(calls[:1], "0")
    kept.keep(calls[1:2], "1")
    restored(kept, Message(role="assistant", tool_calls=(calls[0],)))  # used again
    kept.keep(calls[2:], "2")
    found = [restored(kept, Message(role="assistant", tool_calls=(call,)))[0] for call in calls]
    assert found == [["0"], [None], ["2"]]


def test_characters_are_bounded_too():
    kept = KeptReasoning(most_characters=10)
    kept.keep([ONE], "12345")
    kept.keep([ONE], "1234567")  # takes the place of the first
    kept.keep([TWO], "123")
    assert restored(kept, CALLED)[0] == ["1234567"]
    kept.keep([ToolCall("call_3", "f", "{}")], "x")
    kept.keep([ToolCall("call_4", "f", "{}")], "longer than all of it")
    assert restored(kept, CALLED)[0] == [None]


# --- with Harmony -----------------------------------------------------------------------------------------------------

TOOL = Tool(name="time")
ASKED = (Message(role="user", content="What time is it?"),)


@pytest.fixture
def first_turn(assistant):
    """An assistant that has just called a tool, what it thought, and the call."""
    for seed in range(50):
        made, tokenizer = assistant("harmony", seed)
        talk = Conversation(messages=ASKED, tools=(TOOL,))
        demands = Demands(calls="required", think_budget=30)
        *deltas, finished = made.answer(
            ChatRequest(conversation=talk, sampling={"seed": 3, "max_tokens": 3000}, demands=demands)
        )
        reasoning = "".join(delta.text for delta in deltas if type(delta).__name__ == "ReasoningDelta")
        if finished.tool_calls and reasoning.strip("\ufffd\n "):
            return made, tokenizer, reasoning, finished.tool_calls[0]
    raise AssertionError("no seed thought before it called")


def prompt_of(made, tokenizer, messages):
    """What the engine is really given."""
    request = ChatRequest(conversation=Conversation(messages=messages, tools=(TOOL,)), sampling={"max_tokens": 1})
    *_, finished = made.answer(request)
    return made.plan(request).rendered, finished


def loop_with(call, reasoning):
    return (
        *ASKED,
        Message(role="assistant", tool_calls=(call,), reasoning=reasoning),
        Message(role="tool", tool_call_id=call.id, content="noon"),
    )


def test_harmony_gets_the_analysis_of_an_open_loop_back(first_turn):
    made, tokenizer, reasoning, call = first_turn
    lacking, finished = prompt_of(made, tokenizer, loop_with(call, None))
    giving, _ = prompt_of(made, tokenizer, loop_with(call, reasoning))
    assert lacking.ids == giving.ids
    assert "<|channel|>analysis<|message|>" in lacking.text
    assert [each.get("reasoning_restored") for each in finished.receipt["messages"]] == [None, True, None]


def test_the_receipt_says_of_thoughts_that_the_format_drops(first_turn):
    made, tokenizer, _, call = first_turn
    own = loop_with(call, "I wrote this.")
    _, finished = prompt_of(made, tokenizer, own)
    assert not any("reasoning_dropped" in each for each in finished.receipt["messages"])
    closed = (*own, Message(role="assistant", content="Noon."), *ASKED)
    rendered, finished = prompt_of(made, tokenizer, closed)
    assert "I wrote this." not in rendered.text
    dropped = [each.get("reasoning_dropped") for each in finished.receipt["messages"]]
    assert dropped == [None, True, None, None, *[None] * len(ASKED)]


def test_harmony_keeps_a_callers_own_analysis(first_turn):
    made, tokenizer, _, call = first_turn
    rendered, finished = prompt_of(made, tokenizer, loop_with(call, "I wrote this."))
    assert "<|channel|>analysis<|message|>I wrote this.<|end|>" in rendered.text
    assert rendered.text.count("<|channel|>analysis<|message|>") == 1
    assert not any("reasoning_restored" in each for each in finished.receipt["messages"])


def test_harmony_drops_it_once_the_loop_is_closed(first_turn):
    made, tokenizer, _, call = first_turn
    closed = (*loop_with(call, None), Message(role="assistant", content="Noon."), *ASKED)
    rendered, finished = prompt_of(made, tokenizer, closed)
    assert "<|channel|>analysis<|message|>" not in rendered.text
    assert not any("reasoning_restored" in each for each in finished.receipt["messages"])
