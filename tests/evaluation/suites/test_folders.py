"""Suites whose files the owner fetched: made-up files of the same form, since none of theirs lies here."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ouvert.evaluation import EvaluationError, Likelihood, Outcome, cards
from ouvert.evaluation.suites import bbh, blimp, ifeval, mgsm, xquad

MODULES = {"mgsm-fr": mgsm, "blimp": blimp, "bbh": bbh, "xquad": xquad, "ifeval": ifeval}
PAIR = {"linguistics_term": "agreement", "UID": "agreement_1"}
FILES = {
    "mgsm-fr": {
        "mgsm/mgsm_fr.tsv": "Léa a 3 pommes et en achète 4. Combien en a-t-elle ?\t7\n"
        "Un livre coûte 1 200 centimes, deux livres combien ?\t2,400\n"
    },
    "blimp": {
        "data/one.jsonl": "".join(
            json.dumps(
                PAIR | {"sentence_good": f"Cats {n} sleep.", "sentence_bad": f"Cats {n} sleeps.", "pairID": str(n)}
            )
            + "\n"
            for n in range(8)
        ),
        "data/._one.jsonl": "not of the data",
    },
    "bbh": {
        "bbh/navigate.json": json.dumps(
            {"canary": "", "examples": [{"input": "Back?\nOptions:\n- Yes\n- No", "target": "No"}]}
        ),
        "bbh/snarks.json": json.dumps({"examples": [{"input": "Which?\n(A) x\n(B) y", "target": "(B)"}]}),
        "bbh/count.json": json.dumps({"examples": [{"input": "How many?", "target": "-12"}]}),
    },
    "xquad": {
        "xquad.en.json": json.dumps(
            {
                "data": [
                    {
                        "paragraphs": [
                            {
                                "context": "The mill was built in 1820. It ground rye.",
                                "qas": [{"id": "q1", "question": "When?", "answers": [{"text": "in 1820"}]}],
                            }
                        ]
                    }
                ]
            }
        )
    },
    "ifeval": {
        "input_data.jsonl": "".join(
            json.dumps({"key": n, "prompt": f"Write {n}.", "instruction_id_list": [check], "kwargs": [given]}) + "\n"
            for n, (check, given) in enumerate(
                [
                    ("punctuation:no_comma", {}),
                    ("length_constraints:number_words", {"relation": "at least", "num_words": 3}),
                    ("language:response_language", {"language": "de"}),
                ]
            )
        )
    },
}
GOLD = {
    "mgsm-fr": lambda item: f"Je compte.\nRéponse : {item.expected['number']}",
    "bbh": lambda item: f"Let me see.\nAnswer: {item.expected['answer']}",
    "xquad": lambda item: f"{item.expected['answers'][0]}.",
    "ifeval": lambda item: "one two three",
}


@pytest.fixture(params=sorted(FILES))
def suite(request, tmp_path):
    return written(request.param, tmp_path)


def written(name, folder):
    for path, text in FILES[name].items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    # The digest of the real file is in the card; these are others.
    return MODULES[name].suite(replace(cards()[name], digest=""), path=folder)


def all_items(suite):
    return suite.items(suite.card.languages[0], 99, 1)


def test_the_right_answer_counts_and_an_empty_one_does_not(suite):
    items = all_items(suite)
    assert items
    for item in items:
        assert item.form in suite.card.forms
        assert item.kind in suite.card.asks
        if isinstance(item.ask, Likelihood):
            right = "AB".index(item.expected["letter"])
            assert suite.score(item, Outcome(logprobs=tuple(-float(n != right) for n in range(2)))).right
            assert not suite.score(item, Outcome(logprobs=(-1.0, -1.0))).right
        else:
            assert suite.score(item, Outcome(text=GOLD[suite.card.name](item))).right
            assert suite.score(item, Outcome(text=" ")).malformed
        assert suite.score(item, Outcome(refused="too long")).value == 0


def test_fewer_items_begin_more_and_ids_differ(suite):
    items = all_items(suite)
    assert suite.items(suite.card.languages[0], 2, 1) == items[:2]
    assert len({item.id for item in items}) == len(items)


def test_guesses_can_be_made_of_every_item(suite):
    items = all_items(suite)
    for guess in suite.guesses(items).values():
        for item in items:
            assert 0 <= suite.score(item, guess(item)).value <= 1


@given(text=st.text(max_size=80))
@pytest.mark.parametrize("name", ["mgsm-fr", "bbh", "xquad", "ifeval"])
def test_scoring_raises_nothing(name, text, tmp_path_factory):
    if name not in SUITES:
        SUITES[name] = written(name, tmp_path_factory.mktemp(name))
        SUITES[name + " items"] = all_items(SUITES[name])
    for item in SUITES[name + " items"]:
        SUITES[name].score(item, Outcome(text=text))
        SUITES[name].score(item, Outcome(text="Answer: " + text))


SUITES: dict = {}


def test_the_digest_of_what_was_read_is_written_down_and_another_than_the_cards_is_refused(suite, tmp_path):
    assert suite.describe()["digest"].startswith("sha256:")
    if pinned := cards()[suite.card.name].digest:
        with pytest.raises(EvaluationError, match=pinned):
            all_items(MODULES[suite.card.name].suite(cards()[suite.card.name], path=tmp_path))


def test_a_folder_without_the_files_is_refused_with_their_source(suite, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    lost = MODULES[suite.card.name].suite(suite.card, path=empty)
    with pytest.raises(EvaluationError, match="Get it from"):
        all_items(lost)
    assert lost.describe()["path"] == str(empty)


def test_a_file_of_another_form_is_refused_by_name(suite, tmp_path):
    first = next(iter(FILES[suite.card.name]))
    for content in (b"{", b"[1]", b'{"a": 1}', b"\xff", b"one\ttwo\tthree", b'{"data": 3, "examples": 3}'):
        (tmp_path / first).write_bytes(content)
        with pytest.raises(EvaluationError, match="not of the form"):
            all_items(suite)


def test_french_stories_are_told_in_french(tmp_path):
    items = all_items(written("mgsm-fr", tmp_path))
    assert all("Réponse : " in item.ask.messages[0]["content"] for item in items)
    assert sorted(item.expected["number"] for item in items) == ["2400", "7"]


def test_the_good_sentence_stands_first_as_often_as_second(tmp_path):
    letters = [item.expected["letter"] for item in all_items(written("blimp", tmp_path))]
    assert set(letters) == {"A", "B"}


def test_letters_of_bbh_are_compared_without_brackets_and_strictly(tmp_path):
    suite = written("bbh", tmp_path)
    item = next(item for item in all_items(suite) if item.expected["answer"] == "(B)")
    for right in ("Answer: (B)", "Answer: B", "**Answer:** (B)."):
        assert suite.score(item, Outcome(text=right)).right, right
    for wrong in ("(A) or (B)", "Answer: (A)", "Answer: (B) y", "It is (B), I think"):
        assert not suite.score(item, Outcome(text=wrong)).right, wrong


def test_xquad_gives_the_overlap_and_is_right_only_for_the_same_words(tmp_path):
    suite = written("xquad", tmp_path)
    (item,) = all_items(suite)
    near = suite.score(item, Outcome(text="It was built in the 1820"))
    assert (near.right, round(near.value, 2)) == (False, 0.57)
    assert suite.score(item, Outcome(text="In 1820!")).right
    assert suite.score(item, Outcome(text=item.expected["passage"])).value < 0.5


@pytest.mark.parametrize(
    ("check", "given_", "kept", "broken"),
    [
        ("change_case:english_capital", {}, ["ALL HERE."], ["Not", "123"]),
        ("change_case:english_lowercase", {}, ["all here."], ["Not", "123"]),
        ("combination:repeat_prompt", {"prompt_to_repeat": "Say it."}, ["say it. Done"], ["Done. Say it."]),
        ("combination:two_responses", {}, ["a******b", "******a ****** b"], ["a", "a******a", "a******b******c"]),
        ("detectable_content:number_placeholders", {"num_placeholders": 2}, ["[a] [b]"], ["[a]"]),
        ("detectable_content:postscript", {"postscript_marker": "P.S."}, ["End.\nP.S. hi", "p. s. hi"], ["PS"]),
        ("detectable_format:constrained_response", {}, ["My answer is maybe."], ["Maybe."]),
        ("detectable_format:json_format", {}, ['{"a": 1}', '```json\n{"a": 1}\n```'], ["a", '{"a": 1} ok']),
        (
            "detectable_format:multiple_sections",
            {"section_spliter": "Part", "num_sections": 2},
            ["Part 1 a Part 2 b"],
            ["Part 1"],
        ),
        ("detectable_format:number_bullet_lists", {"num_bullets": 2}, ["* a\n- b"], ["* a", "** a\n* b"]),
        ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, ["*a* **b**"], ["*a*", "** **"]),
        ("detectable_format:title", {}, ["<<A day>> x"], ["<<>>", "A day"]),
        ("keywords:existence", {"keywords": ["sun", "rain"]}, ["Sun and RAIN"], ["sun"]),
        ("keywords:forbidden_words", {"forbidden_words": ["sun"]}, ["Sunday"], ["The Sun."]),
        ("keywords:frequency", {"keyword": "a", "relation": "less than", "frequency": 2}, ["a"], ["a a"]),
        (
            "keywords:letter_frequency",
            {"letter": "e", "let_relation": "at least", "let_frequency": 2},
            ["Ee"],
            ["e"],
        ),
        (
            "length_constraints:nth_paragraph_first_word",
            {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "then"},
            ["One.\n\nThen, two."],
            ["Then.\n\nOne.", "One.\n\nThen.\n\nThree."],
        ),
        ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, ["a\n***\nb", "***a***b"], ["a", "a******b"]),
        ("length_constraints:number_words", {"relation": "at least", "num_words": 2}, ["a b"], ["a"]),
        ("punctuation:no_comma", {}, ["a; b"], ["a, b"]),
        ("startend:end_checker", {"end_phrase": "The end."}, ['It was. "the end."'], ["The end. No"]),
        ("startend:quotation", {}, ['"a"'], ['"', "a", '"a']),
    ],
)
def test_instructions_are_checked_as_their_paper_says(check, given_, kept, broken):
    assert [text for text in kept if not ifeval.CHECKS[check](text, **given_)] == []
    assert [text for text in broken if ifeval.CHECKS[check](text, **given_)] == []


def test_prompts_with_instructions_that_are_not_checked_are_left_out_by_name(tmp_path):
    suite = written("ifeval", tmp_path)
    assert {item.id for item in all_items(suite)} == {"ifeval-0", "ifeval-1"}
    assert not ifeval.CHECKS.keys() & ifeval.LEFT_OUT.keys()
    assert len(ifeval.CHECKS) + len(ifeval.LEFT_OUT) == 25
    line = {"key": 1, "prompt": "x", "instruction_id_list": ["new:kind"], "kwargs": [{}]}
    (tmp_path / "input_data.jsonl").write_text(json.dumps(line))
    with pytest.raises(EvaluationError, match="new:kind"):
        all_items(suite)
