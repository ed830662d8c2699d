"""Answers in Harmony, read as openai-harmony reads them: its published ones, generated ones, and any real tokens."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai_harmony import Conversation as TheirConversation
from openai_harmony import (
    RenderConversationConfig,
    Role,
    StreamableParser,
)

from ouvert.chat import Conversation, ReasoningDelta, TextDelta, Tool
from ouvert.chat import Message as OurMessage
from ouvert.chat.harmony import PUBLISHED_IDS, HarmonyMessage

from .look_alikes import look_alikes

CHANNELS = {"analysis": ReasoningDelta, "commentary": TextDelta, "final": TextDelta}


@st.composite
def answers(draw):
    """Well-formed answers in every way openai-harmony's parser understands: framing and contents in turn."""
    parts = [""]

    def add(header, end):
        parts[-1] += f"{header}<|message|>"
        parts.extend([draw(look_alikes), end])

    for _ in range(draw(st.integers(0, 3))):
        add("<|channel|>" + draw(st.sampled_from(["analysis", "commentary"])), "<|end|><|start|>assistant")
    if draw(st.booleans()):
        kind = draw(st.sampled_from(["", " code", " <|constrain|>json", "<|constrain|>json"]))
        recipient, channel = draw(st.sampled_from(["functions.f", "f"])), draw(st.sampled_from(sorted(CHANNELS)))
        ways = [f" to={recipient}<|channel|>{channel}{kind}", f"<|channel|>{channel} to={recipient}{kind}"]
        add(draw(st.sampled_from(ways)), "<|call|>")
    else:
        add("<|channel|>final", "<|return|>")
    return parts


def ids_of(parts, encoding):
    """Framing with its control tokens, contents without any."""
    framing, contents = {"allowed_special": "all"}, {"disallowed_special": ()}
    each = (encoding.encode(part, **(contents if number % 2 else framing)) for number, part in enumerate(parts))
    return [token for ids in each for token in ids]


@settings(max_examples=300, deadline=None)
@given(written=answers())
def test_well_formed_answers_are_read_as_openai_harmony_reads_them(encoding, chat, written):
    ids = ids_of(written, encoding)
    reference = StreamableParser(encoding, Role.ASSISTANT)
    talk = Conversation(messages=(OurMessage(role="user", content="?"),), tools=(Tool(name="f"),))
    parser = chat.parser(chat.render(talk))
    deltas = []
    for token in ids:
        reference.process(token)
        deltas += parser.push(token)
    assert parser.finish("stop") == []

    agree(reference.messages, deltas, parser)


def agree(messages, deltas, parser):
    """What was given is what openai-harmony's messages say, by recipient, role and channel."""
    expected = {ReasoningDelta: [], TextDelta: []}
    calls = []
    for message in messages:
        text = message.content[0].text
        if message.recipient and message.recipient.removeprefix("functions.") in parser._rendered.tools:
            calls.append((message.recipient.removeprefix("functions."), text if text.strip() else text + "{}"))
        elif text:
            foreign = message.author.role is not Role.ASSISTANT
            expected[ReasoningDelta if foreign else CHANNELS.get(message.channel, TextDelta)].append(text)
    for kind, texts in expected.items():
        assert "".join(delta.text for delta in deltas if isinstance(delta, kind)) == "\n\n".join(texts)
    assert [(call.name, call.arguments) for call in parser.tool_calls] == calls


REFUSED = (
    "<|start|>assistant<|channel|>analysis<|message|>We must refuse<|end|>"
    "<|start|>assistant<|channel|>final<|message|>I'm sorry, but I can't help with that.<|return|>"
)
TOKYO = '<|message|>{"location": "Tokyo"}'
TRICKY = (
    "Hello Müller, Γειά σου, Привет, שלום, مرحبا, नमस्ते, こんにちは, 안녕하세요, 你好. Normalized (naïve) "
    "vs. decomposed (nai\u0308ve) characters. Some emojis: 😊👋🏾👨\u200d👩\u200d👧\u200d👦🇺🇸."
)
PUBLISHED_ANSWERS = {
    "simple_reasoning_response": [
        (
            '<|channel|>analysis<|message|>User asks: "What is 2 + 2?" Simple arithmetic. Provide answer.<|end|>'
            "<|start|>assistant<|channel|>final<|message|>2 + 2 = 4.<|return|>"
        )
    ],
    "simple_tool_call": [
        (
            "<|channel|>analysis<|message|>We need to use lookup_weather tool.<|end|>"
            f"<|start|>assistant<|channel|>analysis to=get_weather code{TOKYO}"
        )
    ],
    "streamable_parser": [
        (
            "<|channel|>analysis<|message|>Let's browse to confirm.<|end|>"
            '<|start|>assistant<|channel|>commentary to=browser.search code<|message|>{"topn": 10}<|call|>'
            '<|start|>browser.search to=assistant<|channel|>commentary<|message|>{"result": "x"}<|end|>'
        )
    ],
    "constrain adjacent, recipient in the role part": [
        f" to=functions.get_weather<|channel|>commentary<|constrain|>json{TOKYO}<|call|>"
    ],
    "constrain adjacent, recipient behind the channel": [
        f"<|channel|>commentary to=functions.get_weather<|constrain|>json{TOKYO}<|call|>"
    ],
    "constrain": [f" to=functions.get_weather<|channel|>commentary <|constrain|>json{TOKYO}<|call|>"],
    "missing message token": ["I must refuse<|end|>" + REFUSED],
    "missing message token behind a channel": ["<|channel|>analysis I must refuse<|end|>" + REFUSED],
    "missing message token, tool call": [
        (
            "... Let's use the tool.<|end|>"
            f"<|start|>assistant to=functions.get_weather<|channel|>commentary json{TOKYO}<|call|>"
        )
    ],
    "missing message token, commentary": ["<|channel|>commentary Hello<|end|>"],
    # 9552 is a space and the first half of an emoji.
    "invalid utf-8": ["<|message|>", 9552, 9552, "worked<|end|>"],
    "invalid utf-8 split across tokens": ["<|message|>", 9552, "XY<|end|>"],
    "invalid utf-8, multi-byte token": ["<|message|>", 9552, " interesting<|end|>"],
    "bytes do not leak between messages": ["<|message|>", 9552, 9552, "<|end|><|start|>assistant<|message|>Hi<|end|>"],
    "partial bytes are flushed": ["<|message|>", 9552, "Hi"],
    "multi-token utf-8": ["<|message|>💖<|end|>"],
    "tricky utf-8": [f"<|message|>{TRICKY}<|end|>"],
}


@pytest.mark.parametrize("name", PUBLISHED_ANSWERS)
def test_published_answers(encoding, chat, name):
    ids = [
        token
        for part in PUBLISHED_ANSWERS[name]
        for token in ([part] if isinstance(part, int) else encoding.encode(part, allowed_special="all"))
    ]
    reference = StreamableParser(encoding, Role.ASSISTANT, strict=False)
    builtin = frozenset({"browser"}) if "browser" in str(PUBLISHED_ANSWERS[name]) else frozenset()
    talk = Conversation(
        messages=(OurMessage(role="user", content="?"),), tools=(Tool(name="get_weather"),), builtin_tools=builtin
    )
    parser = chat.parser(chat.render(talk))
    deltas = []
    for token in ids:
        reference.process(token)
        deltas += parser.push(token)
    reference.process_eos()
    agree(reference.messages, deltas + parser.finish("stop"), parser)


FRAMING = sorted(PUBLISHED_IDS.values())


@settings(max_examples=300, deadline=None)
@given(
    ids=st.lists(
        st.sampled_from(FRAMING) | st.integers(0, 201100) | st.sampled_from([173781, 35644, 17196]), max_size=40
    )
)
def test_no_sequence_of_real_tokens_raises(chat, ids):
    """That nothing is raised is what is asserted: a model may write anything, and an answer must come to its end."""
    parser = chat.parser(chat.render(Conversation(messages=(OurMessage(role="user", content="?"),))))
    for token in ids:
        parser.push(token)
    parser.finish("length")


@settings(max_examples=100, deadline=None)
@given(written=answers())
def test_what_was_answered_can_be_sent_back(encoding, chat, written):
    """An answer, rendered again as history, ends as it was sampled (with <|end|> for <|return|>)."""
    messages = encoding.parse_messages_from_completion_tokens(ids_of(written, encoding), Role.ASSISTANT)
    config = RenderConversationConfig(auto_drop_analysis=False)
    expected = encoding.render_conversation(TheirConversation.from_messages(messages), config)
    again = [
        HarmonyMessage(
            author="assistant",
            text=message.content[0].text,
            channel=message.channel,
            recipient=message.recipient,
            content_type=message.content_type,
        )
        for message in messages
    ]
    ids, _ = chat.render_messages(again)
    assert ids[:-2] == expected
