"""Mistral and Mixtral in Mistral's own layout: params.json, other names, rows of q and k as its rotation wants them."""

import json
import re

import numpy as np
import pytest
from safetensors.numpy import save_file

from ouvert import arithmetic, models
from ouvert.models import CheckpointError
from ouvert.weights import open_checkpoint

IDS = [5, 9, 30, 1, 17, 2]
NAMES = (
    ("model.embed_tokens", "tok_embeddings"),
    ("model.norm", "norm"),
    ("lm_head", "output"),
    ("model.layers", "layers"),
    ("input_layernorm", "attention_norm"),
    ("post_attention_layernorm", "ffn_norm"),
    *((f"self_attn.{each}_proj", f"attention.w{each}") for each in "qkvo"),
    ("mlp.gate_proj", "feed_forward.w1"),
    ("mlp.down_proj", "feed_forward.w2"),
    ("mlp.up_proj", "feed_forward.w3"),
    ("block_sparse_moe", "feed_forward"),
)


def as_neighbours(matrix, heads):
    """Rows (head, half, j) to (head, j, half): Mistral's rotation turns (2j, 2j + 1), transformers' (j, j + half)."""
    return np.ascontiguousarray(np.moveaxis(matrix.reshape(heads, 2, -1, matrix.shape[1]), 1, 2).reshape(matrix.shape))


def own_layout(golden, folder, **changes):
    """The golden as Mistral publishes a model itself."""
    config = json.loads((golden.folder / "config.json").read_text())
    tensors = {}
    with open_checkpoint(golden.folder / "model.safetensors") as checkpoint:
        published = {name: tensor.decode() for name, tensor in checkpoint.tensors.items()}
    for name, values in published.items():
        if name.endswith("q_proj.weight"):
            values = as_neighbours(values, config["num_attention_heads"])
        if name.endswith("k_proj.weight"):
            values = as_neighbours(values, config["num_key_value_heads"])
        for theirs, own in NAMES:
            name = name.replace(theirs, own)
        tensors[name] = values
    params = {
        "dim": config["hidden_size"],
        "n_layers": config["num_hidden_layers"],
        "head_dim": config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"],
        "hidden_dim": config["intermediate_size"],
        "n_heads": config["num_attention_heads"],
        "n_kv_heads": config["num_key_value_heads"],
        "norm_eps": config["rms_norm_eps"],
        "vocab_size": config["vocab_size"],
        "rope_theta": (config.get("rope_parameters") or config.get("rope_scaling") or config)["rope_theta"],
        "sliding_window": config["sliding_window"],
        "tied_embeddings": config.get("tie_word_embeddings", False),
    }
    if "num_local_experts" in config:
        params["moe"] = {
            "num_experts": config["num_local_experts"],
            "num_experts_per_tok": config["num_experts_per_tok"],
        }
    save_file(tensors, folder / "consolidated.safetensors")
    (folder / "params.json").write_text(json.dumps(params | changes))
    return folder


def logits(folder):
    ops = arithmetic.Ops(np.float64)
    with open_checkpoint(folder) as checkpoint:
        model = models.load(checkpoint, ops)
    found = model.forward(ops.begin([(ops.new_cache(model.memories), IDS)], "all"), ops)
    return model.family.name, found


@pytest.mark.parametrize(
    ("case", "family"), [("mistral", "llama"), ("mixtral", "mixtral"), ("mixtral-window", "mixtral")]
)
def test_the_logits_are_those_of_the_same_weights_in_transformers_layout(case, family, golden_of, tmp_path):
    golden = golden_of(case)
    name, found = logits(own_layout(golden, tmp_path))
    assert name == family
    np.testing.assert_array_equal(found, logits(golden.folder)[1])


def test_what_params_does_not_say_is_what_mistral_assumes(golden_of, tmp_path):
    own_layout(golden_of("mistral"), tmp_path, rope_theta=None, sliding_window=None)
    with open_checkpoint(tmp_path) as checkpoint:
        _, config = models.recognise(checkpoint)
    assert (config.rope.rope_theta, config.max_position_embeddings, set(config.windows)) == (1e6, 32768, {None})
    own_layout(golden_of("mistral"), tmp_path, rope_theta=None, sliding_window=4096, max_seq_len=64)
    with open_checkpoint(tmp_path) as checkpoint:
        _, config = models.recognise(checkpoint)
    assert (config.rope.rope_theta, config.max_position_embeddings, set(config.windows)) == (1e4, 64, {4096})


@pytest.mark.parametrize(
    ("case", "changes", "said"),
    [
        ("mistral", {"vision_encoder": {"hidden_size": 8}}, r"unknown keys ['vision_encoder']"),
        ("mistral", {"lora": {"rank": 64}}, r"unknown keys ['lora']"),
        ("mistral", {"n_kv_heads": None}, "n_kv_heads is missing"),
        ("mistral", {"dim": 8}, "expected (64, 8) (vocabulary, hidden)"),
        ("mixtral", {"moe": {"num_experts": 5}}, "moe: num_experts_per_tok is missing"),
        ("mixtral", {"moe": {"num_experts": 5, "num_experts_per_tok": 2, "bias": 1}}, r"moe: unknown keys ['bias']"),
        ("mixtral", {"moe": [5, 2]}, "moe is [5, 2], expected an object"),
    ],
)
def test_a_params_file_that_asks_for_more_is_refused_by_the_key(case, changes, said, golden_of, tmp_path):
    own_layout(golden_of(case), tmp_path, **changes)
    with pytest.raises(CheckpointError, match=re.escape(said)):
        logits(tmp_path)
