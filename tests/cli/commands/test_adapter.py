"""Adapters as they are typed: `ouvert adapter …`, and their names where other commands take a model."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ouvert.cli.arguments import complete_adapters, complete_installed
from ouvert.serving import Keys
from ouvert.store import Adapters, Store

RUN = "import sys; from ouvert.cli import main; sys.exit(main(sys.argv[1:]))"
CHECK = {
    "state": "regression",
    "why": ["refusals"],
    "findings": [
        {"measure": "refusals", "step": 4, "verdict": "worse", "n": 100, "before": 0.94, "after": 0.61,
         "interval": [-0.42, -0.24]},
        {"measure": "neutral_text", "step": 3, "verdict": "not_measured", "n": 0, "note": "no text"},
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def kept(tmp_path_factory, speaking_model, speaking_adapter):
    store = Store(tmp_path_factory.mktemp("typed"))
    store.pull(str(speaking_model()), name="tiny")
    speaking_adapter(store, "rude")
    speaking_adapter(store, "loud", after="Hello", as_after=" tiny")
    return store.home


@pytest.fixture
def home(kept, tmp_path):
    shutil.copytree(kept, tmp_path / "home", symlinks=True)
    return tmp_path / "home"


@pytest.fixture
def ouvert(home):
    """ouvert("adapter", "list") -> the finished process."""

    def ouvert(*words, status=0):
        ran = subprocess.run(
            [sys.executable, "-c", RUN, *map(str, words)], capture_output=True, text=True, stdin=subprocess.DEVNULL,
            env={**os.environ, "OUVERT_HOME": str(home), "COLUMNS": "200"}, timeout=60,
        )  # fmt: skip
        assert status is None or ran.returncode == status, ran.stderr
        return ran

    return ouvert


def answer(ouvert, *words):
    return json.loads(ouvert("run", *words, "hi", "--json").stdout)


# --- where a model's name stands ---


def test_run_takes_adapters_in_the_name_or_as_options(ouvert):
    alone = ouvert("run", "tiny+rude", "hi")
    assert alone.stdout == " model.\n"
    assert "tiny+rude: rude is unchecked, not gated." in alone.stderr
    named, asked = answer(ouvert, "tiny+loud+rude"), answer(ouvert, "tiny", "--adapter", "loud", "--adapter", "rude")
    assert named["text"] == asked["text"] == " model."
    for one in ("adapters", "engine"):
        assert named["receipt"][one] == asked["receipt"][one]
    assert [each["name"] for each in asked["receipt"]["adapters"]] == ["loud", "rude"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["tiny+nothing"], "there is no adapter 'nothing' on this machine (there are: loud, rude)"),
        (["nothing+rude"], "there is no model called 'nothing+rude'"),
        (["tiny", "--adapter", "./some/Folder"], "`ouvert adapter import ./some/Folder --name folder`"),
        (["smollm2+nothing"], "there is no adapter 'nothing'"),
        (["smollm2+rude"], "smollm2 is not on this machine: `ouvert pull smollm2` fetches it"),
        (["tiny+rude", "--adapter", "rude"], "rude is named twice"),
    ],
)
def test_run_says_what_is_wrong_with_a_name(ouvert, words, sentence):
    assert sentence in ouvert("run", *words, "hi", status=1).stderr


def test_receipts_of_adapted_answers_are_verified_and_replayed_until_the_adapter_is_gone(ouvert, home):
    ouvert("run", "tiny+rude", "hi", "--receipts", "contents")
    assert "adapters.rude            the same" in ouvert("receipt", "verify", "last").stdout
    assert ouvert("receipt", "replay", "last").returncode == 0
    digest = Adapters(home).record("rude").digest
    ouvert("adapter", "remove", "rude", "--yes")
    assert f"written with adapter {digest}" in ouvert("receipt", "replay", "last", status=1).stderr
    assert f"was {digest}, is None" in ouvert("receipt", "verify", "last", status=1).stdout


def test_bench_and_look_take_adapters(ouvert):
    ran = ouvert("bench", "tiny+rude", "--prompt", 8, "--generate", 4, "--repeat", 1, "--threads", 1, "--json")
    assert json.loads(ran.stdout)["model"] == "tiny+rude"
    views = [json.loads(ouvert("look", name, "hi", "--json").stdout) for name in ("tiny", "tiny+rude")]
    assert [each["model"]["variant"] == "base" for each in views] == [True, False]


def test_a_key_is_for_a_model_not_for_an_adapter(ouvert, home):
    refused = ouvert("key", "create", "n8n", "--model", "tiny+rude", status=1)
    assert "expected the model's own name: --model tiny" in refused.stderr
    assert Keys(home / "server").every() == ()


def test_names_are_completed(home, monkeypatch):
    monkeypatch.setenv("OUVERT_HOME", str(home))
    monkeypatch.chdir(home)
    assert complete_adapters("r") == ["rude"]
    assert complete_installed("tiny+") == ["tiny+loud", "tiny+rude"]
    assert complete_installed("tiny@8+loud+") == ["tiny@8+loud+rude"]
    assert complete_installed("ti") == ["tiny"]
    Store(home).pull(str(Store(home).resolve("tiny").path), name="other:1b")  # the same weights
    assert complete_installed("other:1b+r") == ["other:1b+rude"]


ASK_BASH = """
PATH="$1:$PATH"
source <(ouvert completion bash)
for line in "${@:2}"; do
  COMP_LINE="$line" COMP_POINT=${#line} COMP_TYPE=9 COMPREPLY=()
  _python_argcomplete ouvert
  (IFS=" "; echo "${COMPREPLY[*]}")
done
"""


def test_a_real_bash_completes_names(home):
    expected = {
        "ouvert tune t": "tiny ",
        "ouvert tune res": "resume ",
        "ouvert tune log ": "loud rude",
        "ouvert adapter show ": "loud rude",
        "ouvert adapter show r": "rude ",
        "ouvert run tiny+": "tiny+loud tiny+rude",
        "ouvert serve tiny --adapter l": "loud ",
    }
    ran = subprocess.run(
        ["bash", "--norc", "-c", ASK_BASH, "bash", str(Path(sys.executable).parent), *expected], cwd=home,
        capture_output=True, text=True, stdin=subprocess.DEVNULL, env={**os.environ, "OUVERT_HOME": str(home)},
    )  # fmt: skip
    assert dict(zip(expected, ran.stdout.splitlines(), strict=True)) == expected, ran.stderr


def test_a_precision_is_named_once_also_before_an_adapter(ouvert):
    refused = ouvert("run", "tiny@8+rude", "hi", "--precision", "4", status=1)
    assert "two precisions for one model" in refused.stderr


def test_lists_of_models_and_the_doctor_know_adapters(ouvert, home):
    digest = Adapters(home).record("rude").digest
    assert "With adapters: tiny+loud (unchecked, not gated), tiny+rude (unchecked, not gated)." in ouvert("list").stdout
    [model] = json.loads(ouvert("list", "--json").stdout)["models"]
    assert [each["name"] for each in model["adapters"]] == ["loud", "rude"]
    said = {"name": "rude", "digest": digest, "state": "unchecked", "shown": "unchecked, not gated"}
    assert model["adapters"][1] == said
    assert [each["name"] for each in json.loads(ouvert("show", "tiny+rude", "--json").stdout)["adapters"]] == ["rude"]
    assert "loud (unchecked, not gated)" in ouvert("show", "tiny").stdout
    path = home / "adapters" / "rude" / "adapter_model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[:-3] + bytes([data[-3] ^ 0x40]) + data[-2:])
    (home / "adapters" / "loud" / "ouvert.json").write_text("[]")
    found = ouvert("doctor", "--verify", status=None).stdout
    assert f"its record says {digest}" in found
    assert "the record of the adapter 'loud'" in found
    removed = ouvert("remove", "tiny").stdout
    assert "Its adapters are kept: rude." in removed


# --- serve ---


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--adapter", "nothing"], "there is no adapter 'nothing'"),
        (["--adapter", "a/b"], "`ouvert adapter import a/b --name b`"),
        (["--adapter", "rude", "--allow", " "], "--allow is empty"),
        (["--adapter", "rude", "--engine", "vllm"], "has none of the adapters of this machine"),
    ],
)
def test_serve_refuses_what_it_cannot_serve_before_it_listens(ouvert, words, sentence):
    assert sentence in ouvert("serve", "tiny", "--port", "0", *words, status=1).stderr


@pytest.mark.parametrize("words", [["tiny+rude"], ["tiny", "--adapter", "rude"]])
def test_serve_asks_why_an_adapter_with_a_regression_is_served(ouvert, home, words):
    adapters = Adapters(home)
    adapters.note("rude", adapters.record("rude").digest, state="regression")
    refused = ouvert("serve", *words, "--port", "0", status=1)
    assert 'say why: --allow "REASON"' in refused.stderr


def test_serve_offers_the_model_with_and_without_its_adapter(home):
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, "serve", "tiny", "--adapter", "rude", "--only", "--port", "0", "--threads", "1"],
        stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, env={**os.environ, "OUVERT_HOME": str(home)},
    )  # fmt: skip
    try:
        line = next(line for line in process.stderr if line.startswith("Ready"))
        assert line.rstrip().endswith("Models: tiny, tiny+rude (unchecked, not gated)")
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def test_serve_offers_the_other_adapters_too_and_says_so(home):
    adapters = Adapters(home)
    adapters.note("loud", adapters.record("loud").digest, state="regression")
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, "serve", "tiny", "--adapter", "rude", "--port", "0", "--threads", "1"],
        stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, env={**os.environ, "OUVERT_HOME": str(home)},
    )  # fmt: skip
    try:
        line = next(line for line in process.stderr if line.startswith("Ready"))
        assert "tiny+loud (regression, not gated; refused without --allow), tiny+rude (unchecked, not gated)" in line
        assert next(process.stderr).startswith("Loaded at once: rude. Every other adapter of these models is offered")
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


# --- list, show, diff, remove ---


def test_the_list_says_base_state_and_origin(ouvert, home):
    lines = ouvert("adapter", "list").stdout.splitlines()
    assert lines[0].split() == ["NAME", "BASE", "STATE", "SIZE", "MADE", "FIGURES"]
    assert [line.split()[:4] for line in lines[1:]] == [
        ["loud", "tiny", "unchecked,", "not"], ["rude", "tiny", "unchecked,", "not"],
    ]  # fmt: skip
    assert lines[1].endswith("imported from peft")
    (home / "adapters" / "loud" / "ouvert.json").write_text("{")
    facts = json.loads(ouvert("adapter", "list", "--json").stdout)
    assert [(each["name"], each["shown"]) for each in facts["adapters"]] == [
        ("loud", "damaged"), ("rude", "unchecked, not gated"),
    ]  # fmt: skip
    assert "cannot be read" in facts["adapters"][0]["figures"]


def test_a_base_without_a_name_and_one_that_would_move_the_cursor(ouvert, home):
    for name, base in (("loud", None), ("rude", "x\x1b[2J\nrude  tiny  gated")):
        path = home / "adapters" / name / "ouvert.json"
        facts = json.loads(path.read_text())
        if base is None:
            del facts["base"]["name"]
        else:
            facts["base"] |= {"name": base, "weights": "sha256:" + "0" * 64}
        path.write_text(json.dumps(facts))
    for words in (["adapter", "list"], ["adapter", "show", "rude"], ["list"], ["doctor"]):
        said = ouvert(*words, status=None).stdout
        assert "\x1b" not in said
        assert not any(line.startswith("rude  tiny  gated") for line in said.splitlines())
    lines = ouvert("adapter", "list").stdout.splitlines()
    assert lines[1].split()[:2] == ["loud", "tiny"]  # what the weights are called here
    assert "x\\x1b[2J\\nrude  tiny  gated" in lines[2]
    assert "to use  ouvert run tiny+loud" in ouvert("adapter", "show", "loud").stdout
    assert "unnamed" not in ouvert("adapter", "list").stdout
    Store(home).remove("tiny")
    assert "unnamed (sha256:" in ouvert("adapter", "list").stdout


@pytest.mark.parametrize(
    ("words", "there", "not_there"),
    [
        (["adapter", "remove"], "--with-data", "prefix"),
        (["tune", "remove"], "--yes", "--rate"),
        (["tune", "status"], "--json", "--threads"),
        (["tune", "resume"], "--threads", "--precision"),
        (["tune", "log"], "--follow", "--epochs"),
        (["tune", "check"], "--show", "--cache"),
    ],
)
def test_help_shows_the_options_that_have_an_effect(ouvert, words, there, not_there):
    said = ouvert(*words, "--help").stdout
    assert there in said
    assert not_there not in said
    assert said.startswith(f"usage: ouvert {' '.join(words)}")


def test_an_option_on_computing_that_does_nothing_is_refused(ouvert):
    said = ouvert("tune", "status", "--precision", "4", "--threads", "1", status=2).stderr
    assert "tune status does nothing with --threads, --precision. Leave that out." in said


def test_a_list_of_none_says_how_to_come_by_one(ouvert, home):
    shutil.rmtree(home / "adapters")
    said = ouvert("adapter", "list").stdout
    assert "There is no adapter on this machine yet. `ouvert tune MODEL DATA` makes one" in said


def test_one_is_shown_with_its_card_its_check_and_what_was_allowed(ouvert, home):
    adapters = Adapters(home)
    record = adapters.note(
        "rude", adapters.record("rude").digest, state="regression", check=CHECK,
        source={"tuned": {"method": "sft", "examples": 1200, "trained_tokens": 54321}},
    )  # fmt: skip
    (record.path / "README.md").write_text("# A card\n\x1b[31mred")
    adapters.allow(record, "a demo")
    shown = ouvert("adapter", "show", "rude").stdout
    for line in (
        "state  regression, not gated",
        "from  sft, 1,200 examples, 54,321 trained tokens, worse: refusals",
        "to use  ouvert run tiny+rude",
        ": a demo",
        "# A card",
        record.digest,
    ):
        assert line in shown
    assert "\x1b" not in shown
    rows = [line.split() for line in shown.splitlines() if line.startswith(("refusals", "neutral_text"))]
    assert rows[0] == ["refusals", "worse", "0.94", "0.61", "-0.42", "to", "-0.24", "100"]
    assert rows[1] == ["neutral_text", "not", "measured", "-", "-", "0"]
    facts = json.loads(ouvert("adapter", "show", "rude", "--json").stdout)
    assert (facts["digest"], facts["check"], facts["allowed"][0]["reason"]) == (record.digest, CHECK, "a demo")


def test_two_are_compared_layer_by_layer_and_by_what_they_were_made_of(ouvert, home):
    (home / "adapters" / "loud" / "run").mkdir()
    (home / "adapters" / "loud" / "run" / "recipe.toml").write_text("[optimise]\nrate = 1e-4\n")
    found = json.loads(ouvert("adapter", "diff", "rude", "loud", "--json").stdout)
    [layer] = found["layers"]
    # gate and up: the same unit fires at another token, so nothing is common; down: towards the same token, away from
    # another, 0.1 · (1, −0.5): 0.01 of 0.0125 each.
    size = (1 + 1 + 0.0125) ** 0.5
    assert layer["layer"] == "layers.0"
    assert layer["first"] == layer["second"] == pytest.approx(size, abs=1e-6)
    assert layer["cosine"] == pytest.approx(0.01 / 2.0125, abs=1e-6)
    assert layer["apart"] == pytest.approx((2 * 2.0125 - 2 * 0.01) ** 0.5, abs=1e-6)
    assert found["recipes"] == [{"field": "optimise.rate", "first": None, "second": 1e-4}]
    same = json.loads(ouvert("adapter", "diff", "rude", "rude", "--json").stdout)
    assert (same["same_numbers"], same["layers"][0]["apart"], same["records"]) == (True, 0.0, [])
    assert "COSINE" in ouvert("adapter", "diff", "rude", "loud").stdout


def test_a_difference_needs_the_base(ouvert, home):
    Store(home).remove("tiny")
    assert "its base, tiny with the weights sha256:" in ouvert("adapter", "diff", "rude", "loud", status=1).stderr


def test_one_is_removed_when_its_owner_says_so(ouvert, home):
    assert "rude is kept. Say --yes" in ouvert("adapter", "remove", "rude", status=1).stderr
    assert Adapters(home).names() == ("loud", "rude")
    assert "removed rude: " in ouvert("adapter", "remove", "rude", "--yes").stdout
    assert Adapters(home).names() == ("loud",)
    assert "there is no adapter 'rude'" in ouvert("adapter", "remove", "rude", "--yes", status=1).stderr


def test_its_run_is_kept_until_that_is_asked_for_too(ouvert, home, speaking_adapter):
    run = home / "adapters" / "rude" / "run"
    (run / "checkpoint").mkdir(parents=True)
    (run / "data.jsonl").write_text("what a customer wrote")
    removed = ouvert("adapter", "remove", "rude", "--yes").stdout
    assert "Its run is kept: `ouvert adapter remove rude --with-data`" in removed
    assert (run / "data.jsonl").exists()
    assert "rude was removed, and its run was kept." in ouvert("adapter", "list").stdout
    assert "there is no adapter 'rude'" in ouvert("run", "tiny+rude", "hi", status=1).stderr
    ouvert("adapter", "remove", "rude", "--yes", "--with-data")
    assert not (home / "adapters" / "rude").exists()
    speaking_adapter(Store(home), "rude")
    assert answer(ouvert, "tiny+rude")["text"] == " model."


def test_with_its_data_go_the_prompts_that_adapters_computed_and_no_others(ouvert):
    prompt = "a long prompt " * 30

    def reused(name):
        return json.loads(ouvert("run", name, prompt, "--json").stdout)["usage"]["reused"]

    assert (reused("tiny"), reused("tiny+rude"), reused("tiny+loud")) == (0, 0, 0)
    assert min(reused("tiny"), reused("tiny+rude")) > 100
    removed = json.loads(ouvert("adapter", "remove", "rude", "--yes", "--with-data", "--json").stdout)
    assert removed["kept_prompts_removed"] > 0
    assert reused("tiny") > 100
    assert reused("tiny+loud") == 0
