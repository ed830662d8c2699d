"""Shapes of well-known models: their parameters times bytes must be what the makers' files weigh."""

from math import prod

import pytest

from ouvert.models.shapes import known_shapes
from ouvert.store import aliases

# Files that hold more than the shape says, and why.
MORE = {
    "smollm2": 1.18,  # the embedding is in 8 bits, not in 4
    "qwen2.5-coder:1.5b": 1.14,  # the tied head is stored twice
    "qwen2.5:1.5b": 1.14,
    "qwen2.5:3b": 1.10,
    "qwen3:0.6b": 1.27,  # the tied head is stored twice
    "qwen3:1.7b": 1.19,  # the tied head is stored twice
    "deepseek-r1": 1.03,  # the extra layer that predicts two tokens ahead
    "deepseek-v3": 1.03,
}


@pytest.mark.parametrize("alias", aliases(), ids=lambda alias: alias.name)
def test_every_alias_has_a_shape_that_weighs_what_its_files_weigh(alias):
    shape = known_shapes()[alias.name]
    assert shape.family == alias.family
    assert alias.size / shape.weight_bytes() == pytest.approx(MORE.get(alias.name, 1.0), rel=0.01)


def test_no_shape_is_without_an_alias():
    assert known_shapes().keys() == {alias.name for alias in aliases()}


def test_active_parameters_are_those_of_the_model_cards():
    shapes = known_shapes()
    billions = {
        name: shapes[name].active / 1e9 for name in ("gpt-oss:20b", "gpt-oss:120b", "mixtral:8x7b", "deepseek-r1")
    }
    # "3.6B", "5.1B", "about 13B" and "37B" activated parameters a token.
    assert billions == pytest.approx(
        {"gpt-oss:20b": 3.6, "gpt-oss:120b": 5.1, "mixtral:8x7b": 12.9, "deepseek-r1": 37}, rel=0.02
    )


def test_windows_and_fixed_states_bound_the_cache():
    shapes = known_shapes()
    oss, mamba = shapes["gpt-oss:20b"], shapes["mamba:2.8b"]
    per_token = 2 * 2 * 8 * 64
    assert oss.cache_bytes(100) == 24 * 100 * per_token
    assert oss.cache_bytes(10_000) == (12 * 10_000 + 12 * 128) * per_token
    assert mamba.cache_bytes(100) == mamba.cache_bytes(100_000)


@pytest.mark.parametrize("name", known_shapes())
def test_the_matrices_of_a_shape_are_all_its_weights(name):
    shape = known_shapes()[name]
    channels = 0 if shape.groups else shape.layers * shape.expanded  # of Mamba: each has taps, and an A for every state
    vectors = channels * (shape.convolution + shape.state)
    assert sum(prod(sides) for _, sides in shape.matrices()) + vectors == shape.parameters
