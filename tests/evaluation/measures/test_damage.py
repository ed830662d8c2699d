"""What fewer bits cost: windows, sums, who the reference is, and what is said of them."""

import math
from dataclasses import asdict, replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from ouvert.evaluation import EvaluationError
from ouvert.evaluation.analysis.damages import damage_ratios_of, damages_of, window_damages
from ouvert.evaluation.measures.damage import (
    BEFORE,
    WINDOW,
    Window,
    WindowDamage,
    damage_of,
    line_of,
    measure_damage,
    planned_damage,
    reference_among,
    require_same_tokens,
    windows_of,
)

SIZE = 40


class Tabled:
    """A model whose logits after a token are a row of a table."""

    def __init__(self, table, name="tabled", digest="sha256:same"):
        self.table, self.asked = np.asarray(table, np.float32), []
        self.info = SimpleNamespace(name=name)
        self.engine = SimpleNamespace(vocabulary_size=SIZE)
        self.tokenizer = SimpleNamespace(
            digest=digest, vocabulary_size=SIZE, token_bytes=lambda n: bytes([n, len(digest)])
        )

    def logits(self, ids, *, start=0):
        self.asked.append((len(ids), start))
        return self.table[np.asarray(ids[start:])]

    def text_ids(self, text):
        return [ord(each) % SIZE for each in text[:300]]


@pytest.fixture
def tables():
    random = np.random.default_rng(4)
    table = random.standard_normal((SIZE, SIZE)) * 3
    return table, table + random.standard_normal((SIZE, SIZE)) * 0.3


def window_damage(contestant="a", language="en", window=0, **sums):
    given = {"tokens": 100, "divergence": 2.0, "flips": 5, "change": -1.0} | sums
    return WindowDamage(
        contestant=contestant, reference="whole", language=language, text="page", window=window, **given
    )


# --- windows ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 2, WINDOW, WINDOW + 1, WINDOW + 2, 3 * WINDOW + 7])
def test_every_token_but_the_first_counts_once_behind_what_stands_before_it(length):
    ids = list(range(length))
    found = list(windows_of("en", "page", ids))
    assert [token for each in found for token in each.ids[each.start :]] == ids[1:]
    for each in found:
        assert 1 <= each.start <= BEFORE
        assert list(each.ids) == list(range(each.ids[0], each.ids[0] + len(each.ids)))
        assert len(each.ids) <= WINDOW + BEFORE


# --- sums -------------------------------------------------------------------------------------------------------------


def test_the_sums_are_those_of_the_formulas_written_out(tables):
    table, rounded = tables
    ids = np.random.default_rng(5).integers(0, SIZE, 60).tolist()
    window = Window(language="en", text="page", number=0, ids=tuple(ids), start=20)
    reference, contestant = Tabled(table), Tabled(rounded)
    found = damage_of(contestant, reference, window)
    divergence = change = flips = 0.0
    for before, token in pairwise(ids[19:]):
        p, q = (np.exp(each[before].astype(np.float32).astype(np.float64)) for each in (table, rounded))
        p, q = p / p.sum(), q / q.sum()
        divergence += math.fsum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
        change += math.log(q[token]) - math.log(p[token])
        flips += int(p.argmax() != q.argmax())
    assert found["tokens"] == 40
    assert found["flips"] == flips > 0
    assert found["divergence"] == pytest.approx(divergence, rel=1e-9)
    assert found["change"] == pytest.approx(change, rel=1e-9)
    assert reference.asked == contestant.asked == [(59, 19)]  # no logits that nobody looks at


def test_a_model_beside_itself_is_not_displaced(tables):
    window = Window(language="en", text="page", number=0, ids=(1, 2, 3), start=1)
    found = damage_of(Tabled(tables[0]), Tabled(tables[0]), window)
    assert found == {"tokens": 2, "divergence": 0.0, "flips": 0, "change": 0.0}


def test_numbers_that_are_not_finite_are_an_error_with_their_place(tables):
    broken = tables[0].copy()
    broken[2, 3] = np.nan
    window = Window(language="fr", text="bicycle", number=4, ids=(1, 2, 3), start=1)
    with pytest.raises(EvaluationError, match="fr bicycle, window 4"):
        damage_of(Tabled(broken), Tabled(tables[0]), window)


def test_measuring_goes_on_where_it_was_stopped_and_takes_languages_in_turns(tables):
    reference, contestant = Tabled(tables[0]), Tabled(tables[1])
    found, counted = [], []
    measure_damage("b", contestant, "a", reference, lambda each, *count: (found.append(each), counted.append(count)))
    assert counted == [(n + 1, len(found)) for n in range(len(found))]
    assert {each.language for each in found[:2]} == {"en", "fr"}
    assert len({each.key for each in found}) == len(found)
    rest = []
    known = frozenset(each.key for each in found[:7])
    measure_damage("b", contestant, "a", reference, lambda each, *count: rest.append(each), known=known)
    assert rest == found[7:]
    assert window_damages([line_of(each) for each in found]) == found


def test_models_of_other_tokens_are_refused(tables):
    with pytest.raises(EvaluationError, match="their tokens differ"):
        require_same_tokens(Tabled(tables[0], "one"), Tabled(tables[0], "other", "sha256:another"))
    spelled_alike = Tabled(tables[0], digest="sha256:else")
    require_same_tokens(Tabled(tables[0]), spelled_alike)


# --- who is the reference ---------------------------------------------------------------------------------------------


def test_the_reference_has_the_most_bits_and_a_rounded_one_is_said_to_be_rounded():
    planned = planned_damage({"m@4": 4.0, "m": 5.74, "m@8": 5.74})
    assert planned["reference"] == "m"
    assert planned["rounded"] is True
    assert planned["texts"].startswith("sha256:")
    assert planned_damage({"f16": 16.0, "q8": 8.5})["rounded"] is False
    with pytest.raises(EvaluationError, match="expected two precisions"):
        reference_among({"m": 4.0})


# --- what is said -----------------------------------------------------------------------------------------------------


def test_figures_are_means_over_tokens_with_intervals_over_windows():
    found = [window_damage(window=n, divergence=1.0 + n % 3, tokens=100 + n) for n in range(20)]
    found += [window_damage(language="fr", window=n, divergence=4.0) for n in range(20)]
    english, french = damages_of(found)
    assert (english.language, english.windows, english.tokens) == ("en", 20, sum(range(100, 120)))
    assert english.divergence == pytest.approx(sum(1.0 + n % 3 for n in range(20)) / english.tokens)
    low, high = english.divergence_interval.low, english.divergence_interval.high
    assert low < english.divergence < high
    assert french.divergence_interval.low == pytest.approx(french.divergence_interval.high) == 0.04
    assert english.flips == pytest.approx(100 / english.tokens)
    [ratio] = damage_ratios_of(found)
    assert (ratio.language, ratio.beside) == ("fr", "en")
    assert ratio.ratio == pytest.approx(french.divergence / english.divergence)
    assert ratio.interval.low < ratio.ratio < ratio.interval.high


def test_the_interval_of_a_ratio_holds_the_truth_as_often_as_it_says():
    random = np.random.default_rng(8)
    held = 0
    for _ in range(200):
        found = [
            window_damage(language=language, window=n, divergence=float(mean * random.gamma(4, 1 / 4)))
            for language, mean in (("en", 1.0), ("fr", 1.7))
            for n in range(25)
        ]
        [ratio] = damage_ratios_of(found)
        held += ratio.interval.low <= 1.7 <= ratio.interval.high
    assert held >= 182  # 95 % of 200, less two standard errors and what a bootstrap of 25 is known to lack


def test_without_both_languages_there_is_no_ratio_and_without_windows_nothing():
    assert damage_ratios_of([window_damage()]) == ()
    assert damage_ratios_of([window_damage(divergence=0.0), window_damage(language="fr")]) == ()
    assert damages_of([]) == ()


def test_a_window_that_was_measured_again_counts_as_it_was_last():
    assert window_damages([asdict(window_damage()), asdict(window_damage(flips=9))]) == [window_damage(flips=9)]


@pytest.mark.parametrize(
    "changes", [{"tokens": 0}, {"divergence": math.inf}, {"unknown": 1}, {"flips": "many"}, {"change": None}]
)
def test_a_line_that_is_no_window_is_refused_with_its_number(changes):
    lines = [asdict(window_damage()), {**asdict(replace(window_damage(), window=1)), **changes}]
    with pytest.raises(EvaluationError, match=r"damage\.jsonl, line 2"):
        window_damages(lines)
