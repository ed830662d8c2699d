"""Harmony answers: every known slip is survived, nothing raises, no call is lost."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ouvert.chat import Conversation, Message, ReasoningDelta, TextDelta, Tool, ToolCallDelta, format_for
from ouvert.chat.harmony.header import CHANNEL_MARK, CONSTRAIN_MARK, Header, read_header

TOOLS = (Tool(name="weather"), Tool(name="time"))


@pytest.fixture(scope="module")
def tokenizer(tokenizer_of):
    return tokenizer_of("harmony")


@pytest.fixture(scope="module")
def chat(tokenizer):
    return format_for(tokenizer)


@pytest.fixture(scope="module")
def answered(tokenizer, chat):
    """What became of an answer: (reasoning, text, calls, parser)."""
    rendered = {
        builtin: chat.render(
            Conversation(
                messages=(Message(role="user", content="?"),),
                tools=TOOLS,
                builtin_tools=frozenset({"python", "browser"} if builtin else ()),
            )
        )
        for builtin in (False, True)
    }

    def answered(written, reason="stop", builtin=False):
        parser = chat.parser(rendered[builtin])
        tokens = tokenizer.ids(written) if isinstance(written, str) else written
        deltas = [delta for token in tokens for delta in parser.push(token)] + parser.finish(reason)
        reasoning = "".join(delta.text for delta in deltas if isinstance(delta, ReasoningDelta))
        text = "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))
        begun = [delta for delta in deltas if isinstance(delta, ToolCallDelta)]
        streamed = {}
        for delta in begun:
            if delta.name is not None:
                assert delta.index == len(streamed)
                streamed[delta.index] = (delta.name, "")
            name, arguments = streamed[delta.index]
            streamed[delta.index] = (name, arguments + delta.arguments)
        complete = [(call.name, call.arguments) for call in parser.tool_calls]
        assert all(call in streamed.values() for call in complete), "what is given at the end was streamed before"
        return reasoning, text, complete, parser

    return answered


THOUGHT = "<|channel|>analysis<|message|>We think.<|end|><|start|>assistant"
ROME = '{"city":"Rome"}'
CALLED = [("weather", ROME)]


def test_a_well_formed_answer(answered):
    reasoning, text, calls, parser = answered(THOUGHT + "<|channel|>final<|message|>Yes, <|return|>")
    assert (reasoning, text, calls) == ("We think.", "Yes, ", [])
    assert parser.reasoning_tokens == len("analysis") + 2 + len("We think.") + 1


def test_it_streams(tokenizer, chat):
    parser = chat.parser(chat.render(Conversation(messages=(Message(role="user", content="?"),), tools=TOOLS)))
    written = "<|channel|>analysis<|message|>ab<|end|><|start|>assistant<|channel|>commentary to=functions.time json"
    deltas = [parser.push(token) for token in tokenizer.ids(written + "<|message|>{}<|call|>")]
    given_out = [delta for each in deltas for delta in each]
    first = given_out[2]
    assert given_out == [
        ReasoningDelta("a"),
        ReasoningDelta("b"),
        ToolCallDelta(0, first.id, "time", ""),
        ToolCallDelta(0, None, None, "{"),
        ToolCallDelta(0, None, None, "}"),
    ]
    assert first.id.startswith("call_")


def test_a_preamble_is_text(answered):
    written = THOUGHT + "<|channel|>commentary<|message|>Let me see.<|end|><|start|>assistant"
    written += f"<|channel|>commentary to=functions.weather <|constrain|>json<|message|>{ROME}<|call|>"
    assert answered(written)[:3] == ("We think.", "Let me see.", CALLED)


CALLS = {
    "as trained": f"<|channel|>commentary to=functions.weather <|constrain|>json<|message|>{ROME}<|call|>",
    "recipient in the role part": f" to=functions.weather<|channel|>commentary json<|message|>{ROME}<|call|>",
    "recipient in the role part, constrained": (
        f" to=functions.weather<|channel|>commentary <|constrain|>json<|message|>{ROME}<|call|>"
    ),
    "no space before constrain": (
        f"<|channel|>commentary to=functions.weather<|constrain|>json<|message|>{ROME}<|call|>"
    ),
    "no type": f"<|channel|>commentary to=functions.weather<|message|>{ROME}<|call|>",
    "type without constrain": f"<|channel|>commentary to=functions.weather code<|message|>{ROME}<|call|>",
    "on the analysis channel": f"<|channel|>analysis to=functions.weather <|constrain|>json<|message|>{ROME}<|call|>",
    "on the final channel": f"<|channel|>final to=functions.weather <|constrain|>json<|message|>{ROME}<|call|>",
    "on an unknown channel": f"<|channel|>tools to=functions.weather <|constrain|>json<|message|>{ROME}<|call|>",
    "without a channel": f" to=functions.weather <|constrain|>json<|message|>{ROME}<|call|>",
    "glued to the channel": f"<|channel|>commentaryto=functions.weather <|constrain|>json<|message|>{ROME}<|call|>",
    "without the namespace": f"<|channel|>commentary to=weather <|constrain|>json<|message|>{ROME}<|call|>",
    "without to=": f"<|channel|>commentary functions.weather <|constrain|>json<|message|>{ROME}<|call|>",
    "a bare name": f"<|channel|>commentary weather<|constrain|>json<|message|>{ROME}<|call|>",
    "space behind to=": f"<|channel|>commentary to= functions.weather <|constrain|>json<|message|>{ROME}<|call|>",
    "the channel twice": f"<|channel|>commentary<|channel|>commentary to=functions.weather<|message|>{ROME}<|call|>",
    "recipient behind constrain": (
        f"<|channel|>commentary <|constrain|>json to=functions.weather<|message|>{ROME}<|call|>"
    ),
    "in both parts": f" to=functions.weather<|channel|>commentary to=functions.weather json<|message|>{ROME}<|call|>",
    "ended by end": f"<|channel|>commentary to=functions.weather <|constrain|>json<|message|>{ROME}<|end|>",
    "ended by return": f"<|channel|>commentary to=functions.weather <|constrain|>json<|message|>{ROME}<|return|>",
    "ended by nothing": f"<|channel|>commentary to=functions.weather <|constrain|>json<|message|>{ROME}",
    "without message": f"<|channel|>commentary to=functions.weather <|constrain|>json{ROME}<|call|>",
    "without message or type": f"<|channel|>commentary to=functions.weather{ROME}<|call|>",
    "start twice": f"<|start|>assistant<|channel|>commentary to=functions.weather json<|message|>{ROME}<|call|>",
    "line breaks in the header": (
        f"\n<|channel|>commentary\nto=functions.weather\n<|constrain|>json\n<|message|>{ROME}<|call|>"
    ),
}


@pytest.mark.parametrize("slip", CALLS)
def test_a_call_is_a_call_however_it_is_put(answered, slip):
    for before in ("", THOUGHT):
        for reason in ("stop", "length"):
            reasoning, text, calls, _ = answered(before + CALLS[slip], reason)
            assert (reasoning, text, calls) == ("We think." if before else "", "", CALLED)


@pytest.mark.parametrize("slip", CALLS)
def test_without_a_start_between_messages(answered, slip):
    reasoning, text, calls, _ = answered(THOUGHT.removesuffix("<|start|>assistant") + CALLS[slip])
    assert (reasoning, text, calls) == ("We think.", "", CALLED)


@pytest.mark.parametrize(
    "written",
    [
        "<|channel|>analysis<|message|>We think.<|start|>assistant<|channel|>final<|message|>Yes<|return|>",
        "<|channel|>analysis<|message|>We think.<|channel|>final<|message|>Yes<|return|>",
        "<|channel|>analysis<|message|>We think.<|end|><|channel|>final<|message|>Yes<|return|>",
        "<|channel|>analysis<|message|>We think.<|end|>assistant<|channel|>final<|message|>Yes<|return|>",
        "<|channel|>analysis<|message|>We think.<|end|>\n<|start|>assistant<|channel|>final<|message|>Yes<|return|>",
        "<|channel|>analysis<|message|>We think.<|end|><|start|><|channel|>final<|message|>Yes<|return|>",
        "<|channel|>analysis<|message|>We think.<|end|><|start|>assistant<|message|>Yes<|return|>",
        "<|channel|>analysis<|message|>We think.<|end|><|message|>Yes<|return|>",
        "<|channel|>analysis<|message|>We think.<|end|>Yes<|return|>",
        "<|channel|>analysis<|message|>We think.<|end|>Yes",
        THOUGHT + "<|channel|>final <|constrain|>json<|message|>Yes<|return|>",
        THOUGHT + "<|channel|>final<|constrain|>json<|message|>Yes<|end|>",
        THOUGHT + "<|channel|>final json<|message|>Yes<|endoftext|>",
        THOUGHT + "<|channel|>answer<|message|>Yes",
        THOUGHT + "<|channel|><|message|>Yes",
        THOUGHT + "<|channel|>final to=user<|message|>Yes<|return|>",
        THOUGHT + "<|channel|>commentary to=functions.unknown <|constrain|>json<|message|>Yes<|call|>",
        THOUGHT + "<|channel|>final<|message|>Y<|message|>e<|constrain|>s<|reserved_200001|><|return|>",
        THOUGHT + "<|channel|>final<|message|>Yes<|return|><|return|><|end|><|call|>",
        THOUGHT + " Yes<|end|>",
        "<|channel|>analysis<|message|>We think.<|end|><|start|>assistant<|channel|>final Yes<|return|>",
        "<|channel|>analysis We think.<|end|><|start|>assistant<|channel|>final<|message|>Yes<|return|>",
    ],
)
def test_slips_that_are_no_calls(answered, written):
    assert answered(written)[:3] == ("We think.", "Yes", [])


def test_undeclared_recipients_are_not_called(answered):
    written = '<|channel|>analysis to=functions.rm <|constrain|>json<|message|>{"path":"/"}<|call|>'
    assert answered(written)[:3] == ('{"path":"/"}', "", [])
    written = "<|channel|>analysis to=python code<|message|>print(1)<|call|>"
    assert answered(written)[:3] == ("print(1)", "", []), "python was not declared"


def test_built_in_tools_are_called_where_they_were_declared(answered):
    written = "<|channel|>analysis to=python code<|message|>print(1)<|call|>"
    assert answered(written, builtin=True)[:3] == ("", "", [("python", "print(1)")])
    written = ' to=browser.search<|channel|>analysis code<|message|>{"query":"x"}<|call|>'
    assert answered(written, builtin=True)[:3] == ("", "", [("browser.search", '{"query":"x"}')])
    assert answered(CALLS["as trained"], builtin=True)[2] == CALLED


def test_several_calls_in_one_answer(answered):
    one, two = CALLS["ended by end"], CALLS["recipient in the role part"].replace("weather", "time")
    reasoning, text, calls, parser = answered(THOUGHT + one + "<|start|>assistant" + two)
    assert (reasoning, text, calls) == ("We think.", "", [("weather", ROME), ("time", ROME)])
    assert len({call.id for call in parser.tool_calls}) == 2


def test_a_call_without_arguments_has_an_empty_object(answered):
    for written in (
        "<|channel|>commentary to=functions.time <|constrain|>json<|message|><|call|>",
        "<|channel|>commentary to=functions.time <|constrain|>json<|call|>",
        " to=functions.time<|channel|>commentary<|call|>",
    ):
        assert answered(written)[:3] == ("", "", [("time", "{}")])


@pytest.mark.parametrize("length", range(len("commentary to=functions.weather ") + 6))
def test_a_header_cut_off_by_the_limit_is_survived(tokenizer, answered, length):
    tokens = tokenizer.ids(THOUGHT + CALLS["as trained"])[: len(tokenizer.ids(THOUGHT)) + length]
    reasoning, text, calls, _ = answered(tokens, "length")
    assert (reasoning, calls) == ("We think.", [])
    assert text == "", "a piece of a header is not shown"


def test_a_call_cut_off_in_its_arguments_is_not_complete(answered):
    written = "<|channel|>commentary to=functions.weather <|constrain|>json<|message|>" + ROME[:-3]
    assert answered(written, "length")[2] == []


def test_a_model_that_forgets_its_header_is_heard(answered):
    written = "Once upon a time there was a model that wrote no header at all, " * 4
    assert answered(written + "<|return|>")[1] == written


@settings(max_examples=200, deadline=None)
@given(words=st.lists(st.text(st.sampled_from("ab to=json.{}\n"), min_size=1, max_size=6), min_size=5, max_size=8))
def test_plain_text_without_a_header_is_given_whole(answered, words):
    written = " ".join(["So", *words, "it", "is", "so."])
    for header in ("", "<|channel|>final "):
        assert answered(header + written + "<|return|>")[:3] == ("", written, [])


def test_parts_the_model_writes_for_others_are_no_answer(answered):
    one = CALLS["ended by end"]
    for other in (
        "<|start|>functions.weather to=assistant<|channel|>commentary<|message|>sunny<|end|>",
        "<|start|>user<|message|>sunny<|end|>",
        "<|start|>tool<|channel|>final<|message|>sunny<|end|>",
    ):
        assert answered(one + other)[:3] == ("sunny", "", CALLED)


def test_messages_given_as_one_text_are_parted(answered):
    written = "<|channel|>commentary<|message|>One.<|end|><|start|>assistant<|channel|>final<|message|>Two.<|return|>"
    assert answered(written)[1] == "One.\n\nTwo."
    written = (
        THOUGHT + "<|channel|>analysis<|message|>More.<|end|><|start|>assistant<|channel|>final<|message|><|return|>"
    )
    assert answered(written)[:2] == ("We think.\n\nMore.", "")


def test_half_characters_stay_in_their_message(answered, tokenizer):
    tokens = [*tokenizer.ids("<|channel|>analysis<|message|>"), *"é".encode()[:1]]
    tokens += [*tokenizer.ids("<|end|><|start|>assistant<|channel|>final<|message|>"), *"🙂".encode()]
    assert answered(tokens)[:2] == ("\ufffd", "🙂")


def test_the_budget_for_thinking_ends_it_cleanly(tokenizer, chat, answered):
    tokens = [*tokenizer.ids("<|channel|>analysis<|message|>on and on"), *chat.end_of_thinking(), *tokenizer.ids("So.")]
    assert answered(tokens)[:2] == ("on and on", "So.")
    parser = chat.parser(chat.render(Conversation(messages=(Message(role="user", content="?"),))))
    thinking = []
    for token in tokens:
        parser.push(token)
        thinking.append(parser.thinking)
    begin, end = thinking.index(True), len(tokens) - thinking[::-1].index(True)
    assert tokens[begin] == tokenizer.control_tokens["<|message|>"]
    assert tokens[end] == tokenizer.control_tokens["<|end|>"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Header(None, None, None, "")),
        (f"assistant{CHANNEL_MARK}analysis", Header("analysis", None, None, "")),
        (f"{CHANNEL_MARK}final hello there", Header("final", None, None, "hello there")),
        (f"{CHANNEL_MARK}final {CONSTRAIN_MARK}json", Header("final", None, None, "")),
        (f" to=functions.f{CHANNEL_MARK}commentary", Header("commentary", "functions.f", "f", "")),
        (f"{CHANNEL_MARK}commentary to=functions.g", Header("commentary", "functions.g", None, "")),
        ("We could call f here", Header(None, None, None, "We could call f here")),
        ("assistant is a word to=5 us", Header(None, None, None, "assistant is a word to=5 us")),
        (f"{CHANNEL_MARK}final We set x to=5 here", Header("final", None, None, "We set x to=5 here")),
        ("functions.f to=assistant", Header(None, None, None, "", foreign=True)),
        ("user", Header(None, None, None, "", foreign=True)),
    ],
)
def test_headers(text, expected):
    assert read_header(text, {"f"}) == expected


pieces = st.one_of(
    st.sampled_from(
        [
            *("<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|call|>", "<|return|>", "<|constrain|>"),
            *("<|endoftext|>", "<|reserved_200001|>", "assistant", "analysis", "commentary", "final", " to="),
            *("functions.weather", "weather", "python", "json", " ", "\n", ROME, "{", "user", "functions."),
        ]
    ),
    st.integers(-1, 2**32),
    st.integers(128, 255),
)


@settings(max_examples=400, deadline=None)
@given(written=st.lists(pieces, max_size=25), reason=st.sampled_from(["stop", "length", "cancelled"]))
def test_no_sequence_of_tokens_raises(tokenizer, answered, written, reason):
    """That nothing is raised is what is asserted: a model may write anything, and an answer must come to its end."""
    tokens = [token for each in written for token in (tokenizer.ids(each) if isinstance(each, str) else [each])]
    answered(tokens, reason)
    answered(tokens, reason, builtin=True)


@settings(max_examples=200, deadline=None)
@given(
    noise=st.lists(pieces, max_size=12),
    slip=st.sampled_from(sorted(CALLS.keys() - {"ended by nothing"})),
    after=st.lists(pieces, max_size=6),
)
def test_no_call_is_lost_among_noise(tokenizer, answered, noise, slip, after):
    """Whatever came before, a message that begins with <|start|>assistant is read afresh."""
    tokens = [token for each in noise for token in (tokenizer.ids(each) if isinstance(each, str) else [each])]
    tokens += tokenizer.ids("<|end|><|start|>assistant" + CALLS[slip])
    tokens += [token for each in after for token in (tokenizer.ids(each) if isinstance(each, str) else [each])]
    assert CALLED[0] in answered(tokens)[2]
