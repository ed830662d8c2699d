"""The probe of an adapter, over a made-up model: what it lets through and what it refuses."""

import pytest

from ouvert.store import AdapterProbe, StoreError, probe_ids

NUMBERS = {"build": "one", "layout": "rows16-3", "precision": "4", "exact": False, "cache": "f16", "configuration": "c"}


def model(shift=0.5, noise=0.0):
    """(sequences, adapted) -> log-probabilities; the adapter moves each by `shift`."""
    return lambda sequences, adapted: [
        -0.1 * each[-1] - 0.01 * len(each) + noise + shift * adapted for each in sequences
    ]


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


@pytest.mark.parametrize("changed", [{"precision": "8"}, {"cache": "q8"}, {"exact": True}, {"build": "two"},
                                     {"layout": "rows16-4"}])  # fmt: skip
def test_where_roundings_tip_over_only_a_change_is_asked_for(probe, changed):
    """Both ways: kept with one and loaded with the other."""
    probe.check("tickets", model(noise=0.4), NUMBERS | changed)
    AdapterProbe.made([1, 2, 3], [5, 7, 9], model(), NUMBERS | changed).check("tickets", model(noise=0.4), NUMBERS)


@pytest.mark.parametrize("numbers", [NUMBERS, NUMBERS | {"build": "two"}, NUMBERS | {"precision": "8"}])
def test_an_adapter_that_changes_nothing_is_refused(probe, numbers):
    with pytest.raises(StoreError, match=r"with and without the adapter tickets .* it changes nothing"):
        probe.check("tickets", model(shift=0.0), numbers)


def test_it_is_not_made_of_an_adapter_that_changes_nothing():
    with pytest.raises(StoreError, match=r"changes nothing\. Train it on more examples"):
        AdapterProbe.made([1, 2, 3], [5], model(shift=0.0), NUMBERS)


@pytest.mark.parametrize("change", [{"ids": []}, {"top": [1]}, {"bare": ["x"] * 3}, {"adapted": None}, {"numbers": 3}])
def test_a_damaged_one_is_refused(probe, change):
    with pytest.raises(StoreError, match="reading the probe of an adapter"):
        AdapterProbe.read(probe.facts() | change)


def test_none_is_refused():
    with pytest.raises(StoreError, match="reading the probe"):
        AdapterProbe.read(None)
