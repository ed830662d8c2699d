"""Patching, ablation and the test of a direction compute what serves with that edit, bit for bit, in every family."""

import numpy as np
import pytest

from ouvert import kernels
from ouvert.inspection.directions.testing import EDITS, edited, random_units
from ouvert.inspection.layer_programs import LayerPrograms
from ouvert.inspection.rerun import Rerun
from ouvert.models import Edit, changes_of

from .conftest import IDS


@pytest.fixture
def run(subject):
    programs = LayerPrograms(subject)
    part = "attention.out" if "layers.0.attention.out" in subject.names else "mixer.out"
    yield Rerun(programs, IDS, [f"layers.0.{part}"]), f"layers.0.{part}"
    programs.close()


def served(subject, *edits):
    """The logits after every token, of the program that serves with these edits."""
    programs = kernels.Programs(subject.model, threads=1, exact=subject.exact, cache=subject.cache_type)
    carried = kernels.Edits(changes_of(list(edits), subject.model))
    program = programs.sibling(places=carried.places)
    sequence = program.new_sequence(len(IDS))
    sequence.edits = carried
    return program.step([(sequence, np.array(IDS, np.int32))], "all")


def numbers(vector):
    return tuple(map(float, vector))


def test_a_patch_is_a_replacement_bit_for_bit(subject, run):
    rerun, _ = run
    donor = rerun.values["layers.0.out"][9]
    rows = rerun.values["layers.0.out"][None, 4:].copy()
    rows[0, 0] = donor
    expected = served(subject, Edit(operation="replace", tap="layers.0.out", values=numbers(donor), start=4, stop=5))
    np.testing.assert_array_equal(rerun.logits_after(0, 4, rows, 0)[0], expected)


def test_a_silenced_part_is_zeroed_bit_for_bit(subject, run):
    rerun, part = run
    made = rerun.through(0, 0, rerun.input_of(0)[None], {part: np.zeros_like(rerun.values[part])[None]})
    expected = served(subject, Edit(operation="zero", tap=part))
    np.testing.assert_array_equal(rerun.logits_after(0, 0, made, 0)[0], expected)


@pytest.mark.parametrize("name", EDITS)
def test_a_direction_is_added_and_projected_out_as_when_serving(subject, run, name):
    rerun, _ = run
    [unit] = random_units(rerun.values["layers.0.out"].shape[1], 1, 3)
    length = 0.75
    rows = edited(rerun.values["layers.0.out"], unit[None], length)[EDITS.index(name)]
    values = (
        numbers(unit) if name == "project_out" else numbers(np.float32(length if name == "add" else -length) * unit)
    )
    edit = Edit(operation="project_out" if name == "project_out" else "add", tap="layers.0.out", values=values)
    np.testing.assert_array_equal(rerun.logits_after(0, 0, rows[None], 0)[0], served(subject, edit))
