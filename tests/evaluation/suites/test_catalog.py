"""The catalogue of suites: their cards, and what opening one refuses."""

import pytest

from ouvert.evaluation import EvaluationError, open_suite


def test_a_suite_without_data_of_its_own_says_how_it_is_given():
    with pytest.raises(EvaluationError, match="--suite-data bbh=PATH"):
        open_suite("bbh")


def test_a_setting_that_a_suite_does_not_take_is_refused_by_name():
    with pytest.raises(EvaluationError, match="got the settings path"):
        open_suite("ladder", path="x")


def test_a_suite_that_there_is_not_is_refused_with_those_that_there_are():
    with pytest.raises(EvaluationError, match="there are bbh"):
        open_suite("ladders")
