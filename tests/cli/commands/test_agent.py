"""`ouvert agent` as it is typed, with a tiny model that always says the same."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ouvert.agents import Agents, Asked, agent_of

spec = importlib.util.spec_from_file_location("scripted", Path(__file__).parents[2] / "agents" / "scripted.py")
assert spec
assert spec.loader
sys.modules["scripted"] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
Script = module.Script

RUN = "import sys; from ouvert.cli import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture
def home(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def ouvert(tmp_path, home):
    environment = {**os.environ, "OUVERT_HOME": str(home), "XDG_STATE_HOME": str(tmp_path / "state")}

    def ouvert(*words):
        command = [sys.executable, "-c", RUN, *map(str, words)]
        return subprocess.run(
            command, capture_output=True, env=environment, timeout=60, stdin=subprocess.DEVNULL, text=True
        )

    return ouvert


def without_tools(home):
    """The template of the tiny model has no place for any."""
    file = home / "agents" / "clerk" / "agent.md"
    file.write_text(file.read_text().replace("tools: [files]\n", ""))
    return file.parent


def test_an_agent_is_made_run_shown_replayed_and_removed(ouvert, home, speaking_model):
    tiny = speaking_model()
    made = ouvert("agent", "new", "clerk", "--model", tiny)
    assert made.returncode == 0, made.stderr
    without_tools(home)
    assert "clerk" in ouvert("agent", "list").stdout
    assert ouvert("agent", "new", "clerk").returncode == 1

    ran = ouvert("agent", "run", "clerk", "Who", "are", "you?")
    assert ran.stdout == "Hello from a tiny model.\n", ran.stderr
    assert "1 steps" in ran.stderr
    [facts] = json.loads(ouvert("agent", "runs", "--json").stdout)
    assert facts["state"] == "done"
    assert facts["task"] == "Who are you?"
    shown = ouvert("agent", "show", facts["id"]).stdout
    assert "done: Hello from a tiny model." in shown
    again = ouvert("agent", "replay", facts["id"])
    assert "bit for bit" in again.stdout
    assert again.returncode == 0
    assert ouvert("agent", "resume", facts["id"]).returncode == 1

    assert ouvert("agent", "remove", facts["id"], "--yes").returncode == 0
    assert ouvert("agent", "remove", "clerk", "--yes").returncode == 0
    assert not list(home.glob("agent*/*"))


def test_an_agent_is_tested_by_what_stands_beside_it(ouvert, home, speaking_model):
    ouvert("agent", "new", "clerk", "--model", speaking_model())
    folder = without_tools(home)
    (folder / "evals.jsonl").write_text(
        '{"task": "Hi", "check": {"contains": ["tiny"], "never_calls": ["write_file"]}}\n'
        '{"task": "Hi", "check": {"calls": ["write_file"]}}\n'
    )
    ran = ouvert("agent", "test", "clerk")
    assert ran.returncode == 1
    assert "write_file was not called" in ran.stdout
    assert "1 of 2 passed." in ran.stdout
    assert json.loads((folder / "evals.result.json").read_text())["passed"] == 1
    (folder / "evals.jsonl").write_text('{"task": "Hi", "chek": {}}\n')
    assert "line 1 of evals.jsonl" in ouvert("agent", "test", "clerk").stderr


def test_an_agent_of_another_program_is_brought(ouvert, tmp_path):
    (tmp_path / "reviewer.md").write_text(
        "---\nname: reviewer\ndescription: Reviews.\ntools: Read, Bash\n---\nReview.\n"
    )
    refused = ouvert("agent", "import", tmp_path / "reviewer.md", "--model", "smollm2")
    assert refused.returncode == 1
    assert "uses the tool" in refused.stderr
    brought = ouvert("agent", "import", tmp_path / "reviewer.md", "--model", "smollm2", "--without", "Bash")
    assert brought.returncode == 0, brought.stderr
    assert "the tool Read became files" in brought.stdout


def test_a_run_that_waits_is_answered_at_the_command_line(ouvert, home, speaking_model):
    agent = agent_of(
        f"---\nname: clerk\ndescription: Helps.\nmodel: {speaking_model()}\ntools: [files]\napprove: always\n---\n"
    )
    script = Script([[("c1", "write_file", {"name": "a.md", "text": "Hi"})], "Done."])
    with Agents(home).begun(agent, Asked(text="Go"), lambda name: script) as run:
        list(run.steps())
    assert run.state.name == "waiting"
    assert f"`ouvert agent resume {run.id}` asks you." in ouvert("agent", "show", run.id).stdout

    # With yes it is done; that this model's template has no place for tools is said behind it.
    went_on = ouvert("agent", "resume", run.id, "--allow", "c1")
    assert "no place for" in went_on.stderr
    assert (run.folder / "files" / "a.md").read_text() == "Hi"
    assert "yes, by command line" in ouvert("agent", "show", run.id).stdout
    assert "none waits for a verdict" in ouvert("agent", "resume", run.id, "--allow", "c1").stderr
    assert ouvert("agent", "resume", run.id, "--end").returncode == 1
    assert json.loads(ouvert("agent", "show", run.id, "--json").stdout)["state"] == "cancelled"


def test_a_model_without_tools_is_told_of_a_template_and_a_run_without_answers_is_not_called_the_same(
    ouvert, speaking_model
):
    ouvert("agent", "new", "clerk", "--model", speaking_model())
    failed = ouvert("agent", "run", "clerk", "Go")
    assert failed.returncode == 1
    assert "`--template builtin`" in failed.stderr
    [facts] = json.loads(ouvert("agent", "runs", "--json").stdout)
    assert "no answer yet" in ouvert("agent", "replay", facts["id"]).stdout
