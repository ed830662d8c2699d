"""The outline of answers: whatever it lets through is read back as what it was meant to be."""

import random

import pytest

from ouvert.chat import Conversation, Message, Tool, format_for

WEATHER = Tool(name="weather", parameters={"type": "object", "properties": {"city": {"type": "string"}}})
TIME = Tool(name="weather_time")
TALK = Conversation(
    messages=(Message(role="user", content="?"),),
    tools=(WEATHER, TIME),
    builtin_tools=frozenset({"python", "browser"}),
    answer_schema={"type": "object"},
)
RECIPIENTS = (
    "functions.weather",
    "functions.weather_time",
    *("browser.search", "browser.open", "browser.find", "python"),
)


@pytest.fixture(scope="module")
def chat(tokenizer_of):
    return format_for(tokenizer_of("harmony"))


def walk(outline, tokenizer, chooser):
    """One answer, each segment chosen at random among those that may follow."""
    place, tokens, segments = "start", [], []
    while outline.follows[place] != {"end"}:
        segment = chooser.choice([each for each in outline.segments if each.kind in outline.follows[place]])
        content = tokenizer.encode("{}" if segment.schema is not None else "x = 1")
        tokens += [*segment.header, *content, *segment.ends]
        segments.append(segment)
        place = segment.kind
    return tokens, segments


@pytest.mark.parametrize("seed", range(40))
def test_what_the_outline_allows_the_parser_understands(chat, tokenizer_of, seed):
    tokenizer = tokenizer_of("harmony")
    rendered = chat.render(TALK)
    tokens, segments = walk(chat.outline(TALK, rendered), tokenizer, random.Random(seed))
    parser = chat.parser(rendered)
    for token in tokens:
        parser.push(token)
    assert parser.finish("stop") == []
    called = [tokenizer.decode(each.header) for each in segments if each.kind == "call"]
    assert len(parser.tool_calls) == len(called)
    for call, header in zip(parser.tool_calls, called, strict=True):
        assert f"{call.name} " in header
    assert tokens[-1] in chat.stop_ids


def test_every_tool_can_be_called(chat, tokenizer_of):
    tokenizer = tokenizer_of("harmony")
    calls = [each for each in chat.outline(TALK, chat.render(TALK)).segments if each.kind == "call"]
    headers = [tokenizer.decode(call.header) for call in calls]
    assert len(headers) == len(RECIPIENTS)
    assert all(f" to={recipient} " in header for recipient, header in zip(RECIPIENTS, headers, strict=True))
    assert [call.schema is None for call in calls] == [recipient == "python" for recipient in RECIPIENTS]


def test_calls_can_be_required_or_left_out(chat):
    rendered = chat.render(TALK)
    required = chat.outline(TALK, rendered, calls="required")
    assert {each.kind for each in required.segments} == {"thought", "preamble", "call"}
    none = chat.outline(TALK, rendered, calls="none")
    assert [each.kind for each in none.segments] == ["thought", "answer"]
    assert none.segments[1].schema == {"type": "object"}
