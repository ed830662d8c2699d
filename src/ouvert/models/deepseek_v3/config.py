"""What DeepSeek-V3 checkpoints, and those of Moonlight and Kimi K2, say about themselves."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ouvert.models.config_reader import ConfigReader
from ouvert.models.configuration import HARMLESS_HF, MOST_LAYERS, check_quantisation
from ouvert.models.memory import LatentMemory, Memory
from ouvert.models.rope import RopeConfig, Yarn, rope_from_hf, yarn_attention_factor
from ouvert.weights import CheckpointError, Tensor

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
    """`model_type` deepseek_v3 or kimi_k2."""
    reader = ConfigReader(source, config)
    reader.text("model_type")
    reader.neutral("architectures", ["DeepseekV3ForCausalLM"])
    reader.neutral("hidden_act", "silu")
    reader.neutral("attention_bias", False)
    reader.neutral("moe_layer_freq", 1)
    reader.neutral("scoring_func", "sigmoid")
    reader.neutral("topk_method", "noaux_tc")
    check_quantisation(reader)
    heads = reader.integer("num_attention_heads")
    reader.neutral("num_key_value_heads", heads)
    nope, turning = reader.integer("qk_nope_head_dim"), reader.integer("qk_rope_head_dim")
    context = reader.integer("max_position_embeddings")
    scaling = reader.raw.get("rope_parameters") or reader.raw.get("rope_scaling")
    rope = rope_from_hf(reader, turning, context, 10000.0)
    shape = DeepseekV3Config(
        vocab_size=reader.integer("vocab_size"),
        hidden_size=reader.integer("hidden_size"),
        intermediate_size=reader.integer("intermediate_size"),
        moe_intermediate_size=reader.integer("moe_intermediate_size"),
        num_hidden_layers=reader.integer("num_hidden_layers", most=MOST_LAYERS),
        num_attention_heads=heads,
        n_shared_experts=reader.integer("n_shared_experts"),
        **groups_of_experts(reader),
        norm_topk_prob=reader.flag("norm_topk_prob", True),
        routed_scaling_factor=reader.number("routed_scaling_factor"),
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
        attention_scale=(nope + turning) ** -0.5 * grown_twice(rope, scaling or {}),
    )
    reader.finish(HARMLESS)
    return shape


def groups_of_experts(reader: ConfigReader) -> dict[str, int]:
    """How many experts there are, in how many groups, and how many of each a token takes."""
    experts, groups = reader.integer("n_routed_experts"), reader.integer("n_group", 1)
    top_k_groups, top_k = reader.integer("topk_group", 1), reader.integer("num_experts_per_tok")
    uneven = experts % groups or experts < 2 * groups
    if uneven or top_k_groups > groups or top_k > top_k_groups * (experts // groups):
        raise reader.fault(
            f"{top_k} of {experts} experts in {top_k_groups} of {groups} groups cannot be chosen evenly, two or more "
            "a group"
        )
    return {"n_routed_experts": experts, "n_group": groups, "topk_group": top_k_groups, "num_experts_per_tok": top_k}


def grown_twice(rope: RopeConfig, scaling: Mapping[str, Any]) -> float:
    """What YaRN puts on queries and keys of all dimensions (`mscale_all_dim`): DeepSeek takes it into the scale."""
    by = scaling.get("mscale_all_dim")
    if not isinstance(rope.scaling, Yarn) or not by:
        return 1.0
    grown: float = 1 + by * (yarn_attention_factor(rope.scaling.factor) - 1)
    return grown**2


def config_from_gguf(metadata: Mapping[str, Any], tensors: Mapping[str, Tensor], source: str) -> DeepseekV3Config:
    """Not read yet: raises CheckpointError."""
    raise CheckpointError(
        f"{source}: a GGUF file of architecture deepseek2, which this version reads from Hugging Face folders only. "
        "Take the folder it was made from."
    )
