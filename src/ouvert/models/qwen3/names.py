"""Tensor names of the qwen3 family: Hugging Face's (transformers, models/qwen3) and GGUF's (gguf-py, constants.py)."""

from dataclasses import replace

from ouvert.models.configuration import DecoderConfig
from ouvert.models.parameters import Parameter, Row, match
from ouvert.weights import Checkpoint

WHOLE = (
    Row("embedding", "embedding", "vocabulary hidden", "model.embed_tokens.weight", "token_embd.weight"),
    Row("norm", "norm", "hidden", "model.norm.weight", "output_norm.weight"),
    Row("unembedding", "linear", "vocabulary hidden", "lm_head.weight", "output.weight"),
)
LAYER = (
    Row("attention_norm", "norm", "hidden", "model.layers.{n}.input_layernorm.weight", "blk.{n}.attn_norm.weight"),
    Row("q", "linear", "queries hidden", "model.layers.{n}.self_attn.q_proj.weight", "blk.{n}.attn_q.weight"),
    Row("q_norm", "norm", "head_dim", "model.layers.{n}.self_attn.q_norm.weight", "blk.{n}.attn_q_norm.weight"),
    Row("k", "linear", "keys hidden", "model.layers.{n}.self_attn.k_proj.weight", "blk.{n}.attn_k.weight"),
    Row("k_norm", "norm", "head_dim", "model.layers.{n}.self_attn.k_norm.weight", "blk.{n}.attn_k_norm.weight"),
    Row("v", "linear", "keys hidden", "model.layers.{n}.self_attn.v_proj.weight", "blk.{n}.attn_v.weight"),
    Row("o", "linear", "hidden queries", "model.layers.{n}.self_attn.o_proj.weight", "blk.{n}.attn_output.weight"),
    Row("mlp_norm", "norm", "hidden", "model.layers.{n}.post_attention_layernorm.weight", "blk.{n}.ffn_norm.weight"),
    Row("gate", "linear", "inner hidden", "model.layers.{n}.mlp.gate_proj.weight", "blk.{n}.ffn_gate.weight"),
    Row("up", "linear", "inner hidden", "model.layers.{n}.mlp.up_proj.weight", "blk.{n}.ffn_up.weight"),
    Row("down", "linear", "hidden inner", "model.layers.{n}.mlp.down_proj.weight", "blk.{n}.ffn_down.weight"),
)


def parameters(config: DecoderConfig, checkpoint: Checkpoint) -> list[Parameter]:
    """Every parameter, in the order a forward pass meets them."""
    return match(
        WHOLE,
        LAYER,
        checkpoint,
        layers=config.num_hidden_layers,
        sizes=config.sizes(),
        tied=config.tie_word_embeddings,
        frequencies=lambda: config.rope.rope().inverse_frequencies,
    )


def embedding_parameters(config: DecoderConfig, checkpoint: Checkpoint) -> list[Parameter]:
    """The same without a head."""
    whole = parameters(replace(config, tie_word_embeddings=True), checkpoint)
    return [parameter for parameter in whole if parameter.name != "unembedding"]
