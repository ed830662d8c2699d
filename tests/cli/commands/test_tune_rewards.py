"""`ouvert tune` with rewards: what answers are worth grows, and a run that is killed goes on to the same adapter."""

import json
import signal
import tomllib

import pytest

from ouvert.store import Store
from ouvert.tuning import Runs

from ...tuning.killing import command_killed, losses_of

RECIPE = """
method = "grpo"
[data]
held_out = 0.2
[adapter]
rank = 2
[optimise]
rate = 0.002
batch = 4
steps = 12
stop_early = 0
[reward]
use = ["./reward.py:score", "schema:short.json", "shorter:40"]
answers = 6
length = 10
temperature = 2.0
[safety]
mix = 0
check = false
"""
# The tiny model says "tiny" in eight of ten answers. Not to say it is learnt in a few steps, whatever the seed; to say
# it more often would take longer than a test.
REWARD = "def score(text, columns):\n    return -text.count(columns['word'])\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    rows = [{"prompt": f"again {n}", "word": "tiny"} for n in range(24)]
    (tmp_path / "words.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "recipe.toml").write_text(RECIPE)
    (tmp_path / "reward.py").write_text(REWARD)
    (tmp_path / "short.json").write_text(json.dumps({"type": "string"}))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def tune(folder, speaking_model):
    def tune(home, *words, kill_at=10**9):
        told = ("tune", *(words or (speaking_model(), "words.jsonl", "--recipe", "recipe.toml", "--yes")))
        return command_killed(folder / home, *told, "--threads", 1, kill_at=kill_at)

    return tune


def test_answers_become_worth_more_and_a_kill_changes_nothing(tune, folder):
    whole = tune("home")
    assert whole.returncode == 0, whole.stderr
    assert "steps     12, 4 prompts a step, 6 answers of at most 10 tokens to each" in whole.stderr
    assert "12 of 12 steps are done: reward" in whole.stderr
    record = Store(folder / "home").adapters.record("words")
    assert_worth_more(record)
    kept = tomllib.loads((record.path / "run" / "recipe.toml").read_text())
    assert kept["reward"]["use"] == ["reward.py:score", "schema:short.json", "shorter:40"]
    assert str(folder) not in (record.path / "run" / "run.json").read_text()
    assert "| Reward |" in (record.path / "README.md").read_text()

    assert tune("other", kill_at=2500).returncode == -signal.SIGKILL
    assert Runs(folder / "other").look("words").standing.step == 6  # where it was measured, and kept
    assert tune("other", "resume", "words", kill_at=500).returncode == -signal.SIGKILL
    (folder / "reward.py").write_text(REWARD + "# another\n")
    refused = tune("other", "resume", "words")
    assert refused.returncode == 1
    assert "Bring the file back as it was" in refused.stderr
    (folder / "reward.py").write_text(REWARD)
    assert tune("other", "resume", "words").returncode == 0
    resumed = Store(folder / "other").adapters.record("words")
    assert resumed.digest == record.digest
    assert losses_of(resumed) == losses_of(record)


def assert_worth_more(record):
    """From some −0.8 a step to nearly 0."""
    rows = [json.loads(line) for line in (record.path / "run" / "metrics.jsonl").read_text().splitlines()]
    rewards = [row["reward"] for row in rows if "reward" in row]
    assert sum(rewards[-3:]) > sum(rewards[:3]) + 1.5, rewards


@pytest.mark.parametrize("seed", [21, 22])
def test_it_is_learnt_with_other_seeds_too(tune, folder, seed):
    (folder / "recipe.toml").write_text(f"seed = {seed}\n{RECIPE}")
    assert tune("home").returncode == 0
    assert_worth_more(Store(folder / "home").adapters.record("words"))


def test_what_a_reward_reads_is_looked_for_before_anything_is_computed(tune, folder):
    rows = [{"prompt": f"again {n}", "word": "a", "answer": n} for n in range(9)] + [{"prompt": "again", "word": "a"}]
    (folder / "words.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "recipe.toml").write_text(RECIPE.replace("shorter:40", "exact:answer"))
    refused = tune("home")
    assert refused.returncode == 1
    assert "the prompt of line 10: it has no column 'answer', but 'word'" in refused.stderr
    assert Runs(folder / "home").names() == ()
