"""Tensor names of Qwen3-MoE: Hugging Face's (transformers, models/qwen3_moe) and GGUF's (gguf-py, constants.py).

Names that end in `experts.gate_proj.weight` and the like hold all experts of a layer, which lie in a tensor each.
"""

from ouvert.models.parameters import Parameter, Row, match
from ouvert.models.qwen3_moe.config import Qwen3MoeConfig
from ouvert.models.sources import stacked_experts
from ouvert.weights import Checkpoint

HF, MLP, EXPERTS = "model.layers.{n}.", "model.layers.{n}.mlp.", "model.layers.{n}.mlp.experts."
WHOLE = (
    Row("embedding", "embedding", "vocabulary hidden", "model.embed_tokens.weight", "token_embd.weight"),
    Row("norm", "norm", "hidden", "model.norm.weight", "output_norm.weight"),
    Row("unembedding", "linear", "vocabulary hidden", "lm_head.weight", "output.weight"),
)
ATTENTION = (
    Row("attention_norm", "norm", "hidden", HF + "input_layernorm.weight", "blk.{n}.attn_norm.weight"),
    Row("q", "linear", "queries hidden", HF + "self_attn.q_proj.weight", "blk.{n}.attn_q.weight"),
    Row("q_norm", "norm", "head_dim", HF + "self_attn.q_norm.weight", "blk.{n}.attn_q_norm.weight"),
    Row("k", "linear", "keys hidden", HF + "self_attn.k_proj.weight", "blk.{n}.attn_k.weight"),
    Row("k_norm", "norm", "head_dim", HF + "self_attn.k_norm.weight", "blk.{n}.attn_k_norm.weight"),
    Row("v", "linear", "keys hidden", HF + "self_attn.v_proj.weight", "blk.{n}.attn_v.weight"),
    Row("o", "linear", "hidden queries", HF + "self_attn.o_proj.weight", "blk.{n}.attn_output.weight"),
    Row("mlp_norm", "norm", "hidden", HF + "post_attention_layernorm.weight", "blk.{n}.ffn_norm.weight"),
)
DENSE = (
    Row("gate", "linear", "inner hidden", MLP + "gate_proj.weight", "blk.{n}.ffn_gate.weight"),
    Row("up", "linear", "inner hidden", MLP + "up_proj.weight", "blk.{n}.ffn_up.weight"),
    Row("down", "linear", "hidden inner", MLP + "down_proj.weight", "blk.{n}.ffn_down.weight"),
)
INTO_EXPERTS = "experts expert_inner hidden"
MIXTURE = (
    Row("router", "linear", "experts hidden", MLP + "gate.weight", "blk.{n}.ffn_gate_inp.weight"),
    Row("experts.gate", "experts", INTO_EXPERTS, EXPERTS + "gate_proj.weight", "blk.{n}.ffn_gate_exps.weight"),
    Row("experts.up", "experts", INTO_EXPERTS, EXPERTS + "up_proj.weight", "blk.{n}.ffn_up_exps.weight"),
    Row("experts.down", "experts", "experts hidden expert_inner", EXPERTS + "down_proj.weight",
        "blk.{n}.ffn_down_exps.weight"),
)  # fmt: skip

# One expert's tensor, and the name of all experts' together.
ONE, TOGETHER = r"(.*\.mlp\.experts)\.(\d+)\.((?:gate|up|down)_proj\.weight)", r"\1.\3"


def layer_rows(config: Qwen3MoeConfig, n: int) -> tuple[Row, ...]:
    """The table of layer n."""
    return (*ATTENTION, *(MIXTURE if config.has_experts(n) else DENSE))


def parameters(config: Qwen3MoeConfig, checkpoint: Checkpoint) -> list[Parameter]:
    """Every parameter, in the order a forward pass meets them."""
    stacked = None
    if checkpoint.format != "gguf":
        stacked = stacked_experts(checkpoint.tensors, ONE, TOGETHER, config.num_experts)
    return match(
        WHOLE,
        lambda n: layer_rows(config, n),
        checkpoint,
        layers=config.num_hidden_layers,
        sizes=config.sizes(),
        tied=config.tie_word_embeddings,
        frequencies=lambda: config.rope.rope().inverse_frequencies,
        unfolded=stacked,
    )
