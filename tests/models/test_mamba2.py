"""What is particular to Mamba-2: bounds of dt, and Mistral's own layout, which says less than transformers'."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from ouvert import arithmetic, models
from ouvert.models import CheckpointError
from ouvert.weights import open_checkpoint

PARAMS = {
    "dim": 64, "n_layers": 2, "vocab_size": 61, "n_groups": 2, "rms_norm": True, "residual_in_fp32": True,
    "fused_add_norm": True, "pad_vocab_size_multiple": 8, "tie_embeddings": False, "model_type": "mamba",
}  # fmt: skip
HF = {
    "model_type": "mamba2", "hidden_size": 64, "num_heads": 2, "head_dim": 64, "n_groups": 2, "num_hidden_layers": 2,
    "vocab_size": 64,
}  # fmt: skip
CHANNELS, CONVOLVED = 128, 128 + 2 * 2 * 128


def tensors():
    random = np.random.default_rng(3)
    of_layer = {
        "norm.weight": (64,), "mixer.in_proj.weight": (CHANNELS + CONVOLVED + 2, 64), "mixer.dt_bias": (2,),
        "mixer.conv1d.weight": (CONVOLVED, 1, 4), "mixer.conv1d.bias": (CONVOLVED,), "mixer.A_log": (2,),
        "mixer.D": (2,), "mixer.norm.weight": (CHANNELS,), "mixer.out_proj.weight": (64, CHANNELS),
    }  # fmt: skip
    shapes = {"backbone.embeddings.weight": (64, 64), "backbone.norm_f.weight": (64,), "lm_head.weight": (64, 64)}
    shapes |= {f"backbone.layers.{n}.{name}": shape for n in range(2) for name, shape in of_layer.items()}
    return {name: (0.2 * random.standard_normal(shape)).astype(np.float32) for name, shape in shapes.items()}


def mistral_folder(folder, **changes):
    """As mistralai/Mamba-Codestral-7B-v0.1 has it beside the files for transformers."""
    named = {name.replace("embeddings", "embedding"): values for name, values in tensors().items()}
    folder.mkdir(exist_ok=True)
    save_file(named, folder / "consolidated.safetensors")
    (folder / "params.json").write_text(json.dumps(PARAMS | changes))
    return folder


def logits(folder):
    ops = arithmetic.Ops(np.float64)
    with open_checkpoint(folder) as checkpoint:
        model = models.load(checkpoint, ops)
    return model.forward(ops.begin([(ops.new_cache(model.memories), [5, 9, 60, 1])], "all"), ops)


def test_mistrals_own_layout_gives_the_logits_of_transformers(tmp_path):
    (other := tmp_path / "hf").mkdir()
    save_file(tensors(), other / "model.safetensors")
    (other / "config.json").write_text(json.dumps(HF))
    np.testing.assert_array_equal(logits(mistral_folder(tmp_path / "mistral")), logits(other))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_type": "rwkv"}, "model_type is 'rwkv', and of models in Mistral's own layout .* mamba"),
        ({"dim": 48}, "96 channels cannot be cut into heads of 64"),
        ({"rms_norm": False}, "rms_norm is False"),
        ({"moe": {"num_experts": 8}}, r"unknown keys \['moe'\]"),
        ({"n_groups": None}, "n_groups is missing"),
        ({"n_groups": 3}, "cannot be cut evenly into 2 heads, or those into 3 groups"),
        ({"tie_embeddings": "no"}, "tie_embeddings is 'no', expected true or false"),
    ],
)
def test_a_params_file_that_asks_for_more_is_refused_by_the_key(tmp_path, changes, said):
    with pytest.raises(CheckpointError, match=said) as raised:
        logits(mistral_folder(tmp_path, **changes))
    assert "params.json" in str(raised.value)


def read(**changes):
    [family] = [each for each in models.FAMILIES if each.name == "mamba2"]
    return family.config_from_hf(HF | changes, "config.json")


@pytest.mark.parametrize("infinity", [float("inf"), {"__float__": "Infinity"}], ids=["Infinity", "an object"])
def test_either_way_to_write_no_upper_bound_is_read(infinity):
    assert read(time_step_limit=[0.0, infinity]) == read()
    assert read(time_step_limit=[0.1, infinity]).time_step_limit == (0.1, None)
    assert json.loads(json.dumps(read().time_step_limit, allow_nan=False)) == [0.0, None]


@pytest.mark.parametrize(
    "bounds",
    [[0.0], 0.1, [1.0, 0.5], [-1.0, 1.0], ["0", "1"], [0.0, {"__float__": "NaN"}], [0.0, float("nan")]],
    ids=str,
)
def test_bounds_that_are_none_are_refused(bounds):
    with pytest.raises(CheckpointError, match=r"time_step_limit is .* expected two numbers, 0 or more"):
        read(time_step_limit=bounds)


def test_a_head_of_another_width_than_the_channels_give_is_refused():
    with pytest.raises(CheckpointError, match="head_dim is 32, and we compute it only as 64"):
        read(head_dim=32)
