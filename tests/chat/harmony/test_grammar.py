"""Grammar of headers: whatever it lets through is read back as what it was meant to be."""

import random

import pytest

from ouvert.chat import Conversation, Message, Tool, format_for
from ouvert.chat.harmony import Place
from ouvert.chat.harmony.grammar import header_grammar

WEATHER = Tool(name="weather", parameters={"type": "object", "properties": {"city": {"type": "string"}}})
TIME = Tool(name="weather_time")
TALK = Conversation(
    messages=(Message(role="user", content="?"),),
    tools=(WEATHER, TIME),
    builtin_tools=frozenset({"python", "browser"}),
    answer_schema={"type": "object"},
)


@pytest.fixture(scope="module")
def chat(tokenizer_of):
    return format_for(tokenizer_of("harmony"))


def walk(chat, grammar, tokenizer, chooser):
    """One answer, each header token chosen at random among those allowed."""
    place, tokens, turns = Place(), [], []
    while not place.over:
        allowed = grammar.allowed(place)
        if allowed is None:
            turns.append(place.turn)
            content = [*tokenizer.encode("{}" if place.turn.schema is not None else "x = 1"), place.turn.end_id]
            for token in content:
                place = grammar.step(place, token)
            tokens += content
        else:
            token = chooser.choice(sorted(allowed))
            place = grammar.step(place, token)
            tokens.append(token)
    return tokens, turns


@pytest.mark.parametrize("seed", range(40))
def test_what_the_grammar_allows_the_parser_understands(chat, tokenizer_of, seed):
    tokenizer = tokenizer_of("harmony")
    tokens, turns = walk(chat, chat.header_grammar(TALK), tokenizer, random.Random(seed))
    parser = chat.parser(chat.render(TALK))
    for token in tokens:
        parser.push(token)
    assert parser.finish("stop") == []
    assert [call.name for call in parser.tool_calls] == [turn.call for turn in turns if turn.call]
    assert tokens[-1] in chat.stop_ids


def test_every_turn_can_be_reached(chat, tokenizer_of):
    tokenizer = tokenizer_of("harmony")
    grammar = chat.header_grammar(TALK)
    seen = {turn.ids for seed in range(200) for turn in walk(chat, grammar, tokenizer, random.Random(seed))[1]}
    assert seen == {turn.ids for turn in grammar.turns}
    assert {turn.call for turn in grammar.turns} == {
        *(None, "weather", "weather_time", "python", "browser.search", "browser.open", "browser.find")
    }


def test_calls_can_be_required_or_left_out(tokenizer_of, chat):
    encode, tokens = tokenizer_of("harmony").encode, chat.tokens
    required = header_grammar(encode, tokens, TALK, "required")
    assert all(turn.call for turn in required.turns if turn.last)
    none = header_grammar(encode, tokens, TALK, "none")
    assert [turn.header[1] for turn in none.turns] == ["analysis", "final"]
    assert none.turns[1].schema == {"type": "object"}


def test_what_is_not_allowed_is_refused(chat):
    with pytest.raises(ValueError, match="following a Harmony header: token 0 behind"):
        chat.header_grammar(TALK).step(Place(), 0)
    assert chat.header_grammar(TALK).allowed(Place(over=True)) == frozenset()


def test_the_same_for_llguidance(chat):
    talk = Conversation(messages=(), tools=(WEATHER,), answer_schema={"type": "object"})
    assert chat.header_grammar(talk).lark() == (
        'start: ((turn_0 | turn_1) <|start|> "assistant")* (turn_2 | turn_3)\n'
        'turn_0: <|channel|> "analysis" <|message|> TEXT <|end|>\n'
        'turn_1: <|channel|> "commentary" <|message|> TEXT <|end|>\n'
        'turn_2: <|channel|> "commentary to=functions.weather " <|constrain|> "json" <|message|> '
        '%json {"type": "object", "properties": {"city": {"type": "string"}}, '
        '"x-guidance": {"whitespace_pattern": "[ \\\\n]?"}} <|call|>\n'
        'turn_3: <|channel|> "final" <|message|> '
        '%json {"type": "object", "x-guidance": {"whitespace_pattern": "[ \\\\n]?"}} <|return|>\n'
        "TEXT: /(?s:.*)/\n"
    )
