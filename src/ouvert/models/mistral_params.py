"""Mistral's own layout: params.json beside consolidated.safetensors, said in the words of transformers' config.json.

A family that Mistral publishes so has a row in `KINDS`, and takes its tensors' names in `names.py` too. Source:
mistralai/mistral-inference, src/mistral_inference/args.py (the keys) and mamba.py (what they are given to).
"""

from collections.abc import Callable, Mapping
from typing import Any

from ouvert.models.config_reader import ConfigReader

PARAMS = "params.json"


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


# params.json's model_type ("transformer" if it says none): our words for it, and how the rest is read.
KINDS: Mapping[str, tuple[str, Callable[[ConfigReader], dict[str, Any]]]] = {"mamba": ("mamba2", mamba2)}


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
    return {"model_type": model_type} | read(reader)
