"""Ids of calls: unlike any other on the wire, and in a prompt as the model's makers wrote them."""

import re

import pytest

from ouvert.chat import Message, ToolCall
from ouvert.chat.call_ids import ids_in_prompt, new_call_id


@pytest.mark.parametrize("form", [None, "short", "numbered"])
def test_no_two_are_the_same(form):
    assert len({new_call_id(form) for _ in range(2000)}) == 2000


def talk(*ids):
    """A conversation in which each of these is the id of a call of `look_up`, in a message of its own."""
    return [
        message
        for identity in ids
        for message in (
            Message(role="assistant", tool_calls=(ToolCall(identity, "look_up", "{}"),)),
            Message(role="tool", tool_call_id=identity, content="x"),
        )
    ]


def test_kimi_reads_the_ids_that_it_writes_itself():
    first, second = new_call_id("numbered"), new_call_id("numbered")
    found = ids_in_prompt(talk(first, second), "numbered")
    assert found == {first: "functions.look_up:0", second: "functions.look_up:1"}
    assert found == ids_in_prompt(talk(first, second), "numbered"), "the prompt is the same every time"


def test_kimis_ids_stay_apart_beside_foreign_ones():
    ours = new_call_id("numbered")
    found = ids_in_prompt(talk("functions.look_up:1", ours, "abc"), "numbered")
    assert found == {"functions.look_up:1": "functions.look_up:1", ours: "functions.look_up:2", "abc": "abc"}


def test_mistral_reads_nine_letters_and_digits_whatever_was_sent():
    ours, foreign = new_call_id("short"), "call_0123456789abcdef01234567"
    found = ids_in_prompt([*talk(ours, foreign), Message(role="tool", tool_call_id="alone", content="x")], "short")
    assert found[ours] == ours
    assert set(found) == {ours, foreign, "alone"}
    assert all(re.fullmatch("[0-9A-Za-z]{9}", written) for written in found.values())
    assert len(set(found.values())) == 3


def test_other_models_read_what_was_sent():
    assert ids_in_prompt(talk("call_1", "x"), None) == {"call_1": "call_1", "x": "x"}
