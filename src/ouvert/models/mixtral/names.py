"""Tensor names of Mixtral: Hugging Face's (transformers, models/mixtral) and GGUF's (gguf-py, constants.py).

Names that end in `experts.w1.weight` and the like hold all experts of a layer, which lie in a tensor each; so do
`ffn_gate_exps` and the like in GGUF files that llama.cpp converted before April 2024.
"""

from ouvert.models import mistral_params
from ouvert.models.mixtral.config import MixtralConfig
from ouvert.models.parameters import Parameter, Row, halves_from_pairs, match
from ouvert.models.sources import stacked_experts
from ouvert.weights import Checkpoint

HF, EXPERTS = "model.layers.{n}.", "model.layers.{n}.block_sparse_moe.experts."
WHOLE = (
    Row("embedding", "embedding", "vocabulary hidden", "model.embed_tokens.weight", "token_embd.weight"),
    Row("norm", "norm", "hidden", "model.norm.weight", "output_norm.weight"),
    Row("unembedding", "linear", "vocabulary hidden", "lm_head.weight", "output.weight"),
)
LAYER = (
    Row("attention_norm", "norm", "hidden", HF + "input_layernorm.weight", "blk.{n}.attn_norm.weight"),
    Row("q", "linear", "queries hidden", HF + "self_attn.q_proj.weight", "blk.{n}.attn_q.weight"),
    Row("k", "linear", "keys hidden", HF + "self_attn.k_proj.weight", "blk.{n}.attn_k.weight"),
    Row("v", "linear", "keys hidden", HF + "self_attn.v_proj.weight", "blk.{n}.attn_v.weight"),
    Row("o", "linear", "hidden queries", HF + "self_attn.o_proj.weight", "blk.{n}.attn_output.weight"),
    Row("experts_norm", "norm", "hidden", HF + "post_attention_layernorm.weight", "blk.{n}.ffn_norm.weight"),
    Row("router", "linear", "experts hidden", HF + "block_sparse_moe.gate.weight", "blk.{n}.ffn_gate_inp.weight"),
    Row("gate", "experts", "experts inner hidden", EXPERTS + "w1.weight", "blk.{n}.ffn_gate_exps.weight"),
    Row("up", "experts", "experts inner hidden", EXPERTS + "w3.weight", "blk.{n}.ffn_up_exps.weight"),
    Row("down", "experts", "experts hidden inner", EXPERTS + "w2.weight", "blk.{n}.ffn_down_exps.weight"),
)

# One expert's tensor, and the name of all experts' together.
ONE_HF, ALL_HF = r"(.*\.(?:block_sparse_moe|feed_forward)\.experts)\.(\d+)\.(w[123]\.weight)", r"\1.\3"
ONE_GGUF, ALL_GGUF = r"(blk\.\d+\.ffn_(?:gate|up|down))\.(\d+)\.(weight)", r"\1_exps.\3"


def parameters(config: MixtralConfig, checkpoint: Checkpoint) -> list[Parameter]:
    """Every parameter, in the order a forward pass meets them. GGUF's q and k rows come back in our order."""
    one, together = (ONE_GGUF, ALL_GGUF) if checkpoint.format == "gguf" else (ONE_HF, ALL_HF)
    sources = stacked_experts(checkpoint.tensors, one, together, config.num_local_experts)
    if mistral_params.EMBEDDING in sources:
        heads, keys = config.num_attention_heads, config.num_key_value_heads
        sources = mistral_params.in_transformers_names(sources, heads=heads, keys=keys, head_dim=config.head_dim)
    return match(
        WHOLE,
        LAYER,
        checkpoint,
        layers=config.num_hidden_layers,
        sizes=config.sizes(),
        tied=config.tie_word_embeddings,
        frequencies=lambda: config.rope.rope().inverse_frequencies,
        row_orders={
            "q": lambda: halves_from_pairs(config.num_attention_heads, config.head_dim),
            "k": lambda: halves_from_pairs(config.num_key_value_heads, config.head_dim),
        },
        unfolded=sources,
    )
