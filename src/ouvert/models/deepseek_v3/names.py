"""Tensor names of DeepSeek-V3: Hugging Face's (transformers, models/deepseek_v3) and GGUF's (gguf-py, constants.py).

And what lies in one tensor there.
"""

import re
from collections.abc import Iterator, Mapping

import numpy as np

from ouvert.models.deepseek_v3.config import DeepseekV3Config
from ouvert.models.parameters import Array, Parameter, Row, match
from ouvert.models.sources import HeadsOf, Matrix, Rows, Source, Stack, matrices, source_of
from ouvert.weights import Checkpoint, Tensor

WHOLE = (
    Row("embedding", "embedding", "vocabulary hidden", "model.embed_tokens.weight", "token_embd.weight"),
    Row("norm", "norm", "hidden", "model.norm.weight", "output_norm.weight"),
    Row("unembedding", "linear", "vocabulary hidden", "lm_head.weight", "output.weight"),
)
LAYER, ATTENTION, MLP = "model.layers.{n}.", "model.layers.{n}.self_attn.", "model.layers.{n}.mlp."
SHARED, EXPERTS = MLP + "shared_experts.", MLP + "experts."
# Names that end in a word of ours are parts of a tensor, or several tensors together: see unfold.
FIRST = (Row("attention_norm", "norm", "hidden", LAYER + "input_layernorm.weight", "blk.{n}.attn_norm.weight"),)
QUERIES_BY_WAY_OF_A_LATENT = (
    Row("query_low", "linear", "query_rank hidden", ATTENTION + "q_a_proj.weight", "blk.{n}.attn_q_a.weight"),
    Row("query_norm", "norm", "query_rank", ATTENTION + "q_a_layernorm.weight", "blk.{n}.attn_q_a_norm.weight"),
    Row("query_nope", "linear", "nopes query_rank", ATTENTION + "q_b_proj.nope", "blk.{n}.attn_q_b.nope"),
    Row("query_rope", "linear", "ropes query_rank", ATTENTION + "q_b_proj.rope", "blk.{n}.attn_q_b.rope"),
)
QUERIES = (
    Row("query_nope", "linear", "nopes hidden", ATTENTION + "q_proj.nope", "blk.{n}.attn_q.nope"),
    Row("query_rope", "linear", "ropes hidden", ATTENTION + "q_proj.rope", "blk.{n}.attn_q.rope"),
)
REST = (
    Row("latent", "linear", "latent hidden", ATTENTION + "kv_a_proj_with_mqa.latent", "blk.{n}.attn_kv_a_mqa.latent"),
    Row("latent_norm", "norm", "latent", ATTENTION + "kv_a_layernorm.weight", "blk.{n}.attn_kv_a_norm.weight"),
    Row("key_rope", "linear", "rope hidden", ATTENTION + "kv_a_proj_with_mqa.rope", "blk.{n}.attn_kv_a_mqa.rope"),
    Row("key", "experts", "q_heads latent nope", ATTENTION + "kv_b_proj.key", "blk.{n}.attn_kv_b.key"),
    Row("value", "experts", "q_heads value latent", ATTENTION + "kv_b_proj.value", "blk.{n}.attn_kv_b.value"),
    Row("o", "linear", "hidden values", ATTENTION + "o_proj.weight", "blk.{n}.attn_output.weight"),
    Row("mlp_norm", "norm", "hidden", LAYER + "post_attention_layernorm.weight", "blk.{n}.ffn_norm.weight"),
)
DENSE = (
    Row("gate", "linear", "inner hidden", MLP + "gate_proj.weight", "blk.{n}.ffn_gate.weight"),
    Row("up", "linear", "inner hidden", MLP + "up_proj.weight", "blk.{n}.ffn_up.weight"),
    Row("down", "linear", "hidden inner", MLP + "down_proj.weight", "blk.{n}.ffn_down.weight"),
)
MIXTURE = (
    Row("gate", "linear", "shared_inner hidden", SHARED + "gate_proj.weight", "blk.{n}.ffn_gate_shexp.weight"),
    Row("up", "linear", "shared_inner hidden", SHARED + "up_proj.weight", "blk.{n}.ffn_up_shexp.weight"),
    Row("down", "linear", "hidden shared_inner", SHARED + "down_proj.weight", "blk.{n}.ffn_down_shexp.weight"),
    Row("router", "linear", "experts hidden", MLP + "gate.weight", "blk.{n}.ffn_gate_inp.weight"),
    Row("correction", "bias", "experts", MLP + "gate.e_score_correction_bias", "blk.{n}.exp_probs_b.bias"),
    Row("experts.gate", "experts", "experts expert_inner hidden", EXPERTS + "gate", "blk.{n}.ffn_gate_exps.weight"),
    Row("experts.up", "experts", "experts expert_inner hidden", EXPERTS + "up", "blk.{n}.ffn_up_exps.weight"),
    Row("experts.down", "experts", "experts hidden expert_inner", EXPERTS + "down", "blk.{n}.ffn_down_exps.weight"),
)


def layer_rows(config: DeepseekV3Config, n: int) -> tuple[Row, ...]:
    """The table of layer n."""
    queries = QUERIES if config.q_lora_rank is None else QUERIES_BY_WAY_OF_A_LATENT
    mixture = [row for row in MIXTURE if config.corrected or row.ours != "correction"]
    return (*FIRST, *queries, *REST, *(mixture if config.has_experts(n) else DENSE))


def parameters(config: DeepseekV3Config, checkpoint: Checkpoint) -> list[Parameter]:
    """Every parameter, in the order a forward pass meets them."""
    return match(
        WHOLE,
        lambda n: layer_rows(config, n),
        checkpoint,
        layers=config.num_hidden_layers,
        sizes=config.sizes(),
        tied=config.tie_word_embeddings,
        frequencies=lambda: config.rope.rope().inverse_frequencies,
        unfolded=unfold(checkpoint.tensors, config),
    )


def unfold(tensors: Mapping[str, Tensor], config: DeepseekV3Config) -> dict[str, Source]:
    """The parts of a tensor under a name for each, and the tensors of all experts under one.

    What has another shape than the configuration says keeps its name, so that `match` finds it left over. Layers from
    `num_hidden_layers` on predict further tokens and are left out.
    """
    result: dict[str, Source] = {}
    experts: dict[str, dict[int, Matrix]] = {}
    for name, tensor in matrices(tensors).items():
        layer = re.match(r"(?:model\.layers|blk)\.(\d+)\.", name)
        if layer is not None and int(layer[1]) >= config.num_hidden_layers:
            continue
        expert = re.fullmatch(r"(.*\.mlp\.experts)\.(\d+)\.(gate|up|down)_proj\.weight", name)
        if expert is not None:
            experts.setdefault(f"{expert[1]}.{expert[3]}", {})[int(expert[2])] = tensor
            continue
        result.update(parts(name, tensor, config))
    for name, found in experts.items():
        if sorted(found) == list(range(config.n_routed_experts)) and len({each.shape for each in found.values()}) == 1:
            result[name] = Stack(tuple(found[e] for e in sorted(found)))
        else:
            result |= {f"{name}.{e}": source_of(matrix) for e, matrix in found.items()}
    return result


def parts(name: str, tensor: Matrix, config: DeepseekV3Config) -> Iterator[tuple[str, Source]]:
    """The names of Hugging Face and of both of llama.cpp's conversions: the newer one has keys and values apart."""
    heads, nope, turning = config.num_attention_heads, config.qk_nope_head_dim, config.qk_rope_head_dim
    latent, value = config.kv_lora_rank, config.v_head_dim
    prefix, _, last = name.removesuffix(".weight").rpartition(".")
    rows = tensor.shape[0]
    if last in QUERY and rows == heads * (nope + turning):
        yield from ((f"{prefix}.{last}.{part}", Rows(tensor, rows_of_query(part, config))) for part in ("nope", "rope"))
    elif last in COMPRESSED and rows == latent + turning:
        yield f"{prefix}.{last}.latent", Rows(tensor, np.arange(latent))
        yield f"{prefix}.{last}.rope", Rows(tensor, latent + halves(config))
    elif last in ("kv_b_proj", "attn_kv_b") and rows == heads * (nope + value):
        yield f"{prefix}.{last}.key", HeadsOf(tensor, heads, 0, nope, transposed=True)
        yield f"{prefix}.{last}.value", HeadsOf(tensor, heads, nope, nope + value, transposed=False)
    elif last in ("attn_k_b", "attn_v_b"):
        yield f"{prefix}.attn_kv_b.{'key' if last == 'attn_k_b' else 'value'}", source_of(tensor)
    else:
        yield name, source_of(tensor)


# What queries, and what latents with a key that turns, are called in both kinds of files.
QUERY = ("q_proj", "q_b_proj", "attn_q", "attn_q_b")
COMPRESSED = ("kv_a_proj_with_mqa", "attn_kv_a_mqa")


def rows_of_query(part: str, config: DeepseekV3Config) -> Array:
    """Which rows of a query's matrix are `nope`, or in our order `rope`, of all heads."""
    nope, turning = config.qk_nope_head_dim, config.qk_rope_head_dim
    of_head = np.arange(config.num_attention_heads * (nope + turning)).reshape(-1, nope + turning)
    return (of_head[:, :nope] if part == "nope" else of_head[:, nope + halves(config)]).ravel()


def rows_of(name: str, config: DeepseekV3Config) -> tuple[Array, int] | None:
    """Which rows of its tensor a part is, and how many the tensor has; None if the name is that of a whole tensor."""
    prefix, _, part = name.rpartition(".")
    last = prefix.rpartition(".")[2]
    heads, latent, turning = config.num_attention_heads, config.kv_lora_rank, config.qk_rope_head_dim
    if last in QUERY and part in ("nope", "rope"):
        return rows_of_query(part, config), heads * (config.qk_nope_head_dim + turning)
    if last in COMPRESSED and part in ("latent", "rope"):
        return np.arange(latent) if part == "latent" else latent + halves(config), latent + turning
    return None


def halves(config: DeepseekV3Config) -> Array:
    """Which of a head's turning numbers in files is which of ours, where j turns with j + half."""
    order = np.arange(config.qk_rope_head_dim)
    return order.reshape(-1, 2).T.ravel() if config.rope_interleave else order
