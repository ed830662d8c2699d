"""How often the passage that answers is among the first five, in English and French, over texts written for it.

With XQUAD=folder (`make test-retrieval`) also over XQuAD's paragraphs in English, German and Spanish.
"""

import importlib.util
import json
import os
from pathlib import Path

import pytest

from ouvert.documents import Collections, Ran

spec = importlib.util.spec_from_file_location("retrieval_set", Path(__file__).with_name("retrieval_set.py"))
assert spec
assert spec.loader
retrieval_set = importlib.util.module_from_spec(spec)
spec.loader.exec_module(retrieval_set)

FIVE = 0.96  # of questions: what issue 17 demands
XQUAD = os.environ.get("XQUAD")


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """Both languages in one collection, so that each is searched beside the other."""

    def within(argv, data):
        from ouvert.documents.reader.kinds import KINDS

        return Ran(0, KINDS[argv[-1]](data).as_json().encode(), "")

    with Collections(tmp_path_factory.mktemp("library"), within).create("library") as made:
        for language in retrieval_set.LANGUAGES:
            for n, (title, sections) in enumerate(retrieval_set.documents(language).items()):
                made.add(f"{language}{n}.md", retrieval_set.as_markdown(title, sections))
        yield made


def among_first_five(library, questions):
    found = [
        any(each.path == (title, heading) for each in library.search(question, 5))
        for question, title, heading in questions
    ]
    return sum(found) / len(found), len(found)


@pytest.mark.parametrize("language", retrieval_set.LANGUAGES)
def test_the_passage_that_answers_is_among_the_first_five(library, language):
    sections = [each for own in retrieval_set.documents(language).values() for each in own]
    assert len(sections) >= 60
    share, count = among_first_five(library, retrieval_set.asked(language))
    assert count >= 120
    assert share >= FIVE


@pytest.mark.parametrize(("language", "least"), [("english", 0.25), ("french", 0.4)])
def test_other_words_altogether_are_a_limit_that_is_known(library, language, least):
    """Measured: 0.30 and 0.47. Words cannot find what shares none with the question; the model asks again in the
    browser's loop, and small collections go in whole."""
    share, count = among_first_five(library, retrieval_set.in_other_words(language))
    assert count == 60
    assert least <= share < FIVE


def test_the_measure_would_notice_questions_that_keep_their_endings(library, monkeypatch):
    monkeypatch.setattr("ouvert.documents.words.stem", lambda word, language: word)
    for language in retrieval_set.LANGUAGES:
        assert among_first_five(library, retrieval_set.asked(language))[0] < FIVE


if XQUAD:

    @pytest.mark.parametrize("language", ["en", "de", "es"])
    def test_xquad(language, tmp_path):
        def within(argv, data):
            from ouvert.documents.reader.kinds import KINDS

            return Ran(0, KINDS[argv[-1]](data).as_json().encode(), "")

        stated = json.loads((Path(XQUAD) / f"xquad.{language}.json").read_text(encoding="utf-8"))["data"]
        paragraphs = [each for article in stated for each in article["paragraphs"]]
        asked = [(question["question"], n) for n, each in enumerate(paragraphs) for question in each["qas"]]
        with Collections(tmp_path, within).create("xquad") as made:
            for n, each in enumerate(paragraphs):
                made.add(f"{n}.txt", each["context"].encode())
            right = sum(any(f.name == f"{n}.txt" for f in made.search(question, 5)) for question, n in asked)
        print(f"XQuAD {language}: R@5 {right / len(asked):.3f} of {len(asked)}")
        assert right / len(asked) >= FIVE
