"""The check of an adapter: what it writes into the adapter's record and folder, of a real model with small adapters."""

import json
import os

import numpy as np
import pytest
from tests.evaluation.checking.made_up import few_questions

import ouvert
import ouvert.evaluation
from ouvert.arithmetic import LowRank
from ouvert.cli import main
from ouvert.cli.adapter_check import (
    HowToCheck,
    KeptApart,
    check_adapter,
    held_out_of,
    kept_apart_of,
    not_checked,
    prompts_of,
    start_of_answer,
)
from ouvert.models import adaptable
from ouvert.packed import Adapter, write_peft
from ouvert.store import Store
from ouvert.tuning import Example, Labelled, Preference, Prompt
from ouvert.tuning.data import Counts, Dataset
from ouvert.tuning.kept_data import write_data


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    few_questions(monkeypatch, tmp_path)
    monkeypatch.setenv("OUVERT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OUVERT_GUARD", "off")  # the guard stays with a process once it is up


@pytest.fixture
def store(tmp_path, smollm2) -> Store:
    made = Store(tmp_path / "home")
    made.pull(str(smollm2), name="real")
    return made


@pytest.fixture
def put(store):
    """put(name, size): an adapter that adds so much to one weight, with its record."""

    def made(name, size):
        with ouvert.load("real", store=store, receipts=False, prefixes=False, context=512) as model:
            weight, random = adaptable(model.opened.model)["layers.9.down"], np.random.default_rng(3)
            a = random.normal(size=(2, weight.columns)).astype("f4") / weight.columns**0.5
            b = random.normal(size=(weight.rows, 2)).astype("f4") * size
            adapter = Adapter({"layers.9.down": LowRank(a, b, 1.0)})
            model.engine.adapters.add(adapter)
            facts = {
                "adapter": 1, "digest": adapter.digest, "state": "unchecked", "base": model.adapters.base,
                "source": {"imported": {}}, "made": "2026-11-30T12:00:00Z", "ouvert": "0",
                "probe": model.adapters.probe(adapter.digest).facts(), "check": None,
            }  # fmt: skip

            def write(folder):
                write_peft(adapter, folder, model.opened.model)
                (folder / "ouvert.json").write_text(json.dumps(facts))

            store.adapters.put(name, write)
        return store.adapters.record(name)

    return made


def check(name, apart=None):
    return check_adapter(name, apart or KeptApart(), HowToCheck(computing={"threads": 2}))


def test_a_small_change_is_checked_and_a_large_one_is_a_regression_each_in_its_record(store, put):
    small = put("small", 1e-3)
    report = check("small")
    now = store.adapters.record("small")
    assert report.state == now.state == "checked"
    assert now.facts["check"]["plan"] == report.plan
    assert report.binds == {"base": small.base["weights"], "adapter": small.digest, "format": small.base["format"]}
    assert [each.where for each in report.observations] == ["layers.9"]
    files = {each.name for each in (small.path / "run").iterdir()}
    assert {"check", "check.json", "check.html", "check.md"} <= files

    put("large", 30.0)
    worse = check("large")
    assert worse.state == store.adapters.record("large").state == "regression"
    assert {"neutral_en", "neutral_fr"} <= set(worse.why)
    assert worse.known == report.questions  # the base was not asked again
    assert len(list((store.home / "checks").iterdir())) == 1


def test_the_command_says_the_verdict_with_its_figures_and_exits_with_it(store, put, capsys):
    put("small", 1e-3)
    assert main(["adapter", "test", "small"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("No regression found. The adapter is checked, not gated.")
    assert "neutral English text: loss" in said
    assert str(store.adapters.record("small").path / "run/check.html") in said
    assert main(["adapter", "test", "small", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "checked"
    put("large", 30.0)
    assert main(["adapter", "test", "large", "--lang", "fr"]) == 1
    assert "Regression found" in capsys.readouterr().out
    assert '<html lang="fr">' in (store.adapters.record("large").path / "run/check.html").read_text()


def test_an_adapter_that_does_not_compute_as_it_did_is_a_regression_and_asks_nothing(store, put):
    record = put("small", 1e-3)
    facts = json.loads((record.path / "ouvert.json").read_text())
    facts["probe"]["adapted"] = facts["probe"]["adapted"][::-1]
    (record.path / "ouvert.json").write_text(json.dumps(facts))
    report = check("small")
    assert (report.state, report.why, report.questions) == ("regression", ("integrity",), 0)
    assert not report.integrity.holds
    assert store.adapters.record("small").state == "regression"
    assert not (store.home / "checks").exists()


def test_an_interrupted_check_leaves_the_state_and_says_how_to_go_on(store, put, capsys, monkeypatch):
    put("small", 1e-3)

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ouvert.evaluation, "check", interrupted)
        with pytest.raises(KeyboardInterrupt):
            check("small")
    assert "ouvert adapter test small` goes on from here" in capsys.readouterr().err
    assert store.adapters.record("small").state == "unchecked"
    assert check("small").state == "checked"


def test_that_nobody_asked_for_a_check_is_recorded(store, put):
    put("small", 1e-3)
    not_checked("small", "--no-check")
    record = store.adapters.record("small")
    assert record.state == "unchecked"
    assert record.facts["check"] == {"state": "unchecked", "why": ["--no-check"]}


def test_the_time_of_a_check_is_foreseen_without_asking(smollm2):
    with ouvert.load(smollm2, receipts=False, prefixes=False, context=512) as model:
        assert 0 < ouvert.evaluation.check_seconds(model) < 3600


@pytest.mark.parametrize("wanted", [True, False])
def test_a_run_checks_what_it_made_with_its_own_examples_unless_it_is_told_not_to(
    speaking_model, tmp_path, capsys, monkeypatch, wanted
):
    monkeypatch.setattr(os, "nice", lambda by: 0)  # it would stay low for every test after this one
    said = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "again from a tiny model."}]
    lines = [json.dumps({"messages": [{**said[0], "content": f"Hello {n}"}, said[1]]}) for n in range(40)]
    (tmp_path / "greetings.jsonl").write_text("\n".join(lines))
    words = ["tune", str(speaking_model()), str(tmp_path / "greetings.jsonl"), "--yes", "--steps", "4", "--rank", "2"]
    status = main([*words, "--threads", "1", "--json", *([] if wanted else ["--no-check"])])
    made = json.loads(capsys.readouterr().out)
    if wanted:
        findings = {each["measure"]: each for each in made["check"]["findings"]}
        assert findings["held_out"]["n"] > 0
        assert made["check"]["state"] == made["state"] != "unchecked"
        assert status == (1 if made["state"] == "regression" else 0)
    else:
        assert (status, made["state"], made["check"]["why"]) == (0, "unchecked", ["--no-check"])


# --- examples that were kept apart ---


def example(ids, trained):
    return Example(np.array(ids, "i4"), np.array(trained, "f4"), 1)


def test_the_answer_is_the_last_run_of_trained_tokens():
    assert start_of_answer(example([1, 2, 3, 4, 5, 6], [0, 1, 0, 1, 1, 0])) == 3
    assert start_of_answer(example([1, 2], [0, 1])) == 1


def test_every_kind_of_item_gives_its_wanted_answer():
    wanted, other = example([1, 2, 3], [0, 1, 1]), example([1, 2, 4], [0, 1, 1])
    items = [wanted, Preference(wanted, other), Labelled(wanted, True), Labelled(other, False)]
    assert [each.ids for each in held_out_of(items)] == [(1, 2, 3)] * 3
    assert list(held_out_of([Prompt(np.array([1, 2], "i4"), {"answer": "4"}, 1)])) == []


def test_prompts_are_what_stands_before_the_answer_each_once(smollm2):
    with ouvert.load(smollm2, receipts=False, prefixes=False, context=512) as model:
        ids, answer = model.tokenize("One two three four five"), model.tokenize(" six seven")
        trained = [0] * len(ids) + [1] * len(answer)
        items = [example([*ids, *answer], trained)] * 2
        [prompt] = prompts_of(items, model)
        assert (prompt.ids, prompt.prompt, prompt.wanted) == (tuple(ids), "One two three four five", " six seven")
        [asked] = prompts_of([Prompt(np.array(ids, "i4"), {"answer": "42"}, 1)], model)
        assert asked.wanted == "42"
        whole_text = example(ids, [0] + [1] * (len(ids) - 1))
        assert list(prompts_of([whole_text], model)) == []


def test_the_data_of_a_run_is_found_again_and_that_of_another_is_not(store, put):
    record = put("small", 1e-3)
    assert kept_apart_of(store, record) == KeptApart()
    made, counts = example([1, 2, 3], [0, 1, 1]), Counts(rows=1, items=1, held_out=1, tokens=3, trained=2)
    data = Dataset(train=(made,), held_out=(made,), counts=counts, digest="sha256:1", notes=())
    (record.path / "run").mkdir()
    write_data(record.path / "run" / "data.safetensors", data)
    for digest, method, found in (("sha256:1", "sft", 1), ("sha256:1", "dpo", 1), ("sha256:2", "sft", 0)):
        source = {"tuned": {"data": digest, "method": method}}
        apart = kept_apart_of(store, store.adapters.note("small", record.digest, source=source))
        assert len(apart.items) == found
        assert apart.learns_likelihood is (method == "sft")
