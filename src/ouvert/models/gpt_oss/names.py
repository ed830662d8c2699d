"""Tensor names of gpt-oss: Hugging Face's (transformers, models/gpt_oss), OpenAI's (gpt_oss/torch) and GGUF's."""

import re
from collections.abc import Mapping

from ouvert.models.gpt_oss.config import GptOssConfig
from ouvert.models.parameters import Parameter, Row, match
from ouvert.models.sources import Mxfp4Pair, Plain, Source, Strided, Transposed
from ouvert.weights import Checkpoint, Tensor

HF = "model.layers.{n}."
WHOLE = (
    Row("embedding", "embedding", "vocabulary hidden", "model.embed_tokens.weight", "token_embd.weight"),
    Row("norm", "norm", "hidden", "model.norm.weight", "output_norm.weight"),
    Row("unembedding", "linear", "vocabulary hidden", "lm_head.weight", "output.weight"),
)
LAYER = (
    Row("attention_norm", "norm", "hidden", HF + "input_layernorm.weight", "blk.{n}.attn_norm.weight"),
    Row("q", "linear", "queries hidden", HF + "self_attn.q_proj.weight", "blk.{n}.attn_q.weight"),
    Row("q_bias", "bias", "queries", HF + "self_attn.q_proj.bias", "blk.{n}.attn_q.bias"),
    Row("k", "linear", "keys hidden", HF + "self_attn.k_proj.weight", "blk.{n}.attn_k.weight"),
    Row("k_bias", "bias", "keys", HF + "self_attn.k_proj.bias", "blk.{n}.attn_k.bias"),
    Row("v", "linear", "keys hidden", HF + "self_attn.v_proj.weight", "blk.{n}.attn_v.weight"),
    Row("v_bias", "bias", "keys", HF + "self_attn.v_proj.bias", "blk.{n}.attn_v.bias"),
    Row("sinks", "sinks", "q_heads", HF + "self_attn.sinks", "blk.{n}.attn_sinks.weight"),
    Row("o", "linear", "hidden queries", HF + "self_attn.o_proj.weight", "blk.{n}.attn_output.weight"),
    Row("o_bias", "bias", "hidden", HF + "self_attn.o_proj.bias", "blk.{n}.attn_output.bias"),
    Row("experts_norm", "norm", "hidden", HF + "post_attention_layernorm.weight", "blk.{n}.post_attention_norm.weight"),
    Row("router", "linear", "experts hidden", HF + "mlp.router.weight", "blk.{n}.ffn_gate_inp.weight"),
    Row("router_bias", "bias", "experts", HF + "mlp.router.bias", "blk.{n}.ffn_gate_inp.bias"),
    Row("gate", "experts", "experts inner hidden", HF + "mlp.experts.gate", "blk.{n}.ffn_gate_exps.weight"),
    Row("gate_bias", "expert_bias", "experts inner", HF + "mlp.experts.gate_bias", "blk.{n}.ffn_gate_exps.bias"),
    Row("up", "experts", "experts inner hidden", HF + "mlp.experts.up", "blk.{n}.ffn_up_exps.weight"),
    Row("up_bias", "expert_bias", "experts inner", HF + "mlp.experts.up_bias", "blk.{n}.ffn_up_exps.bias"),
    Row("down", "experts", "experts hidden inner", HF + "mlp.experts.down", "blk.{n}.ffn_down_exps.weight"),
    Row("down_bias", "expert_bias", "experts hidden", HF + "mlp.experts.down_bias", "blk.{n}.ffn_down_exps.bias"),
)

# OpenAI's names within block.{n}, and Hugging Face's within model.layers.{n}.
ORIGINAL = {
    "attn.norm.scale": "input_layernorm.weight",
    "attn.sinks": "self_attn.sinks",
    "attn.out.weight": "self_attn.o_proj.weight",
    "attn.out.bias": "self_attn.o_proj.bias",
    "mlp.norm.scale": "post_attention_layernorm.weight",
    "mlp.gate.weight": "mlp.router.weight",
    "mlp.gate.bias": "mlp.router.bias",
    "mlp.mlp1_weight.blocks": "mlp.experts.gate_up_proj_blocks",
    "mlp.mlp1_weight.scales": "mlp.experts.gate_up_proj_scales",
    "mlp.mlp1_bias": "mlp.experts.gate_up_proj_bias",
    "mlp.mlp2_weight.blocks": "mlp.experts.down_proj_blocks",
    "mlp.mlp2_weight.scales": "mlp.experts.down_proj_scales",
    "mlp.mlp2_bias": "mlp.experts.down_proj_bias",
}
ORIGINAL_WHOLE = {
    "embedding.weight": "model.embed_tokens.weight",
    "norm.scale": "model.norm.weight",
    "unembedding.weight": "lm_head.weight",
}


def parameters(config: GptOssConfig, checkpoint: Checkpoint) -> list[Parameter]:
    """Every parameter, in the order a forward pass meets them, from any of the three layouts.

    Gate and up are parameters of their own here; Hugging Face and OpenAI store their rows alternately in one tensor.
    """
    unfolded = None
    if checkpoint.format != "gguf":
        tensors = checkpoint.tensors
        if "embedding.weight" in tensors:
            tensors = renamed(tensors, config)
        unfolded = unfold(tensors)
    return match(
        WHOLE,
        LAYER,
        checkpoint,
        layers=config.num_hidden_layers,
        sizes=config.sizes(),
        tied=config.tie_word_embeddings,
        frequencies=lambda: config.rope.rope().inverse_frequencies,
        unfolded=unfolded,
    )


def renamed(tensors: Mapping[str, Tensor], config: GptOssConfig) -> dict[str, Tensor]:
    """OpenAI's tensors under Hugging Face's names; q, k and v, rows of one tensor there, become three."""
    result: dict[str, Tensor] = {}
    queries, keys = config.sizes()["queries"], config.sizes()["keys"]
    for name, tensor in tensors.items():
        within = re.fullmatch(r"block\.(\d+)\.(.+)", name)
        if within is None:
            result[ORIGINAL_WHOLE.get(name, name)] = tensor
            continue
        prefix, rest = f"model.layers.{within[1]}.", within[2]
        if rest in ("attn.qkv.weight", "attn.qkv.bias") and tensor.shape[0] == queries + 2 * keys:
            ending = rest.rpartition(".")[2]
            result[f"{prefix}self_attn.q_proj.{ending}"] = tensor.rows(0, queries)
            result[f"{prefix}self_attn.k_proj.{ending}"] = tensor.rows(queries, queries + keys)
            result[f"{prefix}self_attn.v_proj.{ending}"] = tensor.rows(queries + keys, queries + 2 * keys)
        else:
            result[prefix + ORIGINAL[rest] if rest in ORIGINAL else name] = tensor
    return result


def unfold(tensors: Mapping[str, Tensor]) -> dict[str, Source]:
    """Experts' tensors as the matrices they hold: gate, up and down, from 4-bit pairs or from plain numbers.

    A name that fits no pattern, or a half of a pair, keeps its name, so that `match` finds it left over.
    """
    result: dict[str, Source] = {}
    for name, tensor in tensors.items():
        experts, _, part = name.rpartition(".")
        scales = tensors.get(name.removesuffix("_blocks") + "_scales")
        blocks = tensors.get(name.removesuffix("_scales") + "_blocks")
        if blocks is not None and fits(blocks, tensor):
            continue  # read together with its blocks
        pair = scales if scales is not None and fits(tensor, scales) else None
        match part:
            case "gate_up_proj_blocks" if pair is not None:
                result[f"{experts}.gate"] = Mxfp4Pair(tensor, pair, first=0, step=2)
                result[f"{experts}.up"] = Mxfp4Pair(tensor, pair, first=1, step=2)
            case "down_proj_blocks" if pair is not None:
                result[f"{experts}.down"] = Mxfp4Pair(tensor, pair)
            case "gate_up_proj" if is_plain(tensor, 3):
                result[f"{experts}.gate"] = Transposed(tensor, first=0, step=2)
                result[f"{experts}.up"] = Transposed(tensor, first=1, step=2)
            case "down_proj" if is_plain(tensor, 3):
                result[f"{experts}.down"] = Transposed(tensor)
            case "gate_up_proj_bias" if is_plain(tensor, 2):
                result[f"{experts}.gate_bias"] = Strided(tensor, first=0, step=2)
                result[f"{experts}.up_bias"] = Strided(tensor, first=1, step=2)
            case "down_proj_bias":
                result[f"{experts}.down_bias"] = Plain(tensor)
            case _:
                result[name] = Plain(tensor)
    return result


def fits(blocks: Tensor, scales: Tensor) -> bool:
    """Whether the two can be codes and scales of the same experts."""
    return blocks.encoding == scales.encoding == "U8" and len(scales.shape) == 3 and blocks.shape == (*scales.shape, 16)


def is_plain(tensor: Tensor, axes: int) -> bool:
    return tensor.encoding in ("BF16", "F16", "F32") and len(tensor.shape) == axes
