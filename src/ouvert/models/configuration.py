"""The shape of a decoder, from config.json or from GGUF metadata. Facts and sources: docs/formats/configurations.md."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ouvert.models.config_reader import ConfigReader, shown
from ouvert.models.memory import KeyValueMemory
from ouvert.models.rope import RopeConfig, rope_from_gguf, rope_from_hf
from ouvert.models.sources import Fp8Blocks, Int4Groups
from ouvert.weights import CheckpointError, Tensor

# A file may say any number; the deepest models have a few hundred.
MOST_LAYERS = 10_000

# The context's length of models in which nothing counts positions, as llama.cpp's converter writes it.
NO_LIMIT = 2**20

# Keys of config.json that we have read about and that do not change the numbers of a forward pass, and why.
HARMLESS_HF = {
    "_attn_implementation": "how another program computes the same attention",
    "_attn_implementation_autoset": "how another program computes the same attention",
    "_commit_hash": "where the checkpoint was saved",
    "_flash_attn_2_enabled": "how another program computes the same attention",
    "_model_name_or_path": "a name that transformers takes from a GGUF file",
    "_name_or_path": "where the checkpoint was saved",
    "_pre_quantization_dtype": "how tensors were stored before",
    "attention_dropout": "only in training",
    "attn_implementation": "how another program computes the same attention",
    "attn_pdrop": "only in training",
    "auto_map": "Python files we never run",
    "bos_token_id": "belongs to the tokenizer and the sampler",
    "chunk_size_feed_forward": "splits work, not numbers",
    "dtype": "how tensors are stored; each file says it itself",
    "embd_pdrop": "only in training",
    "eos_token_id": "belongs to the tokenizer and the sampler",
    "hidden_dropout": "only in training",
    "id2label": "names of classes, for classifiers",
    "initializer_range": "only before training",
    "is_llama_config": "a note of SmolLM2's makers",
    "label2id": "names of classes, for classifiers",
    "output_attentions": "what another program returns besides",
    "output_hidden_states": "what another program returns besides",
    "output_router_logits": "what another program returns besides",
    "pad_token_id": "belongs to batches of another program",
    "pretraining_tp": "how another program splits the same products",
    "problem_type": "for classifiers",
    "resid_pdrop": "only in training",
    "return_dict": "what another program returns",
    "router_aux_loss_coef": "only in training",
    "torch_dtype": "how tensors are stored; each file says it itself",
    "transformers.js_config": "for another program",
    "transformers_version": "who wrote the file",
    "unsloth_fixed": "a note of who converted the file",
    "unsloth_version": "who wrote the file",
    "use_cache": "whether another program keeps keys and values",
}

# What every config.json of transformers may carry, whatever the model: PretrainedConfig's own fields, and those of
# generation that older versions kept there.
HARMLESS_HF |= dict.fromkeys(
    (
        "bad_words_ids", "begin_suppress_tokens", "cross_attention_hidden_size", "decoder_start_token_id",
        "diversity_penalty", "do_sample", "early_stopping", "encoder_no_repeat_ngram_size",
        "exponential_decay_length_penalty", "finetuning_task", "forced_bos_token_id", "forced_eos_token_id",
        "gradient_checkpointing", "is_decoder", "length_penalty", "max_length", "max_sequence_length", "min_length",
        "model_max_length", "name_or_path", "no_repeat_ngram_size", "num_beam_groups", "num_beams",
        "num_return_sequences", "output_scores", "prefix", "remove_invalid_values", "repetition_penalty",
        "return_dict_in_generate", "sep_token_id", "suppress_tokens", "task_specific_params", "temperature",
        "tf_legacy_loss", "tokenizer_class", "top_k", "top_p", "torchscript", "typical_p", "unk_token_id",
        "use_bfloat16",
    ),
    "a field of every config.json; ours read causally and sample as generation_config.json says",
)  # fmt: skip

# The same for GGUF metadata, without the architecture's prefix. Keys under any other prefix (general., tokenizer.,
# quantize., a community's own) are no part of the architecture: the specification leaves them to whoever adds them.
HARMLESS_GGUF = {
    "attention.layer_norm_epsilon": "of another kind of norm than ours, which has a key of its own",
    "pooling_type": "families.pools_gguf has read it",
    "rope.scaling.finetuned": "whether the original was trained on the stretched context",
    "tensor_data_layout": "where the file's maker took the tensors from; llama.cpp's converter writes one order",
    "vocab_size": "the embedding's rows say it, and files whose vocabulary grew later say another number here",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderConfig:
    """The shape of a decoder. Field names are those of config.json where it has them; nothing has a default."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    rms_norm_eps: float
    max_position_embeddings: int
    tie_word_embeddings: bool
    windows: tuple[int | None, ...]  # per layer: how many tokens back it sees, itself included; None: all
    rope: RopeConfig

    def memories(self) -> list[KeyValueMemory]:
        """What each layer caches of a sequence. Raises nothing."""
        return [KeyValueMemory(self.num_key_value_heads, self.head_dim, window) for window in self.windows]

    def sizes(self) -> dict[str, int]:
        """The named dimensions of this model's tensors. Raises nothing."""
        return {
            "vocabulary": self.vocab_size,
            "hidden": self.hidden_size,
            "inner": self.intermediate_size,
            "queries": self.num_attention_heads * self.head_dim,
            "keys": self.num_key_value_heads * self.head_dim,
            "q_heads": self.num_attention_heads,
            "kv_heads": self.num_key_value_heads,
            "head_dim": self.head_dim,
        }


def windows_from_hf(reader: ConfigReader, layers: int) -> tuple[int | None, ...]:
    """Which layers look back how far, as Qwen2 and Qwen3 say it: a switch, a width, and a list or a first layer."""
    switched_on = reader.flag("use_sliding_window", False)
    width = reader.optional("sliding_window", None)
    first = reader.whole("max_window_layers", 0)
    kinds = reader.texts("layer_types", None)
    if not switched_on:
        kinds = kinds or ["full_attention"] * layers
    elif kinds is None:
        kinds = ["sliding_attention" if n >= first else "full_attention" for n in range(layers)]
    return windows_of_kinds(reader, kinds, layers, width if switched_on else None)


def windows_of_kinds(reader: ConfigReader, kinds: list[str], layers: int, width: int | None) -> tuple[int | None, ...]:
    """`layer_types` in words to windows in numbers. Raises CheckpointError for other words, or a missing width."""
    if len(kinds) != layers or not set(kinds) <= {"full_attention", "sliding_attention"}:
        raise reader.fault(
            f"layer_types is {kinds[:4]}..., expected {layers} times full_attention or sliding_attention"
        )
    if width is None and "sliding_attention" in kinds:
        raise reader.fault("layer_types has sliding_attention, but no sliding_window is in force")
    return tuple(width if kind == "sliding_attention" else None for kind in kinds)


def within_one_chunk(reader: ConfigReader, shape: dict[str, Any]) -> dict[str, Any]:
    """The shape, its context cut to what `dual_chunk_attention_config` leaves as plain attention.

    Qwen2.5-1M and others see the distant past through positions that are counted by chunks. Up to `chunk_size` tokens
    these are the plain ones, which is all that we compute. An et al., arXiv:2402.17463.
    """
    chunks = reader.mapping("dual_chunk_attention_config", None)
    if chunks is None:
        return shape
    how = ConfigReader(f"{reader.source}: dual_chunk_attention_config", chunks)
    chunk = how.integer("chunk_size")
    if how.integer("local_size") >= chunk:
        raise how.fault(f"local_size is not smaller than chunk_size, which is {chunk}")
    trained = how.integer("original_max_position_embeddings", chunk)  # beyond it, scores grow with the length
    sparse = "how another program leaves out scores to save time; we compute all"
    how.finish({f"sparse_attention_{what}": sparse for what in ("config", "enabled", "last_q", "threshold")})
    return shape | {"max_position_embeddings": min(shape["max_position_embeddings"], chunk, trained)}


def shape_from_hf(
    reader: ConfigReader, *, default_theta: float | None, key_heads_may_be_left_out: bool
) -> dict[str, Any]:
    """What all our decoders say in the same words. Raises CheckpointError for what is missing or impossible."""
    reader.neutral("hidden_act", "silu", "swish")  # two names of one function
    reader.neutral("partial_rotary_factor", 1)
    reader.neutral("rotary_pct", 1)
    check_quantisation(reader)
    check_decoder(reader)
    query_heads = reader.integer("num_attention_heads")
    hidden = reader.integer("hidden_size")
    key_heads = reader.integer("num_key_value_heads", query_heads) if key_heads_may_be_left_out else None
    head_dim = reader.integer("head_dim", max(hidden // query_heads, 1))
    context = reader.integer("max_position_embeddings")
    shape = {
        "vocab_size": reader.integer("vocab_size"),
        "hidden_size": hidden,
        "intermediate_size": reader.integer("intermediate_size"),
        "num_hidden_layers": reader.integer("num_hidden_layers", most=MOST_LAYERS),
        "num_attention_heads": query_heads,
        "num_key_value_heads": key_heads or reader.integer("num_key_value_heads"),
        "head_dim": head_dim,
        "rms_norm_eps": reader.number("rms_norm_eps"),
        "max_position_embeddings": context,
        "rope": rope_from_hf(reader, head_dim, context, default_theta),
    }
    check_shape(reader, shape)
    return shape


def check_decoder(reader: ConfigReader) -> None:
    """Raise CheckpointError for a model that is no plain decoder: PretrainedConfig has keys for the others."""
    reader.neutral("is_encoder_decoder", False)
    reader.neutral("add_cross_attention", False)
    reader.neutral("tie_encoder_decoder", False)
    reader.neutral("is_causal", True)
    reader.neutral("pruned_heads", {})


def shape_from_gguf(
    reader: ConfigReader, tensors: Mapping[str, Tensor], *, truncate: bool = True, with_experts: bool = False
) -> dict[str, Any]:
    """The same from GGUF metadata; heads and frequencies may be left out where llama.cpp has a default.

    Raises CheckpointError for what is missing or impossible.
    """
    query_heads = reader.integer("attention.head_count")
    hidden = reader.integer("embedding_length")
    head_dim = reader.integer("attention.key_length", max(hidden // query_heads, 1))
    reader.neutral("attention.value_length", head_dim)
    reader.neutral("attention.causal", True)
    reader.neutral("attention.max_alibi_bias", 0)
    reader.neutral("attention.clamp_kqv", 0)
    reader.neutral("use_parallel_residual", False)
    # Keys of other architectures, at the value at which they do nothing.
    reader.neutral("attention.scale", 0, head_dim**-0.5)
    for name in ("logit_scale", "residual_scale", "embedding_scale"):
        reader.neutral(name, 0, 1)
    for name in ("attn_logit_softcapping", "final_logit_softcapping"):
        reader.neutral(name, 0)
    if not with_experts:
        reader.neutral("expert_count", 0)
        reader.neutral("expert_used_count", 0)
    context = reader.integer("context_length")
    embedding = tensors.get("token_embd.weight")
    if embedding is None or len(embedding.shape) != 2:
        raise reader.fault("the tensor token_embd.weight is missing or has no rows and columns")
    factors = tensors.get("rope_freqs.weight")
    shape = {
        "vocab_size": embedding.shape[0],
        "hidden_size": hidden,
        "intermediate_size": reader.integer("feed_forward_length"),
        "num_hidden_layers": reader.integer("block_count", most=MOST_LAYERS),
        "num_attention_heads": query_heads,
        "num_key_value_heads": reader.integer("attention.head_count_kv", query_heads),
        "head_dim": head_dim,
        "rms_norm_eps": reader.number("attention.layer_norm_rms_epsilon"),
        "max_position_embeddings": context,
        "tie_word_embeddings": "output.weight" not in tensors,
        "rope": rope_from_gguf(
            reader,
            head_dim,
            context,
            None if factors is None else tuple(factors.decode().ravel().tolist()),
            truncate=truncate,
        ),
    }
    check_shape(reader, shape)
    return shape


def check_quantisation(reader: ConfigReader) -> None:
    """Accept FP8 in blocks, which is read as BF16 whatever the family, and 4 bits in groups, read as Q4_0; the tensors
    themselves say which are in it.

    Raises CheckpointError for every other form, by its name. A family that is published in a form of its own (gpt_oss)
    asks for quantization_config before.
    """
    for key in ("quantization", "quantization_config", "compression_config"):
        if reader.prefix + key in reader.asked:
            continue
        how = reader.mapping(key, None)
        if not how:
            continue
        unnamed = "mlx" if key == "quantization" else "a method it does not name"
        method = how.get("quant_method") or how.get("quantization_type") or unnamed
        check = {"fp8": check_fp8, "compressed-tensors": check_int4}.get(str(method))
        if check is None:
            raise CheckpointError(
                f"{reader.source}: its weights are quantised with {shown(method)[:40]}, expected BF16, F16, F32, "
                f"FP8 with a scale for every block of {Fp8Blocks.BLOCK} by {Fp8Blocks.BLOCK}, or compressed-tensors' "
                "4 bits in groups, which this version reads of this family. Fetch the original, or a GGUF file of the "
                "same model."
            )
        check(ConfigReader(f"{reader.source}: {key}", how))


def check_fp8(how: ConfigReader) -> None:
    """Raise CheckpointError for FP8 that is not in the blocks of DeepSeek-V3 (docs/formats/configurations.md)."""
    how.neutral("quant_method", "fp8")
    how.neutral("fmt", "e4m3")
    if how.raw.get("weight_block_size") is None:
        raise how.fault("weight_block_size is missing: one scale for a whole matrix is a form we do not read")
    how.neutral("weight_block_size", [Fp8Blocks.BLOCK, Fp8Blocks.BLOCK])
    how.neutral("scale_fmt", "ue8m0")  # scales that are powers of two: we read them as they are stored
    how.finish(
        {
            "activation_scheme": "how another program rounds activations; we do not round them to FP8",
            "modules_to_not_convert": "the tensors say it",
        }
    )


# Of a scheme of compressed-tensors: how its codes were found, or what other programs do besides.
HARMLESS_SCHEME = {
    "actorder": "the order in which columns were rounded; they are stored in their own",
    "observer": "how the scales were found",
    "observer_kwargs": "how the scales were found",
    "scale_dtype": "the tensors say it",
    "zp_dtype": "symmetric: there are no zero points",
}


def check_int4(how: ConfigReader) -> None:
    """Raise CheckpointError for all that compressed-tensors writes but symmetric 4-bit integers in groups of a row.

    docs/formats/encodings.md has the facts and their sources.
    """
    how.neutral("quant_method", "compressed-tensors")
    how.neutral("format", "pack-quantized")
    how.neutral("quantization_status", "compressed", "frozen")
    how.neutral("sparsity_config", {})
    how.neutral("transform_config", {})
    for name, group in (how.mapping("config_groups") or {}).items():
        scheme = ConfigReader(f"{how.source}: {name}", group if isinstance(group, Mapping) else {})
        scheme.neutral("format", "pack-quantized")
        weights = ConfigReader(f"{scheme.source}: weights", scheme.mapping("weights") or {})
        weights.neutral("num_bits", 4)
        weights.neutral("type", "int")
        weights.neutral("symmetric", True)
        weights.neutral("strategy", "group")
        weights.neutral("dynamic", False)
        if weights.integer("group_size") % Int4Groups.BLOCK:
            raise weights.fault(f"group_size is {weights.raw['group_size']}, expected a multiple of {Int4Groups.BLOCK}")
        if weights.raw.get("actorder") == "group":
            raise weights.fault("actorder is group: columns of a group do not lie together")
        weights.finish(HARMLESS_SCHEME)
        scheme.finish({"targets": "the tensors say it"})
    how.finish(
        {
            "global_compression_ratio": "a note of what it saved",
            "ignore": "the tensors say it",
            "version": "who wrote the file",
        }
    )


def experts_are_plain(reader: ConfigReader) -> None:
    """Raise CheckpointError for a GGUF file whose experts are not scored by softmax, all routed and all alike."""
    reader.neutral("expert_gating_func", 0, 1)  # not said, or softmax: llama.cpp, enum llama_expert_gating_func_type
    reader.neutral("expert_weights_scale", 0, 1)
    reader.neutral("expert_shared_count", 0)
    reader.neutral("expert_group_count", 0, 1)
    reader.neutral("expert_group_used_count", 0, 1)


def check_experts(reader: ConfigReader, experts: int, top_k: int) -> None:
    """Raise CheckpointError for more experts a token than there are."""
    if top_k > experts:
        raise reader.fault(f"{top_k} experts a token cannot be kept of {experts}")


def check_shape(reader: ConfigReader, shape: Mapping[str, Any]) -> None:
    """Raise CheckpointError for heads that cannot share evenly, or cannot turn in pairs."""
    if shape["num_attention_heads"] % shape["num_key_value_heads"]:
        raise reader.fault(
            f"{shape['num_attention_heads']} query heads cannot share {shape['num_key_value_heads']} key heads evenly"
        )
    if shape["head_dim"] % 2:
        raise reader.fault(f"heads have {shape['head_dim']} values, which cannot turn in pairs")
