"""What is trained as an answer, the engine lets the model write: token for token under the format's outline."""

import json

import pytest

from ouvert.assistant import Demands, Message, Tool
from ouvert.assistant.messages import as_conversation
from ouvert.assistant.receipts.ended import Outcome
from ouvert.chat import ToolCall

WEATHER = Tool(
    name="weather",
    parameters={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)
CALLING = ("harmony", "chatml", "llama3", "mistral", "mistral-tekken", "deepseek", "kimi")  # whose past shows calls
CALL = ToolCall("call_1", "weather", json.dumps({"city": "Rome é"}, ensure_ascii=False))


def refused_at(made, conversation, message, demands):
    """The place of the first token that the engine would not allow, and the text before it; None if there is none."""
    assistant, tokenizer = made
    rendered = assistant.chat.render(conversation)
    answer = assistant.chat.answer(conversation, rendered, message)
    constraint = assistant.constraints.of(conversation, rendered, demands, Outcome())
    assert constraint is not None
    state = constraint.begin()
    for n, token in enumerate(answer.ids):
        allowed = state.allowed()
        ends = n == len(answer.ids) - 1 and token in assistant.chat.stop_ids and state.accepting
        if ends or state.finished:
            return None
        if allowed is not None and token not in allowed.tolist():
            return n, tokenizer.decode(answer.ids[: n + 1], control=True)
        state.advance(token)
    return None


@pytest.mark.parametrize(
    "message",
    [
        Message(role="assistant", content="It rains: <|end|> & é\n\nReally."),
        Message(role="assistant", content="It rains.", reasoning="Hm.\nWell, rain."),
        Message(role="assistant", content="Let me see.", reasoning="A call.", tool_calls=(CALL,)),
        Message(role="assistant", tool_calls=(CALL,)),
    ],
    ids=["answer", "thought", "preamble", "call"],
)
def test_harmonys_answers_are_within_its_outline(assistant, message):
    conversation = as_conversation("Well?", [WEATHER])
    assert refused_at(assistant("harmony"), conversation, message, Demands()) is None


@pytest.mark.parametrize("family", CALLING)
def test_calls_are_written_as_a_call_that_is_demanded(assistant, family):
    conversation = as_conversation("Well?", [WEATHER])
    message = Message(role="assistant", tool_calls=(CALL,))
    assert refused_at(assistant(family), conversation, message, Demands(calls="required")) is None


def test_the_header_of_the_past_is_not_within_harmonys_outline(assistant):
    """Trained as prompts remember it, a call would begin as the engine never lets it begin."""
    made, _ = assistant("harmony")
    conversation = as_conversation("Well?", [WEATHER])
    message = Message(role="assistant", tool_calls=(CALL,))
    rendered = made.chat.render(conversation)
    remembered = as_conversation([*conversation.messages, message, Message(role="user", content="?")], [WEATHER])
    past = made.chat.render(remembered).ids[len(rendered.ids) :]
    answer = made.chat.answer(conversation, rendered, message).ids
    assert past[: len(answer)] != answer
    state = made.constraints.of(conversation, rendered, Demands(), Outcome()).begin()
    assert past[0] not in state.allowed().tolist()
    assert answer[0] in state.allowed().tolist()
