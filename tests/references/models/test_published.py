"""Every published configuration of tests/models/published.json, shrunk and given random weights, and transformers.

Fewer layers, heads, experts and columns; what decides how numbers are made stays: width of heads, stretching with its
original numbers, norms, biases, tying. Windows are cut so that the prompt is longer than they are.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from ouvert import arithmetic, models
from ouvert.weights import open_checkpoint

TABLE = json.loads((Path(__file__).parents[2] / "models" / "published.json").read_text(encoding="utf-8"))
KINDS = {kind for family in models.FAMILIES for kind in family.model_types}
ROWS = {row["name"]: row["config"] for row in TABLE["models"] if row["config"]["model_type"] in KINDS}
TOKENS = 24
WINDOW = 7
BLOCK = 128

FLOAT32 = 8e-6  # of the largest logit; the same as in test_transformers.py
# Frequencies are compared by themselves. Far out, their last bit turns pairs by a hundredth of a turn, so there both
# programs get the same ones.
FAR = 1e-4
FREQUENCY = 5e-7


def shrunk(config):
    """The configuration with small sizes; heads share keys as before."""
    small = dict(config) | {"vocab_size": 96, "num_hidden_layers": 2}
    if config["model_type"] in ("mamba", "falcon_mamba"):
        sizes = {"hidden_size": 32, "intermediate_size": 64, "time_step_rank": 2}
        return small | sizes | ({"n_layer": 2} if "n_layer" in config else {})
    if config["model_type"] == "mamba2":
        heads = {"num_heads": 2 * config["n_groups"], "head_dim": 8}
        return small | heads | {"intermediate_size": 16 * config["n_groups"], "hidden_size": 8 * config["n_groups"]}
    small |= {"intermediate_size": 64, "hidden_size": 64}
    if "max_window_layers" in config:
        small["max_window_layers"] = 2
    if config.get("pad_token_id") is not None:
        small["pad_token_id"] = 0
    if "kv_lora_rank" in config:
        experts = 2 * max(config["n_group"], config["num_experts_per_tok"])
        by_way = {} if config["q_lora_rank"] is None else {"q_lora_rank": 40}
        return (
            small
            | by_way
            | {
                "num_hidden_layers": 3,
                "first_k_dense_replace": 1,
                "num_attention_heads": 4,
                "num_key_value_heads": 4,
                "n_routed_experts": experts,
                "moe_intermediate_size": 32,  # whole groups of 4-bit codes
                "kv_lora_rank": 32,
                "qk_nope_head_dim": 16,
                "v_head_dim": 16,
            }
        )
    share = config["num_attention_heads"] // config.get("num_key_value_heads", config["num_attention_heads"])
    keys = 2 if share <= 4 else 1
    small |= {"num_attention_heads": share * keys, "num_key_value_heads": keys, "hidden_size": 16 * share * keys}
    if "head_dim" not in config:
        small["hidden_size"] = config["hidden_size"] // config["num_attention_heads"] * share * keys
    if "layer_types" in config:
        small["layer_types"] = config["layer_types"][:2]
    if config["model_type"] in ("mistral", "gpt_oss") and config["sliding_window"]:
        small["sliding_window"] = WINDOW
    if "num_local_experts" in config:
        small |= {"num_local_experts": 8}
    if "num_experts" in config:
        small |= {"num_experts": 12, "moe_intermediate_size": 24}
    return small


def as_transformers_has_it(config):
    """The same in words that transformers knows, where it overlooks ours."""
    theirs = {key: value for key, value in config.items() if key != "quantization_config"}
    if config["model_type"] == "kimi_k2":  # Moonshot's own file, which is DeepSeek's with another name
        theirs["model_type"] = "deepseek_v3"
    if config["model_type"] == "internlm2":  # not among transformers' own: llama's graph, with other names
        theirs = {key: value for key, value in theirs.items() if key != "bias"} | {"model_type": "llama"}
    scaling = config.get("rope_scaling") or {}
    if "attn_factor" in scaling:  # transformers warns that it does not know it; YaRN's authors and llama.cpp multiply
        grown = (0.1 * np.log(scaling["factor"]) + 1) * scaling["attn_factor"]
        theirs["rope_scaling"] = {key: value for key, value in scaling.items() if key != "attn_factor"}
        theirs["rope_scaling"]["attention_factor"] = float(grown)
    return theirs


def fp8(weight, scales_as, random):
    """Codes and scales of a matrix, and the BF16 that they stand for, by torch's own FP8."""
    rows, columns = (-(-side // BLOCK) for side in weight.shape)
    exponents = torch.from_numpy(random.integers(-9, -5, (rows, columns)))
    scales = (2.0**exponents).to(scales_as)
    if scales_as is torch.bfloat16:  # Qwen's are any number
        scales = (scales.float() * 1.37).to(scales_as)
    wide = scales.float().repeat_interleave(BLOCK, 0).repeat_interleave(BLOCK, 1)[: weight.shape[0], : weight.shape[1]]
    codes = (weight.float() / wide).to(torch.float8_e4m3fn)
    return codes, scales, (codes.float() * wide).to(torch.bfloat16)


def as_internlm2(tensors, config):
    """Llama's tensors as InternLM2's publishers name them; q, k and v as modeling_internlm2.py takes them apart."""
    keys = config["num_key_value_heads"]
    stored = {}
    for name, value in tensors.items():
        if name.endswith("q_proj.weight"):
            parts = [tensors[name.replace("q_proj", part)] for part in ("q_proj", "k_proj", "v_proj")]
            by_key = [part.view(keys, -1, value.shape[1]) for part in parts]
            name, value = name.replace("q_proj", "wqkv"), torch.cat(by_key, dim=1).reshape(-1, value.shape[1])
        elif name.endswith(("k_proj.weight", "v_proj.weight")):
            continue
        for theirs, own in {
            "embed_tokens": "tok_embeddings", "lm_head": "output", "self_attn": "attention", "o_proj": "wo",
            "input_layernorm": "attention_norm", "post_attention_layernorm": "ffn_norm", "mlp": "feed_forward",
            "gate_proj": "w1", "up_proj": "w3", "down_proj": "w2",
        }.items():  # fmt: skip
            name = name.replace(theirs, own)
        stored[name] = value.contiguous()
    return stored


def int4(weight):
    """The parts that compressed-tensors makes of a matrix, and the BF16 that its own decompression gives: codes times
    scales, in the scales' type. compressed_tensors/compressors/quantized_compressors/pack_quantized.py."""
    groups = weight.float().unflatten(-1, (-1, 32))
    scales = (groups.abs().amax(-1, keepdim=True) / 7.5).to(torch.bfloat16)
    codes = (groups / scales.float()).round().clamp(-8, 7)
    shifts = 4 * torch.arange(8)
    words = ((codes.to(torch.int64) + 8).reshape(len(weight), -1, 8) << shifts).sum(-1)
    words = torch.where(words >= 2**31, words - 2**32, words).to(torch.int32)
    parts = {
        "weight_packed": words,
        "weight_scale": scales.squeeze(-1).contiguous(),
        "weight_shape": torch.tensor(weight.shape),
    }
    return parts, (codes * scales.float()).flatten(-2)


def make(config, folder, make_models):
    """A folder as publishers make it, of random weights, and transformers' model of the same weights."""
    theirs = transformers.AutoConfig.for_model(**as_transformers_has_it(config))
    model = make_models.draw(theirs, seed=len(config))
    model.save_pretrained(folder / "saved")  # under the names that publishers use
    plain = {name: value.to(torch.bfloat16) for name, value in load_file(folder / "saved/model.safetensors").items()}
    stored, how = dict(plain), config.get("quantization_config", {})
    if how.get("quant_method") == "fp8":
        random = np.random.default_rng(7)
        scales_as = torch.bfloat16 if config["model_type"].startswith("qwen3") else torch.float32
        for name in [name for name in plain if name.endswith("proj.weight")]:
            stored[name], stored[name + "_scale_inv"], plain[name] = fp8(plain[name], scales_as, random)
    if config["model_type"] == "internlm2":
        stored = as_internlm2(stored, config)
    if how.get("quant_method") == "compressed-tensors":
        for name in [name for name in plain if ".mlp.experts." in name and name.endswith("proj.weight")]:
            parts, plain[name] = int4(stored.pop(name))
            stored |= {name.removesuffix("weight") + part: values for part, values in parts.items()}
    for part, tensors, words in (("theirs", plain, as_transformers_has_it(config)), ("ours", stored, config)):
        (folder / part).mkdir()
        save_file(tensors, folder / part / "model.safetensors", {"format": "pt"})
        (folder / part / "config.json").write_text(json.dumps(words))
    if how.get("quant_method") == "mxfp4":
        for part in ("theirs", "ours"):
            make_models.into_mxfp4(folder / part, seed=3)
    (folder / "ours" / "config.json").write_text(json.dumps(config))
    return make_models.open_model(folder / "theirs")


def assert_same(ours, theirs, tolerance):
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * np.abs(theirs).max())


@pytest.fixture(scope="module", params=ROWS)
def pair(request, make_models, tmp_path_factory):
    """Ours, its operations, and theirs."""
    folder = tmp_path_factory.mktemp("published")
    theirs = make(shrunk(ROWS[request.param]), folder, make_models)
    ops = arithmetic.Ops()
    with open_checkpoint(folder / "ours") as checkpoint:
        return models.load(checkpoint, ops), ops, theirs


IDS = np.random.default_rng(5).integers(0, 96, TOKENS)


def test_a_prompt_gives_the_logits_of_transformers(pair):
    ours, ops, theirs = pair
    found = ours.forward(ops.begin([(ops.new_cache(ours.memories), IDS)], "all"), ops)
    with torch.no_grad():
        assert_same(found, theirs(torch.from_numpy(IDS)[None]).logits[0].numpy(), FLOAT32)


def test_token_by_token_gives_the_same(pair):
    ours, ops, theirs = pair
    cache = ops.new_cache(ours.memories)
    found = [ours.forward(ops.begin([(cache, [token])]), ops)[0] for token in IDS]
    with torch.no_grad():
        assert_same(np.array(found), theirs(torch.from_numpy(IDS)[None]).logits[0].numpy(), 2 * FLOAT32)


def test_frequencies_are_those_of_transformers(pair, make_models):
    ours, _, theirs = pair
    expected = make_models.frequencies_of(theirs).numpy()
    if not expected.size:
        assert not hasattr(ours.config, "rope")
        return
    rope = ours.config.rope.rope()
    np.testing.assert_allclose(rope.inverse_frequencies, expected, rtol=FREQUENCY)
    assert rope.magnitude == pytest.approx(theirs.model.rotary_emb.attention_scaling, rel=1e-6)


def test_far_beyond_the_original_context_it_agrees_too(pair):
    """The second half of the prompt stands where the context ends: keys lie as far back as they ever can."""
    ours, ops, theirs = pair
    end = min(ours.config.max_position_embeddings, 131072)
    positions = np.concatenate([np.arange(TOKENS // 2), np.arange(end - TOKENS // 2, end)])
    batch = replace(ops.begin([(ops.new_cache(ours.memories), IDS)], "all"), positions=positions)
    near = ours.forward(ops.begin([(ops.new_cache(ours.memories), IDS)], "all"), ops)
    if not hasattr(ours.config, "rope"):
        assert_same(ours.forward(batch, ops), near, 0)
        return
    rope = replace(ours.parameters.rope, inverse_frequencies=theirs.model.rotary_emb.inv_freq.numpy())
    far = replace(ours, parameters=replace(ours.parameters, rope=rope)).forward(batch, ops)
    with torch.no_grad():
        where = torch.from_numpy(positions)[None]
        expected = theirs(torch.from_numpy(IDS)[None], position_ids=where).logits[0].numpy()
    assert_same(far, expected, FAR)
    assert np.abs(near - expected).max() > 0.03 * np.abs(expected).max()  # so that the distance matters
