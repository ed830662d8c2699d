"""Prompts in Harmony: what openai-harmony writes (goldens), and what Harmony cannot say."""

import datetime
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ouvert.chat import ChatError, Conversation, Message, Tool, ToolCall, format_for
from ouvert.chat.harmony import (
    PUBLISHED_IDS,
    HarmonyFormat,
    HarmonyMessage,
    HarmonyTokens,
    without_old_analysis,
)

LOOKUP = Tool(name="lookup", parameters={"type": "object", "properties": {"word": {"type": "string"}}})


@pytest.fixture(scope="module")
def tokenizer(tokenizer_of):
    return tokenizer_of("harmony")


@pytest.fixture(scope="module")
def chat(tokenizer):
    return format_for(tokenizer)


def conversation(*messages, **rest):
    made = tuple(each if isinstance(each, Message) else Message(role=each[0], content=each[1]) for each in messages)
    return Conversation(messages=made, **rest)


def test_gpt_oss_speaks_harmony(tokenizer_of, tokenizer):
    assert isinstance(format_for(tokenizer, "{{ 'a template is not needed' }}"), HarmonyFormat)
    with pytest.raises(ChatError, match=r"lacks the control tokens <\|start\|>.*Is this the tokenizer of a gpt-oss"):
        format_for(tokenizer_of("chatml"), family="gpt_oss")


def test_every_case_is_what_openai_harmony_wrote(make_chat, tokenizer, chat):
    golden = json.loads((make_chat.FOLDER / "harmony.json").read_text(encoding="utf-8"))
    assert golden["cases"].keys() == make_chat.HARMONY_CONVERSATIONS.keys()
    text_of_id = {token: text for text, token in PUBLISHED_IDS.items()}
    for name, pieces in golden["cases"].items():
        rendered = chat.render(make_chat.conversation_from(make_chat.HARMONY_CONVERSATIONS[name]))
        parts = [piece if isinstance(piece, str) else tokenizer.control_tokens[text_of_id[piece]] for piece in pieces]
        assert list(rendered.ids) == tokenizer.encode_parts(parts), name


def test_spans_follow_each_other_and_name_their_message(make_chat, tokenizer, chat):
    talk = make_chat.conversation_from(make_chat.HARMONY_CONVERSATIONS["reasoning is kept in an open loop"])
    rendered = chat.render(talk)
    assert rendered.spans[0].start == 0
    assert rendered.spans[-1].stop == len(rendered.ids)
    assert [span.start for span in rendered.spans[1:]] == [span.stop for span in rendered.spans[:-1]]
    contents = [
        (tokenizer.decode(rendered.ids[span.start : span.stop]), span.message, span.channel, span.source)
        for span in rendered.spans
        if span.source != "format"
    ]
    assert contents[1:] == [
        ("What is a tree?", 0, None, "supplied"),
        ("I look it up.", 1, "analysis", "chosen"),
        ("Let me look.", 1, "commentary", "chosen"),
        ('{"word":"tree"}', 1, "commentary", "chosen"),
        ('{"tree": "a plant"}', 2, None, "supplied"),
    ]
    assert set(rendered.tools) == {"lookup"}
    assert not rendered.thinking


def test_the_date_is_the_conversations(chat):
    assert "Current date" not in chat.render(conversation(("user", "?"))).text
    dated = chat.render(conversation(("user", "?"), date=datetime.date(2026, 1, 2)))
    assert "\nCurrent date: 2026-01-02\n" in dated.text


def test_identity_and_cutoff_can_be_said_otherwise(tokenizer):
    plain = HarmonyFormat(tokenizer)
    other = HarmonyFormat(tokenizer, identity="You are Ann.", knowledge_cutoff=None)
    text = other.render(conversation(("user", "?"))).text
    assert text.startswith("<|start|>system<|message|>You are Ann.\n\nReasoning: medium\n\n# Valid channels")
    assert plain.digest != other.digest


@pytest.mark.parametrize(
    ("asks", "words"),
    [
        ({"thinking": False}, "asks for thinking=False, but this model always thinks"),
        ({"builtin_tools": frozenset({"shell"})}, "the built-in tools shell; the model knows browser and python"),
        ({"builtin_tools": frozenset({"python", "python_offline"})}, "both python and python_offline"),
        (
            {"builtin_tools": frozenset({"python"}), "tools": (Tool(name="python"),)},
            "python is both a function and a built-in tool",
        ),
    ],
)
def test_what_harmony_cannot_say_is_refused(chat, asks, words):
    with pytest.raises(ChatError, match=words):
        chat.render(conversation(("user", "?"), **asks))


def test_a_result_without_a_call_is_refused(chat):
    with pytest.raises(ChatError, match="answers the call 'x', which no message before it made"):
        chat.render(conversation(("user", "?"), Message(role="tool", content="1", tool_call_id="x")))


def test_published_ids_are_the_fields(tokenizer):
    tokens = HarmonyTokens.of(PUBLISHED_IDS)
    assert (tokens.start, tokens.end, tokens.end_return, tokens.call) == (200006, 200007, 200002, 200012)
    assert HarmonyTokens.of(tokenizer.control_tokens) == HarmonyTokens(
        *tokenizer.ids("<|start|><|channel|><|constrain|><|message|><|end|><|return|><|call|>")
    )


def test_an_answer_ends_at_return_and_call_but_not_at_end(tokenizer, chat):
    assert chat.stop_ids == set(tokenizer.ids("<|return|><|call|><|endoftext|>"))


def test_the_end_of_thinking(tokenizer, chat):
    assert list(chat.end_of_thinking()) == tokenizer.ids("<|end|><|start|>assistant<|channel|>final<|message|>")


def said(channel, author="assistant"):
    return HarmonyMessage(author=author, text="x", channel=channel)


def test_old_analysis_is_dropped_as_openai_harmony_does():
    """Its own rule, on its own messages: before the first final, once the assistant's last word is final."""
    user = said(None, "user")
    talk = [user, said("analysis"), said("final"), user, said("analysis"), said("final"), user]
    assert [each.channel for each in without_old_analysis(talk)] == [None, "final", None, "analysis", "final", None]
    assert without_old_analysis(talk[:-2]) == talk[:-2], "a loop is open"
    assert without_old_analysis([user]) == [user]


SHRAPNEL = ["<|", "|>", "start", "end", *PUBLISHED_IDS, "assistant", "analysis", " to=", "functions.", "\n", "é"]
shrapnel = st.lists(st.sampled_from(SHRAPNEL), max_size=6).map("".join)


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(shrapnel, min_size=9, max_size=9))
def test_text_from_outside_never_becomes_a_control_token(tokenizer, chat, texts):
    def controls(system, user, name, thought, tool, description, argument, result, member):
        messages = (
            Message(role="system", content=system),
            Message(role="user", content=user, name=name),
            Message(role="assistant", reasoning=thought + "!", tool_calls=(ToolCall("1", tool, argument),)),
            Message(role="tool", content=result, tool_call_id="1"),
        )
        schema = {"type": "object", "properties": {member: {"type": "string", "enum": [user], "default": result}}}
        tools = (Tool(name=tool, description=description, parameters=schema),)
        ids = chat.render(Conversation(messages=messages, tools=tools, answer_schema=schema)).ids
        return [token for token in ids if token in tokenizer.control_ids]

    assert controls(*texts) == controls(*["h"] * 9)
