"""Tensor names of the llama family: Hugging Face's (transformers, models/llama) and GGUF's (gguf-py, constants.py).

InternLM2's own names are those of modeling_internlm2.py, beside its weights; in GGUF they are those of llama.
"""

import re
from collections.abc import Mapping

import numpy as np

from ouvert.models import mistral_params
from ouvert.models.configuration import DecoderConfig
from ouvert.models.parameters import Array, Parameter, Row, halves_from_pairs, match
from ouvert.models.sources import Rows, Source, matrices, source_of
from ouvert.weights import Checkpoint

WHOLE = (
    Row("embedding", "embedding", "vocabulary hidden", "model.embed_tokens.weight", "token_embd.weight"),
    Row("norm", "norm", "hidden", "model.norm.weight", "output_norm.weight"),
    Row("unembedding", "linear", "vocabulary hidden", "lm_head.weight", "output.weight"),
)
LAYER = (
    Row("attention_norm", "norm", "hidden", "model.layers.{n}.input_layernorm.weight", "blk.{n}.attn_norm.weight"),
    Row("q", "linear", "queries hidden", "model.layers.{n}.self_attn.q_proj.weight", "blk.{n}.attn_q.weight"),
    Row("k", "linear", "keys hidden", "model.layers.{n}.self_attn.k_proj.weight", "blk.{n}.attn_k.weight"),
    Row("v", "linear", "keys hidden", "model.layers.{n}.self_attn.v_proj.weight", "blk.{n}.attn_v.weight"),
    Row("o", "linear", "hidden queries", "model.layers.{n}.self_attn.o_proj.weight", "blk.{n}.attn_output.weight"),
    Row("mlp_norm", "norm", "hidden", "model.layers.{n}.post_attention_layernorm.weight", "blk.{n}.ffn_norm.weight"),
    Row("gate", "linear", "inner hidden", "model.layers.{n}.mlp.gate_proj.weight", "blk.{n}.ffn_gate.weight"),
    Row("up", "linear", "inner hidden", "model.layers.{n}.mlp.up_proj.weight", "blk.{n}.ffn_up.weight"),
    Row("down", "linear", "hidden inner", "model.layers.{n}.mlp.down_proj.weight", "blk.{n}.ffn_down.weight"),
)
INTERNLM2 = {
    "model.tok_embeddings.weight": "model.embed_tokens.weight",
    "output.weight": "lm_head.weight",
    "attention_norm.weight": "input_layernorm.weight",
    "attention.wo.weight": "self_attn.o_proj.weight",
    "ffn_norm.weight": "post_attention_layernorm.weight",
    "feed_forward.w1.weight": "mlp.gate_proj.weight",
    "feed_forward.w3.weight": "mlp.up_proj.weight",
    "feed_forward.w2.weight": "mlp.down_proj.weight",
}


def parameters(config: DecoderConfig, checkpoint: Checkpoint) -> list[Parameter]:
    """Every parameter, in the order a forward pass meets them. GGUF's q and k rows come back in our order."""
    return match(
        WHOLE,
        LAYER,
        checkpoint,
        layers=config.num_hidden_layers,
        sizes=config.sizes(),
        tied=config.tie_word_embeddings,
        frequencies=lambda: config.rope.rope().inverse_frequencies,
        unfolded=under_other_names(config, checkpoint),
        row_orders={
            "q": lambda: halves_from_pairs(config.num_attention_heads, config.head_dim),
            "k": lambda: halves_from_pairs(config.num_key_value_heads, config.head_dim),
        },
    )


def under_other_names(config: DecoderConfig, checkpoint: Checkpoint) -> dict[str, Source] | None:
    """The tensors under transformers' names for llama, where a checkpoint has others; else None."""
    if "model.tok_embeddings.weight" in checkpoint.tensors:
        return from_internlm2(config, checkpoint)
    if mistral_params.EMBEDDING not in checkpoint.tensors:
        return None
    sources = {name: source_of(matrix) for name, matrix in matrices(checkpoint.tensors).items()}
    return mistral_params.in_transformers_names(
        sources, heads=config.num_attention_heads, keys=config.num_key_value_heads, head_dim=config.head_dim
    )


def from_internlm2(config: DecoderConfig, checkpoint: Checkpoint) -> dict[str, Source]:
    """InternLM2's tensors under llama's names. One of another shape keeps its name: `match` finds it left over."""
    found: dict[str, Source] = {}
    for name, matrix in matrices(checkpoint.tensors).items():
        layer = re.match(r"model\.layers\.\d+\.", name)
        before = layer[0] if layer else ""
        if name.endswith(".attention.wqkv.weight") and matrix.shape[0] == sum(map(len, rows_of_wqkv(config).values())):
            found |= {
                f"{before}self_attn.{part}_proj.weight": Rows(matrix, rows)
                for part, rows in rows_of_wqkv(config).items()
            }
        else:
            after = name.removeprefix(before)
            found[before + INTERNLM2.get(after, after)] = source_of(matrix)
    return found


def rows_of_wqkv(config: DecoderConfig) -> Mapping[str, Array]:
    """Which rows of InternLM2's joint matrix are q, k and v: for each key head its query heads, then its k, its v."""
    heads, keys, width = config.num_attention_heads, config.num_key_value_heads, config.head_dim
    rows = np.arange((heads + 2 * keys) * width).reshape(keys, heads // keys + 2, width)
    return {"q": rows[:, :-2].ravel(), "k": rows[:, -2].ravel(), "v": rows[:, -1].ravel()}
