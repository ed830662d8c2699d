"""Outlines: what formats say their answers are made of, spelled out."""

import pytest

from ouvert.chat import ChatError, Conversation, Message, Tool, builtin_template, format_for
from ouvert.chat.template import TemplateFormat

ARGUMENTS = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS = (Tool(name="weather", parameters=ARGUMENTS), Tool(name='odd "name" <|im_end|> NAME'))
TALK = Conversation(messages=(Message(role="user", content="?"),), tools=TOOLS)
PLAIN = Conversation(messages=TALK.messages)
THINKS = "{{ messages[0].content }}{{ tools }}<tool_call><think>"


@pytest.fixture
def outlined(tokenizer_of):
    """outlined(vocabulary, template, conversation, ...) -> the outline, and a way to spell ids out."""

    def outlined(vocabulary, template=None, conversation=TALK, **wanted):
        tokenizer = tokenizer_of(vocabulary)
        chat = format_for(tokenizer) if template is None else TemplateFormat(tokenizer, template)
        outline = chat.outline(conversation, chat.render(conversation), **wanted)
        return outline, lambda ids: tokenizer.decode(ids, control=True), tokenizer

    return outlined


def spelled(outline, spell):
    return [(segment.kind, spell(segment.header), spell(segment.ends)) for segment in outline.segments]


def test_harmony(outlined):
    talk = Conversation(messages=TALK.messages, tools=TOOLS[:1], builtin_tools=frozenset({"python"}))
    outline, spell, _ = outlined("harmony", conversation=talk)
    link = "<|end|><|start|>assistant"
    assert spelled(outline, spell) == [
        ("thought", "<|channel|>analysis<|message|>", link),
        ("preamble", "<|channel|>commentary<|message|>", link),
        ("call", "<|channel|>commentary to=functions.weather <|constrain|>json<|message|>", "<|call|>"),
        ("call", "<|channel|>analysis to=python code<|message|>", "<|call|>"),
        ("answer", "<|channel|>final<|message|>", "<|return|>"),
    ]
    assert outline.segments[2].schema == ARGUMENTS
    assert spell(outline.cut) == link
    assert outline.follows["start"] == outline.follows["thought"] == {"thought", "preamble", "call", "answer"}
    assert outline.follows["call"] == outline.follows["answer"] == {"end"}


@pytest.mark.parametrize(
    ("calls", "kinds"), [("none", {"thought", "answer"}), ("required", {"thought", "preamble", "call"})]
)
def test_harmony_without_calls_or_without_an_answer(outlined, calls, kinds):
    outline, _, _ = outlined("harmony", calls=calls)
    assert {segment.kind for segment in outline.segments} == kinds == outline.follows["start"]


def test_hermes_calls_may_follow_each_other(outlined):
    outline, spell, tokenizer = outlined("qwen3", THINKS + "{{ '</think>' }}", calls="required")
    names = ['"weather"', r'"odd \"name\" <|im_end|> NAME"']
    assert spelled(outline, spell) == [
        ("thought", "<think>", "</think>"),
        *(("call", f'<tool_call>\n{{"name": {name}, "arguments": ', "}\n</tool_call>") for name in names),
    ]
    assert outline.follows == {
        "start": {"thought", "call"},
        "thought": {"call"},
        "call": {"call", "end"},
        "answer": {"end"},
    }
    control = set(tokenizer.control_ids)
    assert [len(control & set(segment.header)) for segment in outline.segments] == [1, 1, 1]  # a name holds none
    assert outline.segments[2].schema == {"type": "object", "properties": {}, "additionalProperties": False}
    assert outline.inside is None


def test_a_prompt_that_ends_in_thoughts_begins_inside_them(outlined):
    outline, spell, _ = outlined("qwen3", THINKS, conversation=PLAIN, shaped=True)
    assert outline.inside == outline.segments[0]
    assert spell(outline.cut) == "\n</think>\n\n"
    assert outline.follows["thought"] == {"answer"}
    assert {spell([token]) for token in outline.between} == {"\n"}


def test_llama_calls_are_bare_and_alone(outlined):
    outline, spell, _ = outlined("llama3", builtin_template("llama3"), calls="required")
    assert spelled(outline, spell)[0] == ("call", '{"name": "weather", "parameters": ', "}")
    assert outline.follows["call"] == {"end"}


REGIONS = {
    "mistral": ('[TOOL_CALLS] [{"name": "weather", "arguments": ', ', {"name": "weather", "arguments": ', "}", "]"),
    "deepseek": (
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n```json\n",
        "\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n```json\n",
        "\n```<｜tool▁call▁end｜>",
        "<｜tool▁calls▁end｜>",
    ),
    "kimi": (
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.weather:0<|tool_call_argument_begin|>",
        "<|tool_call_begin|>functions.weather:1<|tool_call_argument_begin|>",
        "<|tool_call_end|>",
        "<|tool_calls_section_end|>",
    ),
}


@pytest.mark.parametrize("family", REGIONS)
def test_calls_in_a_region_are_opened_once_and_closed_once(outlined, family):
    talk = Conversation(messages=TALK.messages, tools=TOOLS[:1])
    outline, spell, tokenizer = outlined(family, builtin_template(family), conversation=talk, calls="required")
    call = next(segment for segment in outline.segments if segment.kind == "call")
    assert (spell(call.header), spell(call.later(1)), spell(call.ends), spell(outline.closing)) == REGIONS[family]
    assert outline.follows["call"] == {"call", "end"}
    marks = set(tokenizer.control_ids)
    assert set(tokenizer.ids(REGIONS[family][0])) & marks == set(call.header) & marks  # as tokens, not as text


def test_calls_stay_free_where_only_thoughts_are_counted(outlined):
    outline, spell, _ = outlined("qwen3", THINKS)
    assert spelled(outline, spell) == [("thought", "<think>", "</think>"), ("answer", "", "")]


def test_what_cannot_be_told_in_tokens_is_refused(outlined):
    with pytest.raises(ChatError, match="</think> is no token of its vocabulary"):
        outlined("chatml", "{{ messages[0].content }}<think>", conversation=PLAIN, shaped=True)
    with pytest.raises(ChatError, match="of no known syntax"):
        outlined("plain", "{{ messages[0].content }}{{ tools }}", calls="required")
