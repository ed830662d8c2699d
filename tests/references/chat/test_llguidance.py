"""The grammar of headers in llguidance: what it lets through is well-formed Harmony, by construction."""

import json
import random
from dataclasses import replace

import llguidance
import llguidance.tiktoken
import numpy as np
import pytest
import tiktoken
from openai_harmony import Role, StreamableParser

from ouvert.chat import Conversation, Message, Tool
from ouvert.chat.harmony import HarmonyFormat, Place

SCHEMA = {
    "type": "object",
    "properties": {"days": {"type": "integer", "minimum": 0, "maximum": 99}, "unit": {"enum": ["c", "f"]}},
    "required": ["days", "unit"],
    "additionalProperties": False,
}
TALK = Conversation(
    messages=(Message(role="user", content="?"),),
    tools=(Tool(name="weather", parameters=SCHEMA), Tool(name="time")),
    builtin_tools=frozenset({"browser", "python"}),
)


@pytest.fixture(scope="module")
def chat(o200k):
    return HarmonyFormat(o200k[1])


@pytest.fixture(scope="module")
def matcher(o200k, chat):
    """Makes a fresh matcher of a conversation's grammar over the whole vocabulary."""
    tokenizer = o200k[1]
    ranks = {tokenizer.token_bytes(token): token for token in range(199998)}
    encoding = tiktoken.Encoding(
        "o200k_harmony", pat_str=r"\S+|\s+", mergeable_ranks=ranks, special_tokens=dict(tokenizer.control_tokens)
    )
    vocabulary = llguidance.tiktoken.lltokenizer_from_encoding(
        encoding, n_vocab=tokenizer.vocabulary_size, eos_token=tokenizer.control_tokens["<|endoftext|>"]
    )
    return lambda talk=TALK: llguidance.LLMatcher(vocabulary, chat.header_grammar(talk).lark())


def ids(text, o200k):
    return o200k[0].encode(text, allowed_special="all")


THOUGHT = "<|channel|>analysis<|message|>Hm. é<|end|><|start|>assistant"


@pytest.mark.parametrize(
    "written",
    [
        "<|channel|>final<|message|>Yes, {this} is fine.\n<|return|>",
        THOUGHT + "<|channel|>final<|message|>Yes<|return|>",
        THOUGHT + "<|channel|>commentary to=functions.weather <|constrain|>json<|message|>"
        '{"days": 2, "unit":"c"}<|call|>',
        THOUGHT + "<|channel|>commentary<|message|>Wait.<|end|><|start|>assistant"
        "<|channel|>commentary to=functions.time <|constrain|>json<|message|>{}<|call|>",
        "<|channel|>analysis to=python code<|message|>print(1)<|call|>",
        '<|channel|>analysis to=browser.search code<|message|>{"query":"x"}<|call|>',
    ],
)  # fmt: skip
def test_what_is_meant_is_accepted(o200k, matcher, written):
    grammar = matcher()
    tokens = ids(written, o200k)
    assert grammar.try_consume_tokens(tokens) == len(tokens), grammar.get_error()
    assert grammar.is_stopped()


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("<|channel|>final<|message|>Yes", "<|end|>"),
        ("<|channel|>final<|message|>Yes", "<|channel|>"),
        ("<|channel|>final", "<|constrain|>"),
        ("<|channel|>commentary to=functions.", "rm"),
        ("<|channel|>analysis to=", "functions"),
        ("<|channel|>commentary to=functions.weather ", "<|message|>"),
        ('<|channel|>commentary to=functions.weather <|constrain|>json<|message|>{"', "x"),
        ("<|channel|>analysis<|message|>Hm", "<|return|>"),
        ("", "Hello"),
    ],
)
def test_slips_cannot_happen(o200k, matcher, good, bad):
    grammar = matcher()
    tokens = ids(good, o200k)
    assert grammar.try_consume_tokens(tokens) == len(tokens)
    assert grammar.try_consume_tokens(ids(bad, o200k)) == 0


@pytest.mark.parametrize("seed", range(12))
def test_a_model_that_knows_nothing_writes_well_formed_harmony(o200k, chat, matcher, seed):
    """Tokens at random under the mask: openai-harmony's strict parser reads them, and arguments follow their schema."""
    encoding, tokenizer = o200k
    closed = replace(TALK, builtin_tools=frozenset({"python"}))  # the browser's schemas admit members without end
    chooser, grammar = random.Random(seed), matcher(closed)
    tokens = []
    while not grammar.is_stopped():
        mask = np.frombuffer(grammar.compute_bitmask(), dtype=np.uint8)
        allowed = np.unpackbits(mask, bitorder="little").nonzero()[0]
        control = [token for token in allowed if int(token) in tokenizer.control_ids]
        hurry = control and (chooser.random() < 0.3 or len(tokens) > 300)
        tokens.append(int(chooser.choice(control if hurry else allowed)))
        assert grammar.consume_token(tokens[-1])
        assert len(tokens) < 1000

    strict = StreamableParser(encoding, Role.ASSISTANT)
    parser = chat.parser(chat.render(TALK))
    for token in tokens:
        strict.process(token)
        parser.push(token)
    assert parser.finish("stop") == []
    last = strict.messages[-1]
    if last.channel == "final":
        assert parser.tool_calls == []
    else:
        [call] = parser.tool_calls
        assert last.recipient.removeprefix("functions.") == call.name
        if call.name == "weather":
            assert json.loads(call.arguments)["unit"] in {"c", "f"}


@pytest.mark.parametrize("seed", range(12))
def test_the_automaton_and_the_grammar_agree(o200k, chat, matcher, seed):
    """What `HeaderGrammar.allowed` lets through, llguidance does: the automaton knows one spelling of each header."""
    chooser, automaton, grammar = random.Random(seed), chat.header_grammar(TALK), matcher()
    place = Place()
    while not place.over:
        allowed = automaton.allowed(place)
        if allowed is None:
            contents = {"weather": '{"days":1,"unit":"c"}', "browser.search": '{"query":"x"}'}
            content = contents.get(place.turn.call or "", "{}")
            tokens = [*ids(content, o200k), place.turn.end_id]
        else:
            tokens = [chooser.choice(sorted(allowed))]
        assert grammar.try_consume_tokens(tokens) == len(tokens), grammar.get_error()
        for token in tokens:
            place = automaton.step(place, token)
