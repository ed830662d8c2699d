"""Which runner computes."""

import pytest

from ouvert import models
from ouvert.engine.runners.choosing import open_runner
from ouvert.kernels import TracingError
from ouvert.weights import open_checkpoint


def opened(path):
    with open_checkpoint(path) as checkpoint:
        return open_runner(checkpoint, models.recognise(checkpoint), 1, False, None).runner


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
