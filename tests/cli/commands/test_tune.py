"""`ouvert tune` as it is typed: the plan and its owner's yes, a run to its end, killed and gone on with, and what is
asked of runs."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from ouvert.cli import main
from ouvert.store import Answering, Store
from ouvert.tuning import Runs

from ...tuning.killing import command_killed, losses_of


def conversation(n):
    words = ["Hello from a tiny model.", "again", "from a model", "a tiny tiny model"]
    return {"messages": [{"role": "user", "content": f"again {n}"}, {"role": "assistant", "content": words[n % 4]}]}


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def ouvert(home, capsys, monkeypatch):
    """ouvert(word, ...) -> (status, stdout, stderr)."""
    monkeypatch.setenv("OUVERT_HOME", str(home))
    monkeypatch.setenv("OUVERT_GUARD", "off")  # it would stay up for every test after this one
    monkeypatch.setattr("sys.stdin", None)
    monkeypatch.setattr(os, "nice", lambda by: 0)  # it would stay low for every test after this one

    def ouvert(*words):
        status = main([str(word) for word in words])
        return status, *capsys.readouterr()

    return ouvert


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "tickets.jsonl"
    path.write_text("".join(json.dumps(conversation(n)) + "\n" for n in range(40)))
    return path


@pytest.fixture
def model(speaking_model):
    return speaking_model()


QUICK = ("--steps", 6, "--rank", 2, "--rate", 0.01, "--threads", 1, "--no-check")


def test_the_plan_is_shown_and_nothing_is_trained(ouvert, model, data, home):
    status, out, err = ouvert("tune", model, data, "--plan", *QUICK)
    assert status == 0
    assert "learns tickets (sft)" in out
    assert "steps     6, 16 examples a step; each example" in out
    assert "GB" in out
    assert "checked   not" in out
    kinds = [line.split()[0] for line in out.split("TRAINED", 1)[1].splitlines()[1:8]]
    assert kinds == ["q", "k", "v", "o", "gate", "up", "down"]
    assert Runs(home).names() == ()
    assert err == ""


def test_a_batch_that_is_larger_than_the_data_is_said(ouvert, model, data):
    data.write_text("".join(json.dumps(conversation(n)) + "\n" for n in range(5)))
    _, out, _ = ouvert("tune", model, data, "--plan", *QUICK)
    assert "steps     6, 16 examples a step, and there are 6; each example 16 times" in out


def test_the_options_are_the_recipe_s(ouvert, model, data):
    _, out, _ = ouvert("tune", model, data, "--plan", "--json", *QUICK, "--batch", 3, "--seed", 7, "--held-out", 0.25)
    plan = json.loads(out)
    assert (plan["recipe"]["optimise"]["batch"], plan["recipe"]["seed"], plan["counts"]["held_out"]) == (3, 7, 10)
    status, _, err = ouvert("tune", model, data, "--plan", *QUICK, "--beta", 0.2)
    assert status == 1
    assert "preference.beta has no effect on the method 'sft'" in err


def test_the_plan_as_json_has_the_whole_recipe(ouvert, model, data):
    status, out, _ = ouvert("tune", model, data, "--plan", "--json", *QUICK)
    plan = json.loads(out)
    assert status == 0
    assert plan["recipe"]["optimise"] | {"rate": 0.01, "steps": 6} == plan["recipe"]["optimise"]
    assert plan["recipe"]["safety"]["check"] is False
    assert plan["course"]["steps"] == 6
    assert plan["numbers"] == sum(each["numbers"] for each in plan["weights"])
    assert plan["seconds"] > 0
    assert plan["memory"] > 10_000_000


def test_without_anybody_to_agree_it_says_what_to_add(ouvert, model, data, home):
    status, out, err = ouvert("tune", model, data, *QUICK)
    assert (status, out) == (1, "")
    assert "Add --yes, or --plan" in err
    assert Runs(home).names() == ()


def test_a_run_to_its_end(ouvert, model, data, home):
    status, out, err = ouvert("tune", model, data, "--yes", "--json", *QUICK)
    assert status == 0
    made = json.loads(out)
    record = Store(home).adapters.record("tickets")
    assert (made["adapter"], made["digest"], made["state"]) == ("tickets", record.digest, "unchecked")
    assert record.facts["source"]["tuned"]["method"] == "sft"
    assert "of 6 steps are done: loss" in err
    told = re.findall(r"^step (\d) of 6: (.*)$", err, re.MULTILINE)
    assert [step for step, _ in told] == sorted({step for step, _ in told})
    assert "held out" in told[-1][1]
    run = record.path / "run"
    assert sorted(path.name for path in run.iterdir()) == [
        "data.safetensors", "loss.svg", "metrics.jsonl", "recipe.toml", "run.json"
    ]  # fmt: skip
    assert str(data.parent) not in (run / "recipe.toml").read_text()
    card = (record.path / "README.md").read_text()
    assert "base_model" in card
    assert re.search(r"\d of 6 steps, 16 examples a step, \d+ seconds?", card)
    assert "`unchecked`: no check was made" in card
    assert Runs(home).names() == ()
    status, out, _ = ouvert("tune", "log", "tickets")
    assert "held out" in out
    assert "finished, step" in out
    status, out, err = ouvert("tune", model, data, "--name", "tickets", "--yes", *QUICK)
    assert status == 1
    assert "there is an adapter 'tickets'" in err


def test_a_second_run_has_another_name_of_its_own(ouvert, model, data, home):
    ouvert("tune", model, data, "--yes", *QUICK)
    _, out, _ = ouvert("tune", model, data, "--plan", *QUICK)
    assert "learns tickets-2 (sft)" in out


# --- killed and gone on with ---


def test_the_command_is_killed_and_goes_on_to_the_same_adapter(ouvert, model, data, home, tmp_path):
    ouvert("tune", model, data, "--yes", *QUICK)
    whole = Store(home).adapters.record("tickets")
    other = tmp_path / "other"
    began = command_killed(other, "tune", model, data, "--yes", *QUICK, kill_at=900)
    assert began.returncode == -signal.SIGKILL
    assert Runs(other).names() == ("tickets",)
    resumed = command_killed(other, "tune", "resume", "tickets", "--no-check", kill_at=700)
    assert resumed.returncode == -signal.SIGKILL
    last = command_killed(other, "tune", "resume", "tickets", "--no-check")
    assert last.returncode == 0, last.stderr
    record = Store(other).adapters.record("tickets")
    assert record.digest == whole.digest
    assert losses_of(record) == losses_of(whole)


@pytest.fixture
def running(model, data, home):
    """A run of many steps in a process of its own, that has begun."""
    environment = {**os.environ, "OUVERT_HOME": str(home), "OUVERT_CONFIG": os.devnull}
    words = ["tune", str(model), str(data), "--yes", *map(str, QUICK), "--steps", "100000"]
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys; from ouvert.cli import main; sys.exit(main(sys.argv[1:]))", *words],
        env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    runs = Runs(home)
    while not (runs.names() and len(runs.look("tickets").rows) > 2):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    yield process
    process.kill()
    process.communicate()


def test_stop_status_log_and_remove(running, ouvert, home):
    status, out, _ = ouvert("tune", "status")
    assert status == 0
    assert "tickets: running, step" in out
    assert "of 100000" in out
    status, _, err = ouvert("tune", "remove", "tickets", "--yes")
    assert status == 1
    assert "a process is working on it" in err
    status, _, err = ouvert("tune", "resume", "tickets")
    assert status == 1
    assert "another process is working on it" in err
    status, out, _ = ouvert("tune", "stop", "tickets")
    assert status == 0
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "`ouvert tune resume tickets` goes on from here." in err
    status, _, err = ouvert("tune", "stop", "tickets")
    assert status == 1
    assert "nothing to stop" in err
    status, out, _ = ouvert("tune", "status", "tickets", "--json")
    [facts] = json.loads(out)
    assert facts["state"] == "stopped"
    assert facts["step"] >= 2
    status, out, _ = ouvert("tune", "log", "tickets")
    assert "step 100000" in out
    status, _, err = ouvert("tune", "remove", "tickets")
    assert status == 1
    assert "Add --yes" in err
    assert ouvert("tune", "remove", "tickets", "--yes")[0] == 0
    assert Runs(home).names() == ()


def test_ctrl_c_keeps_what_is_done(running, ouvert):
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "Stopping after what is computed now" in err
    assert "Stopped after step" in err
    _, out, _ = ouvert("tune", "status")
    assert "stopped, step" in out


def test_a_run_waits_while_a_server_writes_an_answer(running, home):
    answering = Answering(home)
    answering.begin()
    runs = Runs(home)
    time.sleep(0.5)  # what was begun before it is still computed
    before = len(runs.look("tickets").rows)
    time.sleep(0.5)
    assert len(runs.look("tickets").rows) <= before + 1
    answering.end()
    while len(runs.look("tickets").rows) <= before + 1:
        assert running.poll() is None
        time.sleep(0.02)


# --- what is refused ---


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("tune", "resume", "nothing"), "there is no unfinished run 'nothing'"),
        (("tune", "log", "nothing"), "there is no unfinished run 'nothing'"),
        (("tune", "resume", "a", "b"), "`ouvert tune resume NAME`"),
        (("tune", "model"), "`ouvert tune MODEL DATA`"),
        (("tune", "status", "--minutes", "3"), "tune status does nothing with --minutes"),
        (("tune", "m", "d", "--follow"), "tune MODEL DATA does nothing with --follow"),
        (("tune", "check", "d"), "needs --model"),
    ],
)
def test_wrong_words_are_said(ouvert, words, sentence):
    status, out, err = ouvert(*words)
    assert status in (1, 2)
    assert out == ""
    assert sentence in err


def test_wrong_values_are_said_before_the_model_is_loaded(ouvert, data):
    status, _, err = ouvert("tune", "no-such-model", data, "--rate", "7")
    assert status == 1
    assert "optimise.rate is 7.0, expected a number above 0, at most 1" in err
    status, _, err = ouvert("tune", "no-such-model+other", data)
    assert status == 1


def test_an_adapted_model_is_no_base(ouvert, model, data, home):
    ouvert("tune", model, data, "--yes", *QUICK)
    status, _, err = ouvert("tune", f"{model}+tickets", data, "--yes", *QUICK)
    assert status == 1
    assert "An adapter is trained on the bare weights" in err


def test_without_torch_that_comes_first(ouvert, monkeypatch):
    monkeypatch.setattr("ouvert.cli.tuning_base.find_spec", lambda name: None)
    status, _, err = ouvert("tune", "no-such-model", "no-such-data")
    assert status == 1
    assert "torch is not installed, expected it where adapters are trained. Install it" in err


def test_what_cannot_be_honoured_is_refused_by_name(ouvert, model, data, tmp_path):
    (recipe := tmp_path / "r.toml").write_text("neftune_noise_alpha = 5.0\n")
    status, _, err = ouvert("tune", model, data, "--recipe", recipe, "--yes")
    assert status == 1
    assert "Leave it out: the forward pass that is trained is the one that is served" in err
    recipe.write_text('method = "dpo"\n[safety]\nmix = 0.02\n')
    status, _, err = ouvert("tune", model, data, "--recipe", recipe, "--yes")
    assert status == 1
    assert "safety.mix is 0.02, and has no effect on the method 'dpo'" in err
    status, _, err = ouvert("tune", model, data, "--length", "100000", "--yes")
    assert status == 1
    assert "it reads 2048 tokens at most" in err
    status, _, err = ouvert("tune", model, data, "--minutes", "0.000001", "--yes")
    assert status == 1
    assert "one step takes" in err
    assert "Allow more minutes" in err


def test_minutes_become_steps(ouvert, model, data):
    _, out, _ = ouvert("tune", model, data, "--plan", "--json", "--threads", 1, "--epochs", 10_000)
    whole = json.loads(out)
    minutes = whole["seconds"] / 60 / 4
    _, out, _ = ouvert(
        "tune", model, data, "--plan", "--json", "--threads", 1, "--epochs", 10_000, "--minutes", minutes
    )
    part = json.loads(out)
    assert part["steps_asked"] == whole["course"]["steps"]
    assert 1 <= part["course"]["steps"] < whole["course"]["steps"]
    assert part["seconds"] <= 60 * minutes


def test_a_run_of_another_model_does_not_go_on(ouvert, model, data, home, running, tmp_path):
    running.kill()
    running.wait()
    facts = json.loads((home / "tunings" / "tickets" / "run.json").read_text())
    facts["base"]["weights"] = "sha256:0"
    (home / "tunings" / "tickets" / "run.json").write_text(json.dumps(facts))
    status, _, err = ouvert("tune", "resume", "tickets")
    assert status == 1
    assert "the run began with sha256:0" in err
