"""Calibration: what a contestant's confidence is worth."""

import numpy as np
import pytest

from ouvert.evaluation.statistics import (
    brier_score,
    calibration_error,
    calibration_error_interval,
    reliability_bins,
    risk_coverage,
)


def test_bins_have_equal_mass():
    sure = np.linspace(0.01, 1, 100)
    bins = reliability_bins(sure, [True] * 100)
    assert [n for _, _, n in bins] == [10] * 10
    assert bins[0] == (pytest.approx(0.055), 1.0, 10)


def test_equal_confidences_stay_in_one_bin():
    assert reliability_bins([0.9] * 10, [True] * 7 + [False] * 3) == ((pytest.approx(0.9), 0.7, 10),)
    assert calibration_error([0.9] * 10, [True] * 7 + [False] * 3) == pytest.approx(0.2)


def test_the_error_of_a_worked_example():
    # Two bins of two: |0.2 - 0.5| and |0.85 - 1|, each half of the items.
    assert calibration_error([0.1, 0.3, 0.8, 0.9], [0, 1, 1, 1], bins=2) == pytest.approx(0.5 * 0.3 + 0.5 * 0.15)
    assert brier_score([0.1, 0.3, 0.8, 0.9], [0, 1, 1, 1]) == pytest.approx((0.01 + 0.49 + 0.04 + 0.01) / 4)


def test_one_who_is_too_sure_is_told_from_one_who_is_calibrated():
    random = np.random.default_rng(3)
    sure = random.random(300) * 0.5 + 0.5
    names = [str(i) for i in range(300)]
    honest = calibration_error_interval(sure, random.random(300) < sure, names)
    boaster = calibration_error_interval(sure, random.random(300) < sure - 0.3, names)
    assert honest.low < 0.02
    assert boaster.low > 0.2
    assert boaster.low < 0.3 < boaster.high


def test_silence_where_it_is_unsure_pays_by_the_share_that_it_answers():
    sure, right = [0.9, 0.8, 0.7, 0.6, 0.5] * 2, [1, 1, 1, 0, 0] * 2
    points = dict(risk_coverage(sure, right))
    assert points[1.0] == pytest.approx(0.6)
    assert points[0.6] == pytest.approx(1.0)
    assert points[0.8] == pytest.approx(0.75)


def test_of_equally_sure_answers_any_part_is_as_good():
    assert {share for _, share in risk_coverage([0.5] * 8, [1, 0] * 4)} == {0.5}


def test_nothing_to_judge_is_refused():
    with pytest.raises(ValueError, match="0 numbers"):
        brier_score([], [])
    with pytest.raises(ValueError, match="all finite"):
        calibration_error([float("nan")], [1])
