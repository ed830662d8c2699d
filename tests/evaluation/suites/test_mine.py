"""The owner's prompts: what a file may hold, how a fault is named, how answers are judged."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ouvert.evaluation import EvaluationError, Likelihood, Outcome, open_suite

LINES = [
    {"prompt": "What is the capital of France?", "expected": "Paris", "language": "en"},
    {"prompt": "How many legs have two spiders?", "expected": 16, "language": "en", "id": "spiders", "cluster": "legs"},
    {"prompt": "Say hello.", "regex": r"(?i)\bhello\b", "language": "en"},
    {"prompt": "Which is a fruit?", "choices": ["stone", "pear"], "expected": "pear", "language": "en"},
    {"prompt": "My age is 7. As JSON.", "schema": {"type": "object"}, "expected": {"age": 7}, "language": "en"},
    {"prompt": "Write a poem.", "language": "en"},
    {"prompt": "Combien font 2 et 2 ?", "expected": "4", "language": "fr"},
]


@pytest.fixture
def mine(tmp_path):
    def made(lines=LINES, name="mine.jsonl", **settings):
        path = tmp_path / name
        path.write_text(lines if isinstance(lines, str) else "\n".join(map(json.dumps, lines)), encoding="utf-8")
        return open_suite("mine", path=path, **settings)

    return made


def item_of(suite, prompt, form="", language="en"):
    (found,) = (
        item
        for item in suite.items(language, 99, 1)
        if item.form == form
        and prompt in (item.ask.messages[0]["content"] if item.kind == "chat" else item.ask.context)
    )
    return found


def test_each_prompt_is_asked_in_the_forms_that_can_judge_it(mine):
    suite = mine()
    assert suite.card.languages == ("en", "fr")
    forms = sorted(item.form for item in suite.items("en", 99, 1))
    assert forms == ["", "", "", "letter", "likelihood", "schema", "votes"]
    assert isinstance(item_of(suite, "fruit", "likelihood").ask, Likelihood)
    assert item_of(suite, "JSON", "schema").ask.schema == {"type": "object"}
    assert item_of(suite, "spiders").cluster == "legs"


def test_own_prompts_stay_on_this_machine(mine):
    assert mine().card.stays


@pytest.mark.parametrize(
    ("prompt", "form", "right", "wrong"),
    [
        (
            "capital",
            "",
            ["Paris", " paris. ", "**Paris**", "Answer: Paris"],
            ["", "Paris or Lyon", "It is Paris", "Lyon"],
        ),
        ("spiders", "", ["16", "Answer: 16", "2 * 8 = 16"], ["", "8 or 16", "sixteen", "Answer: 17"]),
        ("hello", "", ["Hello!", "why, hello"], ["", "Othello"]),
        ("fruit", "letter", ["B", "(B)"], ["", "A", "A B", "pear"]),
        ("JSON", "schema", ['{"age": 7}', '{"age": 7.0}'], ["", "7", '{"age": true}', '{"age": 7} ok', '{"age": "7"}']),
    ],
)
def test_answers_are_judged_strictly(mine, prompt, form, right, wrong):
    suite = mine()
    item = item_of(suite, prompt, form)
    assert [text for text in right if not suite.score(item, Outcome(text=text, reason="stop")).right] == []
    assert [text for text in wrong if suite.score(item, Outcome(text=text, reason="stop")).right] == []


def test_choices_are_scored_by_likelihood_too(mine):
    suite = mine()
    item = item_of(suite, "fruit", "likelihood")
    assert suite.score(item, Outcome(logprobs=(-2.0, -1.0))).right
    assert not suite.score(item, Outcome(logprobs=(-1.0, -2.0))).right


def test_a_prompt_without_an_answer_is_for_votes_and_makes_no_score(mine):
    suite = mine()
    item = item_of(suite, "poem", "votes")
    assert not item.is_scored
    assert not suite.score(item, Outcome(text="Roses")).right
    assert [item.is_scored for item in suite.items("fr", 9, 1)] == [True]


def test_fewer_items_begin_more_and_ids_stay_when_lines_move(mine, tmp_path):
    suite = mine()
    few = suite.items("en", 2, 1)
    assert suite.items("en", 0, 1) == ()
    assert suite.items("en", 3, 1)[: len(few)] == few
    assert [sum(item.form == form for item in few) for form in ("", "letter", "schema", "votes")] == [2, 1, 1, 1]
    moved = mine(LINES[::-1], name="moved.jsonl")
    assert moved.items("en", 9, 1) == suite.items("en", 9, 1)


@pytest.fixture(scope="module")
def items_of_all_kinds(tmp_path_factory):
    path = tmp_path_factory.mktemp("mine") / "mine.jsonl"
    path.write_text("\n".join(map(json.dumps, LINES)))
    suite = open_suite("mine", path=path)
    return suite, suite.items("en", 99, 1)


@given(text=st.text(max_size=50), logprobs=st.lists(st.floats(), max_size=3))
def test_scoring_raises_nothing(items_of_all_kinds, text, logprobs):
    suite, items = items_of_all_kinds
    for item in items:
        suite.score(item, Outcome(text=text, logprobs=tuple(logprobs)))


def test_a_table_from_a_spreadsheet_is_read(mine):
    text = (
        "\ufeffprompt;expected;choices;language;schema;max_tokens\r\n"
        '"Quelle est la capitale ;\n  de la France ?";Paris;;fr;;\r\n'
        "Un fruit ?;poire;pierre|poire;fr;;\r\n"
        ";;;;;\r\n"
        'En JSON : 7;"{""age"": 7}";;fr;"{""type"": ""object""}";64\r\n'
    )
    suite = mine(text, name="mine.csv")
    items = {item.form: item for item in suite.items("fr", 9, 1)}
    assert sorted(items) == ["", "letter", "likelihood", "schema"]
    assert items[""].ask.messages[0]["content"] == "Quelle est la capitale ;\n  de la France ?"
    assert items["schema"].expected == {"value": {"age": 7}}
    assert items["schema"].ask.max_tokens == 64
    assert "Réponds" in items["letter"].ask.messages[0]["content"]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_columns_may_be_parted_by_commas_and_tabs(mine, name):
    mark = "," if name.endswith("csv") else "\t"
    (item,) = mine(mark.join(["prompt", "expected"]) + "\n" + mark.join(["1+1?", "2"]) + "\n", name=name).items(
        "", 9, 1
    )
    assert item.expected == {"answer": "2"}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "no JSON"),
        ("[1]", "expected an object"),
        ('{"prompt": ""}', "missing or empty"),
        ('{"expected": "x"}', "missing or empty"),
        ('{"prompt": 3}', "expected a text"),
        ('{"prompt": "a", "answer": "x"}', "unknown answer"),
        ('{"prompt": "a", "language": "de"}', "language"),
        ('{"prompt": "a", "regex": "("}', "no regular expression"),
        ('{"prompt": "a", "regex": "b", "expected": "c"}', "one way"),
        ('{"prompt": "a", "choices": ["b", "b"], "expected": "b"}', "each once"),
        ('{"prompt": "a", "choices": ["b", "c"], "expected": "d"}', "one of the choices"),
        ('{"prompt": "a", "choices": ["b", "c"]}', "one of the choices"),
        ('{"prompt": "a", "choices": "bc", "expected": "b"}', "list of texts"),
        ('{"prompt": "a", "schema": []}', "JSON Schema"),
        ('{"prompt": "a", "schema": {}, "choices": ["b", "c"], "expected": "b"}', "one way"),
        ('{"prompt": "a", "expected": ["b"]}', "a text or a number"),
        ('{"prompt": "a", "expected": true}', "a text or a number"),
        ('{"prompt": "a", "expected": " "}', "for prompts that people only vote on"),
        ('{"prompt": "a", "expected": NaN}', "no JSON"),
        ('{"prompt": "a", "expected": 1e400}', "no JSON"),
        ('{"prompt": "a", "max_tokens": 0}', "max_tokens"),
        ('{"prompt": "a", "max_tokens": true}', "max_tokens"),
        ('{"prompt": "a", "id": "\\u0007"}', "printed"),
        ('{"prompt": "\\ud800"}', "surrogate"),
        ('{"prompt": "first"}', "line 1 has the same"),
        ("[" * 100_000, "no JSON"),
    ],
)
def test_a_faulty_line_is_named_with_its_number(mine, line, said):
    with pytest.raises(EvaluationError, match=rf"line 3: .*{said}"):
        mine('{"prompt": "first"}\n\n' + line)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("question,answer\na,b\n", 1, "expected prompt"),
        ("prompt,prompt\na,b\n", 1, "each name once"),
        ("prompt,expected\na,b\nc\n", 3, "1 cells"),
        ('prompt,expected\na,b\n"c,d\n', 3, "quotation mark"),
        ("prompt,max_tokens\na,many\n", 2, "no JSON"),
        ("prompt,colour\na,red\n", 2, "unknown colour"),
    ],
)
def test_a_faulty_row_of_a_table_is_named_with_its_number(mine, text, line, said):
    with pytest.raises(EvaluationError, match=rf"line {line}: .*{said}"):
        mine(text, name="mine.csv")


def test_what_is_no_file_of_prompts_is_refused(tmp_path, mine):
    with pytest.raises(EvaluationError, match="no such file"):
        open_suite("mine", path=tmp_path)
    with pytest.raises(EvaluationError, match="no such file"):
        open_suite("mine", path="a\0b")
    with pytest.raises(EvaluationError, match="none in it"):
        mine("\n\n")
    (tmp_path / "latin.jsonl").write_bytes(b'{"prompt": "a"}\n{"prompt": "\xe9"}')
    with pytest.raises(EvaluationError, match=r"line 2.*UTF-8"):
        open_suite("mine", path=tmp_path / "latin.jsonl")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(EvaluationError, match="no such file"):
        open_suite("mine", path=tmp_path / "pipe")


def test_a_language_that_the_file_lacks_is_refused_and_the_usual_one_can_be_said(mine):
    suite = mine([{"prompt": "Bonjour", "expected": "salut"}], language="fr")
    assert suite.card.languages == ("fr",)
    with pytest.raises(EvaluationError, match="'en'"):
        suite.items("en", 1, 1)
    with pytest.raises(EvaluationError, match="'de'"):
        mine(language="de")


def test_guesses_are_made_of_what_the_file_expects(mine):
    suite = mine()
    items = suite.items("en", 99, 1)
    guesses = suite.guesses(items)
    assert {"always A", "says nothing"} <= set(guesses)
    for guess in guesses.values():
        for item in items:
            suite.score(item, guess(item))
    only = mine([LINES[0]], name="one.jsonl")
    (item,) = only.items("en", 9, 1)
    assert only.score(item, only.guesses([item])["the commonest answer"](item)).right
