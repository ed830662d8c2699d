"""A variant is data: equal ones have equal digests, whatever is wrong is refused, and the base is the base."""

import dataclasses

import pytest
from tests.engine.base_alone import refuse_all_but_base

from ouvert.engine import BASE, Edit, EngineError, LocalEngine, Sampling, ScaledAdapter, Variant, open_engine

DIGEST, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64
ADAPTER = ScaledAdapter(DIGEST, 0.5)
EDIT = Edit(operation="add", tap="layers.3.out", values=(1.0, -2.5), start=2, stop=5)
BOTH = Variant((ADAPTER,), (EDIT,))
OTHERS = [
    BASE,
    Variant((ADAPTER,)),
    Variant((), (EDIT,)),
    Variant((ScaledAdapter(OTHER, 0.5),), (EDIT,)),
    Variant((ScaledAdapter(DIGEST, 0.25),), (EDIT,)),
    Variant((ADAPTER, ADAPTER), (EDIT,)),
    *(
        Variant((ADAPTER,), (dataclasses.replace(EDIT, **changed),))
        for changed in (
            {"operation": "replace"},
            {"tap": "layers.4.out"},
            {"values": (-2.5, 1.0)},
            {"start": 1},
            {"stop": None},
            {"strength": 0.5},
            {"heads": (1,)},
            {"experts": (1,)},
        )
    ),
]


@pytest.mark.parametrize("other", OTHERS)
def test_whatever_changes_a_variant_changes_its_digest(other):
    assert other != BOTH
    assert other.digest != BOTH.digest


def test_the_order_of_adapters_is_part_of_a_variant():
    one, two = ScaledAdapter(DIGEST), ScaledAdapter(OTHER)
    assert Variant((one, two)).digest != Variant((two, one)).digest


def test_the_base_is_called_base():
    assert BASE.digest == "base"
    assert Variant((), ()) == BASE


def test_equal_variants_have_one_digest_and_one_place_in_a_table():
    whole, fraction = Variant((ScaledAdapter(DIGEST, 1),)), Variant((ScaledAdapter(DIGEST, 1.0),))
    assert whole.facts() == fraction.facts()
    assert str(whole.facts()) == str(fraction.facts())
    assert whole.digest == fraction.digest
    assert len({whole, fraction}) == 1


def test_the_digest_stays_what_it_was_over_versions_of_this_program():
    """Receipts and the names of pages on disk rest on it."""
    assert BOTH.digest == "sha256:9ce80636e3ccb8cfa4cf48a1fd4d376c05ee6f76fcec31b825e56de48b1cede7"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ScaledAdapter("tickets"), r"its digest is 'tickets', expected sha256: and 64"),
        (lambda: ScaledAdapter(DIGEST, float("nan")), r"scale=nan, expected a finite number"),
        (lambda: Edit(operation="twist", tap="layers.3.out"), r"operation='twist', expected one of add, project_out"),
        (lambda: Edit(operation="add", tap="layers.3.out", values=(float("inf"),)), r"values has NaN or infinity"),
        (lambda: Edit(operation="zero", tap="layers.3.out", start=3, stop=3), r"start=3, stop=3, expected 0 <= start"),
        (lambda: Edit(operation="zero", tap="layers.3.out", start=-1), r"start=-1, stop=None"),
        (lambda: Edit(operation="zero", tap="layers.3.out", values=(1.0,)), r"zero has 1 values, expected 0, none"),
        (lambda: Edit(operation="scale", tap="layers.3.out"), r"scale has 0 values, expected 1, its factor"),
        (lambda: Edit(operation="add", tap="layers.3.out"), r"add has no values, expected the numbers of a row"),
        (lambda: Edit(operation="add", tap="layers.3.out", values=(1e39,)), r"a number beyond float32's"),
        (lambda: Edit(operation="zero", tap="layers.3.out", strength=float("nan")), r"strength=nan, expected a finite"),
        (lambda: Edit(operation="zero", tap="layers.3.out", heads=(1, 1)), r"heads=\(1, 1\), expected a tuple of diff"),
        (lambda: Edit(operation="zero", tap="layers.3.out", heads=[1]), r"heads=\[1\], expected a tuple"),
        (lambda: Edit(operation="zero", tap="layers.3.out", experts=(-1,)), r"experts=\(-1,\), expected a tuple"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def test_a_runner_of_the_base_alone_says_what_it_does_not_compute():
    refuse_all_but_base(BASE, "NumPy")
    with pytest.raises(EngineError, match=f"adapter {DIGEST}, edit add at layers.3.out: NumPy computes this model wit"):
        refuse_all_but_base(BOTH, "NumPy")


@pytest.mark.parametrize(
    "ask",
    [
        lambda engine: engine.generate([1, 2], Sampling(max_tokens=1), BOTH),
        lambda engine: engine.logits([1, 2], BOTH),
        lambda engine: engine.score([1, 2], variant=BOTH),
    ],
)
def test_what_the_runner_does_not_compute_is_refused_before_anything_is_queued(fake_runner, facts, ask):
    engine = LocalEngine(fake_runner(16), 64, facts)
    with pytest.raises(EngineError, match="adapter sha256:a"):
        ask(engine)
    assert (engine.load.waiting, engine.load.steps) == (0, 0)
    engine.close()


def test_an_opened_model_refuses_a_variant_by_name(smollm2):

    engine = open_engine(smollm2, threads=1).engine
    try:
        with pytest.raises(EngineError, match=f"the adapter {DIGEST} is not in this engine"):
            engine.generate([1, 2], Sampling(max_tokens=1), BOTH)
    finally:
        engine.close()


@pytest.mark.parametrize("wrong", [{"adapters": 3}, {"adapters": ("x",)}, {"edits": [1]}, {"edits": ("x",)}])
def test_a_variant_of_anything_but_adapters_and_edits_is_refused_by_the_name_of_the_field(wrong):
    with pytest.raises(ValueError, match=f"making a variant: {next(iter(wrong))}="):
        Variant(**wrong)


def test_a_digest_that_is_no_text_is_refused_like_one_of_another_form():
    with pytest.raises(ValueError, match="its digest is 3, expected sha256:"):
        ScaledAdapter(3)
