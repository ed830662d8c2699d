"""Mistral's own layout: params.json beside consolidated.safetensors, said in the words of transformers.

A family that Mistral publishes so has a row in `KINDS`, and takes its tensors' names in `names.py` too. Source:
mistralai/mistral-inference, src/mistral_inference: args.py (the keys), mamba.py, transformer.py, transformer_layers.py,
moe.py and rope.py (what they are given to, and the tensors' names).
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from ouvert.models.config_reader import ConfigReader
from ouvert.models.parameters import halves_from_pairs
from ouvert.models.sources import Plain, Rows, Source

PARAMS = "params.json"
# Tokens in a sequence, where params.json does not say: every transformer that Mistral published without the key has
# as many or more (config.json of the same models for transformers).
CONTEXT = 32768
EMBEDDING = "tok_embeddings.weight"
OF_THE_WHOLE = {
    EMBEDDING: "model.embed_tokens.weight",
    "norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
OF_A_LAYER = {
    "attention_norm.weight": "input_layernorm.weight",
    "attention.wq.weight": "self_attn.q_proj.weight",
    "attention.wk.weight": "self_attn.k_proj.weight",
    "attention.wv.weight": "self_attn.v_proj.weight",
    "attention.wo.weight": "self_attn.o_proj.weight",
    "ffn_norm.weight": "post_attention_layernorm.weight",
    "feed_forward.w1.weight": "mlp.gate_proj.weight",
    "feed_forward.w2.weight": "mlp.down_proj.weight",
    "feed_forward.w3.weight": "mlp.up_proj.weight",
    "feed_forward.gate.weight": "block_sparse_moe.gate.weight",
} | {f"feed_forward.experts.{w}.weight": f"block_sparse_moe.experts.{w}.weight" for w in ("w1", "w2", "w3")}


def mamba2(reader: ConfigReader) -> dict[str, Any]:
    """Of Mamba-2, whose other sizes are the defaults of mamba_ssm's Mamba2 and MixerModel, and in no file."""
    hidden, head_dim = reader.integer("dim"), 64
    if 2 * hidden % head_dim:
        raise reader.fault(f"dim is {hidden}, whose {2 * hidden} channels cannot be cut into heads of {head_dim}")
    rounded = reader.integer("pad_vocab_size_multiple", 1)
    reader.neutral("rms_norm", True)
    stated = {
        "vocab_size": -(-reader.integer("vocab_size") // rounded) * rounded,
        "hidden_size": hidden,
        "expand": 2,
        "num_heads": 2 * hidden // head_dim,
        "head_dim": head_dim,
        "n_groups": reader.integer("n_groups"),
        "state_size": 128,
        "conv_kernel": 4,
        "num_hidden_layers": reader.integer("n_layers"),
        "layer_norm_epsilon": 1e-5,
        "use_bias": False,
        "use_conv_bias": True,
        "tie_word_embeddings": reader.flag("tie_embeddings"),
    }
    reader.finish(
        {
            "fused_add_norm": "how another program computes the same",
            "residual_in_fp32": "we add residuals in float32 whatever it says",
        }
    )
    return stated


def transformer(reader: ConfigReader) -> dict[str, Any]:
    """Of Mistral 7B and the like, and of Mixtral, which has `moe`.

    Without rope_theta it is 1e6, as mistral-inference takes it; 1e4 where a window is stated (Mistral 7B v0.1).
    """
    window = reader.optional("sliding_window", None)
    stated = {
        "vocab_size": reader.integer("vocab_size"),
        "hidden_size": reader.integer("dim"),
        "intermediate_size": reader.integer("hidden_dim"),
        "num_hidden_layers": reader.integer("n_layers"),
        "num_attention_heads": reader.integer("n_heads"),
        "num_key_value_heads": reader.integer("n_kv_heads"),
        "head_dim": reader.integer("head_dim"),
        "rms_norm_eps": reader.number("norm_eps"),
        "rope_theta": reader.number("rope_theta", 1e6 if window is None else 1e4),
        "max_position_embeddings": reader.integer("max_seq_len", CONTEXT),
        "sliding_window": window,
        "hidden_act": "silu",
        "tie_word_embeddings": reader.flag("tied_embeddings", False),
    }
    if (mixture := reader.mapping("moe", None)) is not None:
        experts = ConfigReader(f"{reader.source}: moe", mixture)
        stated["num_local_experts"] = experts.integer("num_experts")
        stated["num_experts_per_tok"] = experts.integer("num_experts_per_tok")
        experts.finish({})
    reader.finish({"max_batch_size": "how many answers another program computes at once"})
    return stated


# params.json's model_type ("transformer" if it says none): our words for it, and how the rest is read.
KINDS: Mapping[str, tuple[str, Callable[[ConfigReader], dict[str, Any]]]] = {
    "mamba": ("mamba2", mamba2),
    "transformer": ("mistral", transformer),
}


def config_of(params: Mapping[str, Any], source: str) -> dict[str, Any]:
    """What config.json would say. Raises CheckpointError for a kind of model, or a key, that we do not know."""
    reader = ConfigReader(source, params)
    kind = reader.text("model_type", "transformer")
    if kind not in KINDS:
        raise reader.fault(
            f"model_type is {str(kind)[:80]!r}, and of models in Mistral's own layout this version reads "
            f"{', '.join(KINDS)}; the same model in transformers' layout has a config.json"
        )
    model_type, read = KINDS[str(kind)]
    stated = {"model_type": model_type} | read(reader)
    return stated | {"model_type": "mixtral"} if "num_local_experts" in stated else stated


def in_transformers_names(sources: Mapping[str, Source], *, heads: int, keys: int, head_dim: int) -> dict[str, Source]:
    """Mistral's tensors under transformers' names, rows of q and k in its order: Mistral's rotation turns neighbours.

    What has another name, or another number of rows, keeps it, so that `match` finds it left over or misshapen.
    """
    orders = {"attention.wq.weight": heads, "attention.wk.weight": keys}
    found: dict[str, Source] = {}
    for name, source in sources.items():
        layer = re.match(r"layers\.\d+\.", name)
        own = name[layer.end() :] if layer else name
        if own in orders and isinstance(source, Plain) and source.shape[0] == orders[own] * head_dim:
            source = Rows(source.tensor, halves_from_pairs(orders[own], head_dim))
        theirs = f"model.{layer[0]}{OF_A_LAYER[own]}" if layer and own in OF_A_LAYER else OF_THE_WHOLE.get(name, name)
        found[theirs] = source
    return found
