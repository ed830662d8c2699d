"""Runs that are killed, stopped, refused: nothing is lost, and what goes on ends with the same bits."""

import os
import shutil
from dataclasses import replace

import numpy as np
import pytest

from ouvert.tuning import Dataset, Labelled, Preference, Prompt, Recipe, TuningError
from ouvert.tuning.data import Counts
from ouvert.tuning.kept_data import read_data_again, write_data
from ouvert.tuning.loop import Course, Loop, Watchers
from ouvert.tuning.methods import Supervised
from ouvert.tuning.runs import METRICS, STATE, Begun, Runs
from ouvert.tuning.stored import as_served

from .killing import in_a_child
from .tiny_learner import TinyLearner, examples

RECIPE = Recipe.of({"data": {"length": 40}, "optimise": {"rate": 0.05, "batch": 8, "stop_early": 2}})
COURSE = Course(steps=5, measure_every=2, call_tokens=40)


def dataset():
    items = examples(20)
    counts = Counts(rows=20, items=16, held_out=4, tokens=1, trained=1)
    return Dataset(train=items[:16], held_out=items[16:], counts=counts, digest="sha256:0", notes=("a note",))


def begun(home, name="tickets"):
    runs = Runs(home)
    runs.add(
        name,
        Begun(facts={"model": "tiny"}, course=COURSE, recipe=RECIPE, data=dataset(), adapter=TinyLearner().adapter),
    )
    return runs


def finished(home, name="tickets"):
    """Go on with the run until it is trained; the digest of its adapter and its metrics without times."""
    learner = TinyLearner()
    with Runs(home).open(name) as run:
        assert run.adapter.pairs.keys() == learner.adapter.pairs.keys()
        watchers = Watchers(told=run.tell, keep=run.keep, kept_after_seconds=0)
        Loop(learner, Supervised(), run.recipe, run.data, run.course, watchers, run.state).run()
        assert run.state.best
        assert run.adapter.digest == learner.adapter.digest
        rows = [(row["step"], row.get("loss"), row.get("held_out")) for row in run.metrics.rows()]
        return f"{run.adapter.digest} {run.answer.digest} {rows}".encode()


@pytest.fixture(scope="module", autouse=True)
def warm(tmp_path_factory):
    """What torch imports when it is first used is there in every child."""
    finished(begun(tmp_path_factory.mktemp("warm")).folder.parent)


def uninterrupted(folder):
    begun(folder)
    return in_a_child(lambda: finished(folder))


def test_a_run_that_is_killed_anywhere_goes_on_to_the_same_bits(tmp_path):
    """SIGKILL at places all over the run: the writing of a state, of a line, between steps."""
    whole, lines = uninterrupted(tmp_path / "whole")
    assert lines > 1000
    places = [*range(1, lines, lines // 40), lines]
    begun(tmp_path / "fresh")
    for place in places:
        home = tmp_path / "killed"
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(tmp_path / "fresh", home)
        killed, _ = in_a_child(lambda home=home: finished(home), kill_at=place)
        assert killed is None
        answer, _ = in_a_child(lambda home=home: finished(home))
        assert answer == whole, f"killed before line {place} of {lines}"


def test_a_run_that_is_killed_again_and_again_ends_with_the_same_bits(tmp_path):
    whole, lines = uninterrupted(tmp_path / "whole")
    begun(tmp_path)
    answer, kills = None, 0
    while answer is None and kills < 40:  # each goes a little further than one state
        answer, _ = in_a_child(lambda: finished(tmp_path), kill_at=lines // 3)
        kills += answer is None
    assert 2 < kills < 40
    assert answer == whole


def test_a_run_that_is_killed_while_it_is_made_is_there_whole_or_not_at_all(tmp_path):
    _, lines = in_a_child(lambda: begun(tmp_path / "whole") and b"")
    there = set()
    for place in (*range(1, lines - 6, 29), *range(lines - 6, lines + 1)):
        home = tmp_path / str(place)
        in_a_child(lambda home=home: begun(home) and b"", kill_at=place)
        runs = Runs(home)
        there.add(runs.names())
        if runs.names():
            with runs.open("tickets") as run:
                assert len(run.data.train) == 16
        else:
            begun(home)
    assert there == {(), ("tickets",)}


def test_a_state_that_is_cut_short_would_be_noticed(tmp_path):
    begun(tmp_path)
    in_a_child(lambda: finished(tmp_path))
    path = tmp_path / "tunings" / "tickets" / STATE
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(TuningError, match=r"reading .*state\.safetensors.*Remove the run"):
        Runs(tmp_path).open("tickets")


@pytest.mark.parametrize("precision", ["mxint8", "bf16", "float32"])
def test_a_run_keeps_its_masters_and_hands_out_what_is_served(tmp_path, precision):
    recipe = Recipe.of({**RECIPE.mapping(), "adapter": {"precision": precision}})
    runs, first = Runs(tmp_path), TinyLearner().adapter
    runs.add("tickets", Begun(facts={}, course=COURSE, recipe=recipe, data=dataset(), adapter=first))
    with runs.open("tickets") as run:
        assert run.adapter.digest == first.digest
        assert (run.answer.digest == first.digest) == (precision == "float32")
        assert run.answer.digest == as_served(first, precision).digest


# --- one at a time, and who looks ---


def test_a_run_is_worked_on_by_one_process_at_a_time(tmp_path):
    runs = begun(tmp_path)
    with runs.open("tickets"):
        assert runs.running() == ("tickets",)
        assert runs.look("tickets").running

        def another():
            with pytest.raises(TuningError, match=r"another process is working on it.*tune stop tickets"):
                Runs(tmp_path).open("tickets")
            with pytest.raises(TuningError, match="a process is working on it"):
                Runs(tmp_path).remove("tickets")
            return b"refused"

        assert in_a_child(another)[0] == b"refused"
    assert runs.running() == ()
    runs.open("tickets").close()


def test_a_name_is_taken_once(tmp_path):
    runs = begun(tmp_path)
    with pytest.raises(TuningError, match="tune resume tickets"):
        begun(tmp_path)
    assert runs.names() == ("tickets",)
    assert os.listdir(runs.folder) == ["tickets"]


@pytest.mark.parametrize("name", ["../up", "Big", "", "a/b", ".hidden"])
def test_a_name_that_cannot_be_one_is_refused(tmp_path, name):
    with pytest.raises(TuningError, match="cannot be called"):
        begun(tmp_path, name)
    with pytest.raises(TuningError, match="cannot be called"):
        Runs(tmp_path).look(name)


def test_whoever_looks_sees_how_far_it_is(tmp_path):
    runs = begun(tmp_path)
    assert (runs.look("tickets").standing.step, runs.look("tickets").trained) == (0, False)
    in_a_child(lambda: finished(tmp_path))
    seen = runs.look("tickets")
    assert seen.trained
    assert seen.standing.step == len([row for row in seen.rows if "loss" in row])
    assert seen.facts["model"] == "tiny"
    assert not seen.running


def test_a_stop_is_asked_of_whoever_works_on_it(tmp_path):
    runs = begun(tmp_path)
    assert not runs.stop("tickets")
    with runs.open("tickets") as run:
        assert not run.stop_asked
        assert runs.stop("tickets")
        assert run.stop_asked
    with runs.open("tickets") as run:  # who goes on was not asked
        assert not run.stop_asked


def test_what_is_there_is_for_its_owner_alone_and_is_gone_when_removed(tmp_path):
    runs = begun(tmp_path)
    place = tmp_path / "tunings" / "tickets"
    assert place.stat().st_mode & 0o077 == 0
    assert runs.remove("tickets") > 0
    assert runs.names() == ()
    assert os.listdir(tmp_path / "tunings") == []
    with pytest.raises(TuningError, match=r"there is no unfinished run 'tickets'.*begins one"):
        runs.look("tickets")


# --- where nothing can be written ---


def test_a_full_disk_while_a_state_is_kept_leaves_the_one_before(tmp_path):
    from ouvert.weights import writing

    begun(tmp_path)
    whole, _ = in_a_child(lambda: finished(tmp_path))
    Runs(tmp_path).remove("tickets")
    begun(tmp_path)

    def fails_at_the_third():
        put, count = writing.SafetensorsWriter._put, [0]

        def full(writer, position, data):
            count[0] += 1
            if count[0] == 3 * 20:
                raise writing.UnwritableError("the disk is full.")
            put(writer, position, data)

        writing.SafetensorsWriter._put = full
        with pytest.raises(TuningError, match=r"keeping the run at step .*Make room.*tune resume tickets"):
            finished(tmp_path)
        return b"said"

    assert in_a_child(fails_at_the_third)[0] == b"said"
    assert Runs(tmp_path).look("tickets").standing.step > 0
    assert in_a_child(lambda: finished(tmp_path))[0] == whole


def test_a_full_disk_before_the_first_step_leaves_nothing_and_names_no_run(tmp_path, monkeypatch):
    from ouvert.tuning import state
    from ouvert.weights.writing import UnwritableError

    def full(*given):
        raise UnwritableError("the disk is full.")

    monkeypatch.setattr(state, "SafetensorsWriter", full)
    with pytest.raises(TuningError, match=r"at step 0: the disk is full\. Nothing was begun.*then begin again\."):
        begun(tmp_path)
    assert [path for path in (tmp_path / "tunings").iterdir() if path.is_dir()] == []


def test_a_full_disk_while_a_line_is_written_leaves_the_lines_before(tmp_path):
    runs = begun(tmp_path)
    with runs.open("tickets") as run:
        run.tell({"step": 1, "loss": 1.0})
        limited(run.metrics.path, run)
        assert [row["step"] for row in run.metrics.rows()] == [1]


def limited(path, run):
    """The system itself refuses bytes beyond a size: a file that may not grow further is as a full disk."""
    import resource
    import signal

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 5, before[1]))
        with pytest.raises(TuningError, match=r"measuring the run tickets.*Make room"):
            run.tell({"step": 2, "loss": 1.0})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "tunings").write_text("no folder")
    with pytest.raises(TuningError, match=r"beginning the run tickets.*Expected a folder that can be written"):
        begun(tmp_path)


# --- the copy of the data ---


def test_every_kind_of_data_is_read_back(tmp_path):
    some = examples(6)
    kinds = [
        (some, some[:1]),
        ((Preference(some[0], some[1]), Preference(some[2], some[3])), ()),
        ((Labelled(some[0], True), Labelled(some[1], False)), (Labelled(some[2], True),)),
        ((Prompt(some[0].ids, {"answer": "é", "tests": [1, None]}, 3),), ()),
    ]
    for train, held_out in kinds:
        counts = Counts(rows=9, items=len(train), held_out=len(held_out), tokens=5, trained=4, cut=1)
        data = Dataset(train=train, held_out=held_out, counts=counts, digest="sha256:1", notes=("one", "two"))
        write_data(tmp_path / "data.safetensors", data)
        again = read_data_again(tmp_path / "data.safetensors")
        assert same(again.train, train)
        assert same(again.held_out, held_out)
        assert replace(again, train=(), held_out=()).counts == counts
        assert (again.digest, again.notes) == (data.digest, data.notes)
    (tmp_path / "data.safetensors").write_bytes(b"\0" * 40)
    with pytest.raises(TuningError, match="Expected the copy of a run's data"):
        read_data_again(tmp_path / "data.safetensors")


def same(items, others):
    if len(items) != len(others):
        return False
    for one, other in zip(items, others, strict=True):
        for name in one.__slots__:
            mine, theirs = getattr(one, name), getattr(other, name)
            if isinstance(mine, np.ndarray):
                equal = mine.dtype == theirs.dtype and np.array_equal(mine, theirs)
            else:
                equal = same([mine], [theirs]) if hasattr(mine, "ids") else mine == theirs
            if not equal or type(one) is not type(other):
                return False
    return True


def test_metrics_are_read_while_they_are_written(tmp_path):
    runs = begun(tmp_path)
    with runs.open("tickets") as run:
        run.tell({"step": 1, "loss": 1.0})
        with open(run.folder / METRICS, "ab") as file:
            file.write(b'{"step":2,"lo')
        assert [row["step"] for row in runs.look("tickets").rows] == [1]
    with runs.open("tickets") as run:
        assert run.metrics.rows() == []  # nothing was kept: the step is done again
