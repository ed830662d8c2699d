"""Watching an answer while it is written: what comes, that it is true, and that the answer is the unwatched one."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tests.assistant.test_assistant import ScriptedEngine, ScriptedFormat
from tests.engine.test_other_caches import native_runner

import ouvert
from ouvert.assistant import Assistant, AssistantError, ChatRequest, Ledger, Probe, Watched, as_conversation
from ouvert.assistant.watching import Watcher, probe_facts
from ouvert.engine import Confidence, LocalEngine, Token, Vocabulary
from ouvert.inspection import Direction, InspectionError, write_direction
from ouvert.store import Directions, StoreError, default_home

ASKED = {"temperature": 0, "seed": 7, "max_tokens": 12}
QUESTION = "Name a colour."
SHOWN = {"embedding": 4, "layers.0.out": 4, "layers.1.out": 4}
SHOWN_OF_MIXTURE = {**SHOWN, "layers.1.experts.chosen": 2, "layers.1.experts.weights": 2}
PROBE = Probe(name="tone", layer=1, vector=(0.0, 0.0, 0.6, 0.8), threshold=1.0)


class Spelled:
    def bytes_of(self, token):
        return b"\xe2" if token == 9 else str(token).encode()


@pytest.fixture(scope="module")
def loaded(smollm2, tmp_path_factory):
    ledger = Ledger(tmp_path_factory.mktemp("ledger"), contents=True)
    with ouvert.load(smollm2, receipts=ledger, context=512) as model:
        yield model, ledger


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """A direction called tone of SmolLM2's shape, in the store of this user, at layer 12: (its vector, directions)."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    directions = Directions(default_home())
    vector = np.random.default_rng(4).standard_normal(576).astype(np.float32)
    facts = {"layer": 12, "threshold": 0.5, "format": "ouvert.direction/1"}
    directions.put("tone", lambda path: write_direction(Direction({12: vector}, facts), path))
    return vector, directions


def read(answer):
    events = list(answer)
    seen = [each for each in events if isinstance(each, Watched)]
    return seen, [each for each in events if not isinstance(each, Watched)]


def test_the_watched_answer_is_the_unwatched_one_and_is_replayed(loaded, stored):
    model, ledger = loaded
    plain = list(model.chat(QUESTION, **ASKED))
    seen, others = read(model.chat(QUESTION, watch=["confidence", "probe:tone"], **ASKED))
    assert others[:-1] == plain[:-1]
    watched, unwatched = others[-1].receipt, plain[-1].receipt
    assert watched["tokens"]["output_digest"] == unwatched["tokens"]["output_digest"]
    assert watched["sampling"] == unwatched["sampling"]
    assert "watched" not in unwatched
    assert len(seen) == watched["tokens"]["output"]
    entry = ledger.find("last")
    assert not model.verify(entry.receipt).changes
    assert model.replay(entry.receipt, contents=ledger.contents(entry.digest)).agrees


def test_what_was_seen_live_is_what_opening_the_answer_shows(loaded, stored):
    model, ledger = loaded
    seen, _ = read(model.chat(QUESTION, watch=["confidence", "probe:tone"], **ASKED))
    entry = ledger.find("last")
    trace = model.open(entry.receipt, ledger.contents(entry.digest), record=["layers.12.out"])
    view = trace.confidence()
    rows = {int(place): n for n, place in enumerate(view.places)}
    stream = trace["layers.12.out"]
    unit = stored[0] / np.linalg.norm(stored[0])
    for each in seen:
        n = rows[each.place]
        assert each.id == view.ids[n]
        assert each.confidence.logprob == view.logprobs[n]
        assert each.confidence.rank == view.ranks[n]
        assert each.confidence.entropy == pytest.approx(view.entropy[n], abs=1e-9)
        assert each.confidence.top == tuple(zip(view.alternative_ids[n], view.alternative_logprobs[n], strict=True))
        assert {str(token): text for token, text in each.texts.items()}.items() <= view.pieces.items()
        assert each.probes["tone"] == pytest.approx(float(stream[each.place - 1] @ unit), abs=1e-4)


def test_each_token_comes_before_its_text(loaded):
    model, _ = loaded
    said, told = "", ""
    for event in model.chat(QUESTION, watch=["confidence"], **ASKED):
        if isinstance(event, Watched):
            told += event.texts[event.id]
        elif isinstance(event, ouvert.TextDelta):
            said += event.text
            assert told.startswith(said)
    assert said


def test_the_receipt_has_a_summary_and_no_words(loaded, stored):
    model, _ = loaded
    seen, others = read(model.chat(QUESTION, watch=["confidence", "probe:tone"], **ASKED))
    summary = others[-1].receipt["watched"]
    assert summary["watch"] == ["confidence", "probe:tone"]
    assert summary["tokens"] == len(seen)
    mean = np.mean([each.confidence.logprob for each in seen])
    assert summary["confidence"]["mean_logprob"] == pytest.approx(mean, abs=1e-5)
    found = [each.probes["tone"] for each in seen]
    assert summary["probes"]["tone"]["highest"] == pytest.approx(max(found), abs=1e-5)
    assert summary["probes"]["tone"]["above"] == sum(each > 0.5 for each in found)
    text = json.dumps(summary)
    assert not any(each.texts[each.id].strip() in text for each in seen if len(each.texts[each.id].strip()) > 3)


def test_what_the_model_does_not_have_is_refused_by_name_with_what_it_has(loaded, stored):
    model, _ = loaded
    with pytest.raises(AssistantError, match=r"watching experts: .* has none. .*confidence and probe:NAME"):
        model.chat(QUESTION, watch=["experts"])
    with pytest.raises(AssistantError, match=r"watching 'expert': .*confidence, probe:NAME"):
        model.chat(QUESTION, watch=["expert"])
    with pytest.raises(StoreError, match=r"no direction 'tune' .*tone"):
        model.chat(QUESTION, watch=["probe:tune"])


def test_a_direction_of_another_model_is_refused(loaded, stored):
    model, _ = loaded
    other = Direction({3: np.ones(64, np.float32)}, {"format": "ouvert.direction/1"})
    stored[1].put("other", lambda path: write_direction(other, path))
    with pytest.raises(AssistantError, match=r"probe:other: .*64 numbers after layer 3.*30 layers of 576"):
        model.chat(QUESTION, watch=["probe:other"])


def test_a_direction_that_is_no_direction_is_refused(loaded, stored):
    (stored[1].folder / "bad.direction").write_bytes(b"\x80\x04pickle")
    with pytest.raises((InspectionError, ouvert.CheckpointError)):
        loaded[0].chat(QUESTION, watch=["probe:bad"])


@pytest.mark.parametrize("watch", ["confidence", 3, [3], [None], ["confidence"] * 17, {"confidence": 1}.values])
def test_what_is_no_list_of_names_is_refused(loaded, watch):
    with pytest.raises(AssistantError, match=r"watching an answer: .*expected"):
        loaded[0].chat(QUESTION, watch=watch)


def test_nothing_can_be_watched_where_another_program_computes():
    with pytest.raises(AssistantError, match="tiny: another program computes it"):
        Watcher(["confidence"], {}, "tiny")


def test_a_probe_that_is_named_alone_is_refused_where_no_directions_are_known():
    with pytest.raises(AssistantError, match=r"expected an ouvert\.assistant\.Probe"):
        Watcher(["probe:tone"], SHOWN, "tiny")


def test_experts_are_told_with_the_entropy_of_their_weights():
    watcher = Watcher(["experts", PROBE], SHOWN_OF_MIXTURE, "tiny")
    assert watcher.asked.names == {"layers.1.experts.chosen", "layers.1.experts.weights", "layers.1.out"}
    assert not watcher.asked.confidence
    seen = {
        "layers.1.experts.chosen": np.array([3, 0], np.int32),
        "layers.1.experts.weights": np.array([1.5, 1.5], np.float32),  # need not add up to 1
        "layers.1.out": np.array([5, 5, 1, 1], np.float32),
    }
    watched = watcher.saw(7, Token(9, seen=seen), Spelled())
    assert (watched.experts.layers, watched.experts.chosen.tolist()) == ((1,), [[3, 0]])
    assert watched.experts.entropy.tolist() == pytest.approx([np.log(2)])
    assert watched.probes == {"tone": pytest.approx(1.4)}
    assert (watched.place, watched.texts, watched.confidence) == (7, {9: "\\xe2"}, None)
    summary = watcher.summary
    assert summary["experts"] == {"mean_entropy": pytest.approx(np.log(2), abs=1e-5)}
    assert summary["probes"]["tone"]["above"] == 1


def test_a_probe_without_a_threshold_counts_nothing_as_above():
    facts = probe_facts(Probe(name="tone", layer=1, vector=(1.0,)), [1.0, 3.0])
    assert (facts["threshold"], facts["mean"], "above" in facts) == (None, 2.0, False)


def test_an_answer_without_tokens_has_a_summary_without_numbers():
    assert Watcher(["confidence"], SHOWN, "tiny").summary == {"watch": ["confidence"], "tokens": 0}


@pytest.mark.parametrize("family", ["gpt_oss", "deepseek_v3"])
def test_a_mixture_tells_the_experts_that_a_look_inside_finds(family):
    """From the engine to the event: layers that have experts, at the place before each token."""
    engine = LocalEngine(native_runner(family), 512, lambda: ScriptedEngine.facts)
    vocabulary = Vocabulary([bytes([65 + n]) for n in range(engine.vocabulary_size)], frozenset(), lambda text: [0])
    assistant = Assistant(engine, ScriptedFormat({}), "tiny", "sha256:" + "0" * 64, lambda: vocabulary)
    asked = ChatRequest(conversation=as_conversation("Hi"), watch=("experts",), sampling={"seed": 3, "max_tokens": 9})
    seen, others = read(assistant.answer(asked))
    plain = list(assistant.answer(replace(asked, watch=())))
    ids = [1, 2, 3, *(each.id for each in seen)]
    assert others[-1].receipt["tokens"]["output_digest"] == plain[-1].receipt["tokens"]["output_digest"]
    layers = seen[0].experts.layers
    assert layers == tuple(n for n in range(4) if f"layers.{n}.experts.chosen" in engine.shown)
    names = [f"layers.{n}.experts.{part}" for n in layers for part in ("chosen", "weights")]
    with engine.watching(names) as watching:
        watching.step([(watching.new_sequence(len(ids)), np.array(ids, np.int32))], "all")
        for each in seen:
            for row, n in enumerate(layers):
                np.testing.assert_array_equal(
                    each.experts.chosen[row], watching.seen(f"layers.{n}.experts.chosen")[each.place - 1]
                )
                weights = watching.seen(f"layers.{n}.experts.weights")[each.place - 1].astype(np.float64)
                shares = weights / weights.sum()
                assert each.experts.entropy[row] == pytest.approx(-(shares * np.log(shares)).sum(), abs=1e-5)
    engine.close()


def test_tokens_that_are_not_the_likeliest_are_counted():
    watcher = Watcher(["confidence"], SHOWN, "tiny")
    for rank in (1, 3, 1):
        watcher.saw(1, Token(1, confidence=Confidence(-1.0, rank, 2.0, ((1, -1.0),))), Spelled())
    assert watcher.summary["confidence"] == {"mean_logprob": -1.0, "mean_entropy": 2.0, "not_likeliest": 2 - 1}
