"""Variants through the whole chain: from what is asked of a model to its receipt, its replay and its fingerprint.

At the runner's interface stands one for which another checkpoint of the same vocabulary computes each variant, and
wants to say something else. Real edits and adapters: tests/engine/test_edited.py, test_adapters.py beside this file.
"""

from dataclasses import replace

import numpy as np
import pytest

import ouvert
from ouvert.arithmetic import Ops
from ouvert.assistant import ChatRequest, Ledger, LedgerError, PageFiles, TextRequest, as_conversation
from ouvert.assistant.receipts.contents import read_contents
from ouvert.engine import BASE, Edit, EngineError, ScaledAdapter, Variant, loading
from ouvert.engine.runners.nonfinite import in_numpy
from ouvert.engine.runners.numpy_runner import NumpyRunner
from ouvert.engine.runners.open_runner import ModelRunner
from ouvert.packed import open_model
from ouvert.store import AdapterRecord, Store

END = "<|im_end|>"
SAYS = {
    BASE: {"\n": "one", "one": " two", " two": " three", " three": END},
    Variant((ScaledAdapter("sha256:" + "a" * 64, 0.5),)): {"\n": " two", " two": "one", "one": " three", " three": END},
    Variant((), (Edit(operation="zero", tap="layers.0.out"),)): {
        "\n": " three",
        " three": "one",
        "one": END,
        " two": END,
    },
}
TEXTS = dict(zip(SAYS, ("one two three", " twoone three", " threeone"), strict=True))
ALL = tuple(SAYS)
QUESTION = "How do you count? " * 10  # a token a byte: long enough to be kept on disk


class VariantRunner(NumpyRunner):
    """A model of its own computes each variant."""

    def __init__(self, models, ops):
        super().__init__(models[BASE], ops)
        self.models = models

    def check_variant(self, variant):
        if variant not in self.models:
            super().check_variant(variant)

    def new_sequence(self, capacity, variant=BASE):
        self.check_variant(variant)
        sequence = super().new_sequence(capacity)
        sequence.variant = variant
        return sequence

    def step(self, work, wanted):
        wishes = [wanted] * len(work) if isinstance(wanted, str) else wanted
        rows = []
        for (sequence, ids), wish in zip(work, wishes, strict=True):
            batch = self.ops.begin([(sequence.cache, ids)], wish)
            rows.append(self.models[sequence.variant].forward(batch, self.ops))
        return np.concatenate(rows).astype(np.float32, copy=False)


@pytest.fixture
def opened(speaking_model, tmp_path, monkeypatch):
    """opened() -> the model, with receipts and kept prompts where the model before it had them."""
    folders = {variant: speaking_model(says) for variant, says in SAYS.items()}

    def open_runner(files, **settings):
        ops, placed = Ops(), {}
        for variant, folder in folders.items():
            with open_model(folder) as theirs:
                placed[variant] = theirs.place(ops, None)
        for variant in ALL[1:]:
            placed[variant].close()
        models = {variant: each.model for variant, each in placed.items()}
        runner = VariantRunner(models, ops)
        return ModelRunner(runner=runner, placed=placed[BASE], locate=in_numpy(models[BASE], ops))

    monkeypatch.setattr(loading, "open_runner", open_runner)
    made = []

    def make():
        ledger = Ledger(tmp_path / "ledger", contents=True)
        pages = PageFiles(tmp_path / "pages", quota=10**9)
        model = ouvert.load(folders[BASE], store=Store(tmp_path / "store"), receipts=ledger, prefixes=pages)
        made.append(model)
        for variant in ALL:  # as if read from this machine's folder
            for each in variant.adapters:
                facts = {"digest": each.digest, "base": {}, "state": "unchecked"}
                model.adapters._given[each.digest] = AdapterRecord("stand-in", tmp_path, facts)
        return model, ledger

    yield make
    for model in made:
        model.close()


def request(variant):
    return ChatRequest(conversation=as_conversation(QUESTION), variant=variant, sampling={"temperature": 0.0})


def read(answer):
    *deltas, finished = answer
    return "".join(each.text for each in deltas), finished


def test_every_variant_has_answers_kept_prompts_receipts_and_fingerprints_of_its_own(opened):
    model, _ = opened()
    prompt = len(model.render(QUESTION).ids)
    found = {}
    for reused in (0, prompt - 1):
        for variant in ALL:
            text, finished = read(model.answer(request(variant)))
            assert (text, finished.usage.reused) == (TEXTS[variant], reused)
            found[variant] = finished.receipt["engine"]
    assert [found[variant]["variant"] for variant in ALL] == [variant.digest for variant in ALL]
    assert len({each["identity_digest"] for each in found.values()}) == len(ALL)
    assert len({model.fingerprint_of(variant) for variant in ALL}) == len(ALL)
    assert model.fingerprint == model.fingerprint_of(BASE)
    model.close()
    model, _ = opened()
    for variant in reversed(ALL):
        text, finished = read(model.answer(request(variant)))
        assert (text, finished.usage.reused) == (TEXTS[variant], prompt - 1)


def test_answers_of_several_variants_are_written_side_by_side(opened):
    model, _ = opened()
    answers = [model.answer(request(variant)) for variant in ALL]
    assert [read(answer)[0] for answer in answers] == [TEXTS[variant] for variant in ALL]


def test_continued_texts_are_of_the_variant_that_was_asked_for(opened):
    model, _ = opened()
    ids = tuple(model.text_ids("\n"))
    for variant in ALL:
        asked = TextRequest(prompt_ids=ids, variant=variant, sampling={"temperature": 0.0})
        text, finished = read(model.continuation(asked))
        assert text == TEXTS[variant]
        assert finished.receipt["engine"]["variant"] == variant.digest


@pytest.mark.parametrize("variant", ALL, ids=["base", "adapted", "edited"])
def test_a_receipt_is_replayed_with_its_own_variant_and_refused_with_another(opened, variant):
    model, ledger = opened()
    read(model.answer(request(variant)))
    entry = ledger.find("last")
    kept = ledger.contents(entry.digest)
    contents = read_contents(kept)
    assert contents.variant == variant
    tokens = {"prompt": contents.prompt, "output": contents.output, "variant": variant}
    for said in (
        {"contents": kept},
        {"contents": kept, "variant": variant},
        {"messages": QUESTION, "variant": variant},
        tokens,
    ):
        again = model.replay(entry.receipt, **said)
        assert (again.agrees, again.changes) == (True, ())
    for other in ALL:
        if other != variant:
            stated = f"computed by the variant {variant.digest} of the model, given is {other.digest}"
            for said in ({"contents": kept}, {"messages": QUESTION}, tokens):
                with pytest.raises(LedgerError, match=stated):
                    model.replay(entry.receipt, **{**said, "variant": other})


def test_a_variant_that_the_runner_does_not_compute_is_refused_by_name(opened):
    model, _ = opened()
    unknown = Variant((ScaledAdapter("sha256:" + "c" * 64),))
    with pytest.raises(EngineError, match=r"adapter sha256:cccc.*is not in this engine"):
        model.answer(replace(request(BASE), variant=unknown))
