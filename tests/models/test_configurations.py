"""What published checkpoints say about themselves, read; and what must be refused, refused by name."""

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ouvert import models
from ouvert.models import CheckpointError, DecoderConfig
from ouvert.models.rope import Llama3
from ouvert.weights import open_checkpoint

# config.json of published models, shortened to the keys that older or newer files add to each other's.
PUBLISHED = {
    "Llama-2-7b": {
        "_name_or_path": "meta-llama/Llama-2-7b-hf", "architectures": ["LlamaForCausalLM"], "bos_token_id": 1,
        "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02,
        "intermediate_size": 11008, "max_position_embeddings": 4096, "model_type": "llama",
        "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 32, "pretraining_tp": 1,
        "rms_norm_eps": 1e-05, "rope_scaling": None, "tie_word_embeddings": False, "torch_dtype": "float16",
        "transformers_version": "4.31.0.dev0", "use_cache": True, "vocab_size": 32000,
    },
    "Llama-3.2-1B-Instruct": {
        "architectures": ["LlamaForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
        "bos_token_id": 128000, "eos_token_id": [128001, 128008, 128009], "head_dim": 64, "hidden_act": "silu",
        "hidden_size": 2048, "initializer_range": 0.02, "intermediate_size": 8192,
        "max_position_embeddings": 131072, "mlp_bias": False, "model_type": "llama", "num_attention_heads": 32,
        "num_hidden_layers": 16, "num_key_value_heads": 8, "pretraining_tp": 1, "rms_norm_eps": 1e-05,
        "rope_scaling": {
            "factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
            "original_max_position_embeddings": 8192, "rope_type": "llama3",
        },
        "rope_theta": 500000.0, "tie_word_embeddings": True, "torch_dtype": "bfloat16",
        "transformers_version": "4.45.0.dev0", "use_cache": True, "vocab_size": 128256,
    },
    "SmolLM2-135M-Instruct": {
        "architectures": ["LlamaForCausalLM"], "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 1,
        "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 576, "initializer_range": 0.041666666666666664,
        "intermediate_size": 1536, "is_llama_config": True, "max_position_embeddings": 8192, "mlp_bias": False,
        "model_type": "llama", "num_attention_heads": 9, "num_hidden_layers": 30, "num_key_value_heads": 3,
        "pad_token_id": 2, "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_interleaved": False,
        "rope_scaling": None, "rope_theta": 100000, "tie_word_embeddings": True, "torch_dtype": "bfloat16",
        "transformers.js_config": {"kv_cache_dtype": {"q4f16": "float16"}}, "transformers_version": "4.42.3",
        "use_cache": True, "vocab_size": 49152,
    },
    "Mistral-7B-v0.1": {
        "architectures": ["MistralForCausalLM"], "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu",
        "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 14336,
        "max_position_embeddings": 32768, "model_type": "mistral", "num_attention_heads": 32,
        "num_hidden_layers": 32, "num_key_value_heads": 8, "rms_norm_eps": 1e-05, "rope_theta": 10000.0,
        "sliding_window": 4096, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
        "transformers_version": "4.34.0.dev0", "use_cache": True, "vocab_size": 32000,
    },
    "DeepSeek-R1-Distill-Qwen-7B": {
        "architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 151643,
        "eos_token_id": 151643, "hidden_act": "silu", "hidden_size": 3584, "initializer_range": 0.02,
        "intermediate_size": 18944, "max_position_embeddings": 131072, "max_window_layers": 28,
        "model_type": "qwen2", "num_attention_heads": 28, "num_hidden_layers": 28, "num_key_value_heads": 4,
        "rms_norm_eps": 1e-06, "rope_theta": 10000, "sliding_window": 4096, "tie_word_embeddings": False,
        "torch_dtype": "bfloat16", "transformers_version": "4.44.0", "use_cache": True, "use_mrope": False,
        "use_sliding_window": False, "vocab_size": 152064,
    },
    "Qwen3-0.6B": {
        "architectures": ["Qwen3ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
        "bos_token_id": 151643, "eos_token_id": 151645, "head_dim": 128, "hidden_act": "silu", "hidden_size": 1024,
        "initializer_range": 0.02, "intermediate_size": 3072, "max_position_embeddings": 40960,
        "max_window_layers": 28, "model_type": "qwen3", "num_attention_heads": 16, "num_hidden_layers": 28,
        "num_key_value_heads": 8, "rms_norm_eps": 1e-06, "rope_scaling": None, "rope_theta": 1000000,
        "sliding_window": None, "tie_word_embeddings": True, "torch_dtype": "bfloat16",
        "transformers_version": "4.51.0", "use_cache": True, "use_sliding_window": False, "vocab_size": 151936,
    },
}  # fmt: skip


def family_of(model_type):
    return next(family for family in models.FAMILIES if model_type in family.model_types)


def read(config) -> DecoderConfig:
    return family_of(config["model_type"]).config_from_hf(config, "config.json")


@pytest.mark.parametrize(
    ("name", "head_dim", "theta", "window", "tied"),
    [
        ("Llama-2-7b", 128, 10000, None, False),
        ("Llama-3.2-1B-Instruct", 64, 500000, None, True),
        ("SmolLM2-135M-Instruct", 64, 100000, None, True),
        ("Mistral-7B-v0.1", 128, 10000, 4096, False),
        ("DeepSeek-R1-Distill-Qwen-7B", 128, 10000, None, False),
        ("Qwen3-0.6B", 128, 1000000, None, True),
    ],
)
def test_published_configurations_are_read(name, head_dim, theta, window, tied):
    config = read(PUBLISHED[name])
    for key in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size"):
        assert getattr(config, key) == PUBLISHED[name][key]
    assert config.head_dim == head_dim
    assert config.rope.rope_theta == theta
    assert set(config.windows) == {window}
    assert config.tie_word_embeddings is tied
    assert [memory.window for memory in config.memories()] == list(config.windows)


def test_the_stretching_of_llama_3_is_read():
    assert read(PUBLISHED["Llama-3.2-1B-Instruct"]).rope.scaling == Llama3(
        factor=32, low_freq_factor=1, high_freq_factor=4, original_max_position_embeddings=8192
    )


@pytest.mark.parametrize("name", PUBLISHED)
def test_an_unknown_key_is_refused_by_name(name):
    with pytest.raises(CheckpointError, match=r"unknown keys \['attention_softcap'\]"):
        read(PUBLISHED[name] | {"attention_softcap": 30.0})


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("Llama-2-7b", "hidden_act", "gelu"),
        ("Llama-2-7b", "attention_bias", True),
        ("Llama-2-7b", "mlp_bias", True),
        ("Llama-2-7b", "architectures", ["LlamaForSequenceClassification"]),
        ("SmolLM2-135M-Instruct", "rope_interleaved", True),
        ("DeepSeek-R1-Distill-Qwen-7B", "use_mrope", True),
        ("Qwen3-0.6B", "attention_bias", True),
    ],
)
def test_a_value_we_do_not_compute_is_refused_by_name(name, key, value):
    with pytest.raises(CheckpointError, match=rf"{key} is .*, and we compute it only as"):
        read(PUBLISHED[name] | {key: value})


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("Llama-2-7b", "hidden_size"),
        ("Llama-2-7b", "rms_norm_eps"),
        ("Mistral-7B-v0.1", "sliding_window"),
        ("Mistral-7B-v0.1", "num_key_value_heads"),
        ("DeepSeek-R1-Distill-Qwen-7B", "rope_theta"),
        ("Qwen3-0.6B", "head_dim"),
    ],
)
def test_a_missing_key_is_named(name, key):
    config = {other: value for other, value in PUBLISHED[name].items() if other != key}
    with pytest.raises(CheckpointError, match=f"{key} is missing"):
        read(config)


@pytest.mark.parametrize("value", ["64", -1, 0, 1.5, True, [64], 2**31, 10**4000])
def test_an_impossible_size_is_named(value):
    with pytest.raises(CheckpointError, match=r"num_attention_heads is .*expected a whole number from 1 to 2147483647"):
        read(PUBLISHED["Llama-2-7b"] | {"num_attention_heads": value})


def test_more_layers_than_any_model_has_are_refused_before_anything_is_made_for_them():
    with pytest.raises(CheckpointError, match="num_hidden_layers is 1000000, expected a whole number from 1 to 10000"):
        read(PUBLISHED["Llama-2-7b"] | {"num_hidden_layers": 10**6})


@pytest.mark.parametrize("value", ["1e-5", float("nan"), float("inf"), -1e-5, True, 10**4000])
def test_an_impossible_number_is_named(value):
    with pytest.raises(CheckpointError, match=r"rms_norm_eps is .*expected a number from 0 to 1e\+12"):
        read(PUBLISHED["Llama-2-7b"] | {"rms_norm_eps": value})


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from([0, 1, 2**40])
ANYTHING = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner))
# The stretching alone has many ways to go wrong.
SCALING_KEYS = [
    "factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "low_freq_factor", "high_freq_factor",
    "original_max_position_embeddings", "truncate", "attention_factor", "attn_factor",
]  # fmt: skip
SCALING = st.builds(
    lambda kind, keys: keys | {"rope_type": kind},
    st.sampled_from(["linear", "dynamic", "llama3", "yarn"]),
    st.dictionaries(st.sampled_from(SCALING_KEYS), SCALARS),
)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_whatever_a_file_says_it_is_read_or_refused_in_a_sentence(data):
    config = dict(PUBLISHED[data.draw(st.sampled_from(sorted(PUBLISHED)))])
    for key in data.draw(st.lists(st.sampled_from(sorted(config)), max_size=3)):
        config[key] = data.draw(ANYTHING)
    if data.draw(st.booleans()):
        config["rope_scaling"] = data.draw(SCALING)
    for family in models.FAMILIES:
        try:
            made = family.config_from_hf(config, "config.json")
        except CheckpointError:
            continue
        if made.head_dim < 1000:
            assert np.isfinite(made.rope.rope().inverse_frequencies).all()


def test_a_number_for_each_of_no_layers_is_refused_in_a_sentence():
    metadata, tensors = GGUF
    changed = metadata | {"llama.block_count": 0, "llama.attention.head_count": []}
    with pytest.raises(CheckpointError, match=r"llama.attention.head_count is \[\], expected a whole number"):
        family_of("llama").config_from_gguf(changed, tensors, "a.gguf")


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_whatever_gguf_metadata_say_they_are_read_or_refused_in_a_sentence(data):
    metadata, tensors = GGUF
    changed = dict(metadata)
    for key in data.draw(st.lists(st.sampled_from(sorted(metadata)), max_size=3)):
        changed[key] = data.draw(ANYTHING)
    changed |= data.draw(st.dictionaries(st.sampled_from(ROPE_KEYS), SCALARS, max_size=3))
    with contextlib.suppress(CheckpointError):
        made = family_of("llama").config_from_gguf(changed, tensors, "a.gguf")
        assert np.isfinite(made.rope.rope().inverse_frequencies).all()


ROPE_KEYS = [
    f"llama.rope.{key}"
    for key in ("freq_base", "dimension_count", "scaling.type", "scaling.factor", "scaling.original_context_length")
]
with open_checkpoint(Path(__file__).parents[1] / "goldens" / "models" / "llama-yarn" / "model.gguf") as opened:
    GGUF = opened.metadata, opened.tensors


def test_heads_must_divide():
    with pytest.raises(CheckpointError, match="9 query heads cannot share 2 key heads evenly"):
        read(PUBLISHED["SmolLM2-135M-Instruct"] | {"num_key_value_heads": 2})


def test_windows_of_qwen_follow_the_switch_the_list_and_the_first_layer():
    config = PUBLISHED["DeepSeek-R1-Distill-Qwen-7B"] | {"num_hidden_layers": 3, "use_sliding_window": True}
    assert read(config | {"max_window_layers": 2}).windows == (None, None, 4096)
    kinds = ["sliding_attention", "full_attention", "full_attention"]
    assert read(config | {"layer_types": kinds}).windows == (4096, None, None)
    with pytest.raises(CheckpointError, match="layer_types has sliding_attention, but no sliding_window is in force"):
        read(config | {"layer_types": kinds, "use_sliding_window": False})
    with pytest.raises(CheckpointError, match="expected 3 times full_attention or sliding_attention"):
        read(config | {"layer_types": kinds[:2]})


def test_a_family_we_do_not_know_is_refused_with_those_we_do(tmp_path, golden_of):
    folder = golden_of("llama").folder
    with open_checkpoint(folder / "model.safetensors") as checkpoint:
        with pytest.raises(
            CheckpointError,
            match=r"model_type is 'bert', a family .* It knows: deepseek_v3 .*, llama \(internlm2, llama, mistral\)",
        ):
            models.recognise(checkpoint, {"model_type": "bert"})
        assert models.recognise(checkpoint)[0].name == "llama"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "not found, expected beside the weights"),
        ("{", "not JSON"),
        ("[" * 100000, "not JSON"),
        ("[1]", "holds a list, expected a JSON object"),
        (b"\xff\xfe", "not JSON"),
        ('{"hidden_size": ' + "9" * 5000 + "}", "not JSON"),
    ],
)
def test_a_broken_config_is_a_sentence(tmp_path, golden_of, content, said):
    (tmp_path / "model.safetensors").write_bytes((golden_of("llama").folder / "model.safetensors").read_bytes())
    if content is not None:
        (tmp_path / "config.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    with open_checkpoint(tmp_path / "model.safetensors") as checkpoint, pytest.raises(CheckpointError, match=said):
        models.recognise(checkpoint)


def test_a_config_that_is_a_folder_is_a_sentence(tmp_path, golden_of):
    (tmp_path / "model.safetensors").write_bytes((golden_of("llama").folder / "model.safetensors").read_bytes())
    (tmp_path / "config.json").mkdir()
    said = r"config\.json: cannot be read \(Is a directory\)"
    with open_checkpoint(tmp_path / "model.safetensors") as checkpoint, pytest.raises(CheckpointError, match=said):
        models.recognise(checkpoint)


def test_a_config_may_be_in_utf_16_as_windows_shells_write_it(tmp_path, golden_of):
    folder = golden_of("llama").folder
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    (tmp_path / "config.json").write_text((folder / "config.json").read_text(), encoding="utf-16")
    with open_checkpoint(tmp_path) as checkpoint, open_checkpoint(folder / "model.safetensors") as plain:
        assert models.recognise(checkpoint)[1] == models.recognise(plain)[1]


def test_gguf_says_its_shape(smollm2):
    with open_checkpoint(smollm2) as checkpoint:
        family, config = models.recognise(checkpoint)
    assert family.name == "llama"
    from_hub = read(PUBLISHED["SmolLM2-135M-Instruct"])
    assert config.rms_norm_eps == pytest.approx(from_hub.rms_norm_eps)
    assert {**as_dict(config), "rms_norm_eps": 0} == {**as_dict(from_hub), "rms_norm_eps": 0}


def as_dict(config):
    return {name: getattr(config, name) for name in config.__dataclass_fields__}


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("llama.attention.temperature", 2.0, r"unknown keys \['llama.attention.temperature'\]"),
        ("llama.expert_used_count", 2, "llama.expert_used_count is 2, and we compute it only as 0"),
        ("llama.attention.head_count_kv", [2, 1], "llama.attention.head_count_kv differs from layer to layer"),
        ("llama.attention.head_count_kv", [2], "llama.attention.head_count_kv is .*expected a whole number"),
        ("llama.attention.max_alibi_bias", 8.0, "max_alibi_bias is 8.0, and we compute it only as 0"),
        ("llama.pooling_type", 1, "llama.pooling_type is 1, expected 3"),
        ("general.architecture", "rwkv6", r"general.architecture is 'rwkv6'.*It knows: .*llama \(internlm2, llama\)"),
    ],
)
def test_gguf_metadata_we_do_not_honour_is_refused_by_name(golden_of, key, value, said):
    with open_checkpoint(golden_of("llama").folder / "model.gguf") as checkpoint:
        checkpoint.metadata = {**checkpoint.metadata, key: value}
        with pytest.raises(CheckpointError, match=said):
            models.recognise(checkpoint)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("llama.rope.scaling.finetuned", False),
        ("llama.tensor_data_layout", "Meta AI original pth"),
        ("llama.attention.layer_norm_epsilon", 1e-5),
        ("llama.attention.sliding_window", 0),
        ("llama.pooling_type", 0),
        ("llama.use_parallel_residual", False),
        ("llama.vocab_size", 7),
        ("llama.rope.scaling.original_context_length", 0),
        ("llama.residual_scale", 1.0),
        ("llama.final_logit_softcapping", 0.0),
        ("rustformers.note", "x"),
        ("qwen2.block_count", 7),
    ],
)
def test_gguf_metadata_that_say_nothing_of_the_model_change_nothing(golden_of, key, value):
    with open_checkpoint(golden_of("llama").folder / "model.gguf") as checkpoint:
        plain = models.recognise(checkpoint)
        checkpoint.metadata = {**checkpoint.metadata, key: value}
        assert models.recognise(checkpoint) == plain


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ({"general.type": "adapter", "general.base_model.0.name": "Base"}, "a LoRA adapter for Base, not a model"),
        ({"adapter.type": "lora"}, "a LoRA adapter, not a model"),
        ({"general.type": "imatrix", "general.architecture": None}, "an importance matrix"),
        ({"general.type": "mmproj"}, "a projector"),
        ({"general.architecture": "clip"}, "a projector"),
        ({"general.type": "vocab"}, "a vocabulary without weights"),
        ({"general.type": "hologram"}, "of type 'hologram'"),
    ],
)
def test_a_gguf_file_that_is_no_model_is_refused_by_what_it_is(golden_of, said, what):
    with open_checkpoint(golden_of("llama").folder / "model.gguf") as checkpoint:
        checkpoint.metadata = {**checkpoint.metadata, **said}
        with pytest.raises(CheckpointError, match=what):
            models.recognise(checkpoint)


@pytest.mark.parametrize("key", ["attention.head_count_kv", "feed_forward_length", "attention.layer_norm_rms_epsilon"])
def test_gguf_may_say_the_same_number_for_each_layer(golden_of, key):
    with open_checkpoint(golden_of("llama").folder / "model.gguf") as checkpoint:
        family, plain = models.recognise(checkpoint)
        layers, key = plain.num_hidden_layers, f"llama.{key}"
        checkpoint.metadata = {**checkpoint.metadata, key: [checkpoint.metadata[key]] * layers}
        assert models.recognise(checkpoint) == (family, plain)


def test_a_qwen3_file_that_pools_its_last_token_makes_embeddings(golden_of):
    with open_checkpoint(golden_of("qwen3").folder / "model.gguf") as checkpoint:
        family, config = models.recognise(checkpoint)
        checkpoint.metadata = {**checkpoint.metadata, "qwen3.pooling_type": 3}
        pooled, same = models.recognise(checkpoint)
    assert same == config
    assert pooled is not family


@pytest.mark.parametrize(
    "said",
    [
        {"quantization_config": None},
        {"nobody.has.heard.of.this": None},
        {"architectures": []},
        {"architectures": ["LlamaModel"]},
        {"hidden_act": "swish"},
        {"partial_rotary_factor": 1.0},
        {"use_sliding_window": False, "layer_types": ["full_attention"] * 32},
        {"rope_parameters": {"rope_type": "default"}},
        {
            "max_sequence_length": 8192,
            "do_sample": False,
            "is_decoder": False,
            "torchscript": False,
            "pruned_heads": {},
        },
    ],
)
def test_keys_that_say_nothing_change_nothing(said):
    assert read(PUBLISHED["Llama-2-7b"] | said) == read(PUBLISHED["Llama-2-7b"])


def test_yarn_may_say_whether_the_model_was_trained_with_it():
    scaling = {"factor": 2.0, "original_max_position_embeddings": 2048, "type": "yarn"}
    plain = read(PUBLISHED["Llama-2-7b"] | {"rope_scaling": scaling})
    assert read(PUBLISHED["Llama-2-7b"] | {"rope_scaling": scaling | {"finetuned": True}}) == plain


@pytest.mark.parametrize("name", ["Llama-2-7b", "Qwen3-0.6B", "DeepSeek-R1-Distill-Qwen-7B"])
@pytest.mark.parametrize(
    ("said", "method"),
    [
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "gptq"),
        ({"quantization_config": {"quant_method": "awq"}}, "awq"),
        ({"compression_config": {"quant_method": "torchao"}}, "torchao"),
        ({"quantization": {"group_size": 64, "bits": 4}}, "mlx"),
    ],
)
def test_weights_quantised_by_another_program_are_refused_by_its_name(name, said, method):
    with pytest.raises(CheckpointError, match=f"its weights are quantised with '{method}', expected BF16.*GGUF"):
        read(PUBLISHED[name] | said)


def test_configurations_as_transformers_writes_them_today(golden):
    config = read(json.loads((golden.folder / "config.json").read_text()))
    assert config.vocab_size == 64
