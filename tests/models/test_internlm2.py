"""InternLM2: llama's graph under other names, q, k and v in one matrix."""

import json

import numpy as np
import pytest

from ouvert import arithmetic, models
from ouvert.models import CheckpointError
from ouvert.weights import Tensor, open_checkpoint

NAMES = {
    "embed_tokens": "tok_embeddings",
    "lm_head": "output",
    "input_layernorm": "attention_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.o_proj": "attention.wo",
    "mlp.gate_proj": "feed_forward.w1",
    "mlp.up_proj": "feed_forward.w3",
    "mlp.down_proj": "feed_forward.w2",
}


def config_of(golden):
    return json.loads((golden.folder / "config.json").read_text(encoding="utf-8"))


class Rewritten:
    """The llama golden as InternLM2's publishers store it."""

    def __init__(self, checkpoint, keys):
        self.path, self.folder, self.format, self.metadata = (
            checkpoint.path,
            checkpoint.folder,
            checkpoint.format,
            checkpoint.metadata,
        )
        self.tensors = {}
        for name, tensor in checkpoint.tensors.items():
            if name.endswith("q_proj.weight"):
                parts = [checkpoint.tensors[name.replace("q_proj", part)] for part in ("q_proj", "k_proj", "v_proj")]
                tensor = joined([part.decode() for part in parts], keys)
                name = name.replace("self_attn.q_proj", "attention.wqkv")
            elif name.endswith(("k_proj.weight", "v_proj.weight")):
                continue
            for theirs, own in NAMES.items():
                name = name.replace(theirs, own)
            self.tensors[name] = tensor


def joined(parts, keys):
    """For each key head its query heads, then its keys, then its values."""
    columns = parts[0].shape[1]
    whole = np.concatenate([part.reshape(keys, -1, columns) for part in parts], axis=1).reshape(-1, columns)
    return Tensor("wqkv", whole.shape, "F32", np.ascontiguousarray(whole).view(np.uint8).reshape(-1))


@pytest.fixture
def pair(golden_of):
    """What llama's checkpoint computes, and the same one rewritten."""
    golden = golden_of("llama")
    checkpoint = open_checkpoint(golden.folder / "model.safetensors")
    _, config = models.recognise(checkpoint)
    return checkpoint, Rewritten(checkpoint, config.num_key_value_heads), config


def test_every_parameter_is_llamas(pair):
    plain, rewritten, config = pair
    ours = models.llama.FAMILY.parameters(config, rewritten)
    for found, expected in zip(ours, models.llama.FAMILY.parameters(config, plain), strict=True):
        assert (found.name, found.kind, found.shape) == (expected.name, expected.kind, expected.shape)
        np.testing.assert_array_equal(found.decode(), expected.decode(), found.name)
        assert found.stored_bytes > 0


def test_a_joint_matrix_of_another_shape_is_left_over_by_its_name(pair):
    _, rewritten, config = pair
    name = "model.layers.0.attention.wqkv.weight"
    rewritten.tensors[name] = rewritten.tensors[name].rows(0, 8)
    with pytest.raises(CheckpointError, match="wqkv"):
        models.llama.FAMILY.parameters(config, rewritten)


def test_the_configuration_is_llamas_and_a_bias_is_refused(golden_of):
    said = config_of(golden_of("llama")) | {
        "model_type": "internlm2",
        "architectures": ["InternLM2ForCausalLM"],
        "bias": False,
    }
    config = models.llama.FAMILY.config_from_hf(said, "config.json")
    assert config == models.llama.FAMILY.config_from_hf(config_of(golden_of("llama")), "config.json")
    with pytest.raises(CheckpointError, match="bias is True"):
        models.llama.FAMILY.config_from_hf(said | {"bias": True}, "config.json")


def test_a_gguf_file_of_internlm2_is_read(golden_of):
    checkpoint = open_checkpoint(golden_of("llama").folder / "model.gguf")
    said = {key.replace("llama.", "internlm2."): value for key, value in checkpoint.metadata.items()}
    said["general.architecture"] = "internlm2"
    config = models.llama.FAMILY.config_from_gguf(said, checkpoint.tensors, "model.gguf")
    assert config == models.llama.FAMILY.config_from_gguf(checkpoint.metadata, checkpoint.tensors, "model.gguf")
    assert arithmetic.Ops().new_cache(config.memories())
