"""Which runner computes."""

import pytest

from ouvert.engine.choosing import open_runner
from ouvert.kernels import RecordingError
from ouvert.weights import open_checkpoint


def test_the_native_runner_computes_what_it_can(smollm2):
    with open_checkpoint(smollm2) as checkpoint:
        runner, family, _ = open_runner(checkpoint, 1, False, None)
        assert runner.instruction_set != "numpy"
        assert family == "llama"
        runner.close()


def test_what_a_program_cannot_do_numpy_does_and_says_so(smollm2, monkeypatch):
    def refuse(self, *args, **kwargs):
        raise RecordingError("attend: too many heads share a key head.")

    monkeypatch.setattr("ouvert.kernels.recorder.Recorder.attend", refuse)
    with open_checkpoint(smollm2) as checkpoint, pytest.warns(UserWarning, match="NumPy computes.*too many heads"):
        runner, _, _ = open_runner(checkpoint, 1, False, None)
    assert runner.instruction_set == "numpy"
    runner.close()
