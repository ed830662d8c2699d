"""`ouvert.tune`: from a file of examples to a model that answers with its adapter."""

import json

import pytest

import ouvert
from ouvert.store import Store
from ouvert.tuning import Runs


def conversation(n):
    words = ["Hello from a tiny model.", "again", "from a model", "a tiny tiny model"]
    return {"messages": [{"role": "user", "content": f"again {n}"}, {"role": "assistant", "content": words[n % 4]}]}


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "tickets.jsonl"
    path.write_text("".join(json.dumps(conversation(n)) + "\n" for n in range(24)))
    return path


QUICK = {"steps": 4, "rank": 2, "rate": 0.01, "threads": 1}


def test_a_model_is_taught_and_answers_with_what_it_learnt(speaking_model, data, tmp_path):
    store, plans, rows = Store(tmp_path / "home"), [], []
    record = ouvert.tune(
        speaking_model(), data, name="tickets", store=store, plan=lambda plan: plans.append(plan) or True,
        progress=rows.append, **QUICK,
    )  # fmt: skip
    assert record.state == "unchecked"
    assert plans[0].course.steps == 4
    assert [row["step"] for row in rows if "loss" in row] == [1, 2, 3, 4]
    assert store.adapters.record("tickets").digest == record.digest
    with ouvert.load(f"{speaking_model()}+tickets", store=store, threads=1, receipts=False, prefixes=False) as model:
        finished = list(model.chat("again"))[-1]
    assert finished.receipt["adapters"][0]["digest"] == record.digest


def test_a_plan_that_is_not_agreed_to_trains_nothing(speaking_model, data, tmp_path):
    store = Store(tmp_path / "home")
    assert ouvert.tune(speaking_model(), data, name="x", store=store, plan=lambda plan: False, **QUICK) is None
    assert store.adapters.names() == ()
    assert Runs(store.home).names() == ()


def test_the_same_call_goes_on_and_another_is_refused(speaking_model, data, tmp_path):
    class StoppedError(Exception):
        pass

    def stopping(row):
        if row["step"] == 2 and "loss" in row:
            raise StoppedError

    store, other = Store(tmp_path / "home"), Store(tmp_path / "other")
    whole = ouvert.tune(speaking_model(), data, name="tickets", store=other, **QUICK)
    with pytest.raises(StoppedError):
        ouvert.tune(speaking_model(), data, name="tickets", store=store, progress=stopping, **QUICK)
    with pytest.raises(ouvert.TuningError, match=r"unfinished run of that name has another recipe"):
        ouvert.tune(speaking_model(), data, name="tickets", store=store, **QUICK | {"rank": 3})
    record = ouvert.tune(speaking_model(), data, name="tickets", store=store, **QUICK)
    assert record.digest == whole.digest


def test_an_option_that_there_is_not_is_an_error(speaking_model, data, tmp_path):
    with pytest.raises(TypeError, match="no option 'epoch', expected some of method, minutes"):
        ouvert.tune(speaking_model(), data, name="x", store=Store(tmp_path), epoch=3)
