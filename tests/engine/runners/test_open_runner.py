"""Which runner computes."""

import numpy as np
import pytest

from ouvert import kernels
from ouvert.engine import open_engine
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


@pytest.mark.parametrize("native", [True, False])
def test_the_model_is_handed_back_with_the_weights_that_compute(smollm2, monkeypatch, native):
    monkeypatch.setattr(kernels, "available", lambda: native)
    opened = open_engine(smollm2, threads=1)
    model = opened.model
    assert (model.family.name, len(model.parameters.layers)) == ("llama", model.config.num_hidden_layers)
    weight = model.parameters.layers[0].q
    assert isinstance(weight, kernels.Packed if native else np.ndarray)
    before = opened.engine.logits([5, 6, 7])
    (weight.data if native else weight)[:] = 0  # packed into memory, or decoded: nobody else's
    assert not np.array_equal(opened.engine.logits([5, 6, 7]), before)
    opened.engine.close()


def test_what_a_program_cannot_do_numpy_does_and_says_so(smollm2, monkeypatch):
    def refuse(self, *args, **kwargs):
        raise TracingError("attend: too many heads share a key head.")

    monkeypatch.setattr("ouvert.kernels.tracer.Tracer.attend", refuse)
    with pytest.warns(UserWarning, match="NumPy computes.*too many heads"):
        runner = opened(smollm2)
    assert runner.instruction_set == "numpy"
    runner.close()
