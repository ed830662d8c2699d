"""Programs that a model wrote run in a box, or not at all."""

import pytest

from ouvert.evaluation import EvaluationError, Outcome, open_suite
from ouvert.evaluation.suites import humaneval
from ouvert.sandbox import Finding, Found

SUITE = open_suite("humaneval")
RIGHT = {  # canned answers, as models give them
    "a block with the whole function": "So:\n\n```python\ndef add(x: int, y: int):\n    return x + y\n```\nDone.",
    "a block without a language": "```\ndef add(x, y):\n    return x + y\n```",
    "no block": "def add(x, y):\n    return x + y\n",
    "the rest of the function": "```python\n    return x + y\n```",
    "the last of several": "```python\ndef add(x, y): return 0\n```\nNo:\n```python\ndef add(x, y): return x + y\n```",
    "a block that was cut off behind the function": "```python\ndef add(x, y):\n    return x + y\n",
}
WRONG = {
    "another result": ("```python\ndef add(x, y):\n    return x - y\n```", "fails with AssertionError"),
    "no Python": ("```python\ndef add(x, y) return\n```", "fails with SyntaxError"),
    "an end before the tests": (
        "```python\nimport os\ndef add(x, y): return x\nos._exit(0)\n```",
        "ends before its tests do",
    ),
    "a loop": ("```python\ndef add(x, y):\n    while True: pass\n```", "it took more than 1 seconds"),
    "memory": ("```python\ndef add(x, y):\n    return bytearray(1 << 33)\n```", "fails with MemoryError"),
    "the network": (
        "```python\nimport socket\ndef add(x, y):\n    socket.create_connection(('127.0.0.1', 9))\n```",
        "fails with PermissionError",
    ),
}


@pytest.fixture(scope="module")
def add():
    """HumanEval/53: add two numbers."""
    return next(item for item in SUITE.items("en", 164, 0) if item.id == "HumanEval/53")


def test_its_164_problems_are_asked_as_a_block_to_complete(add):
    items = SUITE.items("en", 1000, 0)
    assert len({item.id for item in items}) == len(items) == 164
    assert SUITE.items("en", 10, 0) == items[:10]
    assert "def add(x: int, y: int):" in add.ask.messages[0]["content"]
    assert add.expected.keys() == {"prompt", "entry_point", "test"}


@pytest.mark.parametrize("answer", RIGHT)
def test_an_answer_that_passes_the_tests_is_right(add, answer):
    assert SUITE.score(add, Outcome(text=RIGHT[answer])).right


@pytest.mark.parametrize("answer", WRONG)
def test_an_answer_that_does_not_is_wrong_and_says_why(add, answer, monkeypatch):
    monkeypatch.setattr(humaneval, "SECONDS", 1.0 if answer == "a loop" else 20.0)
    text, why = WRONG[answer]
    score = SUITE.score(add, Outcome(text=text))
    assert (score.value, score.right, score.malformed, score.note) == (0.0, False, False, why)


@pytest.mark.parametrize("text", ["", "I cannot do that.", "```python\n\n```"])
def test_an_answer_without_code_is_told_apart(add, text):
    assert SUITE.score(add, Outcome(text=text)).malformed


def test_the_published_solutions_are_right_and_guesses_are_not():
    """Ten problems, among them those with a helper that the tests call: 32, 38 and 50."""
    import gzip
    import json

    place = humaneval.package_file(humaneval.PACKAGE, humaneval.VERSION, humaneval.FILE)
    solutions = [json.loads(line) for line in gzip.decompress(place.read_bytes()).decode().splitlines()]
    items = {item.id: item for item in SUITE.items("en", 164, 0)}
    for number in (0, 10, 32, 38, 50, 64, 81, 95, 129, 163):
        task = solutions[number]
        item = items[task["task_id"]]
        whole = task["prompt"][task["prompt"].rindex(f"def {task['entry_point']}(") :] + task["canonical_solution"]
        for text in (f"```python\n{whole}\n```", f"```python\n{task['canonical_solution']}```"):
            assert SUITE.score(item, Outcome(text=text)).right, task["task_id"]
    guesses = SUITE.guesses(list(items.values()))
    assert not any(SUITE.score(items["HumanEval/0"], guess(items["HumanEval/0"])).right for guess in guesses.values())


def test_without_a_box_it_is_refused_with_the_reason_and_the_remedy(add, monkeypatch):
    nothing = Found(None, (Finding("Landlock", False, "not in this kernel"),), "Do this.")
    monkeypatch.setattr(humaneval, "probe", lambda: nothing)
    with pytest.raises(EvaluationError, match=r"humaneval.*Landlock: not in this kernel. Do this. Nothing was run."):
        SUITE.items("en", 1, 0)
    monkeypatch.setattr("ouvert.sandbox.box.probe", lambda: nothing)
    with pytest.raises(EvaluationError, match=r"scoring an answer.*Do this"):
        SUITE.score(add, Outcome(text=RIGHT["no block"]))
