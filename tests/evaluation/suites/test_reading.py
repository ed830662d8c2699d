"""The suite `reading`: pages of our own in two languages."""

from hashlib import sha256

import pytest

from ouvert.evaluation import Outcome, Text, open_suite
from ouvert.evaluation.canonical import canonical_json

SUITE = open_suite("reading")
# Over all items of seed 0. A page that is changed is another page, and kept figures are of the old one.
DIGESTS = {"en": "21ea8ba3d798", "fr": "0030f9894e8c"}


@pytest.mark.parametrize("language", ["en", "fr"])
def test_pages_are_long_enough_to_be_read_and_not_the_same(language):
    items = SUITE.items(language, 99, 0)
    assert len(items) >= 6
    for item in items:
        assert isinstance(item.ask, Text)
        assert len(item.ask.text.split()) >= 250, item.id
        assert item.ask.text == item.ask.text.strip()
    paragraphs = [part for item in items for part in item.ask.text.split("\n\n")]
    assert len(set(paragraphs)) == len(paragraphs)


def test_both_languages_have_the_same_pages_paragraph_by_paragraph():
    shapes = [
        {item.id: item.ask.text.count("\n\n") for item in SUITE.items(language, 99, 0)} for language in ("en", "fr")
    ]
    assert shapes[0] == shapes[1]
    titles = [{item.labels["title"] for item in SUITE.items(language, 99, 0)} for language in ("en", "fr")]
    assert not titles[0] & titles[1]


@pytest.mark.parametrize("language", ["en", "fr"])
def test_fewer_pages_begin_more_and_stay_the_same(language):
    items = SUITE.items(language, 99, 0)
    assert SUITE.items(language, 2, 0) == items[:2]
    assert SUITE.items(language, 99, 1) != items
    assert sha256(b"".join(map(canonical_json, items))).hexdigest()[:12] == DIGESTS[language]


def test_a_page_is_read_and_has_no_score():
    item = SUITE.items("en", 1, 0)[0]
    assert not item.is_scored
    assert not SUITE.score(item, Outcome(logprobs=(-1.0, -2.0))).right
    assert SUITE.guesses([item]) == {}
    assert SUITE.describe()["digest"].startswith("sha256:")
