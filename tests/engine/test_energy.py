"""Joules: from counters as Linux has them, shared among answers, and never invented."""

import pytest
from tests.models.conftest import golden_called

from ouvert import arithmetic, models
from ouvert.engine import LocalEngine, Sampling, energy
from ouvert.engine.energy import Meter
from ouvert.engine.runners.numpy_runner import NumpyRunner
from ouvert.weights import open_checkpoint


def zone(root, name, kind, value, largest=1000):
    folder = root / name
    folder.mkdir()
    (folder / "name").write_text(f"{kind}\n")
    (folder / "energy_uj").write_text(f"{value}\n")
    (folder / "max_energy_range_uj").write_text(f"{largest}\n")
    return folder / "energy_uj"


def test_packages_are_added_up_and_their_parts_are_not(tmp_path):
    one = zone(tmp_path, "intel-rapl:0", "package-0", 100)
    other = zone(tmp_path, "intel-rapl:1", "package-1", 200)
    zone(tmp_path, "intel-rapl:0:0", "core", 7)
    meter = Meter(tmp_path)
    before = meter.read()
    one.write_text("150\n")
    other.write_text("260\n")
    assert (before, meter.read()) == ((100, 200), (150, 260))
    assert meter.joules(before, meter.read()) == pytest.approx(110e-6)
    meter.close()


def test_a_counter_may_begin_again(tmp_path):
    zone(tmp_path, "intel-rapl:0", "package-0", 990)
    meter = Meter(tmp_path)
    assert meter.joules((990,), (9,)) == pytest.approx(20e-6)
    meter.close()


def test_a_machine_that_does_not_say_is_not_asked_again(tmp_path):
    assert Meter(tmp_path).read() is None
    assert Meter(tmp_path / "nothing").read() is None
    zone(tmp_path, "intel-rapl:0", "package-0", 100)
    (zone(tmp_path, "intel-rapl:1", "package-1", 100)).unlink()  # as if it were not ours to read
    assert Meter(tmp_path).read() is None
    broken = tmp_path / "intel-rapl:0" / "energy_uj"
    broken.write_text("much\n")
    (tmp_path / "intel-rapl:1" / "energy_uj").write_text("1\n")
    meter = Meter(tmp_path)
    assert meter.read() is None
    assert meter.read() is None


class Counting(NumpyRunner):
    """Every step uses 5 J."""

    counter = None

    def step(self, work, wanted):
        self.counter.write_text(str(int(self.counter.read_text()) + 5_000_000))
        return super().step(work, wanted)


@pytest.fixture
def runner():
    ops = arithmetic.Ops()
    with open_checkpoint(golden_called("llama").folder / "model.safetensors") as checkpoint:
        return Counting(models.load(checkpoint, ops), ops)


def test_answers_share_what_steps_used(runner, facts, tmp_path, monkeypatch):
    runner.counter = zone(tmp_path, "intel-rapl:0", "package-0", 0, largest=10**12)
    monkeypatch.setattr(energy, "POWERCAP", tmp_path)
    engine = LocalEngine(runner, 64, facts)
    alone = engine.generate([1, 2, 3], Sampling(seed=1, max_tokens=6))
    assert len(list(alone)) == 6
    assert alone.stopped.joules == pytest.approx(6 * 5)
    together = [engine.generate([n, 5, 6], Sampling(seed=n, max_tokens=8)) for n in range(3)]
    for each in together:
        list(each)
    used = int(runner.counter.read_text()) / 1e6 - 30
    assert sum(each.stopped.joules for each in together) == pytest.approx(used)
    engine.close()


def test_where_nothing_is_said_nothing_is_reported(runner, facts, tmp_path, monkeypatch):
    monkeypatch.setattr(energy, "POWERCAP", tmp_path)
    runner.counter = tmp_path / "counter"
    runner.counter.write_text("0")
    engine = LocalEngine(runner, 64, facts)
    generation = engine.generate([1, 2, 3], Sampling(seed=1, max_tokens=2))
    list(generation)
    assert generation.stopped.joules is None
    engine.close()
