"""gpt-oss's three layouts, its 4-bit experts, and what its checkpoints say about themselves."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import save_file

from ouvert import arithmetic, models
from ouvert.models import CheckpointError
from ouvert.models.gpt_oss.names import ORIGINAL, ORIGINAL_WHOLE
from ouvert.models.rope import Yarn
from ouvert.weights import Tensor, decode_mxfp4_blocks, open_checkpoint

# gpt-oss-20b: config.json as published.
PUBLISHED = {
    "architectures": ["GptOssForCausalLM"], "attention_bias": True, "attention_dropout": 0.0, "eos_token_id": 200002,
    "experts_per_token": 4, "head_dim": 64, "hidden_act": "silu", "hidden_size": 2880,
    "initial_context_length": 4096, "initializer_range": 0.02, "intermediate_size": 2880,
    "layer_types": ["sliding_attention", "full_attention"] * 12, "max_position_embeddings": 131072,
    "model_type": "gpt_oss", "num_attention_heads": 64, "num_experts_per_tok": 4, "num_hidden_layers": 24,
    "num_key_value_heads": 8, "num_local_experts": 32, "output_router_logits": False, "pad_token_id": 199999,
    "quantization_config": {
        "modules_to_not_convert": ["model.layers.*.self_attn", "model.layers.*.mlp.router", "lm_head"],
        "quant_method": "mxfp4",
    },
    "rms_norm_eps": 1e-05,
    "rope_scaling": {
        "beta_fast": 32.0, "beta_slow": 1.0, "factor": 32.0, "original_max_position_embeddings": 4096,
        "rope_type": "yarn", "truncate": False,
    },
    "rope_theta": 150000, "router_aux_loss_coef": 0.9, "sliding_window": 128, "swiglu_limit": 7.0,
    "tie_word_embeddings": False, "transformers_version": "4.55.0.dev0", "use_cache": True, "vocab_size": 201088,
}  # fmt: skip
# The same from original/config.json.
ORIGINAL_CONFIG = {
    "num_hidden_layers": 24, "num_experts": 32, "experts_per_token": 4, "vocab_size": 201088, "hidden_size": 2880,
    "intermediate_size": 2880, "swiglu_limit": 7.0, "head_dim": 64, "num_attention_heads": 64,
    "num_key_value_heads": 8, "sliding_window": 128, "initial_context_length": 4096, "rope_theta": 150000,
    "rope_scaling_factor": 32.0, "rope_ntk_alpha": 1, "rope_ntk_beta": 32,
}  # fmt: skip

FAMILY = next(family for family in models.FAMILIES if family.name == "gpt_oss")


def read(config):
    return FAMILY.config_from_hf(config, "config.json")


def test_the_published_configuration_is_read():
    config = read(PUBLISHED)
    assert config.windows == (128, None) * 12
    assert (config.num_local_experts, config.num_experts_per_tok) == (32, 4)
    assert (config.swiglu_alpha, config.swiglu_limit) == (1.702, 7.0)
    assert config.rope.scaling == Yarn(
        factor=32,
        original_max_position_embeddings=4096,
        beta_fast=32,
        beta_slow=1,
        attention_factor=pytest.approx(1.3465735902799727),
        truncate=False,
    )


def test_the_original_configuration_says_the_same():
    assert read(ORIGINAL_CONFIG) == read(PUBLISHED)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"attention_bias": False}, "attention_bias is False, and we compute it only as True"),
        ({"experts_per_token": 2}, "experts_per_token is 2, and we compute it only as 4"),
        ({"initial_context_length": 2048}, "initial_context_length is 2048, and we compute it only as 4096"),
        (
            {"quantization_config": {"quant_method": "gptq"}},
            "quant_method is 'gptq', and we compute it only as 'mxfp4'",
        ),
        ({"num_experts_per_tok": 33, "experts_per_token": 33}, "33 experts a token cannot be kept of 32"),
        ({"expert_choice": True}, r"unknown keys \['expert_choice'\]"),
        ({"layer_types": ["chunked_attention"] * 24}, "expected 24 times full_attention or sliding_attention"),
    ],
)
def test_what_we_do_not_compute_is_refused_by_name(changes, said):
    with pytest.raises(CheckpointError, match=said):
        read(PUBLISHED | changes)


def test_an_unknown_key_in_the_original_configuration_is_refused_by_name():
    with pytest.raises(CheckpointError, match=r"unknown keys \['tempo'\]"):
        read(ORIGINAL_CONFIG | {"tempo": 1})


@pytest.fixture
def golden(golden_of):
    return golden_of("gpt_oss-mxfp4")


def write_original(golden, folder):
    """The checkpoint in OpenAI's layout: other names, and q, k and v in one tensor."""
    theirs = {name: ours for ours, name in ORIGINAL.items()}
    whole = {name: ours for ours, name in ORIGINAL_WHOLE.items()}
    with open_checkpoint(golden.folder / "model.safetensors") as checkpoint:
        tensors = {name: tensor.decode() for name, tensor in checkpoint.tensors.items()}
    result = {whole[name]: tensors.pop(name) for name in whole}
    for n in range(2):
        for ending in ("weight", "bias"):
            parts = [tensors.pop(f"model.layers.{n}.self_attn.{x}_proj.{ending}") for x in "qkv"]
            result[f"block.{n}.attn.qkv.{ending}"] = np.concatenate(parts)
    for name, values in tensors.items():
        _, _, n, rest = name.split(".", 3)
        result[f"block.{n}.{theirs[rest]}"] = values
    save_file(result, folder / "model.safetensors")
    said = json.loads((golden.folder / "config.json").read_text())
    rope = said["rope_parameters"]
    config = {
        "num_experts": said["num_local_experts"],
        "experts_per_token": said["num_experts_per_tok"],
        "initial_context_length": rope["original_max_position_embeddings"],
        "rope_theta": rope["rope_theta"],
        "rope_scaling_factor": rope["factor"],
        "rope_ntk_alpha": rope["beta_slow"],
        "rope_ntk_beta": rope["beta_fast"],
    } | {name: said[name] for name in ORIGINAL_CONFIG if name in said}
    (folder / "config.json").write_text(json.dumps(config))


def test_openais_own_layout_gives_the_same_parameters(golden, tmp_path):
    write_original(golden, tmp_path)
    with open_checkpoint(tmp_path) as original, open_checkpoint(golden.folder / "model.safetensors") as published:
        family, config = models.recognise(original)
        assert family.name == "gpt_oss"
        ours = family.parameters(config, original)
        theirs = family.parameters(models.recognise(published)[1], published)
        for one, other in zip(ours, theirs, strict=True):
            assert (one.name, one.kind, one.shape) == (other.name, other.kind, other.shape)
            np.testing.assert_array_equal(one.decode(), other.decode())


def test_openais_own_layout_computes(golden, tmp_path):
    """Its eps is not in the file, so the logits are its own: those of the published layout with that eps."""
    write_original(golden, tmp_path)
    ops = arithmetic.Ops(np.float64)
    rows = []
    for folder, eps in ((tmp_path, None), (golden.folder, 1e-5)):
        with open_checkpoint(folder / "model.safetensors") as checkpoint:
            config = json.loads((folder / "config.json").read_text()) | ({} if eps is None else {"rms_norm_eps": eps})
            model = models.load(checkpoint, ops, config)
        rows.append(model.forward(ops.begin([(ops.new_cache(model.memories), golden.ids)], "all"), ops))
    np.testing.assert_array_equal(*rows)


def opened(golden, file="model.safetensors"):
    checkpoint = open_checkpoint(golden.folder / file)
    return SimpleNamespace(
        path=checkpoint.path,
        folder=checkpoint.folder,
        format=checkpoint.format,
        tensors=dict(checkpoint.tensors),
        metadata=checkpoint.metadata,
    )


def parameters(checkpoint):
    family, config = models.recognise(checkpoint)
    return {each.name: each for each in family.parameters(config, checkpoint)}


def test_gate_and_up_are_the_alternate_rows_of_the_pair(golden):
    checkpoint = opened(golden)
    name = "model.layers.1.mlp.experts.gate_up_proj"
    blocks, scales = (checkpoint.tensors[f"{name}_{part}"].decode() for part in ("blocks", "scales"))
    expected = decode_mxfp4_blocks(blocks, scales)  # (experts, 2 * inner, hidden)
    ours = parameters(checkpoint)
    for first, part in enumerate(("gate", "up")):
        parameter = ours[f"layers.1.{part}"]
        assert parameter.encoding == "MXFP4"
        np.testing.assert_array_equal(parameter.decode(), expected[:, first::2])
        np.testing.assert_array_equal(parameter.decode_expert(3), expected[3, first::2])


def test_four_bit_experts_have_ggufs_arrangement_from_either_format(golden):
    """What a packer sees: the same bytes, 17 to a group of 32."""
    from_hf, from_gguf = parameters(opened(golden)), parameters(opened(golden, "model.gguf"))
    for name in ("layers.0.gate", "layers.1.up", "layers.1.down"):
        for e in range(5):
            assert from_hf[name].expert(e).shape == from_gguf[name].expert(e).shape == (32, 32)
            np.testing.assert_array_equal(from_hf[name].expert(e).data, from_gguf[name].expert(e).data)
        np.testing.assert_array_equal(from_hf[name].encoded().data, from_gguf[name].encoded().data)


def test_sixteen_bit_experts_stay_in_sixteen_bits_and_are_turned_over(golden_of):
    golden = golden_of("gpt_oss")
    checkpoint = opened(golden)
    stored = checkpoint.tensors["model.layers.0.mlp.experts.gate_up_proj"].decode()  # (experts, hidden, 2 * inner)
    up = parameters(checkpoint)["layers.0.up"]
    assert up.encoding == up.expert(2).encoding == "BF16"
    np.testing.assert_array_equal(up.decode_expert(2), stored[2, :, 1::2].T)
    np.testing.assert_array_equal(up.decode(), stored[:, :, 1::2].swapaxes(1, 2))


def test_stored_bytes_add_up_to_the_file(golden):
    """So that a progress bar over parameters ends where the file does."""
    for file in ("model.safetensors", "model.gguf"):
        checkpoint = opened(golden, file)
        stored = sum(tensor.data.nbytes for tensor in checkpoint.tensors.values())
        assert sum(each.stored_bytes for each in parameters(checkpoint).values()) == stored


@pytest.mark.parametrize("part", ["blocks", "scales"])
def test_half_a_pair_is_named(golden, part):
    checkpoint = opened(golden)
    del checkpoint.tensors[f"model.layers.1.mlp.experts.down_proj_{part}"]
    other = {"blocks": "scales", "scales": "blocks"}[part]
    checkpoint.tensors["surplus"] = checkpoint.tensors[f"model.layers.1.mlp.experts.down_proj_{other}"]
    with pytest.raises(CheckpointError, match=rf"1 tensors missing .*2 left over .*down_proj_{other}"):
        parameters(checkpoint)


def test_a_pair_that_does_not_fit_is_named(golden):
    checkpoint = opened(golden)
    name = "model.layers.1.mlp.experts.down_proj_scales"
    checkpoint.tensors[name] = Tensor(name, (5, 32, 2), "U8", np.zeros(320, np.uint8))
    with pytest.raises(CheckpointError, match=r"1 tensors missing .*2 left over .*down_proj_blocks"):
        parameters(checkpoint)


def test_experts_nobody_needs_are_never_decoded(golden, monkeypatch):
    """Loading decodes none; a step decodes those that its tokens chose."""
    decoded = []
    original = models.Parameter.decode_expert
    monkeypatch.setattr(
        models.Parameter, "decode_expert", lambda self, e: decoded.append((self.name, e)) or original(self, e)
    )
    ops = arithmetic.Ops()
    model = models.load(opened(golden), ops)
    assert not decoded
    recorder = arithmetic.Recorder("layers.0.experts.chosen")
    model.forward(ops.begin([(ops.new_cache(model.memories), golden.ids[:1])]), ops, recorder)
    chosen = recorder.values()["layers.0.experts.chosen"]
    assert {e for name, e in decoded if name == "layers.0.gate"} == set(chosen.ravel().tolist())
