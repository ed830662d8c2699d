"""Mixtral's checkpoints: a tensor for each expert, old GGUF files, and faults that are named."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from ouvert import arithmetic, kernels, models, packed
from ouvert.models import CheckpointError
from ouvert.weights import Tensor, open_checkpoint

# config.json of mistralai/Mixtral-8x7B-Instruct-v0.1 and of mistralai/Mixtral-8x22B-Instruct-v0.1.
PUBLISHED = {
    "architectures": ["MixtralForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 1, "eos_token_id": 2,
    "hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 14336,
    "max_position_embeddings": 32768, "model_type": "mixtral", "num_attention_heads": 32, "num_experts_per_tok": 2,
    "num_hidden_layers": 32, "num_key_value_heads": 8, "num_local_experts": 8, "output_router_logits": False,
    "rms_norm_eps": 1e-05, "rope_theta": 1000000.0, "router_aux_loss_coef": 0.02, "sliding_window": None,
    "tie_word_embeddings": False, "torch_dtype": "bfloat16", "transformers_version": "4.36.0.dev0", "use_cache": True,
    "vocab_size": 32000,
}  # fmt: skip
LARGER = PUBLISHED | {
    "hidden_size": 6144, "intermediate_size": 16384, "max_position_embeddings": 65536, "num_attention_heads": 48,
    "num_hidden_layers": 56, "router_aux_loss_coef": 0.001, "router_jitter_noise": 0.0, "vocab_size": 32768,
    "transformers_version": "4.38.0",
}  # fmt: skip


def read(config):
    return models.mixtral.FAMILY.config_from_hf(config, "config.json")


@pytest.fixture
def golden(golden_of):
    return golden_of("mixtral")


def opened(golden, file="model.safetensors"):
    checkpoint = open_checkpoint(golden.folder / file)
    return SimpleNamespace(
        path=checkpoint.path,
        folder=checkpoint.folder,
        format=checkpoint.format,
        tensors=dict(checkpoint.tensors),
        metadata=dict(checkpoint.metadata),
    )


def parameters(checkpoint):
    family, config = models.recognise(checkpoint)
    return {each.name: each for each in family.parameters(config, checkpoint)}


def with_an_expert_a_tensor(checkpoint):
    """The file as llama.cpp converted Mixtral before April 2024."""
    tensors = {}
    for name, tensor in checkpoint.tensors.items():
        if "_exps." not in name:
            tensors[name] = tensor
            continue
        for e in range(tensor.shape[0]):
            part, own = tensor.rows(e, e + 1), name.replace("_exps.", f".{e}.")
            tensors[own] = Tensor(own, tensor.shape[1:], tensor.encoding, part.data)
    checkpoint.tensors = tensors
    return checkpoint


@pytest.mark.parametrize(("said", "layers", "heads"), [(PUBLISHED, 32, 32), (LARGER, 56, 48)], ids=["8x7b", "8x22b"])
def test_published_configurations_are_read(said, layers, heads):
    config = read(said)
    assert (config.num_hidden_layers, config.num_attention_heads, config.head_dim) == (layers, heads, 128)
    assert (config.num_local_experts, config.num_experts_per_tok) == (8, 2)
    assert config.rope.rope_theta == 1e6
    assert config.windows == (None,) * layers


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"num_experts_per_tok": 9}, "9 experts a token cannot be kept of 8"),
        ({"num_local_experts": None}, "num_local_experts is missing"),
        ({"num_experts_per_tok": None}, "num_experts_per_tok is missing"),
        ({"rope_theta": None}, "rope_theta is missing"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
        ({"attention_bias": True}, "attention_bias is True"),
        ({"norm_topk_prob": False}, r"unknown keys \['norm_topk_prob'\]"),
        ({"quantization_config": {"quant_method": "awq"}}, "quantised with 'awq'"),
    ],
    ids=lambda each: next(iter(each)) if isinstance(each, dict) else "",
)
def test_what_would_compute_something_else_is_refused_by_name(changes, sentence):
    with pytest.raises(CheckpointError, match=sentence):
        read(PUBLISHED | changes)


def test_a_llama_file_with_experts_is_mixtral_and_one_without_is_not(golden, golden_of):
    assert models.recognise(opened(golden, "model.gguf"))[0].name == "mixtral"
    assert models.recognise(opened(golden_of("llama"), "model.gguf"))[0].name == "llama"
    checkpoint = opened(golden_of("llama"), "model.gguf")
    checkpoint.metadata["llama.expert_count"] = 0
    assert models.recognise(checkpoint)[0].name == "llama"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("expert_gating_func", 2),
        ("expert_weights_norm", False),
        ("expert_weights_scale", 2.5),
        ("expert_shared_count", 1),
        ("expert_group_count", 4),
        ("expert_feed_forward_length", 21),
        ("interleave_moe_layer_step", 2),
    ],
)
def test_experts_of_another_kind_in_gguf_are_refused_by_name(golden, key, value):
    checkpoint = opened(golden, "model.gguf")
    checkpoint.metadata[f"llama.{key}"] = value
    with pytest.raises(CheckpointError, match=f"llama.{key}"):
        models.recognise(checkpoint)


def test_old_gguf_files_with_an_expert_a_tensor_have_the_same_parameters(golden):
    new = parameters(opened(golden, "model.gguf"))
    old = parameters(with_an_expert_a_tensor(opened(golden, "model.gguf")))
    assert list(old) == list(new)
    for name, parameter in old.items():
        assert (parameter.kind, parameter.shape, parameter.encoding) == (
            new[name].kind,
            new[name].shape,
            new[name].encoding,
        )
        np.testing.assert_array_equal(parameter.encoded().data, new[name].encoded().data)
        if parameter.kind == "experts":
            np.testing.assert_array_equal(parameter.decode_expert(3), new[name].decode_expert(3))


def test_a_mixture_gives_the_same_logits_from_an_old_file(golden):
    ops = arithmetic.Ops()
    checkpoint = with_an_expert_a_tensor(opened(golden, "model.gguf"))
    model = models.load(checkpoint, ops)
    found = model.forward(ops.begin([(ops.new_cache(model.memories), golden.ids)], "all"), ops)
    np.testing.assert_allclose(found, golden.float32, rtol=0, atol=8e-6 * np.abs(golden.float32).max())


@pytest.mark.parametrize("file", ["model.safetensors", "model.gguf"])
def test_an_expert_that_is_missing_is_named(golden, file):
    checkpoint = opened(golden, file)
    if file == "model.gguf":
        with_an_expert_a_tensor(checkpoint)
    lost = {"model.safetensors": "model.layers.1.block_sparse_moe.experts.3.w3.weight"}.get(
        file, "blk.1.ffn_up.3.weight"
    )
    del checkpoint.tensors[lost]
    with pytest.raises(CheckpointError, match=r"1 tensors missing .*4 left over"):
        parameters(checkpoint)


def test_more_experts_than_the_configuration_says_are_named(golden):
    checkpoint = opened(golden)
    family, _ = models.recognise(checkpoint)
    said = json.loads((golden.folder / "config.json").read_text()) | {"num_local_experts": 4}
    with pytest.raises(CheckpointError, match=r"6 tensors missing .*30 left over"):
        family.parameters(family.config_from_hf({**said, "num_hidden_layers": 2}, "config.json"), checkpoint)


def test_experts_in_several_encodings_are_refused_by_name(golden):
    checkpoint = opened(golden)
    name = "model.layers.0.block_sparse_moe.experts.2.w1.weight"
    wide = checkpoint.tensors[name].decode().astype(np.float32)
    checkpoint.tensors[name] = Tensor(name, wide.shape, "F32", wide.view(np.uint8).ravel())
    with pytest.raises(CheckpointError, match=r"layers.0.block_sparse_moe.experts.w1.weight.*stored as BF16, F32"):
        parameters(checkpoint)


def test_stored_bytes_add_up_to_the_file(golden):
    for file in ("model.safetensors", "model.gguf"):
        checkpoint = opened(golden, file)
        stored = sum(tensor.data.nbytes for tensor in checkpoint.tensors.values())
        assert sum(each.stored_bytes for each in parameters(checkpoint).values()) == stored


@pytest.mark.parametrize("name", ["mixtral", "mixtral-window"])
def test_the_native_program_gives_the_same_bits_however_a_sequence_comes(golden_of, name):
    """One by one, at once, on several threads, and beside another sequence."""
    golden = golden_of(name)

    def built(threads):
        tracer = kernels.Tracer()
        with open_checkpoint(golden.folder / "model.safetensors") as checkpoint:
            model = models.load(checkpoint, packed.InMemory())
        return kernels.build(tracer, model, threads=threads)

    program = built(1)
    at_once = program.step([(program.new_sequence(99), golden.ids)], "all")
    for threads in (1, 3):
        program = built(threads)
        ours, other, rows = program.new_sequence(99), program.new_sequence(99), []
        for token in golden.ids:
            rows.append(program.step([(other, golden.ids[:2]), (ours, [token])], "all")[2:])
        np.testing.assert_array_equal(np.concatenate(rows), at_once)
    np.testing.assert_allclose(at_once, golden.float32, rtol=0, atol=0.05 * np.abs(golden.float32).max())
