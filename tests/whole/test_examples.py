"""The examples run, and print what they promise."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def python(tmp_path):
    """python("file.py", words..., input=...) -> stdout."""

    def python(*words, input=""):  # noqa: A002
        environment = {**os.environ, "XDG_DATA_HOME": str(tmp_path), "PYTHONWARNINGS": "error"}
        command = [sys.executable, *map(str, words)]
        ran = subprocess.run(command, input=input, capture_output=True, text=True, env=environment, timeout=60)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    return python


def test_the_chat(python, speaking_model):
    out = python(ROOT / "examples" / "chat.py", speaking_model(), input="Who are you?\nAnd again?\n\n")
    assert out == "> Hello from a tiny model.\n" * 2 + "> "


def test_the_batch(python, speaking_model, tmp_path):
    (tmp_path / "questions.txt").write_text("Who?\nWhat?\n")
    out = python(ROOT / "examples" / "batch.py", speaking_model(), tmp_path / "questions.txt")
    assert [json.loads(line) for line in out.splitlines()] == [
        {"question": question, "answer": "Hello from a tiny model.", "ended": "stop"} for question in ("Who?", "What?")
    ]


def test_constrained_harmony_is_well_formed_and_calls_the_tool(python):
    out = python(ROOT / "examples" / "constrained_harmony.py")
    tokens, call = re.search(r"tokens   (.*)\ncall     weather (.*)\nended    tool_calls", out, re.DOTALL).groups()
    thought, called = tokens.split("<|end|><|start|>assistant")
    assert thought.startswith("<|channel|>analysis<|message|>")
    assert called == f"<|channel|>commentary to=functions.weather <|constrain|>json<|message|>{call}<|call|>"
    arguments = json.loads(call)
    assert arguments["city"] in {"Paris", "Lima", "Kyoto"}
    assert 1 <= arguments["days"] <= 7
    assert arguments.keys() == {"city", "days", "unit"}


def test_the_tools(python, tiny_gpt_oss):
    out = python(ROOT / "examples" / "tools.py", tiny_gpt_oss, "What is 17 times 23?")
    *calls, answer = re.findall(r"(?m)^(calculate|answer: )", out)
    assert len(calls) <= 4
    assert answer == "answer: "


NEEDS_NOTHING = {"constrained_harmony.py"}  # it makes its own model
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("words", [[], ["--help"]], ids=["nothing", "help"])
@pytest.mark.parametrize("example", EXAMPLES, ids=[each.name for each in EXAMPLES])
def test_an_example_without_what_it_needs_says_how_to_run_it(example, words, tmp_path):
    if not words and example.name in NEEDS_NOTHING:
        words = ["too", "many"]
    ran = subprocess.run([sys.executable, example, *words], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert ran.returncode == 1
    assert f"python examples/{example.name}" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not list(tmp_path.iterdir())


def test_importing_ouvert_imports_nothing_heavy(python):
    script = "import ouvert, sys; print([n for n in ('numpy', 'ouvert.engine', 'tokenizers') if n in sys.modules])"
    assert python("-c", script) == "[]\n"
    script = "import ouvert; print([n for n in ouvert.__all__ if getattr(ouvert, n) is None], 'load' in dir(ouvert))"
    assert python("-c", script) == "[] True\n"


# --- what was found in a real model: the numbers are of this model and these weights, on any machine ---


def test_where_a_fact_is_finds_the_head_that_brings_it_over(python, smollm2):
    """One layer above the last that has it at the word, one head of nine carries most of it; random donors do not."""
    out = python(ROOT / "examples" / "where_a_fact_is.py", smollm2)
    word, end = zip(*re.findall(r"after layer \d+: +(-?[\d.]+) +(-?[\d.]+)", out), strict=True)
    assert [float(each) > 0.9 for each in word] == [True, True, False, False]
    assert [float(each) > 0.5 for each in end] == [False, False, True, True]
    layer, head, effect, high = re.search(r"layer (\d+) head (\d+): effect +([\d.]+) .* to +([\d.]+)", out).groups()
    assert float(effect) > 0.8 > float(high)
    assert f"silenced, layer {layer} head {head} costs most: -5" in out


def test_the_induction_head_is_found_and_its_loss_is_far_from_the_medians(python, smollm2):
    out = python(ROOT / "examples" / "induction_head.py", smollm2)
    without, second = map(float, re.search(r"nats a token: (-[\d.]+) .*, (-[\d.]+) the second", out).groups())
    assert second > without + 5
    found = {head: float(change) for head, change in re.findall(r"layer +(\d+ head \d+): ([+-][\d.]+)", out)}
    assert found["16 head 0"] < -2
    assert abs(float(re.search(r"median .*: ([+-][\d.]+)", out)[1])) < 0.05


def test_a_direction_changes_tone_more_than_random_ones_and_harms_no_more(python, smollm2):
    out = python(ROOT / "examples" / "change_tone.py", smollm2)
    assert "AUC 1.00 held out" in out
    for edit, sign in (("add", 1), ("subtract", -1)):
        numbers = re.search(rf"{edit} +([+-][\d.]+), random directions (\S+) to (\S+); damage (\S+), .* (\S+)\n", out)
        effect, low, high, damage, of_random = map(float, numbers.groups())
        assert sign * effect > 2
        assert not low <= effect <= high
        assert damage < 2 * of_random


def test_few_bits_cost_more_in_french(python, smollm2):
    out = python(ROOT / "examples" / "four_bits_in_french.py", smollm2)
    english, french = (float(number) for number in re.findall(r"KL ([\d.]+)", out))
    assert 0 < english < french


def test_the_first_token_is_where_heads_look_whatever_it_is(python, smollm2):
    out = python(ROOT / "examples" / "attention_sink.py", smollm2)
    found = re.findall(r"'(\w+)' gets (\d+)% .* were (\d+)%\. (\d+)% of the heads", out)
    assert len(found) == 2
    assert found[0][0] != found[1][0]
    for _, share, alike, heads in found:
        assert int(share) > 3 * int(alike)
        assert int(heads) > 25
