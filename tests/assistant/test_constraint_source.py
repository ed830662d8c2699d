"""A constraint made from its source elsewhere lets through, token by token, what the first one does."""

import json

import numpy as np
import pytest

from ouvert.assistant import AssistantError, Demands, Tool
from ouvert.assistant.constraint_source import constraint_of
from ouvert.assistant.grammars import Grammars
from ouvert.assistant.messages import as_conversation
from ouvert.assistant.request import ChatRequest
from ouvert.engine import EngineError, Grammar

ARGUMENTS = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 6}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOLS = (Tool(name="weather", description="The weather", parameters=ARGUMENTS), Tool(name="time"))
CALLING = ("harmony", "qwen3", "r1", "chatml", "llama3", "mistral", "mistral-v11", "deepseek", "deepseek-v3.1", "kimi")


def elsewhere(constraint, assistant):
    """What another engine makes of the source when it has gone over the network."""
    return constraint_of(json.loads(json.dumps(constraint.source)), Grammars(lambda: assistant.grammars.vocabulary))


def assert_alike(first, second, tokens):
    """Both states agree before and behind each of the tokens."""
    for token in (*tokens, None):
        allowed, there = first.allowed(), second.allowed()
        assert (allowed is None) == (there is None)
        if allowed is not None:
            np.testing.assert_array_equal(allowed, there)
        assert (first.accepting, first.finished) == (second.accepting, second.finished)
        if token is not None:
            first.advance(token)
            second.advance(token)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("family", CALLING)
def test_an_outline_is_the_same_elsewhere(assistant, family, seed):
    made, _ = assistant(family, seed)
    request = ChatRequest(
        conversation=as_conversation("Well?", TOOLS, effort=None),
        demands=Demands(calls="required", think_budget=20 if family in ("harmony", "qwen3", "r1") else None),
        sampling={"seed": 1},
    )
    plan, answer = made.plan(request), made.answer(request)
    list(answer)
    held = [token for token in answer.token_ids if token not in plan.sampling.stop_ids]
    assert len(held) > 8
    there = elsewhere(plan.constraint, made)
    assert there.source == plan.constraint.source
    assert_alike(plan.constraint.begin(), there.begin(), held)


def test_numbered_calls_keep_their_numbers(assistant):
    """Kimi's calls are numbered through the conversation."""
    made, _ = assistant("kimi")
    request = ChatRequest(conversation=as_conversation("Well?", TOOLS), demands=Demands(calls="required"))
    outline = made.plan(request).constraint.outline
    there = elsewhere(made.plan(request).constraint, made).outline
    calls = [(a, b) for a, b in zip(outline.segments, there.segments, strict=True) if a.kind == "call"]
    assert len(calls) == 2
    for segment, copied in calls:
        assert [copied.later(n) for n in range(1, 60)] == [segment.later(n) for n in range(1, 60)]
        assert copied.later(1) != copied.later(2)


@pytest.mark.parametrize(
    "grammar",
    [
        Grammar.json_schema(ARGUMENTS),
        Grammar.json_schema({**ARGUMENTS, "x-unknown": 1}, strict=False),
        Grammar.regex("[ab]{2,4}"),
        Grammar.lark('start: "a" "b"+'),
        Grammar.gbnf('root ::= "a" "b"+'),
        Grammar.one_of(["ab", "abc"]),
    ],
)
def test_a_grammar_is_the_same_elsewhere(assistant, grammar):
    made, tokenizer = assistant("chatml")
    compiled = made.grammars.vocabulary.compile(grammar)
    there = elsewhere(compiled, made)
    assert there.grammar == grammar
    text = '{"city": "ab"}' if grammar.kind == "json schema" else "ab"
    assert_alike(compiled.begin(), there.begin(), tokenizer.encode(text))


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ({}, "both or neither"),
        ({"grammar": {"kind": "regex"}}, "grammar.text"),
        ({"grammar": {"kind": "yacc", "text": "a"}}, "grammar.kind"),
        ({"grammar": {"kind": "regex", "text": "a", "flags": 1}}, "grammar.flags"),
        ({"outline": {"segments": [{"kind": "call", "header": [-1]}], "follows": {}}}, "header"),
    ],
)
def test_what_is_no_source_is_refused_with_its_place(assistant, source, named):
    made, _ = assistant("chatml")
    with pytest.raises(AssistantError, match=named):
        constraint_of(source, made.grammars)
    with pytest.raises(EngineError):
        constraint_of({"grammar": {"kind": "regex", "text": "("}}, made.grammars)
