"""The model cut between its layers gives the bits of the program that serves, and a wrong cut is noticed."""

from dataclasses import replace

import numpy as np
import pytest

from ouvert.inspection import InspectionError
from ouvert.inspection.layer_programs import LayerPrograms, Table
from ouvert.inspection.rerun import Rerun

from .conftest import IDS


@pytest.fixture
def programs(subject):
    made = LayerPrograms(subject)
    yield made
    made.close()


def test_layer_after_layer_gives_the_bits_of_the_program_that_serves(programs, subject, served_logits):
    run = Rerun(programs, IDS)
    rows = run.values["embedding"][None]
    for n in range(run.layers):
        rows = run.through(n, 0, rows)
        np.testing.assert_array_equal(rows[0], run.values[f"layers.{n}.out"])
    np.testing.assert_array_equal(programs.logits(rows[0]), served_logits(subject))
    np.testing.assert_array_equal(run.logits, served_logits(subject))


def test_a_run_taken_up_anywhere_with_its_own_numbers_gives_its_own_logits(programs, subject, served_logits):
    """In any order, and in several lanes: caches hold what stands before the place, and nothing else."""
    run, expected = Rerun(programs, IDS), served_logits(subject)
    other = np.random.default_rng(1).standard_normal((2, 1, run.values["embedding"].shape[1])).astype(np.float32)
    for start in (20, 3, 11, 0, 15):
        rows = np.repeat(run.values["layers.0.out"][None, start:], 2, axis=0)
        np.testing.assert_array_equal(run.logits_after(0, start, rows), np.repeat(expected[None, -1:], 2, axis=0))
        run.logits_after(0, start, np.concatenate([other, rows[:, 1:]], axis=1))  # leaves its traces, or should not
    rows = run.values["layers.0.out"][None, 11:]
    np.testing.assert_array_equal(run.logits_after(0, 11, rows, 5)[0], expected[5:])


def test_a_whole_layer_from_another_run_gives_the_other_runs_logits(programs, subject, served_logits):
    run, other = Rerun(programs, IDS), tuple(reversed(IDS))
    values, _ = programs.record(other, [f"layers.{n}.out" for n in range(run.layers)])
    for n in range(run.layers):
        given = run.logits_after(n, 0, values[f"layers.{n}.out"][None], 0)
        np.testing.assert_array_equal(given[0], served_logits(subject, other))


def test_replacing_a_value_by_itself_changes_nothing(programs, subject):
    names = [
        name
        for name, value in subject.names.items()
        if name.startswith("layers.1.") and value.editable and not value.integers and value.rows == "tokens"
    ]
    names.remove("layers.1.out")
    run = Rerun(programs, IDS, names)
    for name in names:
        made = run.through(1, 0, run.input_of(1)[None], {name: run.values[name][None]})
        np.testing.assert_array_equal(made[0], run.values["layers.1.out"], err_msg=name)


def test_a_value_that_is_replaced_by_other_numbers_changes_the_result(programs, subject):
    kind = "attention.out" if "layers.1.attention.out" in subject.names else "mixer.out"
    run = Rerun(programs, IDS, [f"layers.1.{kind}"])
    changed = run.values[f"layers.1.{kind}"][None] * np.float32(1.5)
    made = run.through(1, 0, run.input_of(1)[None], {f"layers.1.{kind}": changed})[0]
    if "layers.1.mlp.out" not in subject.names and "layers.1.experts.out" not in subject.names:
        np.testing.assert_array_equal(made, run.input_of(1) + changed[0])
    assert (made != run.values["layers.1.out"]).any(axis=1).all()


def test_longer_than_a_step_is_the_same(subject_called, served_logits):
    subject, ids = subject_called("llama"), tuple(n % 60 for n in range(1100))
    programs = LayerPrograms(subject)
    run = Rerun(programs, ids)
    rows = run.through(0, 0, run.values["embedding"][None])
    np.testing.assert_array_equal(rows[0], run.values["layers.0.out"])
    programs.close()


@pytest.mark.parametrize("count", [1, 16, 17, 512])
def test_a_table_has_the_rows_that_were_written(count):
    from ouvert.kernels.packing import unpack

    table = Table(33)
    table.write(np.full((512, 33), 7, np.float32))
    rows = np.random.default_rng(0).standard_normal((count, 33)).astype(np.float32)
    table.write(rows)
    np.testing.assert_array_equal(unpack("F32", table.packed.data, 512, 33)[:count], rows)


def test_a_value_that_is_not_there_is_named_with_those_that_are(subject_called):
    programs = LayerPrograms(subject_called("mamba"))
    with pytest.raises(InspectionError, match=r"layers.0.attention.out: mamba .*mixer\.out"):
        programs.record(IDS, ["layers.0.attention.out"])
    programs.close()


def test_a_choice_cannot_be_replaced(subject_called):
    programs = LayerPrograms(subject_called("mixtral-window"))
    with pytest.raises(InspectionError, match=r"experts.chosen cannot be replaced.*experts.weights"):
        programs.layer(0, ["layers.0.experts.chosen"])
    programs.close()


def test_an_edited_model_is_refused(subject_called):
    with pytest.raises(InspectionError, match=r"it is edited at layers.0.out, expected the model as it is"):
        LayerPrograms(replace(subject_called("llama"), edited=("layers.0.out",)))


def test_a_prompt_that_would_fill_the_memory_is_refused_with_both_numbers(subject_called, monkeypatch):
    subject = subject_called("llama")
    monkeypatch.setattr("ouvert.inspection.layer_programs.MOST_BYTES", 4 * 21 * subject.width("layers.0.out", 1))
    programs = LayerPrograms(subject)
    programs.record(IDS, ["layers.0.out"], logits=False)
    with pytest.raises(InspectionError, match=r"21 tokens leave \d+ bytes .* expected at most .* Give a prompt of"):
        Rerun(programs, IDS)
    programs.close()
