"""What DeepSeek-V3 checkpoints, and those of Moonlight, Kimi K2 and DeepSeek-V2-Lite, say about themselves."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ouvert.models.config_reader import ConfigReader
from ouvert.models.configuration import HARMLESS_GGUF, HARMLESS_HF, MOST_LAYERS, check_decoder, check_quantisation
from ouvert.models.memory import LatentMemory, Memory
from ouvert.models.rope import RopeConfig, Yarn, rope_from_gguf, rope_from_hf, yarn_attention_factor
from ouvert.weights import Tensor

# What only matters in training, or to another program.
HARMLESS = HARMLESS_HF | {
    "aux_loss_alpha": "only in training",
    "ep_size": "how another program spreads experts over machines",
    "head_dim": "transformers writes qk_rope_head_dim again",
    "num_mtp_layers": "layers that predict further tokens, which we leave out: the answer does not need them",
    "num_nextn_predict_layers": "the same, as DeepSeek calls it",
    "qk_head_dim": "qk_nope_head_dim and qk_rope_head_dim together",
    "seq_aux": "only in training",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepseekV3Config:
    """Field names are those of config.json; nothing has a default."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int  # of the first layers, which have no experts
    moe_intermediate_size: int  # of one expert
    num_hidden_layers: int
    num_attention_heads: int
    n_shared_experts: int
    n_routed_experts: int
    num_experts_per_tok: int
    n_group: int
    topk_group: int
    corrected: bool  # whether experts are scored by sigmoid and chosen by corrected scores; else softmax, uncorrected
    norm_topk_prob: bool
    routed_scaling_factor: float
    first_k_dense_replace: int
    q_lora_rank: int | None
    kv_lora_rank: int
    qk_nope_head_dim: int
    qk_rope_head_dim: int
    v_head_dim: int
    rms_norm_eps: float
    max_position_embeddings: int
    tie_word_embeddings: bool
    rope: RopeConfig
    rope_interleave: bool  # whether files have the numbers that turn together side by side
    attention_scale: float

    @property
    def latent_width(self) -> int:
        return self.kv_lora_rank + self.qk_rope_head_dim

    def memories(self) -> list[Memory]:
        return [LatentMemory(self.latent_width, self.kv_lora_rank)] * self.num_hidden_layers

    def has_experts(self, layer: int) -> bool:
        return layer >= self.first_k_dense_replace

    def sizes(self) -> dict[str, int]:
        """The named dimensions of this model's tensors."""
        heads = self.num_attention_heads
        return {
            "vocabulary": self.vocab_size,
            "hidden": self.hidden_size,
            "inner": self.intermediate_size,
            "experts": self.n_routed_experts,
            "top_k": self.num_experts_per_tok,
            "expert_inner": self.moe_intermediate_size,
            "shared_inner": self.n_shared_experts * self.moe_intermediate_size,
            "q_heads": heads,
            "query_rank": self.q_lora_rank or 0,
            "latent": self.kv_lora_rank,
            "latent_width": self.latent_width,
            "nope": self.qk_nope_head_dim,
            "rope": self.qk_rope_head_dim,
            "value": self.v_head_dim,
            "nopes": heads * self.qk_nope_head_dim,
            "ropes": heads * self.qk_rope_head_dim,
            "values": heads * self.v_head_dim,
        }


def config_from_hf(config: Mapping[str, Any], source: str) -> DeepseekV3Config:
    """`model_type` deepseek_v3 or kimi_k2, or deepseek_v2 where its experts are chosen as DeepSeek-V2-Lite's."""
    reader = ConfigReader(source, config)
    older = reader.text("model_type") == "deepseek_v2"
    reader.neutral("architectures", ["DeepseekV2ForCausalLM" if older else "DeepseekV3ForCausalLM"])
    reader.neutral("hidden_act", "silu")
    reader.neutral("attention_bias", False)
    reader.neutral("mlp_bias", False)
    reader.neutral("moe_layer_freq", 1)
    check_quantisation(reader)
    check_decoder(reader)
    heads = reader.integer("num_attention_heads")
    reader.neutral("num_key_value_heads", heads)
    nope, turning = reader.integer("qk_nope_head_dim"), reader.integer("qk_rope_head_dim")
    context = reader.integer("max_position_embeddings")
    scaling = reader.raw.get("rope_parameters") or reader.raw.get("rope_scaling")
    rope = rope_from_hf(reader, turning, context, 10000.0)
    by = (scaling or {}).get("mscale_all_dim") or 0.0
    shape = DeepseekV3Config(
        vocab_size=reader.integer("vocab_size"),
        hidden_size=reader.integer("hidden_size"),
        intermediate_size=reader.integer("intermediate_size"),
        moe_intermediate_size=reader.integer("moe_intermediate_size"),
        num_hidden_layers=reader.integer("num_hidden_layers", most=MOST_LAYERS),
        num_attention_heads=heads,
        n_shared_experts=reader.integer("n_shared_experts"),
        **(softmax_routing(reader) if older else corrected_routing(reader)),
        first_k_dense_replace=reader.whole("first_k_dense_replace"),
        q_lora_rank=reader.optional("q_lora_rank"),
        kv_lora_rank=reader.integer("kv_lora_rank"),
        qk_nope_head_dim=nope,
        qk_rope_head_dim=turning,
        v_head_dim=reader.integer("v_head_dim"),
        rms_norm_eps=reader.number("rms_norm_eps"),
        max_position_embeddings=context,
        tie_word_embeddings=reader.flag("tie_word_embeddings", False),
        rope=rope,
        rope_interleave=reader.flag("rope_interleave", True),
        attention_scale=(nope + turning) ** -0.5 * grown_twice(rope, by),
    )
    reader.finish(HARMLESS)
    return shape


def corrected_routing(reader: ConfigReader) -> dict[str, Any]:
    """DeepSeek-V3's: scores by sigmoid, corrected for the choice, best groups first."""
    reader.neutral("scoring_func", "sigmoid")
    reader.neutral("topk_method", "noaux_tc")
    return {
        "corrected": True,
        **groups_of_experts(
            reader,
            experts=reader.integer("n_routed_experts"),
            groups=reader.integer("n_group", 1),
            top_k_groups=reader.integer("topk_group", 1),
            top_k=reader.integer("num_experts_per_tok"),
        ),
        "norm_topk_prob": reader.flag("norm_topk_prob", True),
        "routed_scaling_factor": reader.number("routed_scaling_factor"),
    }


def softmax_routing(reader: ConfigReader) -> dict[str, Any]:
    """DeepSeek-V2-Lite's: the softmax over all experts. Raises CheckpointError for DeepSeek-V2's own, by groups."""
    reader.neutral("scoring_func", "softmax")
    reader.neutral("topk_method", "greedy")
    reader.neutral("norm_topk_prob", False)
    reader.neutral("routed_scaling_factor", 1)
    reader.neutral("n_group", 1)
    reader.neutral("topk_group", 1)
    return {
        "corrected": False,
        **groups_of_experts(
            reader,
            experts=reader.integer("n_routed_experts"),
            groups=1,
            top_k_groups=1,
            top_k=reader.integer("num_experts_per_tok"),
        ),
        "norm_topk_prob": False,
        "routed_scaling_factor": 1.0,
    }


def groups_of_experts(
    reader: ConfigReader, *, experts: int, groups: int, top_k_groups: int, top_k: int
) -> dict[str, int]:
    """How many experts there are, in how many groups, and how many of each a token takes.

    Raises CheckpointError for numbers that do not go together.
    """
    uneven = experts % groups or experts < 2 * groups
    if uneven or top_k_groups > groups or top_k > top_k_groups * (experts // groups):
        raise reader.fault(
            f"{top_k} of {experts} experts in {top_k_groups} of {groups} groups cannot be chosen evenly, two or more "
            "a group"
        )
    return {"n_routed_experts": experts, "n_group": groups, "topk_group": top_k_groups, "num_experts_per_tok": top_k}


def grown_twice(rope: RopeConfig, by: float) -> float:
    """What YaRN puts on queries and keys of all dimensions (`mscale_all_dim`): DeepSeek takes it into the scale."""
    if not isinstance(rope.scaling, Yarn) or not by:
        return 1.0
    grown: float = 1 + by * (yarn_attention_factor(rope.scaling.factor) - 1)
    return grown**2


# llama.cpp, enum llama_expert_gating_func_type. A file that does not say it is one of DeepSeek-V2: softmax.
SOFTMAX, SIGMOID = 1, 2


def config_from_gguf(metadata: Mapping[str, Any], tensors: Mapping[str, Tensor], source: str) -> DeepseekV3Config:
    """Architecture deepseek2, in both of llama.cpp's conversions: docs/formats/configurations.md says how they differ.

    Raises CheckpointError for what is missing, or what we do not compute.
    """
    reader = ConfigReader(source, metadata, prefix="deepseek2.")
    embedding = tensors.get("token_embd.weight")
    if embedding is None or len(embedding.shape) != 2:
        raise reader.fault("the tensor token_embd.weight is missing or has no rows and columns")
    heads, turning = reader.integer("attention.head_count"), reader.integer("rope.dimension_count")
    latent, context = reader.integer("attention.kv_lora_rank"), reader.integer("context_length")
    key_width, value_width = head_widths(reader, heads, latent, turning)
    rope, by = stretching_from_gguf(reader, turning, context)
    further = reader.whole("nextn_predict_layers", 0)
    inner = reader.integer("expert_feed_forward_length")
    shared = reader.integer("expert_shared_count")
    reader.neutral("expert_shared_feed_forward_length", shared * inner)
    result = DeepseekV3Config(
        vocab_size=embedding.shape[0],
        hidden_size=reader.integer("embedding_length"),
        intermediate_size=reader.integer("feed_forward_length"),
        moe_intermediate_size=inner,
        num_hidden_layers=reader.integer("block_count", most=MOST_LAYERS) - further,
        num_attention_heads=heads,
        n_shared_experts=shared,
        **routing_from_gguf(reader),
        first_k_dense_replace=reader.whole("leading_dense_block_count", 0),
        q_lora_rank=reader.integer("attention.q_lora_rank") if "blk.0.attn_q_a.weight" in tensors else None,
        kv_lora_rank=latent,
        qk_nope_head_dim=key_width - turning,
        qk_rope_head_dim=turning,
        v_head_dim=value_width,
        rms_norm_eps=reader.number("attention.layer_norm_rms_epsilon"),
        max_position_embeddings=context,
        tie_word_embeddings="output.weight" not in tensors,
        rope=rope,
        rope_interleave=True,
        attention_scale=key_width**-0.5 * grown_twice(rope, by),
    )
    if result.num_hidden_layers < 1 or result.qk_nope_head_dim < 1 or turning % 2:
        raise reader.fault(
            f"{result.num_hidden_layers} layers with heads of {key_width} numbers, of which {turning} turn, cannot be"
        )
    reader.finish(HARMLESS_DEEPSEEK2)
    return result


HARMLESS_DEEPSEEK2 = HARMLESS_GGUF | {
    "attention.q_lora_rank": "of a file whose queries do not go by way of it",
}


def head_widths(reader: ConfigReader, heads: int, latent: int, turning: int) -> tuple[int, int]:
    """(a key's, a value's) numbers for each head.

    Since April 2025 llama.cpp writes them as `*_mla`, and under the plain names those of the one key that it caches.
    Raises CheckpointError where the others are not what follows.
    """
    split = "deepseek2.attention.key_length_mla" in reader.raw
    reader.neutral("attention.head_count_kv", 1 if split else heads)
    if not split:
        return reader.integer("attention.key_length"), reader.integer("attention.value_length")
    reader.neutral("attention.key_length", latent + turning)
    reader.neutral("attention.value_length", latent)
    return reader.integer("attention.key_length_mla"), reader.integer("attention.value_length_mla")


def stretching_from_gguf(reader: ConfigReader, turning: int, context: int) -> tuple[RopeConfig, float]:
    """The rotation, and `mscale_all_dim`: a tenth of it is the file's `yarn_log_multiplier`.

    Of files of this architecture `mscale` is the same number, so that vectors do not grow (llama.cpp assumes it too).
    Raises CheckpointError for YaRN without it.
    """
    rope = rope_from_gguf(reader, turning, context, None, truncate=True)
    tenth = reader.number("rope.scaling.yarn_log_multiplier", 0.0)
    if not isinstance(rope.scaling, Yarn):
        return rope, 0.0
    if not tenth:
        raise reader.fault("rope.scaling.type is yarn, and yarn_log_multiplier does not say by what scores grow")
    own = rope.scaling.attention_factor / yarn_attention_factor(rope.scaling.factor)
    if abs(own - 1) > 1e-6:
        raise reader.fault(f"rope.scaling.attn_factor is {own:g}, and we compute this architecture only with 1")
    return replace(rope, scaling=replace(rope.scaling, attention_factor=1.0)), 10 * tenth


def routing_from_gguf(reader: ConfigReader) -> dict[str, Any]:
    """How experts are chosen. Raises CheckpointError for groups or factors under softmax, as DeepSeek-V2 has them."""
    corrected = reader.whole("expert_gating_func", SOFTMAX) == SIGMOID
    reader.neutral("expert_gating_func", SIGMOID if corrected else SOFTMAX)
    if not corrected:
        reader.neutral("expert_weights_norm", False)
        reader.neutral("expert_weights_scale", 0, 1)
        reader.neutral("expert_group_count", 0, 1)
        reader.neutral("expert_group_used_count", 0, 1)
    return {
        "corrected": corrected,
        **groups_of_experts(
            reader,
            experts=reader.integer("expert_count"),
            groups=reader.whole("expert_group_count", 1) or 1,
            top_k_groups=reader.whole("expert_group_used_count", 1) or 1,
            top_k=reader.integer("expert_used_count"),
        ),
        "norm_topk_prob": reader.flag("expert_weights_norm", False),
        "routed_scaling_factor": reader.number("expert_weights_scale", 1.0) or 1.0,
    }
