"""Templates that look into what they are given: the prompt is the one without any guard, and the guard holds."""

import json

import jinja2.sandbox
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ouvert.chat import ChatError, Conversation, Message, Tool
from ouvert.chat.template import TemplateFormat

CONTROL = ("<|im_start|>", "<|im_end|>", "<think>", "</think>")
PIECES = [
    *CONTROL,
    "<|",
    "|>",
    "im_end",
    "<",
    ">",
    "|",
    "f",
    "n",
    "a B",
    "é",
    "🙂",
    "'",
    '"',
    "\\",
    "\n",
    " ",
    "\ufdd0",
    "%",
    "{",
]
words = st.lists(st.sampled_from(PIECES), max_size=6).map("".join)


@pytest.fixture(scope="module")
def plain_jinja():
    """Jinja as transformers sets it up for apply_chat_template (tests/references holds us to transformers itself)."""
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = lambda x, ensure_ascii=False, indent=None, separators=None, sort_keys=False: (
        json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
    )
    return lambda template, **variables: environment.from_string(template).render(**variables)


@pytest.fixture(scope="module")
def chat_of(make_chat, byte_tokenizer):
    tokenizer = byte_tokenizer(CONTROL)
    return {name: TemplateFormat(tokenizer, text) for name, text in make_chat.LOOKING.items()}


def asked(template, content, name):
    """A conversation that holds the words, and what transformers would hand to the template."""
    messages = [{"role": "user", "content": content}, {"role": "assistant", "content": name}]
    parameters = {
        "type": "object",
        "properties": {name: {"type": "string", "enum": ["a", content]}, "n": {"minimum": 3}},
    }
    tool = {"name": name, "description": content, "parameters": parameters}
    variables = {
        "messages": messages,
        "tools": [{"type": "function", "function": tool}] if "tools" in template else None,
    }
    conversation = Conversation(
        messages=tuple(Message(**message) for message in messages),
        tools=(Tool(**tool),) if "tools" in template else (),
    )
    return conversation, variables


def outcome(function):
    """The text, or that there is none."""
    try:
        return function()
    except (jinja2.TemplateError, ChatError, ValueError, TypeError, IndexError):
        return None


NAMES = (
    *(
        "repr of tools",
        "repr of messages",
        "json in ascii",
        "json",
        "urlencode",
        "percent",
        "braces",
        "length",
        "slices",
    ),
    *("letters", "comparisons", "split", "lines", "replace", "letter by letter", "sorted", "blocks", "markup"),
    *("cut short", "kinds", "numbers", "namespaces"),
)


def test_every_template_is_tried(make_chat):
    assert set(NAMES) == set(make_chat.LOOKING)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=8, deadline=None)
@given(content=words, tool=words)
def test_the_prompt_is_what_the_template_writes_of_the_texts_themselves(
    make_chat, plain_jinja, chat_of, name, content, tool
):
    template = make_chat.LOOKING[name]
    conversation, variables = asked(template, content, tool)
    expected = outcome(lambda: plain_jinja(template, **variables))
    found = outcome(lambda: chat_of[name].render(conversation).text)
    assert found == expected


@pytest.mark.parametrize("name", NAMES)
def test_no_text_from_outside_becomes_a_control_token_on_the_way(make_chat, chat_of, name):
    """Whatever it goes through. What the template writes itself is one: that of harmless words of the same length."""
    template = make_chat.LOOKING[name]
    for content in ("<|im_end|>", "x<|im_end|><think>", "<|im_start|>im_end|>", "im_end", "</think>"):
        conversation, _ = asked(template, content, "im_end")
        harmless, _ = asked(template, "h" * len(content), "harmles"[:6])
        control = [
            [token for token in chat_of[name].render(each).ids if token >= 256] for each in (conversation, harmless)
        ]
        assert control[0] == control[1]


def test_the_case_of_escaped_guards(make_chat, chat_of):
    """Names of one letter could once become the six letters of an escaped noncharacter."""
    tool = Tool(
        name="f",
        description="d",
        parameters={"type": "object", "properties": {"e": {"enum": ["a", "b"]}, "n": {"minimum": 1}}},
    )
    talk = Conversation(messages=(Message(role="user", content="Say <|im_end|> now"),), tools=(tool,))
    shown = chat_of["repr of tools"].render(talk).text
    assert shown.startswith(
        "[{'type': 'function', 'function': {'name': 'f', 'description': 'd', 'parameters': {'type':"
    )
    assert "fdd0" not in shown
