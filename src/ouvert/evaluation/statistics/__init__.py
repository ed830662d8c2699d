"""Statistics of a comparison, in NumPy alone: pure functions of counts and scores; the same bits every time.

Every file is about one question and names the paper its formula comes from. `tests/references/evaluation` holds them to
SciPy and statsmodels.
"""

from ouvert.evaluation.statistics.bradley_terry import MINIMUM_VOTES, Vote, is_connected, ratings
from ouvert.evaluation.statistics.calibration import (
    brier_score,
    calibration_error,
    calibration_error_interval,
    reliability_bins,
    risk_coverage,
)
from ouvert.evaluation.statistics.clusters import bootstrap_interval, cluster_t, design_effect, ratio_interval
from ouvert.evaluation.statistics.equivalence import equivalence_p, is_equivalent
from ouvert.evaluation.statistics.holm import holm
from ouvert.evaluation.statistics.kappa import Kappa, cohens_kappa
from ouvert.evaluation.statistics.mcnemar import clustered_p, mcnemar_mid_p, mcnemar_worse_p
from ouvert.evaluation.statistics.pass_at import pass_at
from ouvert.evaluation.statistics.power import items_for, smallest_visible, smallest_visible_unpaired
from ouvert.evaluation.statistics.sign_flips import sign_flip_p
from ouvert.evaluation.statistics.tango import tango_interval
from ouvert.evaluation.statistics.wilson import wilson_interval

__all__ = [
    "MINIMUM_VOTES",
    "Kappa",
    "Vote",
    "bootstrap_interval",
    "brier_score",
    "calibration_error",
    "calibration_error_interval",
    "cluster_t",
    "clustered_p",
    "cohens_kappa",
    "design_effect",
    "equivalence_p",
    "holm",
    "is_connected",
    "is_equivalent",
    "items_for",
    "mcnemar_mid_p",
    "mcnemar_worse_p",
    "pass_at",
    "ratings",
    "ratio_interval",
    "reliability_bins",
    "risk_coverage",
    "sign_flip_p",
    "smallest_visible",
    "smallest_visible_unpaired",
    "tango_interval",
    "wilson_interval",
]
