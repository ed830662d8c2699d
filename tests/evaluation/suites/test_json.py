"""The suite `json`: forms to fill, three grades."""

import copy
import json
from hashlib import sha256

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ouvert.evaluation import Outcome, open_suite
from ouvert.evaluation.canonical import canonical_json
from ouvert.evaluation.suites.filling.forms import follows, leaves

SUITE = open_suite("json")
ITEMS = {language: SUITE.items(language, 40, 3) for language in ("en", "fr")}
# Over the first 50 items of seed 0: another digest means that other items are asked.
DIGESTS = {"en": "9ce7db2d0102", "fr": "759a6e9cf2fb"}

values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=3), inside, max_size=3),
    max_leaves=8,
)


def scored(item, value, wrap="{}"):
    return SUITE.score(item, Outcome(text=wrap.replace("{}", json.dumps(value, ensure_ascii=False)), reason="stop"))


@pytest.mark.parametrize("language", ["en", "fr"])
def test_the_right_form_counts_whole_also_as_a_block_of_code(language):
    for item in ITEMS[language]:
        assert scored(item, item.expected["value"]).value == 1
        assert scored(item, item.expected["value"], "```json\n{}\n```").right


@pytest.mark.parametrize("language", ["en", "fr"])
def test_every_value_stands_in_the_text_that_is_asked(language):
    for item in ITEMS[language]:
        asked = item.ask.messages[0]["content"]
        for leaf in leaves(item.expected["value"]).values():
            written = f"{leaf:.2f}".replace(".", "," if language == "fr" else ".") if isinstance(leaf, float) else leaf
            assert isinstance(leaf, bool) or str(written) in asked, (leaf, asked)


@pytest.mark.parametrize("wrap", ["Here it is: {}", "{} {}", "{}\nI hope this helps.", "```\n{}\n```\n```\n{}\n```"])
def test_words_beside_the_json_are_malformed(wrap):
    item = ITEMS["en"][0]
    score = scored(item, item.expected["value"], wrap)
    assert (score.value, score.malformed) == (0.0, True)


def changed(value, change):
    made = copy.deepcopy(value)
    change(made)
    return made


def test_the_three_grades():
    item = next(item for item in ITEMS["en"] if item.group == "event")
    value = item.expected["value"]
    wrong_type = changed(value, lambda made: made.update(room=str(made["room"])))
    missing = changed(value, lambda made: made.pop("day"))
    more = changed(value, lambda made: made.update(colour="red"))
    truth = changed(value, lambda made: made.update(room=True))
    for other in ([], {}, "text", wrong_type, missing, more, truth):
        assert scored(item, other).value == pytest.approx(1 / 3)
    one_wrong = scored(item, changed(value, lambda made: made.update(room=made["room"] + 1)))
    assert (one_wrong.value, one_wrong.right) == (pytest.approx(2 / 3 + 4 / 15), False)
    assert SUITE.score(item, Outcome(text="{")).malformed


def test_a_list_with_too_many_or_too_few_values_is_not_right():
    item = next(item for item in ITEMS["en"] if item.group == "parcel")
    value = item.expected["value"]
    for other in (value["contents"] + ["lamp"], value["contents"][:1], value["contents"][::-1]):
        score = scored(item, changed(value, lambda made, other=other: made.update(contents=other)))
        assert (score.right, 2 / 3 < score.value < 1) == (False, True)


def test_an_object_that_names_a_field_twice_is_no_json():
    item = next(item for item in ITEMS["en"] if item.group == "person")
    text = json.dumps(item.expected["value"])
    assert SUITE.score(item, Outcome(text='{"name": "x", ' + text[1:])).malformed


@given(value=values, place=st.integers(0, 79), language=st.sampled_from(["en", "fr"]))
def test_following_a_schema_is_what_jsonschema_says(value, place, language):
    schema, right = ITEMS[language][place].expected["schema"], ITEMS[language][place].expected["value"]
    names = list(right)
    for tried in (value, {**right, names[place % len(names)]: value}, right):
        assert follows(tried, schema) == jsonschema.Draft202012Validator(schema).is_valid(tried)


@given(st.text(max_size=60))
def test_scoring_raises_nothing(text):
    for wrapped in (text, "{" + text + "}", f"```json\n{text}\n```"):
        SUITE.score(ITEMS["en"][0], Outcome(text=wrapped))


@pytest.mark.parametrize("language", ["en", "fr"])
def test_guesses_get_the_grades_that_need_no_reading(language):
    items = ITEMS[language]
    got = {
        name: sum(SUITE.score(item, guess(item)).value for item in items) / len(items)
        for name, guess in SUITE.guesses(items).items()
    }
    assert got["an empty object"] == pytest.approx(1 / 3)
    assert 2 / 3 <= got["an empty form"] < 0.72
    assert not any(SUITE.score(item, guess(item)).right for item in items for guess in SUITE.guesses(items).values())


@pytest.mark.parametrize("language", ["en", "fr"])
def test_both_forms_ask_the_same_and_the_items_stay_the_same(language):
    items = SUITE.items(language, 50, 0)
    for free, held in zip(items[::2], items[1::2], strict=True):
        assert (free.id, free.expected, free.ask.messages) == (held.id, held.expected, held.ask.messages)
        assert (free.ask.schema, held.ask.schema) == (None, held.expected["schema"])
    assert SUITE.items(language, 20, 0) == items[:40]
    assert sha256(b"".join(map(canonical_json, items))).hexdigest()[:12] == DIGESTS[language]
