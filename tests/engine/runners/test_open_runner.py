"""Which runner computes."""

import pytest

from ouvert.engine.runners.open_runner import open_runner
from ouvert.kernels import TracingError
from ouvert.packed import open_model


def opened(path):
    with open_model(path) as files:
        return open_runner(files, threads=1).runner


def test_the_native_runner_computes_what_it_can(smollm2):
    runner = opened(smollm2)
    assert runner.instruction_set != "numpy"
    runner.close()


def test_what_a_program_cannot_do_numpy_does_and_says_so(smollm2, monkeypatch):
    def refuse(self, *args, **kwargs):
        raise TracingError("attend: too many heads share a key head.")

    monkeypatch.setattr("ouvert.kernels.tracer.Tracer.attend", refuse)
    with pytest.warns(UserWarning, match="NumPy computes.*too many heads"):
        runner = opened(smollm2)
    assert runner.instruction_set == "numpy"
    runner.close()
