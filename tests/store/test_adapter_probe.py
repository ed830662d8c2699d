"""The probe of an adapter, over a made-up model: what it lets through and what it refuses."""

import pytest

from ouvert.store import AdapterProbe, StoreError, probe_ids

NUMBERS = {"build": "one", "layout": "rows16-3", "precision": "4", "exact": False, "cache": "f16", "configuration": "c"}


def model(shift=0.5, noise=0.0, loud=None, tips=0.01):
    """(sequences, starts, scale) -> log-probabilities; the adapter moves each by `shift` times its scale, and `loud` of
    it where it is louder. What it adds tips a rounding over, by `tips`, where it differs in the last place."""

    def of(sequences, starts, scale):
        moved = scale * (shift if loud is None or scale <= 1 else loud)
        tipped = tips if scale != round(scale) else 0.0
        return [
            [-0.1 * token - 0.01 * place + noise + moved + tipped for place, token in enumerate(ids)][start:]
            for ids, start in zip(sequences, starts, strict=True)
        ]

    return of


@pytest.fixture
def probe():
    return AdapterProbe.made([1, 2, 3], [5, 7, 9], model(), NUMBERS)


def test_it_reads_the_beginning_of_a_sentence():
    ids = probe_ids(lambda text: list(text.encode()))
    assert bytes(ids) == b"In the morning the baker opens t"


def test_it_is_the_same_when_it_was_kept(probe):
    assert AdapterProbe.read(probe.facts()) == probe
    assert probe.facts()["adapted"][0].startswith("-0x")


def test_the_same_model_with_the_same_adapter_passes(probe):
    probe.check("tickets", model(), NUMBERS)


@pytest.mark.parametrize("computes", [model(noise=1e-6), model(shift=0.500001)])
def test_with_the_same_build_another_bit_is_refused(probe, computes):
    with pytest.raises(StoreError, match=r"adapter tickets: .*are -0\.\d{6}.*they were -0\.\d{6}.*same bits"):
        probe.check("tickets", computes, NUMBERS)


def test_another_build_that_computes_in_float32_may_be_a_little_off_and_no_more():
    exact = NUMBERS | {"exact": True}
    probe, other = AdapterProbe.made([1, 2, 3], [5, 7, 9], model(), exact), exact | {"build": "two"}
    probe.check("tickets", model(noise=0.04), other)
    with pytest.raises(StoreError, match=r"without it.*no more than 0\.05 away"):
        probe.check("tickets", model(noise=0.06), other)
    with pytest.raises(StoreError, match=r"with tickets.*no more than 0\.05 away"):
        probe.check("tickets", model(shift=0.56), other)


@pytest.mark.parametrize("changed", [{"precision": "8"}, {"cache": "q8"}, {"exact": True}])
def test_where_the_model_itself_rounds_otherwise_only_a_change_is_asked_for(probe, changed):
    """Both ways: kept with one and loaded with the other."""
    probe.check("tickets", model(noise=0.4), NUMBERS | changed)
    AdapterProbe.made([1, 2, 3], [5, 7, 9], model(), NUMBERS | changed).check("tickets", model(noise=0.4), NUMBERS)


OTHERS = [{"build": "two"}, {"layout": "rows16-4"}]


@pytest.mark.parametrize("other", OTHERS)
def test_another_build_that_rounds_is_asked_louder_and_may_be_off_by_some_roundings(probe, other):
    """Effects of 0.5 stand out of roundings of 0.03 too little; sixteen times as loud they do enough."""
    probe = AdapterProbe.made([1, 2, 3], [5, 7, 9], model(tips=0.03), NUMBERS)
    assert probe.loud.scale == 16
    assert probe.loud.rounding == pytest.approx(0.03, rel=0.01)
    probe.check("tickets", model(noise=0.15, tips=0.03), NUMBERS | other)
    with pytest.raises(StoreError, match=r"with tickets times 16, .* no more than 0\.240 away in the mean"):
        probe.check("tickets", model(noise=0.25, tips=0.03), NUMBERS | other)


@pytest.mark.parametrize("wrong", [2.0, 0.5, 1.04, 0.96, -1.0])
@pytest.mark.parametrize("other", OTHERS)
def test_another_build_that_puts_it_on_otherwise_is_refused(probe, wrong, other):
    with pytest.raises(StoreError, match=r"with tickets times \d+, .* as far as roundings take them"):
        probe.check("tickets", model(shift=0.5 * wrong), NUMBERS | other)


def test_a_louder_one_without_numbers_is_not_taken():
    def of(sequences, starts, scale):
        found = model(tips=0.2)(sequences, starts, scale)
        return found if scale < 5 else [[float("nan")] * len(each) for each in found]

    assert AdapterProbe.made([1, 2, 3], [5, 7, 9], of, NUMBERS).loud.scale == 4


def test_a_record_of_before_is_only_asked_for_a_change(probe):
    facts = probe.facts()
    del facts["loud"]
    AdapterProbe.read(facts).check("tickets", model(shift=1.0), NUMBERS | {"build": "two"})


@pytest.mark.parametrize("numbers", [NUMBERS, NUMBERS | {"build": "two"}, NUMBERS | {"precision": "8"}])
def test_an_adapter_that_changes_nothing_is_refused(probe, numbers):
    with pytest.raises(StoreError, match=r"with and without the adapter tickets .* it changes nothing"):
        probe.check("tickets", model(shift=0.0), numbers)


def test_it_is_not_made_of_an_adapter_that_changes_nothing():
    with pytest.raises(StoreError, match=r"changes nothing\. Train it on more examples"):
        AdapterProbe.made([1, 2, 3], [5], model(shift=0.0), NUMBERS)


@pytest.mark.parametrize("change", [{"ids": []}, {"top": [1]}, {"bare": ["x"] * 3}, {"adapted": None}, {"numbers": 3},
                                    {"loud": 3}, {"loud": {}}, {"loud": {"scale": "0x1p0"}}])  # fmt: skip
def test_a_damaged_one_is_refused(probe, change):
    with pytest.raises(StoreError, match="reading the probe of an adapter"):
        AdapterProbe.read(probe.facts() | change)


def test_none_is_refused():
    with pytest.raises(StoreError, match="reading the probe"):
        AdapterProbe.read(None)
