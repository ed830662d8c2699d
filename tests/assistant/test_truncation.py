"""What is left out of a conversation that does not fit, over a format whose tokens are the letters of its messages."""

import pytest

from ouvert.assistant.messages import as_conversation
from ouvert.assistant.receipts.receipt import sent_by_message
from ouvert.assistant.truncation import answer_room, without_oldest_turns
from ouvert.chat.format import Rendered, Span


class LetterFormat:
    """One token a letter, and one of the format's own before each message."""

    def __init__(self):
        self.renders = 0

    def render(self, conversation):
        self.renders += 1
        spans, at = [], 0
        for n, message in enumerate(conversation.messages):
            spans += [
                Span(at, at + 1, None, None, "format"),
                Span(at + 1, at + 1 + len(message.content), n, None, "supplied"),
            ]
            at += 1 + len(message.content)
        return Rendered(ids=tuple(range(at)), spans=tuple(spans), text="")


def talk(*said):
    roles = {"s": "system", "d": "developer", "u": "user", "a": "assistant", "t": "tool"}
    names = {"t": {"name": "clock"}}
    return as_conversation([{"role": roles[each[0]], "content": each, **names.get(each[0], {})} for each in said])


def said(conversation):
    return [message.content for message in conversation.messages]


@pytest.mark.parametrize(
    ("given", "context", "room", "kept"),
    [
        (["u1", "a1", "u2"], 12, 3, ["u1", "a1", "u2"]),
        (["u1", "a1", "u2"], 11, 3, ["u2"]),
        (["s1", "u1", "a1", "u2", "a2", "u3"], 15, 3, ["s1", "u2", "a2", "u3"]),
        (["u1", "a1", "d1", "u2"], 9, 3, ["d1", "u2"]),  # instructions keep their place
        (["u1", "a1", "t1", "a2", "u2", "a3", "t2"], 13, 3, ["u2", "a3", "t2"]),  # no result without its call
        (["u1", "a1", "u" * 20], 23, 5, ["u" * 20]),  # no room to spare, but it fits
        (["u1", "a1", "u" * 20], 20, 5, ["u1", "a1", "u" * 20]),  # the error has the numbers
        (["a1", "a2"], 3, 1, ["a1", "a2"]),
    ],
)
def test_the_newest_turns_that_leave_room_are_sent(given, context, room, kept):
    sent, left_out = without_oldest_turns(talk(*given), LetterFormat(), context, room)
    assert said(sent) == kept
    assert [each for n, each in enumerate(given) if n not in left_out] == kept


def test_the_receipt_counts_what_was_refused_in_its_place():
    chat, given = LetterFormat(), talk("s1", "u11", "a1", "d1", "u2")
    sent, left_out = without_oldest_turns(given, chat, 12, 2)
    assert sent_by_message(sent, chat.render(sent), (), left_out) == [
        {"role": "system", "sent": 2, "refused": 0},
        {"role": "user", "sent": 0, "refused": 3},
        {"role": "assistant", "sent": 0, "refused": 2},
        {"role": "developer", "sent": 2, "refused": 0},
        {"role": "user", "sent": 2, "refused": 0},
    ]


def test_a_thousand_turns_are_rendered_a_dozen_times_and_not_a_thousand():
    chat = LetterFormat()
    sent, left_out = without_oldest_turns(talk(*["u", "a"] * 1000, "u"), chat, 101, 10)
    assert len(sent.messages) == 45
    assert len(left_out) == 2001 - 45
    assert chat.renders < 15


@pytest.mark.parametrize(
    ("limit", "context", "room"), [(None, 8192, 1024), (None, 1000, 250), (30, 8192, 30), (9, 2, 1)]
)
def test_room_for_the_answer_is_what_was_asked_for_or_a_quarter_of_the_context_at_most(limit, context, room):
    assert answer_room(limit, context) == room
