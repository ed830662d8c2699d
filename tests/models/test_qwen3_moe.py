"""What Qwen3-MoE's checkpoints say: which layers have experts, how their weights add up, and what is refused."""

from types import SimpleNamespace

import numpy as np
import pytest

from ouvert import arithmetic, models
from ouvert.models import CheckpointError
from ouvert.weights import open_checkpoint

# config.json of Qwen/Qwen3-30B-A3B, and what Qwen/Qwen3-Coder-30B-A3B-Instruct says otherwise.
PUBLISHED = {
    "architectures": ["Qwen3MoeForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
    "bos_token_id": 151643, "decoder_sparse_step": 1, "eos_token_id": 151645, "head_dim": 128, "hidden_act": "silu",
    "hidden_size": 2048, "initializer_range": 0.02, "intermediate_size": 6144, "max_position_embeddings": 40960,
    "max_window_layers": 48, "mlp_only_layers": [], "model_type": "qwen3_moe", "moe_intermediate_size": 768,
    "norm_topk_prob": True, "num_attention_heads": 32, "num_experts": 128, "num_experts_per_tok": 8,
    "num_hidden_layers": 48, "num_key_value_heads": 4, "output_router_logits": False, "rms_norm_eps": 1e-06,
    "rope_scaling": None, "rope_theta": 1000000.0, "router_aux_loss_coef": 0.001, "sliding_window": None,
    "tie_word_embeddings": False, "torch_dtype": "bfloat16", "transformers_version": "4.51.0", "use_cache": True,
    "use_sliding_window": False, "vocab_size": 151936,
}  # fmt: skip
CODER = {key: value for key, value in PUBLISHED.items() if key not in ("attention_bias", "bos_token_id")} | {
    "intermediate_size": 5472, "max_position_embeddings": 262144, "max_window_layers": 28, "qkv_bias": False,
    "rope_theta": 10000000, "router_aux_loss_coef": 0.0, "shared_expert_intermediate_size": 0, "use_qk_norm": True,
}  # fmt: skip


def read(config):
    return models.qwen3_moe.FAMILY.config_from_hf(config, "config.json")


def opened(golden, file="model.safetensors"):
    checkpoint = open_checkpoint(golden.folder / file)
    return SimpleNamespace(
        path=checkpoint.path,
        folder=checkpoint.folder,
        format=checkpoint.format,
        tensors=dict(checkpoint.tensors),
        metadata=dict(checkpoint.metadata),
    )


def logits(checkpoint, ids):
    ops = arithmetic.Ops()
    model = models.load(checkpoint, ops)
    return model.forward(ops.begin([(ops.new_cache(model.memories), ids)], "all"), ops)


@pytest.mark.parametrize(("said", "theta"), [(PUBLISHED, 1e6), (CODER, 1e7)], ids=["Qwen3-30B-A3B", "Qwen3-Coder"])
def test_published_configurations_are_read(said, theta):
    config = read(said)
    assert (config.num_experts, config.num_experts_per_tok, config.moe_intermediate_size) == (128, 8, 768)
    assert config.norm_topk_prob
    assert all(config.has_experts(n) for n in range(48))
    assert config.windows == (None,) * 48
    assert config.rope.rope_theta == theta


@pytest.mark.parametrize(
    ("step", "plain", "expected"),
    [(1, [], [0, 1, 2, 3, 4, 5]), (1, [0, 4], [1, 2, 3, 5]), (2, [], [1, 3, 5]), (3, [2], [5]), (7, [], [])],
)
def test_which_layers_have_experts(step, plain, expected):
    config = read(PUBLISHED | {"num_hidden_layers": 6, "decoder_sparse_step": step, "mlp_only_layers": plain})
    assert [n for n in range(6) if config.has_experts(n)] == expected


def test_what_may_be_left_out_is_what_published_files_have():
    optional = ("decoder_sparse_step", "mlp_only_layers", "use_sliding_window", "sliding_window", "max_window_layers")
    assert read({key: value for key, value in PUBLISHED.items() if key not in optional}) == read(PUBLISHED)


def test_transformers_has_two_names_for_the_number_of_experts():
    renamed = {key: value for key, value in PUBLISHED.items() if key != "num_experts"} | {"num_local_experts": 128}
    assert read(renamed) == read(PUBLISHED | {"num_local_experts": 128}) == read(PUBLISHED)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"num_experts_per_tok": 129}, "129 experts a token cannot be kept of 128"),
        ({"num_experts": None}, "num_local_experts is missing"),
        ({"num_local_experts": 64}, "num_local_experts is 64"),
        ({"norm_topk_prob": None}, "norm_topk_prob is missing"),
        ({"norm_topk_prob": 1}, "norm_topk_prob is 1, expected true or false"),
        ({"moe_intermediate_size": None}, "moe_intermediate_size is missing"),
        ({"head_dim": None}, "head_dim is missing"),
        ({"mlp_only_layers": 3}, "mlp_only_layers is 3, expected a list of whole numbers"),
        ({"mlp_only_layers": [-1]}, r"mlp_only_layers is \[-1\], expected a list of whole numbers"),
        ({"mlp_only_layers": [True]}, r"mlp_only_layers is \[True\], expected a list of whole numbers"),
        ({"decoder_sparse_step": 0}, "decoder_sparse_step is 0"),
        ({"shared_expert_intermediate_size": 512}, "shared_expert_intermediate_size is 512"),
        ({"qkv_bias": True}, "qkv_bias is True"),
        ({"use_qk_norm": False}, "use_qk_norm is False"),
        ({"use_sliding_window": True, "sliding_window": 9}, "max_window_layers 48"),
        ({"use_sliding_window": True, "max_window_layers": 0}, "sliding_window is missing"),
        ({"layer_types": ["sliding_attention"] * 48}, "layer_types"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantised with 'gptq'"),
        ({"n_group": 4}, r"unknown keys \['n_group'\]"),
    ],
    ids=lambda each: "-".join(each) if isinstance(each, dict) else "",
)
def test_what_would_compute_something_else_is_refused_by_name(changes, sentence):
    with pytest.raises(CheckpointError, match=sentence):
        read(PUBLISHED | changes)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("expert_gating_func", 2),
        ("expert_weights_scale", 2.5),
        ("expert_shared_count", 1),
        ("expert_group_count", 4),
        ("moe_every_n_layers", 2),
        ("attention.sliding_window", 5),
    ],
)
def test_experts_of_another_kind_in_gguf_are_refused_by_name(golden_of, key, value):
    checkpoint = opened(golden_of("qwen3_moe-normalised"), "model.gguf")
    checkpoint.metadata[f"qwen3moe.{key}"] = value
    with pytest.raises(CheckpointError, match=f"qwen3moe.{key}"):
        models.recognise(checkpoint)


def test_a_gguf_file_may_say_that_weights_are_not_normalised(golden_of):
    golden = golden_of("qwen3_moe-normalised")
    silent, told = opened(golden, "model.gguf"), opened(golden, "model.gguf")
    told.metadata["qwen3moe.expert_weights_norm"] = True
    np.testing.assert_array_equal(logits(told, golden.ids), logits(silent, golden.ids))
    told.metadata["qwen3moe.expert_weights_norm"] = False
    otherwise = logits(told, golden.ids)
    assert np.abs(otherwise - golden.float32).max() > 0.01 * np.abs(golden.float32).max()


def test_an_expert_that_is_missing_is_named(golden_of):
    checkpoint = opened(golden_of("qwen3_moe"))
    del checkpoint.tensors["model.layers.1.mlp.experts.6.up_proj.weight"]
    family, config = models.recognise(checkpoint)
    with pytest.raises(CheckpointError, match=r"1 tensors missing .*layers.1.mlp.experts.up_proj.* 6 left over"):
        family.parameters(config, checkpoint)


def test_experts_in_a_layer_that_should_have_none_are_left_over(golden_of):
    checkpoint = opened(golden_of("qwen3_moe-normalised"))
    family, config = models.recognise(checkpoint)
    said = read({key: getattr(config, key, PUBLISHED[key]) for key in PUBLISHED} | {"mlp_only_layers": [1]})
    with pytest.raises(CheckpointError, match=r"3 tensors missing .*4 left over"):
        family.parameters(said, checkpoint)
