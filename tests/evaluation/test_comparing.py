"""What is refused before anything is planned or asked."""

import math

import pytest

from ouvert.evaluation import EvaluationError, Wanted, free_folder


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", math.nan), ("temperature", -1.0), ("temperature", math.inf),
        ("seconds", 0.0), ("seconds", math.inf), ("seconds", math.nan), ("seed", 10**30), ("samples", 0),
    ],
)  # fmt: skip
def test_a_number_that_no_comparison_can_have_is_named(name, value):
    with pytest.raises(
        EvaluationError, match=rf"planning a comparison: the {name[:4].replace('seco', 'time')}.*expected"
    ):
        Wanted(**{name: value})


def test_a_folder_is_looked_at_before_anything_is_asked(tmp_path):
    assert free_folder(tmp_path / "new" / "inner") == tmp_path / "new" / "inner"
    (tmp_path / "file").write_text("mine")
    with pytest.raises(EvaluationError, match="something is there"):
        free_folder(tmp_path)
    for place in (tmp_path / "file", tmp_path / "file" / "inner"):
        with pytest.raises(EvaluationError, match="expected a folder that can be written"):
            free_folder(place)
