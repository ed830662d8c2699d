"""Answers token by token: reasoning, text, calls; and nothing is ever lost."""

import functools
import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ouvert.chat import (
    Conversation,
    Message,
    ReasoningDelta,
    TextDelta,
    Tool,
    ToolCallDelta,
    builtin_template,
    format_for,
)
from ouvert.chat.template import TemplateFormat

WEATHER = Tool(name="weather")
TIME = Tool(name="time")
THINKING = "{% for m in messages %}{{ m.content }}{% endfor %}{{ '<think>\n' }}"
ASK = (Message(role="user", content="?"),)


def answered(chat, tokens, *, tools=(WEATHER, TIME), reason="stop"):
    rendered = chat.render(Conversation(messages=ASK, tools=tools))
    parser = chat.parser(rendered)
    deltas = [delta for token in tokens for delta in parser.push(token)]
    return parser, deltas + parser.finish(reason)


def reasoning(deltas):
    return "".join(delta.text for delta in deltas if isinstance(delta, ReasoningDelta))


def text(deltas):
    return "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))


def calls(deltas):
    return [(delta.name, delta.arguments) for delta in deltas if isinstance(delta, ToolCallDelta)]


@pytest.fixture
def qwen3(tokenizer_of):
    """<think> and <tool_call> are tokens."""
    return TemplateFormat(tokenizer_of("qwen3"), builtin_template("chatml"))


@pytest.fixture
def spelled(tokenizer_of):
    """<think> and <tool_call> are text of several tokens; the template mentions both."""
    return TemplateFormat(tokenizer_of("chatml"), builtin_template("chatml") + "{# #}{% if false %}<think>{% endif %}")


@pytest.fixture(params=["qwen3", "spelled"])
def chat(request, tokenizer_of):
    chat = request.getfixturevalue(request.param)
    chat.ids = tokenizer_of("qwen3" if request.param == "qwen3" else "chatml").ids
    return chat


def test_plain_text_comes_through_token_by_token(tokenizer_of):
    tokenizer = tokenizer_of("chatml")
    chat = TemplateFormat(tokenizer, "{{ messages[0].content }}")
    parser = chat.parser(chat.render(Conversation(messages=ASK)))
    written = " é <think>x</think> <tool_call>{}</tool_call>\n"
    pieces = [parser.push(token) for token in tokenizer.ids(written + "<|im_end|>")]
    assert [delta.text for piece in pieces for delta in piece] == list(written)
    assert parser.finish("stop") == []
    assert parser.reasoning_tokens == 0


def test_half_a_character_at_the_end_is_shown_as_such(tokenizer_of):
    chat = TemplateFormat(tokenizer_of("chatml"), "{{ messages[0].content }}")
    _, deltas = answered(chat, "aé".encode()[:-1], tools=())
    assert text(deltas) == "a\ufffd"


def test_reasoning_then_answer(chat):
    _, deltas = answered(chat, chat.ids("<think>\nSo …\n\n</think>\n\n  Yes, </think> and <think>.<|im_end|>"))
    assert reasoning(deltas) == "So …"
    assert text(deltas).startswith("  Yes, ")
    assert "</think> and <think>." in text(deltas), "tags in the answer are text"


def test_the_prompt_may_have_opened_the_reasoning(tokenizer_of):
    tokenizer = tokenizer_of("deepseek")
    chat = TemplateFormat(tokenizer, THINKING)
    parser, deltas = answered(chat, tokenizer.ids("why <think> not</think>\n\nYes"), tools=())
    assert reasoning(deltas) == "why <think> not"
    assert text(deltas) == "Yes"
    assert parser.reasoning_tokens == len("why ") + 1 + len(" not") + 1


def test_a_prompt_that_closed_the_reasoning_begins_the_answer(tokenizer_of):
    tokenizer = tokenizer_of("qwen3")
    chat = TemplateFormat(tokenizer, "{{ messages[0].content }}<think>\n\n</think>\n\n")
    parser, deltas = answered(chat, tokenizer.ids("Yes </think>"), tools=())
    assert (text(deltas), parser.reasoning_tokens) == ("Yes </think>", 0)


def test_text_from_a_user_does_not_open_reasoning(tokenizer_of):
    chat = TemplateFormat(tokenizer_of("chatml"), "{% if false %}<think>{% endif %}{{ messages[0].content }}<|im_end|>")
    assert not chat.render(Conversation(messages=(Message(role="user", content="<think>"),))).thinking


def test_reasoning_that_never_ends_stays_reasoning(chat):
    parser, deltas = answered(chat, chat.ids("<think>hmm </thi"), reason="length")
    assert reasoning(deltas) == "hmm </thi"
    assert text(deltas) == ""
    assert parser.thinking


def test_a_model_may_answer_at_once(chat):
    parser, deltas = answered(chat, chat.ids("<thin air> is fine"), tools=())
    assert (reasoning(deltas), text(deltas), parser.reasoning_tokens) == ("", "<thin air> is fine", 0)


def test_where_the_tag_is_a_token_only_the_token_counts(qwen3):
    tokens = [*qwen3._tokenizer.ids("<think>"), *b"quoting </think> here", *qwen3._tokenizer.ids("</think>done")]
    _, deltas = answered(qwen3, tokens, tools=())
    assert (reasoning(deltas), text(deltas)) == ("quoting </think> here", "done")


def test_reasoning_streams(chat):
    parser = chat.parser(chat.render(Conversation(messages=ASK)))
    shown = [reasoning(parser.push(token)) for token in chat.ids("<think>abc")]
    assert "".join(shown[-3:]) == "abc"
    assert all(shown[-3:])


HERMES = '<tool_call>\n{"name": "weather", "arguments": {"city":  "Rome"}}\n</tool_call>'


def test_hermes_calls(chat):
    tokens = chat.ids(
        f'Let me see.\n\n{HERMES}\n<tool_call>{{"name": "time", "arguments": {{}}}}</tool_call><|im_end|>'
    )
    parser, deltas = answered(chat, tokens)
    assert text(deltas) == "Let me see."
    assert calls(deltas) == [("weather", '{"city":  "Rome"}'), ("time", "{}")], "arguments as the model wrote them"
    assert [call.name for call in parser.tool_calls] == ["weather", "time"]
    assert [delta.index for delta in deltas if isinstance(delta, ToolCallDelta)] == [0, 1]
    assert len({call.id for call in parser.tool_calls}) == 2
    again, _ = answered(chat, tokens)
    assert not {call.id for call in again.tool_calls} & {call.id for call in parser.tool_calls}


def test_hermes_after_reasoning_and_cut_off_at_the_last_tag(chat):
    _, deltas = answered(chat, chat.ids("<think>\nI should call.\n</think>\n\n" + HERMES.removesuffix("</tool_call>")))
    assert (reasoning(deltas), text(deltas)) == ("I should call.", "")
    assert calls(deltas) == [("weather", '{"city":  "Rome"}')]


def test_a_call_in_reasoning_that_never_closed_is_a_call(chat):
    _, deltas = answered(chat, chat.ids("<think>\nCall. " + HERMES + "\n" + HERMES + "<|im_end|>"))
    assert calls(deltas) == [("weather", '{"city":  "Rome"}')] * 2
    _, deltas = answered(chat, chat.ids("<think>\nNot " + HERMES + " that.<|im_end|>"))
    assert calls(deltas) == []


@pytest.mark.parametrize(
    "written",
    [
        '<tool_call>{"name": "weather", "arguments": {"city": }</tool_call>',
        '<tool_call>{"name": "rm", "arguments": {}}</tool_call>',
        '<tool_call>{"arguments": {}}</tool_call>',
        '<tool_call>{"name": "weather", "arguments": [1]}</tool_call>',
        '<tool_call>{"name": "weather"} and more</tool_call>',
        "<tool_call></tool_call>",
        "<tool_call>" + "[" * 5000 + "</tool_call>",
        '<tool_call>{"name": "weather", "argum',
        "a < b and <tool_",
    ],
)
def test_a_malformed_call_is_text(chat, written):
    parser, deltas = answered(chat, chat.ids("See: " + written + " ok"))
    assert "".join(text(deltas).split()) == "".join(f"See:{written}ok".split())
    assert parser.tool_calls == []


def test_without_declared_tools_nothing_is_a_call(chat):
    _, deltas = answered(chat, chat.ids(HERMES), tools=())
    assert (text(deltas), calls(deltas)) == (HERMES, [])


def test_arguments_written_as_a_string_are_unwrapped(chat):
    _, deltas = answered(chat, chat.ids('<tool_call>{"name": "time", "arguments": "{\\"zone\\": 1}"}</tool_call>'))
    assert calls(deltas) == [("time", '{"zone": 1}')]


FENCED = "<｜tool▁call▁begin｜>function<｜tool▁sep｜>{}\n```json\n{}\n```<｜tool▁call▁end｜>".format
FAMILIES = [
    ("llama3", '{"name": "weather", "parameters": {"city": "Rome"}}', [("weather", '{"city": "Rome"}')], ""),
    (
        "llama3",
        '<|python_tag|>{"name": "time", "parameters": {}}; {"name": "weather", "parameters": {}}<|eom_id|>',
        [("time", "{}"), ("weather", "{}")],
        "",
    ),
    ("llama3", '{"type": "function", "name": "time", "parameters": {}}', [("time", "{}")], ""),
    ("llama3", '{"name": "Ada", "age": 36}', [], '{"name": "Ada", "age": 36}'),
    ("llama3", "{ not JSON", [], "{ not JSON"),
    ("llama3", "<|python_tag|>print(1)", [], "<|python_tag|>print(1)"),
    ("llama3", 'Look: {"name": "time", "parameters": {}}', [], 'Look: {"name": "time", "parameters": {}}'),
    (
        "mistral",
        '[TOOL_CALLS] [{"name": "time", "arguments": {"zone": "a]"}, "id": "abcdefghi"}]</s>',
        [("time", '{"zone": "a]"}')],
        "",
    ),
    (
        "mistral",
        '[TOOL_CALLS]weather[ARGS]{"city": "Rome"}[TOOL_CALLS]time[CALL_ID]abc123def[ARGS]{}</s>',
        [("weather", '{"city": "Rome"}'), ("time", "{}")],
        "",
    ),
    ("mistral", "[TOOL_CALLS] [oops", [], "[TOOL_CALLS] [oops"),
    ("mistral", "Well. [TOOL_CALLS][]", [], "Well.[TOOL_CALLS][]"),
    (
        "deepseek",
        "Now.<｜tool▁calls▁begin｜>"
        + "\n".join([FENCED("weather", '{"city": "<｜"}'), FENCED("time", "{}")])
        + "<｜tool▁calls▁end｜>",
        [("weather", '{"city": "<｜"}'), ("time", "{}")],
        "Now.",
    ),
    (
        "deepseek",
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>time<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        [("time", "{}")],
        "",
    ),
    (
        "deepseek",
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>time<｜tool▁calls▁end｜>",
        [],
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>time<｜tool▁calls▁end｜>",
    ),
    (
        "kimi",
        (
            "Hm.<|tool_calls_section_begin|><|tool_call_begin|>functions.weather:3<|tool_call_argument_begin|>"
            '{"city": "Rome"}<|tool_call_end|><|tool_calls_section_end|><|im_end|>'
        ),
        [("weather", '{"city": "Rome"}')],
        "Hm.",
    ),
]


@pytest.mark.parametrize(("family", "written", "expected", "said"), FAMILIES)
def test_every_familys_calls(tokenizer_of, family, written, expected, said):
    tokenizer = tokenizer_of(family)
    _, deltas = answered(format_for(tokenizer), closed(tokenizer, family) + tokenizer.ids(written))
    assert calls(deltas) == expected
    assert text(deltas) == said


def closed(tokenizer, family):
    """DeepSeek's prompt leaves the reasoning open."""
    return tokenizer.ids("</think>") if family == "deepseek" else []


@pytest.mark.parametrize(
    ("family", "written"),
    [
        ("mistral", '[TOOL_CALLS][{"name": "time", "arguments": {}, "id": "abcdefghi"}]'),
        ("mistral", "[TOOL_CALLS]time[CALL_ID]abc123def[ARGS]{}"),
        ("mistral", '[TOOL_CALLS][{"name": "time", "arguments": {}}]'),
        (
            "kimi",
            (
                "<|tool_calls_section_begin|><|tool_call_begin|>functions.time:0<|tool_call_argument_begin|>{}"
                "<|tool_call_end|><|tool_calls_section_end|>"
            ),
        ),
    ],
)
def test_ids_the_model_wrote_go_no_further(tokenizer_of, family, written):
    """They are the same in every conversation: Kimi's first call is functions.NAME:0, and some write zeros always."""
    tokenizer = tokenizer_of(family)
    found = [answered(format_for(tokenizer), tokenizer.ids(written))[0].tool_calls[0] for _ in range(2)]
    assert [(call.name, call.arguments) for call in found] == [("time", "{}")] * 2
    assert found[0].id != found[1].id
    for call in found:
        assert re.fullmatch("[0-9A-Za-z]{9}" if family == "mistral" else "call_[0-9a-f]{24}", call.id)


@pytest.mark.parametrize(
    ("family", "written", "read"),
    [
        (
            "kimi",
            (
                "<|tool_calls_section_begin|><|tool_call_begin|>functions.time:0<|tool_call_argument_begin|>{}"
                "<|tool_call_end|><|tool_calls_section_end|>"
            ),
            r"<\|tool_call_begin\|>functions\.time:0<\|tool_call_argument_begin\|>.*## Return of functions\.time:0\n",
        ),
        ("mistral", '[TOOL_CALLS][{"name": "time", "arguments": {}}]', r'"id": "([0-9A-Za-z]{9})".*"call_id": "\1"'),
    ],
)
def test_a_call_that_is_sent_back_has_the_id_that_its_template_wants(tokenizer_of, family, written, read):
    tokenizer = tokenizer_of(family)
    chat = format_for(tokenizer)
    [call] = answered(chat, tokenizer.ids(written))[0].tool_calls
    talk = Conversation(
        messages=(
            *ASK,
            Message(role="assistant", tool_calls=(call,)),
            Message(role="tool", tool_call_id=call.id, content="noon"),
        ),
        tools=(WEATHER, TIME),
    )
    assert re.search(read, chat.render(talk).text, re.DOTALL), chat.render(talk).text


def test_the_end_of_thinking_can_be_written_for_the_model(chat):
    _, deltas = answered(chat, [*chat.ids("<think>on and on"), *chat.end_of_thinking(), *chat.ids("So: yes")])
    assert (reasoning(deltas), text(deltas)) == ("on and on", "So: yes")


@pytest.fixture(scope="module")
def chat_of(tokenizer_of):
    return functools.cache(lambda family: format_for(tokenizer_of(family)))


@pytest.mark.parametrize("family", ["qwen3", "llama3", "mistral", "deepseek", "kimi"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_token_sequence_raises_or_loses_text(tokenizer_of, chat_of, family, data):
    tokenizer = tokenizer_of(family)
    controls = sorted(tokenizer.control_ids)
    tokens = data.draw(
        st.lists(
            st.one_of(
                st.sampled_from(controls),
                st.sampled_from(list(b'{}[]":, ;\nat')),
                st.sampled_from(["weather", '{"name": "time", "arguments": {}}', "```json\n{}\n```", "function"]),
                st.integers(0, 2**32),
            ),
            max_size=30,
        )
    )
    flat = [token for each in tokens for token in (each.encode() if isinstance(each, str) else [each])]
    reason = data.draw(st.sampled_from(["stop", "length"]))
    _, deltas = answered(chat_of(family), flat, reason=reason)
    given_back = text(deltas) + reasoning(deltas) + "".join(name + arguments for name, arguments in calls(deltas))
    if not calls(deltas) and reason == "stop":  # the beginning of a call that was cut off is not shown
        # A control token between two bytes keeps them from being one character.
        spoken = itertools.groupby(flat, key=lambda token: token in tokenizer.control_ids)
        plain = "".join("".join(tokenizer.decode(list(run)) for control, run in spoken if not control).split())
        without_marks = "".join(given_back.split())
        for mark in sorted(tokenizer.control_tokens, key=len, reverse=True):
            without_marks = without_marks.replace(mark, "")
        assert set(plain) - {"\ufffd"} <= set(without_marks) | {"\ufffd"}
        assert len(without_marks) >= len(plain) - plain.count("\ufffd")
