"""Tiny random checkpoints of every family, and the logits that transformers computes from them.

    python tests/goldens/make_models.py [case ...]     (in the environment with the references)

Each case becomes a folder in tests/goldens/models: config.json and model.safetensors as transformers saves them,
model.gguf with the same weights where GGUF can say all of it, and golden.safetensors with token ids, logits and rotary
frequencies (versions in its metadata). Weights are drawn so that everything matters:
biases are not nought, norms are not one, eps is large, windows are shorter than the prompt, positions are stretched.
"""

import contextlib
import importlib
import json
import re
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest import mock

import gguf
import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file

HERE = Path(__file__).parent / "models"
TOKENS = 21

SMALL = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-2,  # large, so that a forgotten one shows
}
DEFAULT = {"rope_type": "default", "rope_theta": 10000.0}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 500.0,
    "factor": 4.0,
    "beta_fast": 4.0,
    "beta_slow": 1.0,
    "original_max_position_embeddings": 64,
}


def heads(query: int, key: int, head_dim: int) -> dict[str, int]:
    return {"num_attention_heads": query, "num_key_value_heads": key, "head_dim": head_dim}


UNTRUNCATED = YARN | {"truncate": False}
GPT_OSS = heads(6, 3, 8) | {
    "intermediate_size": 32,
    "num_local_experts": 5,
    "num_experts_per_tok": 2,
    "sliding_window": 5,
    "layer_types": ["sliding_attention", "full_attention"],
    "rope_parameters": UNTRUNCATED,
    "tie_word_embeddings": False,
}

MIXTRAL = {"hidden_size": 30, "intermediate_size": 22, "rope_parameters": DEFAULT | {"rope_theta": 500.0}}
QWEN3_MOE = heads(5, 1, 12) | {
    "hidden_size": 30,
    "moe_intermediate_size": 14,
    "num_experts": 7,
    "num_experts_per_tok": 3,
}
MAMBA = {"layer_norm_epsilon": 1e-2}
FALCON_MAMBA = MAMBA | {"hidden_size": 30, "state_size": 5, "time_step_rank": 3}
MAMBA2 = MAMBA | {"chunk_size": 8, "pad_token_id": 0}
DEEPSEEK = {
    "num_hidden_layers": 3,
    "first_k_dense_replace": 1,
    "num_attention_heads": 5,
    "num_key_value_heads": 5,
    "kv_lora_rank": 12,
    "qk_nope_head_dim": 7,
    "qk_rope_head_dim": 6,
    "v_head_dim": 9,
    "n_routed_experts": 9,
    "num_experts_per_tok": 3,
    "n_shared_experts": 2,
    "moe_intermediate_size": 11,
    "num_mtp_layers": 0,
    "tie_word_embeddings": False,
}

# name: (class of the configuration, its values besides SMALL, of which Mamba knows some)
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": (
        "LlamaConfig",
        heads(6, 3, 8) | {"hidden_size": 30, "rope_parameters": DEFAULT, "tie_word_embeddings": False},
    ),
    "llama-stretched": (
        "LlamaConfig",
        heads(5, 1, 12) | {"hidden_size": 30, "rope_parameters": LLAMA3, "tie_word_embeddings": True},
    ),
    "llama-yarn": ("LlamaConfig", heads(4, 4, 8) | {"rope_parameters": YARN, "tie_word_embeddings": True}),
    "mistral": (
        "MistralConfig",
        heads(6, 2, 8)
        | {"hidden_size": 30, "rope_parameters": DEFAULT, "sliding_window": 5, "tie_word_embeddings": False},
    ),
    "qwen2": (
        "Qwen2Config",
        {"num_attention_heads": 4, "num_key_value_heads": 2, "rope_parameters": DEFAULT, "tie_word_embeddings": True},
    ),
    "qwen2-window": (
        "Qwen2Config",
        {
            "num_attention_heads": 4,
            "num_key_value_heads": 1,
            "rope_parameters": DEFAULT | {"rope_type": "linear", "factor": 2.5},
            "use_sliding_window": True,
            "sliding_window": 6,
            "max_window_layers": 1,
            "tie_word_embeddings": False,
        },
    ),
    "gpt_oss": ("GptOssConfig", GPT_OSS),
    "gpt_oss-mxfp4": ("GptOssConfig", GPT_OSS | {"rope_parameters": UNTRUNCATED | {"factor": 8.0}}),
    "qwen3": (
        "Qwen3Config",
        heads(5, 1, 12) | {"hidden_size": 30, "rope_parameters": DEFAULT, "tie_word_embeddings": False},
    ),
    "deepseek_v3": (
        "DeepseekV3Config",
        DEEPSEEK
        | {
            "q_lora_rank": 9,
            "n_group": 3,
            "topk_group": 2,
            "routed_scaling_factor": 2.5,
            "rope_parameters": YARN | {"mscale": 1.0, "mscale_all_dim": 0.7},
        },
    ),
    "deepseek_v3-plain": (
        "DeepseekV3Config",
        DEEPSEEK
        | {
            "q_lora_rank": None,
            "n_group": 1,
            "topk_group": 1,
            "norm_topk_prob": False,
            "routed_scaling_factor": 1.5,
            "rope_interleave": False,
            "rope_parameters": DEFAULT,
        },
    ),
    "mamba": (
        "MambaConfig",
        MAMBA
        | {"hidden_size": 30, "state_size": 5, "conv_kernel": 4, "time_step_rank": 3, "tie_word_embeddings": True},
    ),
    "mamba-auto": (
        "MambaConfig",
        MAMBA | {"hidden_size": 34, "state_size": 3, "conv_kernel": 3, "expand": 1, "tie_word_embeddings": False},
    ),
    "mixtral": (
        "MixtralConfig",
        MIXTRAL
        | heads(6, 2, 8)
        | {"num_local_experts": 5, "num_experts_per_tok": 2, "sliding_window": None, "tie_word_embeddings": False},
    ),
    "mixtral-window": (
        "MixtralConfig",
        MIXTRAL
        | heads(5, 1, 10)
        | {"num_local_experts": 7, "num_experts_per_tok": 3, "sliding_window": 5, "tie_word_embeddings": True},
    ),
    "qwen3_moe": (
        "Qwen3MoeConfig",
        QWEN3_MOE
        | {
            "num_hidden_layers": 4,
            "decoder_sparse_step": 2,
            "mlp_only_layers": [3],
            "norm_topk_prob": False,
            "use_sliding_window": True,
            "sliding_window": 5,
            "rope_parameters": YARN,
            "tie_word_embeddings": True,
        },
    ),
    "qwen3_moe-normalised": (
        "Qwen3MoeConfig",
        QWEN3_MOE | {"norm_topk_prob": True, "rope_parameters": DEFAULT, "tie_word_embeddings": False},
    ),
    # As GGUF can say it: one eps for all norms, and scores that grow as vectors would.
    "deepseek_v3-gguf": (
        "DeepseekV3Config",
        DEEPSEEK
        | {
            "q_lora_rank": 9,
            "qk_nope_head_dim": 8,  # even, or llama.cpp does not turn what stands behind it
            "n_group": 3,
            "topk_group": 2,
            "routed_scaling_factor": 2.5,
            "rms_norm_eps": 1e-6,
            "rope_parameters": YARN | {"mscale": 0.8, "mscale_all_dim": 0.8},
        },
    ),
    "deepseek_v2": (
        "DeepseekV2Config",
        {key: value for key, value in DEEPSEEK.items() if key != "norm_topk_prob"}
        | {
            "hidden_size": 30,
            "qk_nope_head_dim": 8,
            "q_lora_rank": None,
            "topk_method": "greedy",
            "norm_topk_prob": False,
            "routed_scaling_factor": 1.0,
            "rms_norm_eps": 1e-6,
            "rope_parameters": YARN | {"mscale": 0.707, "mscale_all_dim": 0.707},
        },
    ),
    "mamba2": (
        "Mamba2Config",
        MAMBA2
        | {"hidden_size": 30, "num_heads": 6, "head_dim": 10, "n_groups": 3, "state_size": 5, "conv_kernel": 4}
        | {"tie_word_embeddings": True},
    ),
    "mamba2-biased": (
        "Mamba2Config",
        MAMBA2
        | {"hidden_size": 36, "expand": 1, "num_heads": 2, "head_dim": 18, "n_groups": 1, "state_size": 7}
        | {"conv_kernel": 3, "use_bias": True, "use_conv_bias": False, "residual_in_fp32": False}
        | {"time_step_limit": (0.2, 1.1), "tie_word_embeddings": False},
    ),
    "falcon_mamba": ("FalconMambaConfig", FALCON_MAMBA | {"mixer_rms_eps": 1e-2, "tie_word_embeddings": False}),
    "falcon_mamba-narrow": (
        "FalconMambaConfig",
        FALCON_MAMBA | {"expand": 16, "intermediate_size": 33, "mixer_rms_eps": 0.5, "tie_word_embeddings": True},
    ),
}


def draw(config: transformers.PreTrainedConfig, seed: int) -> transformers.PreTrainedModel:
    """A model with lively random weights, each exactly a bfloat16."""
    random = torch.Generator().manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for name, values in model.named_parameters():
            noise = torch.randn(values.shape, generator=random)
            if values.ndim == 1 and name.endswith("norm.weight"):
                noise = 1 + 0.3 * noise
            elif name.endswith("bias"):
                noise = 0.5 * noise
            elif name.endswith("sinks"):
                noise = 1 + 2 * noise  # some larger than every score
            elif name.endswith(("A_log", ".D", "conv1d.weight")):
                noise = 0.7 * noise
            elif name.endswith("gate_up_proj"):  # (experts, in, out); many values beyond the gate's limit
                noise = noise * 5 / values.shape[-2] ** 0.5
            elif name.endswith("down_proj"):
                noise = noise * 0.2 / values.shape[-2] ** 0.5
            elif "embed" in name:
                noise = noise * 0.7
            else:
                noise = noise * 1.5 / values.shape[-1] ** 0.5
            values.copy_(noise.to(torch.bfloat16))
        for name, values in model.named_buffers():
            if name.endswith("e_score_correction_bias"):
                values.copy_((0.3 * torch.randn(values.shape, generator=random)).to(torch.bfloat16))
    model.tie_weights()
    return model


class InDouble:
    """torch, but float32 is float64."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, "float64" if name in ("float", "float32") else name)


@contextlib.contextmanager
def in_double(model: transformers.PreTrainedModel) -> Iterator[None]:
    """Let transformers compute in float64 throughout, where it would otherwise insist on float32 here and there."""
    module = importlib.import_module(type(model).__module__)
    model.double()
    with mock.patch.object(module, "torch", InDouble()), mock.patch.object(torch.Tensor, "float", torch.Tensor.double):
        yield
    model.float()


def frequencies_of(model: transformers.PreTrainedModel) -> torch.Tensor:
    """None of a model that turns nothing."""
    return model.model.rotary_emb.inv_freq.float().clone() if hasattr(model, "model") else torch.empty(0)


def logits_of(folder: Path, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What transformers computes from a checkpoint, in float32 and in float64."""
    model = open_model(folder)
    with torch.no_grad():
        single = model(torch.from_numpy(ids)[None]).logits[0].numpy()
        with in_double(model):
            double = model(torch.from_numpy(ids)[None]).logits[0].numpy()
    return single, double


def open_model(folder: Path) -> transformers.PreTrainedModel:
    return transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager"
    ).eval()


def into_mxfp4(folder: Path, seed: int) -> None:
    """Replace a gpt-oss checkpoint's experts by random 4-bit ones, stored as OpenAI ships them."""
    random = np.random.default_rng(seed)
    tensors = load_file(folder / "model.safetensors")
    for name in [name for name in tensors if name.endswith(("experts.gate_up_proj", "experts.down_proj"))]:
        experts, inputs, outputs = tensors.pop(name).shape
        groups = inputs // 32
        codes = random.integers(0, 256, (experts, outputs, groups, 16), np.uint8)
        exponents = random.integers(*((124, 128) if "gate_up" in name else (119, 123)), (experts, outputs, groups))
        tensors[name + "_blocks"] = torch.from_numpy(codes)
        tensors[name + "_scales"] = torch.from_numpy(exponents.astype(np.uint8))
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


# GGUF has no key for windows in these families, and llama.cpp would not look at one.
GGUF_SAYS_ALL = {
    name
    for name in CASES
    if name not in {"mistral", "mixtral-window", "qwen2-window", "qwen3_moe", "deepseek_v3", "deepseek_v3-plain"}
    # biases and bounds of dt; an eps of the mixer's own
    if name not in {"mamba2-biased", "falcon_mamba-narrow"}
}
ARCHITECTURES = {
    "deepseek_v2": gguf.MODEL_ARCH.DEEPSEEK2,
    "deepseek_v3": gguf.MODEL_ARCH.DEEPSEEK2,
    "llama": gguf.MODEL_ARCH.LLAMA,
    "falcon_mamba": gguf.MODEL_ARCH.MAMBA,
    "mamba": gguf.MODEL_ARCH.MAMBA,
    "mamba2": gguf.MODEL_ARCH.MAMBA2,
    "mistral": gguf.MODEL_ARCH.LLAMA,
    "mixtral": gguf.MODEL_ARCH.LLAMA,
    "gpt_oss": gguf.MODEL_ARCH.GPT_OSS,
    "qwen2": gguf.MODEL_ARCH.QWEN2,
    "qwen3": gguf.MODEL_ARCH.QWEN3,
    "qwen3_moe": gguf.MODEL_ARCH.QWEN3MOE,
}


def write_gguf(folder: Path, path: Path, kind: gguf.GGMLQuantizationType, whole_kv_b: bool = False) -> None:
    """The checkpoint as llama.cpp's converter would write it, matrices as `kind`, without a tokenizer.

    `whole_kv_b`: a DeepSeek as it was written before April 2025.
    """
    config = json.loads((folder / "config.json").read_text())
    architecture = ARCHITECTURES[config["model_type"]]
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[architecture])
    writer.add_tokenizer_model("no_vocab")
    writer.add_vocab_size(config["vocab_size"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    if architecture in (gguf.MODEL_ARCH.MAMBA, gguf.MODEL_ARCH.MAMBA2):
        write_mamba(writer, config, load_file(folder / "model.safetensors"), kind)
    elif architecture == gguf.MODEL_ARCH.DEEPSEEK2:
        write_deepseek(writer, config, load_file(folder / "model.safetensors"), kind, whole_kv_b)
    else:
        write_transformer(writer, config, folder, architecture, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_mamba(
    writer: gguf.GGUFWriter,
    config: dict[str, Any],
    tensors: dict[str, torch.Tensor],
    kind: gguf.GGMLQuantizationType,
) -> None:
    writer.add_context_length(2**20)
    writer.add_feed_forward_length(0)
    writer.add_head_count(0)
    writer.add_ssm_conv_kernel(config["conv_kernel"])
    writer.add_ssm_inner_size(config.get("intermediate_size", config.get("expand", 2) * config["hidden_size"]))
    writer.add_ssm_state_size(config["state_size"])
    writer.add_layer_norm_rms_eps(config["layer_norm_epsilon"])
    if config["model_type"] == "mamba2":
        architecture = gguf.MODEL_ARCH.MAMBA2
        writer.add_ssm_time_step_rank(config["num_heads"])
        writer.add_ssm_group_count(config["n_groups"])
    else:
        architecture = gguf.MODEL_ARCH.MAMBA
        writer.add_ssm_time_step_rank(config["time_step_rank"])
        writer.add_ssm_dt_b_c_rms(config["model_type"] == "falcon_mamba")
    names = gguf.get_tensor_name_map(architecture, config["num_hidden_layers"])
    for name, tensor in tensors.items():
        values = tensor.float().numpy()
        if name.endswith("conv1d.weight"):
            values = values[:, 0]
        if name.endswith("A_log"):
            values = -np.exp(values)
        matrix = values.ndim > 1 and not name.endswith(("conv1d.weight", "A_log"))
        if config["model_type"] == "mamba2" and name.endswith(("A_log", ".D")):
            values = values[:, None]
        if name.endswith("mixer.norm.weight"):
            values = values.reshape(config["n_groups"], -1)
        stored = kind if matrix else gguf.GGMLQuantizationType.F32
        ours = names.get_name(name.replace("dt_bias", "dt.bias"), try_suffixes=(".weight", ".bias"))
        writer.add_tensor(ours, gguf.quants.quantize(values, stored), raw_dtype=stored)


def write_deepseek(
    writer: gguf.GGUFWriter,
    config: dict[str, Any],
    tensors: dict[str, torch.Tensor],
    kind: gguf.GGMLQuantizationType,
    whole_kv_b: bool,
) -> None:
    heads, latent = config["num_attention_heads"], config["kv_lora_rank"]
    nope, turning, value = config["qk_nope_head_dim"], config["qk_rope_head_dim"], config["v_head_dim"]
    rope, corrected = config["rope_parameters"], config["model_type"] == "deepseek_v3"
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads if whole_kv_b else 1)
    if not whole_kv_b:
        writer.add_key_length_mla(nope + turning)
        writer.add_value_length_mla(value)
    writer.add_key_length(nope + turning if whole_kv_b else latent + turning)
    writer.add_value_length(value if whole_kv_b else latent)
    if config["q_lora_rank"] is not None:
        writer.add_q_lora_rank(config["q_lora_rank"])
    writer.add_kv_lora_rank(latent)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_leading_dense_block_count(config["first_k_dense_replace"])
    writer.add_expert_count(config["n_routed_experts"])
    writer.add_expert_used_count(config["num_experts_per_tok"])
    writer.add_expert_shared_count(config["n_shared_experts"])
    writer.add_expert_feed_forward_length(config["moe_intermediate_size"])
    writer.add_expert_weights_scale(config["routed_scaling_factor"])
    writer.add_expert_weights_norm(config["norm_topk_prob"])
    if corrected:
        writer.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
        writer.add_expert_group_count(config["n_group"])
        writer.add_expert_group_used_count(config["topk_group"])
    writer.add_rope_dimension_count(turning)
    writer.add_rope_freq_base(rope["rope_theta"])
    writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    writer.add_rope_scaling_factor(rope["factor"])
    writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    writer.add_rope_scaling_yarn_beta_fast(rope["beta_fast"])
    writer.add_rope_scaling_yarn_beta_slow(rope["beta_slow"])
    writer.add_rope_scaling_yarn_log_mul(0.1 * rope["mscale_all_dim"])
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.DEEPSEEK2, config["num_hidden_layers"])
    for name, values in stacked_experts(tensors).items():
        writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)
    for name, tensor in tensors.items():
        if re.fullmatch(ONE_EXPERT, name):
            continue
        values = tensor.float().numpy()
        if name.endswith("kv_b_proj.weight") and not whole_kv_b:
            block, of_head = f"blk.{name.split('.')[2]}.", values.reshape(heads, nope + value, latent)
            for part, matrices in (("k", of_head[:, :nope].swapaxes(1, 2).copy()), ("v", of_head[:, nope:].copy())):
                writer.add_tensor(f"{block}attn_{part}_b.weight", gguf.quants.quantize(matrices, kind), raw_dtype=kind)
            continue
        stored = kind if values.ndim > 1 and not name.endswith(ROUTERS) else gguf.GGMLQuantizationType.F32
        ours = name.replace("e_score_correction_bias", "e_score_correction.bias")
        ours = names.get_name(ours, try_suffixes=(".weight", ".bias"))
        writer.add_tensor(ours, gguf.quants.quantize(values, stored), raw_dtype=stored)


def write_transformer(
    writer: gguf.GGUFWriter,
    config: dict[str, Any],
    folder: Path,
    architecture: gguf.MODEL_ARCH,
    kind: gguf.GGMLQuantizationType,
) -> None:
    query_heads, key_heads = config["num_attention_heads"], config["num_key_value_heads"]
    head_dim = config.get("head_dim", config["hidden_size"] // query_heads)
    rope = config["rope_parameters"]
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(query_heads)
    writer.add_head_count_kv(key_heads)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_rope_dimension_count(head_dim)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(rope["factor"])
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
        writer.add_rope_scaling_yarn_beta_fast(rope["beta_fast"])
        writer.add_rope_scaling_yarn_beta_slow(rope["beta_slow"])
    if experts := config.get("num_local_experts", config.get("num_experts")):
        writer.add_expert_count(experts)
        writer.add_expert_used_count(config["num_experts_per_tok"])
    if architecture == gguf.MODEL_ARCH.GPT_OSS:
        writer.add_sliding_window(config["sliding_window"])
        writer.add_expert_feed_forward_length(config["intermediate_size"])
    if architecture == gguf.MODEL_ARCH.QWEN3MOE:
        writer.add_expert_feed_forward_length(config["moe_intermediate_size"])
    if rope["rope_type"] == "llama3":
        writer.add_tensor(gguf.TENSOR_NAMES[gguf.MODEL_TENSOR.ROPE_FREQS] + ".weight", llama3_factors(rope, head_dim))
    names = gguf.get_tensor_name_map(architecture, config["num_hidden_layers"])
    tensors = load_file(folder / "model.safetensors")
    for name, values in stacked_experts(tensors).items():
        writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)
    for name, tensor in tensors.items():
        if re.fullmatch(ONE_EXPERT, name):
            continue
        if ".experts." in name:
            for part, encoded, stored in gguf_experts(name, tensor, tensors, kind):
                writer.add_tensor(part, encoded, raw_dtype=stored)
            continue
        values = tensor.float().numpy()
        if architecture == gguf.MODEL_ARCH.LLAMA and name.endswith(("q_proj.weight", "k_proj.weight")):
            values = permuted(values, query_heads if "q_proj" in name else key_heads)
        stored = kind if values.ndim > 1 and not name.endswith(ROUTERS) else gguf.GGMLQuantizationType.F32
        encoded = gguf.quants.quantize(values, stored)
        if name.endswith("sinks"):
            writer.add_tensor(names.get_name(name) + ".weight", encoded, raw_dtype=stored)
        else:
            writer.add_tensor(names.get_name(name, try_suffixes=(".weight", ".bias")), encoded, raw_dtype=stored)


ROUTERS = ("router.weight", "block_sparse_moe.gate.weight", "mlp.gate.weight")  # llama.cpp keeps them in float32
ONE_EXPERT = r"model\.layers\.(\d+)\..*\.experts\.(\d+)\.(\w+)\.weight"
EXPERT_PARTS = {"w1": "gate", "w2": "down", "w3": "up", "gate_proj": "gate", "down_proj": "down", "up_proj": "up"}


def stacked_experts(tensors: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """GGUF's tensors of all experts (experts, out, in), of a model that has one tensor for each."""
    found: dict[str, dict[int, np.ndarray]] = {}
    for name, tensor in tensors.items():
        if one := re.fullmatch(ONE_EXPERT, name):
            together = f"blk.{one[1]}.ffn_{EXPERT_PARTS[one[3]]}_exps.weight"
            found.setdefault(together, {})[int(one[2])] = tensor.float().numpy()
    return {name: np.stack([experts[e] for e in sorted(experts)]) for name, experts in found.items()}


def gguf_experts(
    name: str, tensor: torch.Tensor, tensors: dict[str, torch.Tensor], kind: gguf.GGMLQuantizationType
) -> Iterator[tuple[str, np.ndarray, gguf.GGMLQuantizationType]]:
    """(name, encoded, encoding) of what llama.cpp makes of one of gpt-oss's expert tensors: gate and up apart."""
    block = f"blk.{name.split('.')[2]}.ffn_"
    if name.endswith("_scales"):
        return
    if name.endswith("_blocks"):
        blocks, scales = tensor.numpy(), tensors[name.replace("_blocks", "_scales")].numpy()
        if kind == gguf.GGMLQuantizationType.F32:
            values, stored = gguf.quants.dequantize(mxfp4_blocks(blocks, scales), gguf.GGMLQuantizationType.MXFP4), kind
        else:
            values, stored = mxfp4_blocks(blocks, scales), gguf.GGMLQuantizationType.MXFP4
        rows = 1
    elif name.endswith("_bias"):
        values, stored, rows = tensor.float().numpy(), gguf.GGMLQuantizationType.F32, -1
    else:
        values, stored, rows = gguf.quants.quantize(tensor.float().numpy().swapaxes(1, 2).copy(), kind), kind, 1
    ending = "bias" if name.endswith("_bias") else "weight"
    if "gate_up_proj" in name:
        for first, part in enumerate(("gate", "up")):
            chosen = np.take(values, range(first, values.shape[rows], 2), axis=rows)
            yield f"{block}{part}_exps.{ending}", np.ascontiguousarray(chosen), stored
    else:
        yield f"{block}down_exps.{ending}", values, stored


def mxfp4_blocks(blocks: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """llama.cpp's arrangement: the scale, then byte i with weights i and i + 16 of the group."""
    experts, rows, groups, _ = blocks.shape
    codes = np.stack([blocks & 15, blocks >> 4], axis=-1).reshape(experts, rows, groups, 32)  # in the weights' order
    packed = codes[..., :16] | (codes[..., 16:] << 4)
    return np.concatenate([scales[..., None], packed], axis=-1).reshape(experts, rows, groups * 17)


def permuted(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of each head from (half, pair) to (pair, half): llama.cpp turns neighbours in its llama architecture."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).transpose(0, 2, 1, 3).reshape(rows, columns)


def llama3_factors(rope: dict[str, Any], head_dim: int) -> np.ndarray:
    """By how much each frequency is divided."""
    factors = []
    for i in range(0, head_dim, 2):
        wave = 2 * np.pi * rope["rope_theta"] ** (i / head_dim)
        turns = rope["original_max_position_embeddings"] / wave
        if turns > rope["high_freq_factor"]:
            factors.append(1.0)
        elif turns < rope["low_freq_factor"]:
            factors.append(rope["factor"])
        else:
            smooth = (turns - rope["low_freq_factor"]) / (rope["high_freq_factor"] - rope["low_freq_factor"])
            factors.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return np.array(factors, np.float32)


def make(name: str, folder: Path) -> None:
    kind, values = CASES[name]
    shared = SMALL if "Mamba" not in kind else {key: SMALL[key] for key in ("vocab_size", "num_hidden_layers")}
    config = getattr(transformers, kind)(**(shared | values))
    seed = 1 + list(CASES).index(name)
    model = draw(config, seed)
    model.to(torch.bfloat16).save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    if name.endswith("mxfp4"):
        into_mxfp4(folder, seed)
    ids = np.random.default_rng(seed).integers(0, SMALL["vocab_size"], TOKENS)
    single, double = logits_of(folder, ids)
    golden = {
        "ids": torch.from_numpy(ids),
        "float32": torch.from_numpy(single),
        "float64": torch.from_numpy(double),
        "inverse_frequencies": frequencies_of(open_model(folder)),
    }
    versions = {"torch": torch.__version__, "transformers": transformers.__version__, "gguf": version("gguf")}
    save_file(golden, folder / "golden.safetensors", versions | {"seed": str(seed)})
    if name in GGUF_SAYS_ALL and name != "gpt_oss":  # which would be large, and the 4-bit one shows more
        write_gguf(folder, folder / "model.gguf", gguf.GGMLQuantizationType.BF16)


if __name__ == "__main__":
    for each in sys.argv[1:] or sorted(CASES):
        make(each, HERE / each)
        print(each, sum(file.stat().st_size for file in (HERE / each).iterdir()), "bytes")
