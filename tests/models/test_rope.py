"""RoPE and the ways to stretch it, against what transformers computes for the settings of published models."""

import json
from pathlib import Path

import numpy as np
import pytest

from ouvert.models import CheckpointError
from ouvert.models.config_reader import ConfigReader
from ouvert.models.rope import Factors, Linear, Yarn, rope_from_gguf, rope_from_hf

GOLDEN = json.loads((Path(__file__).parents[1] / "goldens" / "models_rope.json").read_text())

# transformers works in float32 throughout, we round to it at the end: a few units in the last place.
LAST_PLACES = 6e-7


def read(parameters, head_dim=64, context=4096):
    reader = ConfigReader("config.json", {"rope_parameters": parameters})
    return rope_from_hf(reader, head_dim, context, None)


@pytest.mark.parametrize("name", GOLDEN)
def test_frequencies_are_those_of_transformers(name):
    golden = GOLDEN[name]
    rope = read(golden["rope_parameters"], golden["head_dim"], golden["max_position_embeddings"]).rope()
    assert rope.inverse_frequencies.dtype == np.float32
    np.testing.assert_allclose(rope.inverse_frequencies, golden["inverse_frequencies"], rtol=LAST_PLACES)
    assert rope.magnitude == pytest.approx(golden["magnitude"], rel=1e-12)


@pytest.mark.parametrize("name", GOLDEN)
def test_the_older_spelling_says_the_same(name):
    golden = GOLDEN[name]
    scaling = dict(golden["rope_parameters"])
    theta = scaling.pop("rope_theta")
    scaling["type"] = scaling.pop("rope_type")
    reader = ConfigReader("config.json", {"rope_theta": theta, "rope_scaling": None if len(scaling) == 1 else scaling})
    older = rope_from_hf(reader, golden["head_dim"], golden["max_position_embeddings"], None)
    assert older == read(golden["rope_parameters"], golden["head_dim"], golden["max_position_embeddings"])


@pytest.mark.parametrize(
    ("settings", "more"),
    [
        ({"rope_type": "default"}, {"factor": 1.0, "original_max_position_embeddings": 4096}),
        ({"rope_type": "linear", "factor": 2.0}, {"original_max_position_embeddings": 2048}),
        ({"rope_type": "yarn", "factor": 4.0}, {"extrapolation_factor": 1.0, "attn_factor": 1.0}),
    ],
)
def test_settings_that_say_nothing_new_change_nothing(settings, more):
    settings = settings | {"rope_theta": 10000.0}
    assert read(settings | more) == read(settings)


def test_untruncated_ramps_differ_from_truncated_ones():
    settings = GOLDEN["gpt-oss"]["rope_parameters"]
    whole = read(settings | {"truncate": True}).rope().inverse_frequencies
    assert np.abs(whole / read(settings).rope().inverse_frequencies - 1).max() > 0.01


@pytest.mark.parametrize("kind", ["longrope", "su"])
def test_what_we_do_not_compute_is_refused_by_name(kind):
    with pytest.raises(CheckpointError, match=rf"rope_type '{kind}' is not one we compute"):
        read({"rope_type": kind, "rope_theta": 10000.0, "factor": 2.0})


def test_unknown_settings_are_refused_by_name():
    with pytest.raises(CheckpointError, match=r"unknown keys \['short_factor'\]"):
        read({"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0, "short_factor": [1.0]})
    with pytest.raises(CheckpointError, match=r"partial_rotary_factor is 0.5, and we compute it only as 1"):
        read({"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5})


def gguf(metadata, factors=None, *, truncate=True):
    return rope_from_gguf(ConfigReader("a.gguf", metadata), 8, 4096, factors, truncate=truncate)


def test_gguf_metadata():
    assert gguf({}).scaling is None
    assert gguf({}).rope_theta == 10000
    assert gguf({"rope.scaling.type": "none", "rope.scaling.factor": 3.0}).scaling is None
    assert gguf({"rope.scaling.factor": 3.0}).scaling == Linear(factor=3)
    assert gguf({"rope.scale_linear": 3.0}).scaling == Linear(factor=3)
    factors = (1.0, 2.0, 4.0, 8.0)
    stretched = gguf({"rope.freq_base": 500.0}, factors)
    assert stretched.scaling == Factors(factors=factors)
    np.testing.assert_allclose(
        stretched.rope().inverse_frequencies * factors, gguf({"rope.freq_base": 500.0}).rope().inverse_frequencies
    )
    said = {
        "rope.scaling.type": "yarn",
        "rope.scaling.factor": 32.0,
        "rope.scaling.original_context_length": 4096,
    }
    assert gguf(said, truncate=False).scaling == Yarn(
        factor=32,
        original_max_position_embeddings=4096,
        beta_fast=32,
        beta_slow=1,
        attention_factor=pytest.approx(1.3465735902799727),
        truncate=False,
    )


@pytest.mark.parametrize(
    ("metadata", "factors", "said"),
    [
        ({"rope.scaling.type": "longrope"}, None, "'longrope' is not one we compute"),
        ({"rope.scaling.attn_factor": 2.0}, None, "only YaRN makes vectors longer"),
        ({"rope.scaling.factor": 2.0}, (1.0,) * 4, "both stretch positions"),
        ({}, (1.0,) * 3, "has 3 values, expected 4"),
        ({"rope.dimension_count": 4}, None, "rope.dimension_count is 4, and we compute it only as 8"),
    ],
)
def test_gguf_metadata_we_cannot_honour(metadata, factors, said):
    with pytest.raises(CheckpointError, match=said):
        gguf(metadata, factors)
