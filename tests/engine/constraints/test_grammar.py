"""Constraints: nothing outside a grammar is ever chosen, and what comes out is a whole text of it."""

import json
import re
import threading
from dataclasses import replace

import jsonschema
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ouvert.engine import EngineBusyError, EngineError, Grammar, LocalEngine, Sampling, Vocabulary
from ouvert.engine.constraints import trial
from ouvert.engine.constraints.grammar import ids_of, merged_ids

# Every byte is a token; then some longer pieces, two spellings of one, two control tokens, and a row without a token.
PIECES = [b'{"', b'":', b'", "', b"true", b"null", b"10", b" ", b"\n\n", "é".encode(), b"\xf0\x9f", b"ab", b"ab"]
CONTROL = [b"<|end|>", b"<|other|>"]
TOKENS = [*(bytes([byte]) for byte in range(256)), *PIECES, *CONTROL, b""]
END, OTHER, EMPTY = 256 + len(PIECES), 257 + len(PIECES), 258 + len(PIECES)
VOCABULARY = Vocabulary(TOKENS, {END, OTHER}, lambda text: list(text.encode()))

SCHEMAS = {
    "object": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 5},
            "age": {"type": "integer", "minimum": 0, "maximum": 200},
        },
        "required": ["name", "age"],
        "additionalProperties": False,
    },
    "optional members": {
        "type": "object",
        "properties": {"a": {"type": "boolean"}, "b": {"type": "null"}, "c": {"type": "number"}},
        "additionalProperties": False,
    },
    "enum": {"enum": ["red", "green", 3, None, True]},
    "array": {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 4},
    "alternatives": {"anyOf": [{"type": "boolean"}, {"type": "string", "pattern": "^[a-z]{2,4}$"}]},
    "definitions": {
        "$defs": {
            "leaf": {
                "type": "object",
                "properties": {"v": {"const": 1}},
                "required": ["v"],
                "additionalProperties": False,
            }
        },
        "type": "array",
        "items": {"$ref": "#/$defs/leaf"},
        "maxItems": 2,
    },
    "date": {"type": "string", "format": "date"},
    "titled, as pydantic writes them": {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Answer",
        "type": "object",
        "properties": {
            "ok": {"title": "Ok", "type": "boolean"},
            "tags": {"items": {"enum": ["x", "y"]}, "type": "array", "maxItems": 3},
        },
        "required": ["ok", "tags"],
        "additionalProperties": False,
    },
}


@pytest.fixture
def generate(fake_runner, facts):
    """generate(grammar, seed, temperature=1) -> (tokens, stopped): a model whose scores are noise."""

    def generate(grammar, seed=0, context=4000, **sampling):
        def noise(ids):
            return np.random.default_rng((seed, len(ids))).standard_normal(len(TOKENS)).astype(np.float32) * 3

        engine = LocalEngine(fake_runner(len(TOKENS), noise), context, facts)
        constraint = VOCABULARY.compile(grammar)
        given = Sampling(
            **{"temperature": 1.0, "seed": seed, "stop_ids": frozenset({END}), "constraint": constraint} | sampling
        )
        generation = engine.generate([1, 2, 3], given)
        tokens = [token.id for token in generation]
        return tokens, generation.stopped

    return generate


def text_of(tokens):
    return b"".join(TOKENS[token] for token in tokens if token != END).decode()


@pytest.mark.parametrize("temperature", [0.0, 1.0, 5.0])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", SCHEMAS)
def test_every_output_validates(generate, name, seed, temperature):
    tokens, stopped = generate(Grammar.json_schema(SCHEMAS[name]), seed, temperature=temperature)
    assert stopped.reason == "stop"
    jsonschema.validate(json.loads(text_of(tokens)), SCHEMAS[name])
    assert not {OTHER, EMPTY} & set(tokens)


LEAVES = st.one_of(
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    st.builds(
        lambda low, more: {"type": "integer", "minimum": low, "maximum": low + more},
        st.integers(-50, 50),
        st.integers(0, 99),
    ),
    st.builds(
        lambda least, more: {"type": "string", "minLength": least, "maxLength": least + more},
        st.integers(0, 3),
        st.integers(0, 3),
    ),
    st.builds(
        lambda values: {"enum": values},
        st.lists(
            st.one_of(
                st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=4),
                st.integers(-(2**53), 2**53),
                st.booleans(),
            ),
            min_size=1,
            max_size=3,
        ),
    ),
)


def objects(inner):
    names = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=4)
    return st.builds(
        lambda members, wanted: {
            "type": "object",
            "properties": members,
            "required": [name for name, want in zip(members, wanted, strict=False) if want],
            "additionalProperties": False,
        },
        st.dictionaries(names, inner, max_size=3),
        st.lists(st.booleans(), min_size=3, max_size=3),
    )


SOME_SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        objects(inner),
        st.builds(lambda items, most: {"type": "array", "items": items, "maxItems": most}, inner, st.integers(0, 3)),
    ),
    max_leaves=5,
)


@given(schema=SOME_SCHEMAS, seed=st.integers(0, 1000), greedy=st.booleans())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_output_of_any_schema_validates(generate, schema, seed, greedy):
    tokens, stopped = generate(Grammar.json_schema(schema), seed, temperature=0.0 if greedy else 1.0)
    assert stopped.reason == "stop"
    jsonschema.validate(json.loads(text_of(tokens)), schema)


@pytest.mark.parametrize("pattern", ["[a-c]{3}", "(yes|no)( please)?", "[0-9]{4}-[0-9]{2}", "a+b?", "é(\U0001f600|x)"])
@pytest.mark.parametrize("seed", range(5))
def test_every_output_matches_the_regular_expression(generate, pattern, seed):
    tokens, stopped = generate(Grammar.regex(pattern), seed)
    assert stopped.reason == "stop"
    assert re.fullmatch(pattern, text_of(tokens))


@given(texts=st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=4), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_one_of_several_texts_letter_by_letter(generate, texts, seed):
    tokens, _ = generate(Grammar.one_of(texts), seed)
    assert text_of(tokens) in texts


@pytest.mark.parametrize("seed", range(5))
def test_a_lark_grammar_with_a_control_token(generate, seed):
    tokens, stopped = generate(Grammar.lark('start: (A <|other|>)+ "!"\nA: /[ab]{1,3}/'), seed)
    spelled = b"".join(TOKENS[token] for token in tokens).decode()
    assert re.fullmatch(r"([ab]{1,3}<\|other\|>)+!", spelled)
    assert stopped.reason == "stop"


def test_an_answer_that_may_end_or_go_on_ends_by_a_stop_token_only(generate):
    ends = set()
    for seed in range(30):
        tokens, stopped = generate(Grammar.regex("a{1,3}"), seed)
        assert stopped.reason == "stop"
        assert re.fullmatch("a{1,3}", text_of(tokens))
        ends.add((text_of(tokens), tokens[-1] == END))
    assert ("a", True) in ends  # it could have gone on, and was ended
    assert ("aaa", True) not in ends  # nothing could follow: no token is spent on the end
    assert ("aaa", False) in ends


def test_a_stop_token_cannot_end_an_unfinished_answer(generate):
    tokens, _ = generate(Grammar.regex("a{5}"), logit_bias={END: 100.0})
    assert text_of(tokens) == "aaaaa"


def test_filters_penalties_and_bias_choose_among_what_is_allowed(generate):
    for sampling in (
        {"top_k": 1},
        {"top_p": 0.01},
        {"min_p": 1.0},
        {"repetition_penalty": 5.0, "presence_penalty": 50.0},
        {"logit_bias": {OTHER: 100.0, ord("z"): 100.0}},
        {"temperature": 1e-9},
        {"temperature": 1e9},
    ):
        tokens, _ = generate(Grammar.regex("[xy]{4}"), **sampling)
        assert re.fullmatch("[xy]{4}", text_of(tokens))


def test_the_limit_of_tokens_cuts_a_beginning(generate):
    tokens, stopped = generate(Grammar.regex("a{9}b"), max_tokens=3)
    assert (text_of(tokens), stopped.reason) == ("aaa", "length")


def test_a_grammar_of_nothing_gives_an_empty_answer(generate):
    tokens, stopped = generate(Grammar.regex(""))
    assert (tokens, stopped.reason, stopped.output_tokens) == ([], "stop", 0)


def test_the_same_seed_gives_the_same_answer_and_one_grammar_serves_many(generate):
    grammar = Grammar.json_schema(SCHEMAS["object"])
    assert generate(grammar, 3)[0] == generate(grammar, 3)[0]
    compiled = VOCABULARY.compile(Grammar.regex("ab|cd"))
    one, other = compiled.begin(), compiled.begin()
    one.advance(ord("a"))
    other.advance(ord("c"))
    assert (one.allowed().tolist(), other.allowed().tolist()) == ([ord("b")], [ord("d")])


def test_log_probabilities_are_the_models_own(generate, fake_runner, facts):
    engine = LocalEngine(fake_runner(len(TOKENS)), 100, facts)
    held = Sampling(
        temperature=0, logprobs=1, constraint=VOCABULARY.compile(Grammar.regex("a")), stop_ids=frozenset({END})
    )
    [token] = engine.generate([5], held)
    [free] = engine.generate([5], replace(held, constraint=None, max_tokens=1))
    assert token.id == ord("a")
    assert token.top == free.top  # what the model itself would have said
    assert token.logprob < free.logprob


def test_answers_at_the_same_place_share_one_array_that_nobody_can_change():
    one, other = (VOCABULARY.compile(Grammar.regex("[xy]z")).begin() for _ in range(2))
    assert one.allowed() is other.allowed()
    with pytest.raises(ValueError, match="read-only"):
        one.allowed()[0] = 3


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("size", [1, 7, 8, 9, 31, 33, 1000])
def test_ids_are_the_bits_that_are_set(size, share):
    flags = np.random.default_rng(size).random(size + 20) < share
    bits = np.packbits(flags, bitorder="little")
    assert ids_of(bits.tobytes(), size).tolist() == [n for n in range(size) if flags[n]]


def test_ids_are_merged_in_order_and_once():
    ids = np.array([2, 5, 9])
    assert merged_ids(ids, {5, 1, 9, 7, 12}).tolist() == [1, 2, 5, 7, 9, 12]
    assert merged_ids(ids, ()).tolist() == [2, 5, 9]
    assert merged_ids(np.empty(0, np.int64), [3, 3]).tolist() == [3]


class Mute:
    """A constraint that lets nothing through, though nothing is finished."""

    accepting = finished = False

    def begin(self):
        return self

    def allowed(self):
        return np.empty(0, np.int64)


def test_a_dead_end_is_an_error_and_the_engine_goes_on(fake_runner, facts):
    runner = fake_runner()
    engine = LocalEngine(runner, 100, facts)
    with pytest.raises(EngineError, match="no token of the vocabulary may come next"):
        list(engine.generate([1], Sampling(constraint=Mute())))
    assert runner.open_sequences == 0
    assert [token.id for token in engine.generate([1], Sampling(temperature=0, max_tokens=2))] == [2, 3]


@pytest.mark.parametrize(
    ("grammar", "named"),
    [
        (Grammar.json_schema({"not": {"type": "string"}}), "not"),
        (Grammar.json_schema({"type": "strin"}), "strin"),
        (Grammar.regex("(?=a)b"), "look-around"),
        (Grammar.regex("a{"), "repetition"),
        (Grammar.lark("begin: 'a'"), "lexer error"),
        (Grammar.json_schema({"type": "integer", "minimum": 3, "maximum": 2}), "(?i)minimum"),
    ],
)
def test_what_cannot_be_held_to_is_refused_by_name(grammar, named):
    with pytest.raises(EngineError, match=named):
        VOCABULARY.compile(grammar)


def test_what_is_no_grammar_is_refused_at_once():
    with pytest.raises(EngineError, match="what JSON cannot say"):
        Grammar.json_schema({"enum": {1, 2}})
    with pytest.raises(EngineError, match="expected a dict"):
        Grammar.json_schema(True)
    for texts in ([], ["a", ""]):
        with pytest.raises(EngineError, match="one or more, none of them empty"):
            Grammar.one_of(texts)


def test_a_token_that_was_not_allowed_is_an_error():
    following = VOCABULARY.compile(Grammar.regex("ab")).begin()
    with pytest.raises(EngineError, match="following a constraint"):
        following.advance(ord("z"))


def test_forced_text_is_spelled_by_the_tokenizer_where_that_is_exact():
    def spells(encode):
        return Vocabulary(TOKENS, {END, OTHER}, encode).spell(b"true10")

    bytewise = list(b"true10")
    assert spells(lambda text: list(text.encode())) == bytewise
    longest = [256 + PIECES.index(b"true"), 256 + PIECES.index(b"10")]
    assert spells(lambda text: [ord(" "), *text.encode()]) == longest  # a tokenizer that puts a space in front
    assert Vocabulary(TOKENS, {END}, lambda text: []).spell(b"\xff") == [255]
    assert Vocabulary([b"a"], (), lambda text: []).spell(b"ab") == [0]


# --- too much ---------------------------------------------------------------------------------------------------------


def chain(length, line, first, last):
    return first + "".join(line.format(n, n + 1) for n in range(length)) + last.format(length)


@pytest.mark.parametrize(
    ("grammar", "numbers"),
    [
        (Grammar.regex("a" * 100_001), "100001 characters, expected at most 100000"),
        (Grammar.gbnf('root ::= "' + "a" * 100_000 + '"'), "100011 characters, expected at most 100000"),
        (Grammar.json_schema({"enum": ["a" * 200_000]}), "200014 characters, expected at most 200000"),
        (Grammar.regex("a{20000}"), "repeated 20000 times, expected at most 10000"),
        (Grammar.lark('start: "a"{2,20000}'), "repeated 20000 times, expected at most 10000"),
        (Grammar.json_schema({"properties": {str(n): {} for n in range(1001)}}), "1001 properties. Expected 1000"),
        (Grammar.json_schema({"patternProperties": {f"{n}$": {} for n in range(101)}}), "101 pattern.*Expected 100"),
        (Grammar.gbnf("root ::= " + "(" * 99 + '"a"' + ")" * 99), "a group 26 deep in others, expected 25 at most"),
    ],
)
def test_what_would_take_too_much_is_refused_with_both_numbers(grammar, numbers):
    with pytest.raises(EngineError, match=numbers) as refused:
        VOCABULARY.compile(grammar)
    assert len(str(refused.value)) < 2000


@pytest.mark.parametrize(
    ("grammar", "message"),
    [
        (Grammar.regex("(" * 40_000 + "a" + ")" * 40_000), "invalid regex"),
        (Grammar.lark("start: a\na: b\nb: a"), "no text is one of it"),
        (Grammar.gbnf("root ::= root [a]"), "no text is one of it"),
    ],
)
def test_what_has_no_end_is_refused_in_a_short_message(grammar, message):
    with pytest.raises(EngineError, match=message) as refused:
        VOCABULARY.compile(grammar)
    assert len(str(refused.value)) < 2000


@pytest.mark.parametrize(
    "grammar",
    [
        Grammar.lark(chain(4000, 'r{}: "x" r{}\n', "start: r0\n", 'r{}: "z"')),
        Grammar.gbnf(chain(4000, 'r{} ::= "x" r{}\n', "root ::= r0\n", 'r{} ::= "z"')),
        Grammar.json_schema(
            {
                "$ref": "#/$defs/0",
                "$defs": {**{str(n): {"items": {"$ref": f"#/$defs/{n + 1}"}} for n in range(1200)}, "1200": {}},
            }
        ),
    ],
)
def test_long_chains_of_rules_do_not_end_the_process(grammar):
    assert VOCABULARY.compile(grammar).begin().allowed().size  # on an ordinary stack this is a segmentation fault


def test_any_json_object(generate):
    brackets = {ord(sign): 2.5 for sign in '}]"'}
    tokens, stopped = generate(Grammar.json_object(), 1, logit_bias=brackets)
    assert stopped.reason == "stop"
    assert isinstance(json.loads(text_of(tokens)), dict)


def test_patterns_that_must_all_match_are_refused_in_a_bounded_time_and_the_process_goes_on(monkeypatch):
    """llguidance looks for hours whether forty patterns share a text, and no thread within it can be stopped."""
    monkeypatch.setattr(trial, "PATIENCE", 2.0)
    patterns = [{"pattern": f".*a{n}.*"} for n in range(40)]
    with pytest.raises(EngineError, match="takes too long to compile"):
        VOCABULARY.compile(Grammar.json_schema({"type": "string", "allOf": patterns}))
    assert VOCABULARY.compile(Grammar.json_schema({"type": "string", "allOf": patterns[:2]}))


def test_where_no_trial_can_be_made_now_the_same_may_be_asked_later(monkeypatch):
    monkeypatch.setattr(trial, "PATIENCE", 0.01)
    monkeypatch.setattr(trial, "TURNS", threading.Semaphore(0))  # others have them all
    with pytest.raises(EngineBusyError, match="others are being compiled"):
        VOCABULARY.compile(Grammar.lark("start: A\nA: /a/ & /[ab]/"))
    monkeypatch.undo()
    assert VOCABULARY.compile(Grammar.lark("start: A\nA: /a/ & /[ab]/"))
