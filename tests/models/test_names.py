"""Every tensor is accounted for: none missing, none left over, none of another shape."""

from types import SimpleNamespace

import numpy as np
import pytest

from ouvert import arithmetic, models
from ouvert.models import CheckpointError
from ouvert.models.parameters import halves_from_pairs
from ouvert.weights import Tensor, open_checkpoint


def opened(golden, file="model.safetensors"):
    """The checkpoint with its tensors in a dictionary that a test may change."""
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
    return family.parameters(config, checkpoint)


def float32(name, values):
    data = np.asarray(values, np.float32)
    return Tensor(name, data.shape, "F32", data.view(np.uint8).ravel())


def test_parameters_come_in_the_order_of_a_forward_pass(golden):
    names = [each.name for each in parameters(opened(golden))]
    assert names[0] == "embedding"
    assert names[1] in ("layers.0.attention_norm", "layers.0.mixer_norm")
    assert names[-1] == "unembedding"
    assert len(names) == len(set(names))


def test_both_formats_have_the_same_parameters(golden_gguf):
    from_hf, from_gguf = (parameters(opened(golden_gguf, file)) for file in ("model.safetensors", "model.gguf"))
    for one, other in zip(from_hf, from_gguf, strict=True):
        if one.kind == "A":  # which GGUF stores as it is used, to float32's last bit
            assert (one.name, one.shape) == (f"{other.name}_log", other.shape)
            np.testing.assert_allclose(-np.exp(one.decode()), other.decode(), rtol=2e-7)
            continue
        assert (one.name, one.kind, one.shape, one.same_as) == (other.name, other.kind, other.shape, other.same_as)
        np.testing.assert_array_equal(one.decode(), other.decode())


def test_encoded_rows_are_in_our_order(golden_of):
    """What a packer sees: bytes row by row, whatever order the file has them in."""
    from_hf, from_gguf = (
        {each.name: each for each in parameters(opened(golden_of("llama"), file))}
        for file in ("model.safetensors", "model.gguf")
    )
    for name in ("layers.1.q", "layers.1.k", "layers.1.v"):
        assert from_gguf[name].encoding == from_hf[name].encoding == "BF16"
        np.testing.assert_array_equal(from_gguf[name].encoded().data, from_hf[name].encoded().data)
    assert not np.array_equal(from_gguf["layers.1.q"].source.tensor.data, from_hf["layers.1.q"].source.tensor.data)


def test_pairs_become_halves():
    assert halves_from_pairs(2, 6).tolist() == [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]


@pytest.mark.parametrize("name", ["model.layers.1.self_attn.k_proj.weight", "model.norm.weight", "lm_head.weight"])
def test_a_missing_tensor_is_named(golden_of, name):
    checkpoint = opened(golden_of("llama"))
    del checkpoint.tensors[name]
    with pytest.raises(CheckpointError, match=rf"1 tensors missing \(first: \['{name}'\]\), 0 left over"):
        parameters(checkpoint)


def test_a_tensor_left_over_is_named(golden):
    checkpoint = opened(golden)
    checkpoint.tensors["model.layers.0.mlp.extra.weight"] = float32("extra", [1.0])
    with pytest.raises(CheckpointError, match=r"1 left over \(first: \['model.layers.0.mlp.extra.weight'\]\)"):
        parameters(checkpoint)


def test_a_tensor_of_another_shape_is_named(golden_of):
    checkpoint = opened(golden_of("qwen2"))
    name = "model.layers.0.self_attn.q_proj.bias"
    checkpoint.tensors[name] = float32(name, [1.0] * 31)
    with pytest.raises(CheckpointError, match=rf"{name} is \(31,\), expected \(32,\) \(queries\) by the configuration"):
        parameters(checkpoint)


def test_more_layers_than_tensors_is_refused_before_anything_is_listed(golden_of):
    checkpoint = opened(golden_of("llama"))
    family, _ = models.recognise(checkpoint)
    config = dict(PLAIN) | {"num_hidden_layers": 10**4}
    with pytest.raises(CheckpointError, match="10000 layers are announced, but there are only 21 tensors"):
        family.parameters(family.config_from_hf(config, "config.json"), checkpoint)


PLAIN = {
    "model_type": "llama", "hidden_size": 30, "intermediate_size": 40, "num_hidden_layers": 2, "head_dim": 8,
    "num_attention_heads": 6, "num_key_value_heads": 3, "rms_norm_eps": 1e-2, "max_position_embeddings": 64,
    "rope_theta": 10000.0, "tie_word_embeddings": False, "vocab_size": 64,
}  # fmt: skip


def test_a_tied_head_is_the_embedding_and_is_placed_once(golden_of):
    checkpoint = opened(golden_of("qwen2"))
    head = parameters(checkpoint)[-1]
    assert (head.name, head.kind, head.same_as) == ("unembedding", "linear", "embedding")
    model = models.load(checkpoint, arithmetic.Ops())
    assert model.parameters.unembedding is model.parameters.embedding


def test_a_tied_head_may_be_stored_again_but_not_differently(golden_of):
    checkpoint = opened(golden_of("qwen2"))
    checkpoint.tensors["lm_head.weight"] = checkpoint.tensors["model.embed_tokens.weight"]
    parameters(checkpoint)
    embedding = checkpoint.tensors["model.embed_tokens.weight"]
    halves = np.asarray(embedding.decode(), np.float16)
    checkpoint.tensors["model.embed_tokens.weight"] = Tensor(
        embedding.name, halves.shape, "F16", halves.view(np.uint8).ravel()
    )
    checkpoint.tensors["lm_head.weight"] = float32("lm_head.weight", halves)  # the same numbers in another type
    parameters(checkpoint)
    checkpoint.tensors["lm_head.weight"] = float32("lm_head.weight", np.zeros((64, 32)))
    with pytest.raises(CheckpointError, match=r"tie_word_embeddings is true, but lm_head.weight differs"):
        parameters(checkpoint)


@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3"])
def test_an_inner_model_saved_without_its_head_has_the_same_parameters(golden_of, name):
    """Its tensors lack the "model." in front: so transformers' AutoModel saves them, and reads them."""
    checkpoint = opened(golden_of(name))
    whole = parameters(checkpoint)
    checkpoint.tensors = {each.removeprefix("model."): tensor for each, tensor in checkpoint.tensors.items()}
    inner = parameters(checkpoint)
    assert [each.name for each in inner] == [each.name for each in whole]
    for one, other in zip(inner, whole, strict=True):
        np.testing.assert_array_equal(one.decode(), other.decode())


def test_a_head_that_is_missing_is_told_with_what_may_stand_for_it(golden_of):
    checkpoint = opened(golden_of("llama"))
    del checkpoint.tensors["lm_head.weight"]
    with pytest.raises(CheckpointError, match=r"'lm_head.weight'.*tie_word_embeddings true"):
        parameters(checkpoint)


@pytest.mark.parametrize("name", ["model.norm.weight", "model.layers.1.input_layernorm.weight"])
def test_a_hole_in_a_file_is_told_by_a_norm_of_zeros(golden_of, name):
    checkpoint = opened(golden_of("llama"))
    checkpoint.tensors[name] = float32(name, np.zeros(checkpoint.tensors[name].shape))
    with pytest.raises(CheckpointError, match=r"holds nothing but zeros.*Fetch it again"):
        parameters(checkpoint)


def test_tables_that_old_programs_saved_are_nobodys(golden_of):
    checkpoint = opened(golden_of("llama"))
    plain = [each.name for each in parameters(checkpoint)]
    for name in ("model.layers.0.self_attn.rotary_emb.cos_cached", "model.layers.0.self_attn.masked_bias"):
        checkpoint.tensors[name] = float32(name, np.zeros((2, 2)))
    assert [each.name for each in parameters(checkpoint)] == plain


def test_saved_frequencies_are_compared_with_ours(golden_of):
    golden = golden_of("llama")
    checkpoint = opened(golden)
    name = "model.layers.1.self_attn.rotary_emb.inv_freq"
    checkpoint.tensors[name] = float32(name, golden.inverse_frequencies)
    parameters(checkpoint)
    checkpoint.tensors[name] = float32(name, 2 * golden.inverse_frequencies)
    with pytest.raises(CheckpointError, match=r"inv_freq differs from the frequencies of the configuration"):
        parameters(checkpoint)


def test_weights_are_placed_one_at_a_time(golden):
    """No decoded copy outlives its placing."""
    alive, most = [], 0

    class Counting(arithmetic.Ops):
        def place(self, parameter):
            alive.append(parameter.name)
            nonlocal most
            most = max(most, len(alive))
            return super().place(parameter)

    models.load(opened(golden), Counting(), progress=lambda parameter: alive.clear())
    assert most == 1


@pytest.mark.parametrize("name", ["gpt_oss", "gpt_oss-mxfp4"])
def test_a_recorded_routing_can_be_repeated(golden_of, name):
    """Whatever the router would say, the recorded experts answer."""
    golden, ops = golden_of(name), arithmetic.Ops(np.float64)
    model = models.load(opened(golden), ops)
    routing = [f"layers.{n}.experts.{what}" for n in range(2) for what in ("chosen", "weights")]
    recorder = arithmetic.Recorder(*routing)
    logits = model.forward(ops.begin([(ops.new_cache(model.memories), golden.ids)], "all"), ops, recorder)

    class Replay(arithmetic.Tap):
        def __init__(self, scope=""):
            self.scope = scope

        def inside(self, scope):
            return Replay(scope + ".")

        def __call__(self, name, value):
            if name == "experts.scores":
                return value[:, ::-1]  # another router's opinion
            return recorder.values().get(self.scope + name, value)

    replayed = model.forward(ops.begin([(ops.new_cache(model.memories), golden.ids)], "all"), ops, Replay())
    np.testing.assert_allclose(replayed, logits, rtol=1e-12)


def test_a_tap_may_replace_a_value(golden):
    class Silence(arithmetic.Tap):
        def __call__(self, name, value):
            return 0 * value if name.endswith((".out",)) and not name.startswith("layers") else value

    ops = arithmetic.Ops()
    model = models.load(opened(golden), ops)
    cache = ops.new_cache(model.memories)
    silenced = model.forward(ops.begin([(cache, golden.ids)], "all"), ops, Silence())
    x = ops.embed(golden.ids, model.parameters.embedding)
    eps = getattr(model.config, "rms_norm_eps", 1e-2)
    plain = ops.linear(ops.rms_norm(x, model.parameters.norm, eps), model.parameters.unembedding)
    np.testing.assert_array_equal(silenced, plain)
