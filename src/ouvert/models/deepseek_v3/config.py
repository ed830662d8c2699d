"""What DeepSeek-V3 checkpoints, and those of Moonlight and Kimi K2, say about themselves."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ouvert.models.configuration import HARMLESS_HF, MOST_LAYERS
from ouvert.models.memory import LatentMemory, Memory
from ouvert.models.rope import RopeConfig, Yarn, rope_from_hf, yarn_attention_factor
from ouvert.models.sources import Fp8Blocks
from ouvert.models.stated import Stated
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
            "expert_inner": self.moe_intermediate_size,
            "shared_inner": self.n_shared_experts * self.moe_intermediate_size,
            "heads": heads,
            "query_rank": self.q_lora_rank or 0,
            "latent": self.kv_lora_rank,
            "nope": self.qk_nope_head_dim,
            "rope": self.qk_rope_head_dim,
            "value": self.v_head_dim,
            "nopes": heads * self.qk_nope_head_dim,
            "ropes": heads * self.qk_rope_head_dim,
            "values": heads * self.v_head_dim,
        }


def config_from_hf(config: Mapping[str, Any], source: str) -> DeepseekV3Config:
    """`model_type` deepseek_v3 or kimi_k2."""
    stated = Stated(source, config)
    stated.text("model_type")
    stated.neutral("architectures", ["DeepseekV3ForCausalLM"])
    stated.neutral("hidden_act", "silu")
    stated.neutral("attention_bias", False)
    stated.neutral("moe_layer_freq", 1)
    stated.neutral("scoring_func", "sigmoid")
    stated.neutral("topk_method", "noaux_tc")
    quantised = stated.mapping("quantization_config", None)
    if quantised is not None:  # which tensors are in FP8, the tensors say themselves
        how = Stated(f"{source}: quantization_config", quantised)
        how.neutral("quant_method", "fp8")
        how.neutral("fmt", "e4m3")
        how.neutral("weight_block_size", [Fp8Blocks.BLOCK, Fp8Blocks.BLOCK])
        how.finish({"activation_scheme": "how another program rounds activations"})
    heads = stated.integer("num_attention_heads")
    stated.neutral("num_key_value_heads", heads)
    nope, turning = stated.integer("qk_nope_head_dim"), stated.integer("qk_rope_head_dim")
    context = stated.integer("max_position_embeddings")
    experts, groups = stated.integer("n_routed_experts"), stated.integer("n_group", 1)
    groups_kept, kept = stated.integer("topk_group", 1), stated.integer("num_experts_per_tok")
    if experts % groups or groups_kept > groups or kept > groups_kept * (experts // groups) or experts < 2 * groups:
        raise stated.fault(
            f"{kept} of {experts} experts in {groups_kept} of {groups} groups cannot be chosen evenly, two or more "
            "a group"
        )
    scaling = stated.stated.get("rope_parameters") or stated.stated.get("rope_scaling")
    rope = rope_from_hf(stated, turning, context, 10000.0)
    shape = DeepseekV3Config(
        vocab_size=stated.integer("vocab_size"),
        hidden_size=stated.integer("hidden_size"),
        intermediate_size=stated.integer("intermediate_size"),
        moe_intermediate_size=stated.integer("moe_intermediate_size"),
        num_hidden_layers=stated.integer("num_hidden_layers", most=MOST_LAYERS),
        num_attention_heads=heads,
        n_shared_experts=stated.integer("n_shared_experts"),
        n_routed_experts=experts,
        num_experts_per_tok=kept,
        n_group=groups,
        topk_group=groups_kept,
        norm_topk_prob=stated.flag("norm_topk_prob", True),
        routed_scaling_factor=stated.number("routed_scaling_factor"),
        first_k_dense_replace=stated.whole("first_k_dense_replace"),
        q_lora_rank=stated.optional("q_lora_rank"),
        kv_lora_rank=stated.integer("kv_lora_rank"),
        qk_nope_head_dim=nope,
        qk_rope_head_dim=turning,
        v_head_dim=stated.integer("v_head_dim"),
        rms_norm_eps=stated.number("rms_norm_eps"),
        max_position_embeddings=context,
        tie_word_embeddings=stated.flag("tie_word_embeddings", False),
        rope=rope,
        rope_interleave=stated.flag("rope_interleave", True),
        attention_scale=(nope + turning) ** -0.5 * grown_twice(rope, scaling or {}),
    )
    stated.finish(HARMLESS)
    return shape


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
