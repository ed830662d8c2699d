"""What holds for every suite that is made from a seed."""

import json
from collections import Counter
from functools import cache
from hashlib import sha256

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ouvert.evaluation import Call, EvaluationError, Outcome, Score, cards, open_suite
from ouvert.evaluation.suites import ladder
from ouvert.evaluation.suites.tools.catalogue import said

# Over the first 50 items of seed 0 in each language. Another digest is another suite: raise its VERSION, write the new
# digest here, and say in the changelog that scores before and after cannot be compared.
DIGESTS = {
    ("ladder", "en"): "239779847c6c9f23",
    ("ladder", "fr"): "2418dadb7cd7c58b",
    ("french", "fr"): "15bfaac9779ec08f",
    ("needle", "en"): "31eede66cee7e81e",
    ("needle", "fr"): "e39de57b91bb09c9",
    ("obey", "en"): "de0ccdca01cd4645",
    ("obey", "fr"): "94f18fa6b7a4b2e6",
    ("read", "en"): "94affd11562440ba",
    ("read", "fr"): "a62afb37825a92e5",
    ("summary", "en"): "b5f80d9efef9a78c",
    ("summary", "fr"): "233df977d84e014d",
    ("tools", "en"): "224cffe24cb659a9",
    ("tools", "fr"): "78095a145e426f8c",
}
NAMES = sorted({name for name, _ in DIGESTS})


def tool_call(item):
    name, arguments = item.expected["tool"], item.expected["arguments"]
    if item.form == "schema":
        return Outcome(text=json.dumps({"call": {"tool": name or said(item.language)["none"], "arguments": arguments}}))
    return Outcome(calls=(Call(name=name, arguments=json.dumps(arguments)),)) if name else Outcome(text="I cannot.")


def obedient(item):
    """A text that keeps the instruction."""
    values = item.expected
    text = {
        "words-at-most": "Hmm, yes, sky.",
        "words-exactly": " ".join(["word"] * values.get("n", 0)),
        "sentences": " ".join(["One can see it."] * values.get("n", 0)),
        "lowercase": "it was there, in front of us.",
        "uppercase": "IT WAS THERE, IN FRONT OF US.",
        "include": f"Here are {values.get('first')} and {values.get('second')}.",
        "avoid": "Very nice to see, always.",
        "letter": "We can go, all of them." if values.get("letter") == "s" else "We try rhythms, then fly.",
        "begin": f"{values.get('phrase')}, it was here.",
        "end": f"It was here. {values.get('phrase')}",
        "bullets": "\n".join(["- one more thing"] * values.get("n", 0)),
        "numbered": "\n".join(f"{place}. one more thing" for place in range(1, values.get("n", 0) + 1)),
        "title": "<<A title>>\nAnd the text below it.",
        "json": json.dumps({values.get("first"): "some text", values.get("second"): "more text"}),
    }
    return text[item.group]


# The right answer as one would give it, by suite.
GOLD = {
    "french": lambda item: Outcome(logprobs=(-1.0, -2.0) if item.expected["right"] == 0 else (-2.0, -1.0)),
    "ladder": lambda item: Outcome(text=ladder.gold(item)),
    "needle": lambda item: Outcome(text=item.expected.get("number") or ", ".join(item.expected["numbers"])),
    "obey": lambda item: Outcome(text=obedient(item)),
    "read": lambda item: Outcome(text=item.expected["answer"]),
    "summary": lambda item: Outcome(
        text=" ".join(f"There was also {each}." for each in item.expected["facts"].values())
    ),
    "tools": tool_call,
}


@pytest.fixture(params=NAMES)
def suite(request):
    return open_suite(request.param)


@cache
def items_of(name, language, count):
    return open_suite(name).items(language, count, 0)


def each_language(suite, count):
    return [(language, items_of(suite.card.name, language, count)) for language in suite.card.languages]


ONLY_FOR_GUESSES = {"request": "", "question": "", "kind": "", "text": ""}


def same_answer(item, other):
    """Whether what is right for one is right for the other."""
    return {**item.expected, **ONLY_FOR_GUESSES} == {**other.expected, **ONLY_FOR_GUESSES}


@pytest.mark.parametrize(("name", "language"), DIGESTS)
def test_the_same_seed_gives_the_same_items_for_ever(name, language):
    items = open_suite(name).items(language, 50, 0)
    assert sha256("".join(item.digest for item in items).encode()).hexdigest()[:16] == DIGESTS[name, language]


def test_every_suite_of_these_tests_is_complete_in_its_languages(suite):
    assert {language for name, language in DIGESTS if name == suite.card.name} == set(suite.card.languages)
    assert suite.card.kind == "generated"
    assert cards()[suite.card.name] is suite.card


def test_items_for_a_smaller_count_begin_those_for_a_larger_one(suite):
    for language, items in each_language(suite, 40):
        fewer = suite.items(language, 17, 0)
        assert items[: len(fewer)] == fewer
        assert len({item.id for item in fewer}) == 17


def test_a_count_of_nothing_is_nothing(suite):
    for count in (0, -1):
        assert suite.items(suite.card.languages[0], count, 0) == ()


def test_an_id_in_a_form_is_one_item_and_another_seed_gives_others(suite):
    for language, items in each_language(suite, 300):
        assert len({(item.id, item.form) for item in items}) == len(items)
        others = {repr(item.ask) for item in suite.items(language, 100, 1)}
        assert len(others & {repr(item.ask) for item in items}) < 40


def test_no_two_of_300_items_ask_the_same(suite):
    for _, items in each_language(suite, 300):
        repeated = [
            prompt for prompt, times in Counter((item.form, repr(item.ask)) for item in items).items() if times > 1
        ]
        assert repeated == []
        assert len({item.id for item in items}) == 300


def test_groups_take_turns_and_wordings_are_spread_evenly(suite):
    groups = suite.describe()["groups"]
    for _, items in each_language(suite, 3 * len(groups)):
        one_form = [item for item in items if item.form == items[0].form]
        assert [item.group for item in one_form] == groups * 3
        for group in groups:
            assert sorted(item.wording for item in one_form if item.group == group) == [0, 1, 2]


def test_items_have_all_forms_of_the_card_and_no_other(suite):
    for language, items in each_language(suite, 5):
        assert {item.form for item in items} == set(suite.card.forms)
        assert {item.kind for item in items} == set(suite.card.asks)
        assert {item.language for item in items} == {language}
        assert {item.suite for item in items} == {suite.card.name}


def test_a_language_that_a_suite_lacks_is_an_error(suite):
    with pytest.raises(EvaluationError, match="got language 'de'"):
        suite.items("de", 1, 0)


def test_the_right_answer_is_right(suite):
    for _, items in each_language(suite, 300):
        for item in items:
            score = suite.score(item, GOLD[suite.card.name](item))
            assert (item.id, score) == (item.id, Score(value=1.0, right=True))


def test_the_right_answer_to_another_item_is_wrong(suite):
    for _, items in each_language(suite, 60):
        for item in items:
            for other in items:
                if suite.card.name == "obey" and item.group not in ("include", "begin", "end", "json", "bullets"):
                    continue  # one text may keep two instructions of a kind
                if not same_answer(item, other) and other.form == item.form and other.group == item.group:
                    assert not suite.score(item, GOLD[suite.card.name](other)).right, (item.id, other.id)


def test_nothing_and_junk_are_wrong(suite):
    junk = ["", " \n\t ", "x" * 10_000, "9" * 10_000, "{" * 10_000, "yes no " * 2_000, "\x00\ud800"]
    for _, items in each_language(suite, 15):
        for item in items:
            for text in junk:
                if item.expected.get("tool", "") is None and item.form == "free" and text.strip():
                    continue  # words without a call are what is wanted
                score = suite.score(item, Outcome(text=text))
                assert not score.right, (item.id, text[:20])
                assert score.value == 0


def test_an_empty_answer_is_malformed_and_one_that_was_not_asked_says_so(suite):
    for _, items in each_language(suite, 10):
        for item in items:
            refused = suite.score(item, Outcome(refused="the prompt is too long"))
            assert (refused.value, refused.note) == (0, "not asked: the prompt is too long")
            assert suite.score(item, Outcome()).malformed


ANYTHING = st.builds(
    Outcome,
    text=st.text(max_size=300)
    | st.sampled_from(["Answer: ", "Réponse : 7", "yes", "12, 13", '{"call": {}}', "[[" * 999]),
    calls=st.lists(st.builds(Call, name=st.text(max_size=20), arguments=st.text(max_size=40)), max_size=2).map(tuple),
    logprobs=st.lists(st.floats(allow_nan=True), max_size=4).map(tuple),
    reason=st.sampled_from(["stop", "length", "tool_calls", ""]),
)


@settings(max_examples=40, deadline=None)
@given(outcome=ANYTHING, place=st.integers(0, 39))
@pytest.mark.parametrize("name", NAMES)
def test_a_scorer_raises_nothing_and_stays_between_0_and_1(name, outcome, place):
    suite = open_suite(name)
    for _, items in each_language(suite, 20):
        score = suite.score(items[place % len(items)], outcome)
        assert 0 <= score.value <= 1
        assert not (score.right and score.malformed)


def test_guessing_gets_less_than_six_tenths(suite):
    for _, items in each_language(suite, 300):
        for form in suite.card.forms:
            of_form = [item for item in items if item.form == form]
            got = {
                name: sum(suite.score(item, guess(item)).value for item in of_form) / len(of_form)
                for name, guess in suite.guesses(items).items()
            }
            assert len(got) >= 3
            assert max(got.values()) < 0.6, got


def test_schemas_are_schemas_and_the_right_answer_keeps_to_them(suite):
    for _, items in each_language(suite, 12):
        for item in (item for item in items if item.kind == "chat"):
            for tool in item.ask.tools:
                jsonschema.Draft202012Validator.check_schema(tool["function"]["parameters"])
            if item.ask.schema is not None:
                jsonschema.Draft202012Validator.check_schema(item.ask.schema)
                jsonschema.validate(json.loads(GOLD[suite.card.name](item).text), item.ask.schema)


def test_what_is_expected_can_be_written_as_json(suite):
    for _, items in each_language(suite, 40):
        for item in items:
            assert json.loads(json.dumps(item.expected)) == item.expected
