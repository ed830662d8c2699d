"""The shapes of DeepSeek-V3 and Kimi K2 for random_checkpoints.py, and what a GGUF file says of them."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import gguf

Tensor = tuple[str, tuple[int, ...], str]  # its name, its shape (row-major) and its encoding

# Of the experts only as many as fit a small machine: a token meets as many as it does in the whole.
DEEPSEEK = {
    "architecture": "deepseek2",
    "hidden": 7168,
    "ffn": 18432,
    "expert_ffn": 2048,
    "layers": 3,
    "dense": 1,
    "query_rank": 1536,
    "latent": 512,
    "nope": 128,
    "rope": 64,
    "value": 128,
    "experts": 32,
    "kept": 8,
    "encoding": "Q4_K",
    "small": "Q8_0",
    "context": 163840,
}
DEEPSEEK_SHAPES = {
    "deepseek-v3": DEEPSEEK | {"heads": 128, "groups": 8, "best_groups": 4, "vocabulary": 129280},
    "kimi-k2": DEEPSEEK | {"heads": 64, "groups": 1, "best_groups": 1, "vocabulary": 163840},
    # For tests: made in a moment.
    "deepseek-tiny": {
        "architecture": "deepseek2",
        "hidden": 64,
        "ffn": 96,
        "expert_ffn": 32,
        "layers": 3,
        "dense": 1,
        "query_rank": 64,
        "latent": 64,
        "nope": 32,
        "rope": 16,
        "value": 32,
        "heads": 4,
        "experts": 8,
        "kept": 3,
        "groups": 2,
        "best_groups": 1,
        "vocabulary": 320,
        "encoding": "Q4_0",
        "small": "Q8_0",
        "context": 4096,
    },
}


def deepseek_tensors(shape: dict, layers: int) -> Iterator[Tensor]:
    """As llama.cpp converts them today, keys and values apart."""
    hidden, encoding = shape["hidden"], shape["encoding"]
    yield ("token_embd.weight", (shape["vocabulary"], hidden), encoding)
    yield ("output_norm.weight", (hidden,), "F32")
    yield ("output.weight", (shape["vocabulary"], hidden), "Q6_K" if encoding == "Q4_K" else encoding)
    for n in range(layers):
        block = f"blk.{n}."
        yield (block + "attn_norm.weight", (hidden,), "F32")
        yield from attention_tensors(block, shape)
        yield (block + "ffn_norm.weight", (hidden,), "F32")
        if n < shape["dense"]:
            yield from feed_forward(block, "", (), shape["ffn"], hidden, encoding)
            continue
        yield (block + "ffn_gate_inp.weight", (shape["experts"], hidden), "F32")
        yield (block + "exp_probs_b.bias", (shape["experts"],), "F32")
        yield from feed_forward(block, "_exps", (shape["experts"],), shape["expert_ffn"], hidden, encoding)
        yield from feed_forward(block, "_shexp", (), shape["expert_ffn"], hidden, encoding)


def attention_tensors(block: str, shape: dict) -> Iterator[Tensor]:
    hidden, heads, encoding, latent = shape["hidden"], shape["heads"], shape["encoding"], shape["latent"]
    turning, key, value = shape["rope"], shape["nope"] + shape["rope"], shape["value"]
    yield (block + "attn_q_a.weight", (shape["query_rank"], hidden), encoding)
    yield (block + "attn_q_a_norm.weight", (shape["query_rank"],), "F32")
    yield (block + "attn_q_b.weight", (heads * key, shape["query_rank"]), encoding)
    yield (block + "attn_kv_a_mqa.weight", (latent + turning, hidden), encoding)
    yield (block + "attn_kv_a_norm.weight", (latent,), "F32")
    yield (block + "attn_k_b.weight", (heads, latent, shape["nope"]), shape["small"])
    yield (block + "attn_v_b.weight", (heads, value, latent), shape["small"])
    yield (block + "attn_output.weight", (hidden, heads * value), encoding)


def feed_forward(
    block: str, ending: str, experts: tuple[int, ...], inner: int, hidden: int, encoding: str
) -> Iterator[Tensor]:
    for name, rows, columns in (("gate", inner, hidden), ("up", inner, hidden), ("down", hidden, inner)):
        yield (f"{block}ffn_{name}{ending}.weight", (*experts, rows, columns), encoding)


def describe_deepseek(writer: "gguf.GGUFWriter", shape: dict, layers: int) -> None:
    from gguf import RopeScalingType

    writer.add_context_length(shape["context"])
    writer.add_embedding_length(shape["hidden"])
    writer.add_block_count(layers)
    writer.add_feed_forward_length(shape["ffn"])
    writer.add_leading_dense_block_count(shape["dense"])
    describe_heads(writer, shape)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(shape["vocabulary"])
    describe_experts(writer, shape)
    writer.add_rope_dimension_count(shape["rope"])
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_scaling_type(RopeScalingType.YARN)
    writer.add_rope_scaling_factor(40.0)
    writer.add_rope_scaling_orig_ctx_len(4096)
    writer.add_rope_scaling_yarn_log_mul(0.1)


def describe_heads(writer: "gguf.GGUFWriter", shape: dict) -> None:
    writer.add_head_count(shape["heads"])
    writer.add_head_count_kv(1)
    writer.add_key_length(shape["latent"] + shape["rope"])
    writer.add_value_length(shape["latent"])
    writer.add_key_length_mla(shape["nope"] + shape["rope"])
    writer.add_value_length_mla(shape["value"])
    writer.add_q_lora_rank(shape["query_rank"])
    writer.add_kv_lora_rank(shape["latent"])


def describe_experts(writer: "gguf.GGUFWriter", shape: dict) -> None:
    from gguf import ExpertGatingFuncType

    writer.add_expert_count(shape["experts"])
    writer.add_expert_used_count(shape["kept"])
    writer.add_expert_shared_count(1)
    writer.add_expert_feed_forward_length(shape["expert_ffn"])
    writer.add_expert_weights_scale(2.5)
    writer.add_expert_weights_norm(True)
    writer.add_expert_gating_func(ExpertGatingFuncType.SIGMOID)
    writer.add_expert_group_count(shape["groups"])
    writer.add_expert_group_used_count(shape["best_groups"])
