"""Results belong to the call whose id they name, in whatever order they come."""

import itertools

import pytest

from ouvert.chat import ChatError, Conversation, Message, Tool, ToolCall, format_for
from ouvert.chat.results import in_the_order_of_calls

ASKED = Message(role="user", content="Stock of A, B and C?")
SKUS = {"x1": "A", "x2": "B", "x3": "C"}
CALLED = Message(role="assistant", tool_calls=tuple(ToolCall(i, "stock", f'{{"sku": "{s}"}}') for i, s in SKUS.items()))
STOCK = Tool(name="stock", parameters={"type": "object", "properties": {"sku": {"type": "string"}}})


def result(identity, content="", name=None):
    return Message(role="tool", tool_call_id=identity, content=content or f"of {identity}", name=name)


@pytest.mark.parametrize("family", ["harmony", "chatml", "llama3", "mistral", "deepseek", "kimi", "qwen3"])
def test_every_order_of_the_results_is_the_same_prompt_in_every_format(tokenizer_of, family):
    chat = format_for(tokenizer_of(family))

    def prompt(order):
        messages = in_the_order_of_calls([ASKED, CALLED, *map(result, order)])
        return chat.render(Conversation(messages=messages, tools=(STOCK,))).ids

    straight = prompt(("x1", "x2", "x3"))
    assert all(prompt(order) == straight for order in itertools.permutations(SKUS))
    swapped = in_the_order_of_calls([ASKED, CALLED, result("x1", "of x2"), result("x2", "of x1"), result("x3")])
    assert chat.render(Conversation(messages=swapped, tools=(STOCK,))).ids != straight


def test_each_turns_results_stay_in_their_turn_and_ids_may_come_again(tokenizer_of):
    again = [ASKED, CALLED, result("x3"), result("x1"), result("x2")]
    talk = [*again, Message(role="assistant", content="3"), *again]
    assert [message.tool_call_id for message in in_the_order_of_calls(talk)] == [
        None,
        None,
        *SKUS,
        None,
        None,
        None,
        *SKUS,
    ]


@pytest.mark.parametrize(
    ("messages", "named"),
    [
        ([ASKED, CALLED, result("x1"), result("x2"), result("x4")], "answers 'x4', a call that no message"),
        ([ASKED, result("x1")], "calls: none"),
        ([ASKED, CALLED, result("x1"), result("x2"), result("x3"), result("x2")], "a second result for the call 'x2'"),
        ([ASKED, CALLED, result("x3"), result("x1")], "the calls 'x2' have no result"),
        ([ASKED, CALLED, result("x1"), ASKED], "the calls 'x2', 'x3' have no result"),
        ([ASKED, CALLED, result(None, "3")], "has no tool_call_id, while 3 calls are open"),
        ([ASKED, CALLED, result(None, "3", "other")], "none of 'other'"),
        ([ASKED, result(None, "3")], "has no tool_call_id, while 0 calls are open"),
        (
            [Message(role="assistant", tool_calls=(ToolCall("a", "f", "{}"), ToolCall("a", "g", "{}")))],
            "two calls with the id 'a'",
        ),
    ],
)
def test_what_cannot_be_matched_is_refused_with_the_ids(messages, named):
    with pytest.raises(ChatError, match=named):
        in_the_order_of_calls(messages)


def test_where_only_one_call_can_be_meant_an_id_may_be_left_out():
    one = Message(role="assistant", tool_calls=(ToolCall("a", "f", "{}"),))
    two = Message(role="assistant", tool_calls=(ToolCall("a", "f", "{}"), ToolCall("b", "g", "{}")))
    answer = in_the_order_of_calls([ASKED, one, result(None, "1")])[-1]
    assert (answer.content, answer.tool_call_id) == ("1", "a")  # said for the formats that write it
    by_name = in_the_order_of_calls([ASKED, two, result(None, "of g", "g"), result(None, "of f", "f")])
    assert [message.content for message in by_name[2:]] == ["of f", "of g"]
    assert len(in_the_order_of_calls([ASKED, two, ASKED])) == 3  # calls that nobody answered
