"""Adapters of a loaded model: asked for by name, held to what they were made for, in receipts and replays."""

import json
import shutil

import numpy as np
import pytest

import ouvert
from ouvert.arithmetic import LowRank
from ouvert.assistant import BASE, AssistantError, EngineError, Ledger, LedgerError, PageFiles, Variant
from ouvert.engine import ScaledAdapter
from ouvert.packed import Adapter
from ouvert.store import AdapterProbe, Store, StoreError

HELLO, RUDE = "Hello from a tiny model.", " model."
OTHER = "sha256:" + "0" * 64


@pytest.fixture(scope="module")
def kept(tmp_path_factory, speaking_adapter):
    """A store with the adapters `rude`, which begins every answer otherwise, and `loud`, which goes on otherwise."""
    store = Store(tmp_path_factory.mktemp("adapters"))
    speaking_adapter(store, "rude")
    speaking_adapter(store, "loud", after="Hello", as_after=" tiny")
    return store


@pytest.fixture
def store(kept, tmp_path):
    """A copy of that, to be spoilt."""
    shutil.copytree(kept.home, tmp_path / "store")
    return Store(tmp_path / "store")


@pytest.fixture
def loaded(store, speaking_model):
    """loaded("+rude", ...) -> the model, closed at the end."""
    made = []

    def load(adapters="", **settings):
        settings = {"receipts": False, "prefixes": False, "threads": 1, **settings}
        made.append(ouvert.load(f"{speaking_model()}{adapters}", store=store, **settings))
        return made[-1]

    yield load
    for model in made:
        model.close()


def said(model, **settings):
    *deltas, finished = model.chat("hi", **settings)
    return "".join(each.text for each in deltas), finished


# --- asked for by name ---


def test_a_model_answers_with_the_adapters_in_its_name(loaded):
    model = loaded("+rude")
    assert said(model)[0] == RUDE
    assert model.info.adapters == ("rude",)
    assert model.called == "tiny+rude"


def test_a_call_names_other_adapters_or_none(loaded):
    model = loaded()
    assert said(model)[0] == HELLO
    assert said(model, adapter="rude")[0] == RUDE
    assert said(model, adapter=["loud"])[0] == "Hello model."
    assert said(model, adapter=("rude", "loud"))[0] == RUDE
    assert said(loaded("+rude"), adapter=())[0] == HELLO


def test_whatever_computes_takes_the_adapters_of_the_model(loaded):
    bare, adapted = loaded(), loaded("+rude")
    ids = bare.render("hi").ids
    variant = adapted.variant
    assert variant.adapters
    assert not np.array_equal(adapted.logits(ids), bare.logits(ids))
    assert np.array_equal(adapted.logits(ids), adapted.engine.logits(ids, variant))
    assert [*adapted.generate(ids, max_tokens=2, temperature=0)] != [*bare.generate(ids, max_tokens=2, temperature=0)]
    assert adapted.score(ids) == adapted.engine.score(ids, variant=variant)
    assert adapted.read(["hi\n"]) != bare.read(["hi\n"])
    *_, finished = adapted.continue_text("hi\n", max_tokens=1)
    assert finished.receipt["engine"]["variant"] == variant.digest
    trace = adapted.trace(text="hi\n", record="logits")
    assert trace.json()["model"]["variant"] == variant.digest


def test_answers_with_and_without_are_written_together_and_as_they_are_alone(loaded):
    model = loaded()
    alone = {adapters: said(model, adapter=adapters)[0] for adapters in ((), ("rude",), ("loud",), ("loud", "rude"))}
    answers = [(adapters, model.chat("hi", adapter=adapters)) for adapters in (*alone, *alone)]
    for adapters, answer in answers:
        assert "".join(getattr(event, "text", "") for event in answer) == alone[adapters]


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["nothing"], "there is no adapter 'nothing' on this machine .there are: loud, rude."),
        (["rude", "rude"], "rude is named twice"),
        (["../rude"], "an adapter cannot be called '../rude'"),
        ([""], "an adapter cannot be called ''"),
    ],
)
def test_a_name_that_is_none_is_refused_and_the_model_goes_on(loaded, names, sentence):
    model = loaded()
    with pytest.raises(StoreError, match=sentence):
        model.chat("hi", adapter=names)
    assert said(model)[0] == HELLO


def test_a_model_whose_adapter_cannot_be_loaded_is_closed_again(store, speaking_model):
    store.adapters.note("rude", store.adapters.record("rude").digest, probe=None)
    with pytest.raises(StoreError, match="reading the probe of an adapter"):
        ouvert.load(f"{speaking_model()}+rude", store=store, receipts=False, prefixes=False, threads=1)


# --- what an adapter is held to ---


def change_record(store, **changes):
    path = store.adapters.folder / "rude" / "ouvert.json"
    facts = json.loads(path.read_text())
    for name, value in changes.items():
        first, _, last = name.partition("__")
        if last:
            facts[first][last] = value
        else:
            facts[first] = value
    path.write_text(json.dumps(facts))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"base__weights": OTHER}, rf"made for tiny with the weights {OTHER}, and tiny has sha256:\w+"),
        ({"base__tokenizer": OTHER}, rf"the tokenizer {OTHER}, and tiny has sha256:\w+ now"),
        ({"base__format": OTHER}, rf"the chat format {OTHER}, and tiny has sha256:\w+ now.*--template"),
        ({"base__stop_ids": [1]}, r"the ends of an answer \[1\], and tiny has \[256, 258\] now"),
        ({"digest": OTHER}, rf"its numbers have the digest sha256:\w+, and its record says {OTHER}"),
        ({"probe": None}, "reading the probe of an adapter"),
    ],
)
def test_an_adapter_of_something_else_is_refused_with_both(loaded, store, changes, sentence):
    model = loaded()
    change_record(store, **changes)
    with pytest.raises(StoreError, match=sentence):
        model.chat("hi", adapter="rude")
    assert said(model)[0] == HELLO
    assert said(model, adapter="loud")[0] == "Hello model."


def test_damaged_files_are_an_error_that_names_them(loaded, store):
    model = loaded()
    path = store.adapters.folder / "rude" / "adapter_model.safetensors"
    data = bytearray(path.read_bytes())
    data[-3] ^= 0x40
    path.write_bytes(data)
    with pytest.raises(StoreError, match="loading the adapter rude: its numbers have the digest"):
        model.chat("hi", adapter="rude")
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(
        StoreError, match=r"loading the adapter rude: .*adapter_model\.safetensors.*adapter remove rude"
    ):
        model.chat("hi", adapter="rude")
    path.unlink()
    with pytest.raises(StoreError, match=r"loading the adapter rude: .*adapter_model\.safetensors"):
        model.chat("hi", adapter="rude")
    assert said(model)[0] == HELLO


def test_an_adapter_that_answers_otherwise_than_its_probe_is_refused(loaded, store):
    """Another bit with the same build; another build rounds otherwise, and is asked louder."""
    model = loaded()
    probe = AdapterProbe.read(store.adapters.record("rude").facts["probe"])
    facts = probe.facts()
    off = [(each + 2**-9).hex() for each in probe.adapted]
    change_record(store, probe={**facts, "adapted": off})
    with pytest.raises(StoreError, match=r"with rude, the log-probabilities .* expected the same bits"):
        model.chat("hi", adapter="rude")
    far = [(each + 0.2).hex() for each in probe.adapted]
    elsewhere = {**facts, "adapted": far, "numbers": {**facts["numbers"], "build": OTHER}}
    change_record(store, probe=elsewhere)
    assert said(model, adapter="rude")[0] == RUDE


@pytest.mark.parametrize("wrong", [2.0, 0.5])
def test_another_build_that_puts_an_adapter_on_otherwise_is_refused(loaded, store, monkeypatch, wrong):
    """The scale forgotten, or taken twice: it changes something all the same."""
    model = loaded()
    facts = store.adapters.record("rude").facts["probe"]
    change_record(store, probe={**facts, "numbers": {**facts["numbers"], "build": OTHER}})
    score = model.engine.score_all

    def mistaken(texts, *, variant, **rest):
        return score(
            texts, variant=Variant(tuple(ScaledAdapter(e.digest, e.scale * wrong) for e in variant.adapters)), **rest
        )

    with monkeypatch.context() as planted:
        planted.setattr(model.engine, "score_all", mistaken)
        with pytest.raises(StoreError, match=r"with rude times \d+, .* as far as roundings take them"):
            model.chat("hi", adapter="rude")
    assert said(model, adapter="rude")[0] == RUDE


def test_an_adapter_that_the_engine_ignores_is_refused(loaded, store, monkeypatch):
    """The fault of others: HTTP 200, and the bare model's answer."""
    model = loaded()
    score = model.engine.score_all
    monkeypatch.setattr(model.engine, "score_all", lambda texts, *_, variant, **rest: score(texts, **rest))
    with pytest.raises(StoreError, match=r"with and without the adapter rude .* it changes nothing"):
        model.chat("hi", adapter="rude")


def test_an_adapter_with_which_nothing_is_computed_is_not_kept(loaded, store):
    model = loaded()
    name, weight = next(iter(model.opened.model.adaptable.items()))
    huge = LowRank(np.ones((1, weight.columns), np.float32), np.full((weight.rows, 1), 3e38, np.float32), 1e29)
    with pytest.raises(StoreError, match=r"trying the adapter: .* NaN or infinite, expected numbers.*alpha"):
        model.adapters.keep("huge", Adapter({name: huge}), {})
    assert store.adapters.names() == ("loud", "rude")


def test_an_adapter_that_changes_nothing_is_not_kept(loaded, store):
    model = loaded()
    name, weight = next(iter(model.opened.model.adaptable.items()))
    nothing = LowRank(np.ones((1, weight.columns), np.float32), np.zeros((weight.rows, 1), np.float32), 1.0)
    with pytest.raises(StoreError, match="it changes nothing"):
        model.adapters.keep("empty", Adapter({name: nothing}), {})
    assert store.adapters.names() == ("loud", "rude")


def test_another_precision_of_the_same_weights_takes_the_adapter(loaded):
    assert said(loaded("@8+rude"))[0] == RUDE


def test_another_template_does_not(loaded):
    with pytest.raises(StoreError, match=r"the chat format .* --template"):
        loaded("+rude", template="builtin:llama3")


def test_what_computes_elsewhere_has_no_adapters(loaded):
    model = loaded()
    model.adapters._opened = type("Elsewhere", (), {"model": None})()
    with pytest.raises(EngineError, match="another program computes tiny"):
        model.chat("hi", adapter="rude")


def test_a_model_without_a_store_has_none(loaded):
    model = loaded()
    model.adapters._kept = None
    with pytest.raises(AssistantError, match="it was loaded without a store"):
        model.chat("hi", adapter="rude")


# --- while the model is loaded ---


def test_a_name_may_go_to_other_numbers_while_the_model_is_loaded(loaded, store, speaking_adapter, tmp_path):
    model = loaded(prefixes=PageFiles(tmp_path / "pages", quota=10**8))
    long = "hi " * 100
    first = [*model.chat(long, adapter="rude")]
    assert said(model, adapter="rude")[0] == RUDE
    digest = model.adapters.variant(["rude"]).adapters[0].digest
    store.adapters.remove("rude")
    with pytest.raises(StoreError, match="there is no adapter 'rude'"):
        model.chat("hi", adapter="rude")
    model.adapters.let_go()
    speaking_adapter(store, "rude", as_after=" from")
    again = [*model.chat(long, adapter="rude")]
    assert "".join(each.text for each in again[:-1]) == " a tiny model."
    assert first[-1].receipt["adapters"][0]["digest"] == digest != again[-1].receipt["adapters"][0]["digest"]
    assert again[-1].usage.reused == 0  # what the other numbers computed of the same prompt is never used
    assert [*model.chat(long, adapter="rude")][-1].usage.reused > 0


def test_an_answer_under_way_keeps_its_adapter(loaded, store):
    model = loaded()
    answer = iter(model.chat("hi", adapter="loud"))
    first = next(answer)
    store.adapters.remove("loud")
    model.adapters.let_go()
    assert first.text + "".join(getattr(event, "text", "") for event in answer) == "Hello model."


def test_the_same_numbers_under_another_name_are_no_less_known(loaded, store):
    """A regression is not shed by bringing the adapter in once more."""
    model = loaded()
    record = store.adapters.note("rude", store.adapters.record("rude").digest, state="regression", check={"why": ["x"]})
    [(adapter, _)] = model.adapters.read(model.adapters.variant(["rude"]))
    again = model.adapters.keep("polite", adapter, {"imported": {"from": "peft"}})
    assert (again.digest, again.state, again.facts["check"]) == (record.digest, "regression", {"why": ["x"]})


# --- receipts ---


def test_receipts_and_fingerprints_say_which_adapters_and_their_state(loaded, store):
    model = loaded("+rude")
    record = store.adapters.record("rude")
    _, finished = said(model)
    assert finished.receipt["adapters"] == [{"name": "rude", "state": "unchecked", "digest": record.digest}]
    store.adapters.note("rude", record.digest, state="regression")
    assert said(model)[1].receipt["adapters"][0]["state"] == "regression"
    assert "adapters" not in said(model, adapter=())[1].receipt
    assert model.fingerprint == model.fingerprint_of(model.variant) != model.fingerprint_of(BASE)
    assert model.adapters.state(model.variant) == "regression"
    assert model.adapters.state(BASE) is None


@pytest.mark.parametrize("contents", [True, False])
def test_an_answer_is_replayed_with_its_adapter_by_whatever_model_is_loaded(loaded, tmp_path, contents):
    ledger = Ledger(tmp_path / "ledger", contents=contents)
    writer = loaded("+rude", receipts=ledger)
    _, finished = said(writer, adapter=("loud", "rude"))
    said_then = ledger.contents(ledger.find("last").digest) if contents else None
    for model in (loaded(), loaded("+rude")):
        given = {"contents": said_then} if contents else {"messages": "hi"}
        again = model.replay(finished.receipt, **given)
        assert (again.agrees, again.changes) == (True, ())
        opened = model.open(finished.receipt, **given)
        assert opened.json()["model"]["variant"] == finished.receipt["engine"]["variant"]
    with pytest.raises(LedgerError, match="computed by the variant sha256"):
        loaded().replay(finished.receipt, messages="hi", variant=Variant())


def test_without_its_adapter_an_answer_is_not_replayed(loaded, store, speaking_adapter):
    _, finished = said(loaded("+rude"))
    was = finished.receipt["adapters"][0]["digest"]
    store.adapters.remove("rude")
    with pytest.raises(LedgerError, match=rf"written with adapter {was}.*there are: loud sha256"):
        loaded().replay(finished.receipt, messages="hi")
    speaking_adapter(store, "rude", as_after=" from")
    now = store.adapters.record("rude").digest
    with pytest.raises(LedgerError, match=rf"written with adapter {was}.*rude {now}"):
        loaded().replay(finished.receipt, messages="hi")


def test_verifying_says_whether_the_adapter_is_still_what_it_was(loaded, store, speaking_adapter):
    _, finished = said(loaded("+rude"))
    was = finished.receipt["adapters"][0]["digest"]
    found = loaded().verify(finished.receipt)
    assert found.fields["adapters.rude"]
    assert found.same_model
    store.adapters.remove("rude")
    assert [(each.was, each.now) for each in loaded().verify(finished.receipt).changes] == [(was, None)]
    speaking_adapter(store, "rude", as_after=" from")
    changed = loaded().verify(finished.receipt)
    assert [(each.was, each.now) for each in changed.changes] == [(was, store.adapters.record("rude").digest)]
    assert not changed.same_model


def test_a_receipt_with_adapters_that_are_none_is_refused(loaded):
    model = loaded("+rude")
    _, finished = said(model)
    for adapters in (["rude"], [{"name": "rude"}], [{"digest": "x"}], {}):
        with pytest.raises(LedgerError, match=r"adapters"):
            model.replay({**finished.receipt, "adapters": adapters}, messages="hi")


def test_all_adapters_of_this_machine_are_listed(store, kept):
    assert [each.name for each in ouvert.adapters(store)] == ["loud", "rude"]
