"""Real adapters through the whole chain: answers, kept prompts, receipts and fingerprints of each its own.

Receipts and replays of adapters that are kept on this machine: tests/assistant/test_adapters.py."""

import numpy as np
import pytest
from tests.whole.test_variants import QUESTION, read, request

import ouvert
from ouvert.arithmetic import LowRank
from ouvert.assistant import Ledger
from ouvert.engine import BASE, PageFiles, ScaledAdapter, Variant
from ouvert.models import adaptable_shapes
from ouvert.packed import Adapter
from ouvert.store import Store


@pytest.fixture
def opened(speaking_model, tmp_path):
    """opened(adapters) -> the model with these, and kept prompts where the model before it had them."""
    made = []

    def make(*adapters):
        pages = PageFiles(tmp_path / "pages", quota=10**9)
        model = ouvert.load(
            speaking_model(), store=Store(tmp_path / "store"), receipts=Ledger(tmp_path / "ledger"), prefixes=pages
        )
        for each in adapters:
            model.engine.adapters.add(each)
        made.append(model)
        return model

    yield make
    for model in made:
        model.close()


@pytest.fixture
def adapters(opened):
    """Two, each with additions to all weights of the model, large enough to change what it says."""
    shapes = adaptable_shapes(opened().opened.model)

    def one(seed):
        random = np.random.default_rng(seed)
        return Adapter(
            {
                name: LowRank(
                    np.float32(random.standard_normal((4, shape.columns))),
                    np.float32(random.standard_normal((shape.rows, 4)) * 30),
                    1.0,
                )
                for name, shape in shapes.items()
            }
        )

    return [one(1), one(2)]


def variants_of(adapters):
    return (BASE, *(Variant((ScaledAdapter(each.digest),)) for each in adapters))


def test_every_adapter_has_answers_kept_prompts_receipts_and_fingerprints_of_its_own(opened, adapters):
    model = opened(*adapters)
    prompt, variants = len(model.render(QUESTION).ids), variants_of(adapters)
    found = {}
    for reused in (0, prompt - 1):
        for variant in variants:
            text, finished = read(model.answer(request(variant)))
            assert finished.usage.reused == reused
            assert found.setdefault(variant, (text, finished.receipt["engine"]["identity_digest"]))[0] == text
    assert len({identity for _, identity in found.values()}) == 3
    assert len({text for text, _ in found.values()}) == 3
    assert len({model.fingerprint_of(variant) for variant in variants}) == 3
    model.close()
    model = opened(*adapters)
    for variant in reversed(variants):
        text, finished = read(model.answer(request(variant)))
        assert (text, finished.usage.reused) == (found[variant][0], prompt - 1)
