"""Which part of a network first gave numbers that are not finite, computed by NumPy and natively."""

from dataclasses import replace

import numpy as np
import pytest
from tests.kernels.tiny import matrix
from tests.models.conftest import golden_called

from ouvert import arithmetic, models, packed
from ouvert.engine.runners import nonfinite
from ouvert.weights import open_checkpoint

GOOD, BAD = 7, 5  # token ids; the second one's row of the embedding is broken in some tests
# What a family's layers remember, and the name of a norm at the beginning of a layer.
NORMS = {"llama": "attention_norm", "deepseek_v3": "attention_norm", "mamba": "mixer_norm"}


class InNumPy:
    def __init__(self):
        self.ops = arithmetic.Ops()
        self.place, self.table = self.ops.place, lambda values: values

    def locate(self, model, ids):
        return nonfinite.in_numpy(model, self.ops)(ids)


class Natively:
    def __init__(self, exact):
        self.exact, self.place = exact, packed.InMemory().place
        self.table = lambda values: matrix(values, "F32")

    def locate(self, model, ids):
        return nonfinite.in_native(model, self.exact, "f16", threads=1)(ids)


@pytest.fixture(params=[InNumPy(), Natively(exact=True), Natively(exact=False)], ids=["numpy", "exact", "int8"])
def how(request):
    return request.param


def load(how, family):
    with open_checkpoint(golden_called(family).folder / "model.safetensors") as checkpoint:
        return models.load(checkpoint, how)


def break_norm(model, n, value):
    getattr(model.parameters.layers[n], NORMS[model.family.name])[0] = value


def with_a_broken_token(how, model):
    table = np.random.default_rng(0).standard_normal((64, model.config.hidden_size)).astype(np.float32)
    table[BAD] = np.nan
    return replace(model, parameters=replace(model.parameters, embedding=how.table(table)))


@pytest.mark.parametrize("family", NORMS)
def test_a_sound_model_has_no_broken_part(how, family):
    assert how.locate(load(how, family), [GOOD] * 200) is None


@pytest.mark.parametrize("family", NORMS)
@pytest.mark.parametrize("n", [0, 1])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_the_first_layer_that_breaks_is_named(how, family, n, value):
    model = load(how, family)
    break_norm(model, n, value)
    assert how.locate(model, [GOOD] * 3) == f"layers.{n}.out"


def test_of_two_broken_layers_the_first_is_named(how):
    model = load(how, "llama")
    for n in (1, 0):
        break_norm(model, n, np.nan)
    assert how.locate(model, [GOOD]) == "layers.0.out"


def test_after_the_last_layer_it_is_the_logits(how):
    model = load(how, "llama")
    model.parameters.norm[0] = np.nan
    assert how.locate(model, [GOOD, GOOD]) == "logits"


@pytest.mark.parametrize("at", [0, 1, nonfinite.CHUNK - 1, nonfinite.CHUNK, 2 * nonfinite.CHUNK + 3])
def test_a_token_that_breaks_is_found_wherever_it_stands(how, at):
    model = with_a_broken_token(how, load(how, "llama"))
    ids = [GOOD] * (2 * nonfinite.CHUNK + 4)
    assert how.locate(model, ids) is None
    ids[at] = BAD
    assert how.locate(model, ids) == "embedding"


def test_the_step_that_breaks_first_counts_not_the_part_that_stands_first(how):
    model = with_a_broken_token(how, load(how, "llama"))
    break_norm(model, 1, np.nan)
    assert how.locate(model, [GOOD] * nonfinite.CHUNK + [BAD]) == "layers.1.out"
