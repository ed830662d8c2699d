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
