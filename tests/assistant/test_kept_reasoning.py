"""Thoughts behind an open tool call: kept by the call's id, put back where the caller lacks them, and only there."""

from dataclasses import replace

import pytest

from ouvert.assistant import Demands, Message, Tool, ToolCall
from ouvert.assistant.kept_reasoning import KeptReasoning
from ouvert.chat import Conversation
from ouvert.engine import Sampling

ONE, TWO = ToolCall("call_1", "weather", "{}"), ToolCall("call_2", "time", "{}")
USER = Message(role="user", content="?")
CALLED = Message(role="assistant", tool_calls=(ONE,))
RESULT = Message(role="tool", tool_call_id="call_1", content="sun")


@pytest.fixture
def kept():
    kept = KeptReasoning()
    kept.keep([ONE], "it is about weather")
    kept.keep([TWO], "it is about time")
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
    again = Message(role="assistant", tool_calls=(TWO,))
    assert restored(kept, USER, CALLED, RESULT, answer, USER, again)[1] == {5}


def test_an_id_alone_is_not_enough_and_unknown_calls_get_nothing(kept):
    other = Message(role="assistant", tool_calls=(ToolCall("call_1", "delete", "{}"),))
    unknown = Message(role="assistant", tool_calls=(ToolCall("x", "weather", "{}"),))
    assert restored(kept, USER, other, unknown) == ([None] * 3, frozenset())


def test_the_conversation_itself_is_never_changed(kept):
    given = Conversation(messages=(USER, CALLED, RESULT))
    kept.restored(given)
    assert given.messages == (USER, CALLED, RESULT)


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
        *deltas, finished = made.answer(talk, Sampling(seed=3, max_tokens=3000), (), demands)
        reasoning = "".join(delta.text for delta in deltas if type(delta).__name__ == "ReasoningDelta")
        if finished.tool_calls and reasoning.strip("\ufffd\n "):
            return made, tokenizer, reasoning, finished.tool_calls[0]
    raise AssertionError("no seed thought before it called")


def prompt_of(made, tokenizer, messages):
    """What the engine is really given."""
    answer = made.answer(Conversation(messages=messages, tools=(TOOL,)), Sampling(max_tokens=1))
    *_, finished = answer
    return answer._rendered, finished


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
