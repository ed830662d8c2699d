"""Rotary frequencies of published models as transformers computes them: tests/goldens/models_rope.json.

python tests/goldens/make_ropes.py     (in the environment with the references)
"""

import json
from pathlib import Path
from typing import Any

import transformers

# name: (rope_parameters, head_dim, max_position_embeddings), as published models have them
ROPES: dict[str, tuple[dict[str, Any], int, int]] = {
    "SmolLM2": ({"rope_type": "default", "rope_theta": 100000.0}, 64, 8192),
    "Qwen3": ({"rope_type": "default", "rope_theta": 1e6}, 128, 40960),
    "stretched evenly": ({"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}, 128, 16384),
    "Llama 3.1": (
        {
            "rope_type": "llama3",
            "rope_theta": 500000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
        128,
        131072,
    ),
    "Llama 3.2": (
        {
            "rope_type": "llama3",
            "rope_theta": 500000.0,
            "factor": 32.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
        64,
        131072,
    ),
    "Qwen2.5 with YaRN": (
        {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0, "original_max_position_embeddings": 32768},
        128,
        131072,
    ),
    "gpt-oss": (
        {
            "rope_type": "yarn",
            "rope_theta": 150000.0,
            "factor": 32.0,
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "original_max_position_embeddings": 4096,
            "truncate": False,
        },
        64,
        131072,
    ),
    "YaRN with its own lengths": (
        {
            "rope_type": "yarn",
            "rope_theta": 10000.0,
            "factor": 40.0,
            "original_max_position_embeddings": 4096,
            "mscale": 1.0,
            "mscale_all_dim": 0.707,
        },
        64,
        163840,
    ),
    "YaRN with its length said": (
        {
            "rope_type": "yarn",
            "rope_theta": 10000.0,
            "factor": 2.0,
            "original_max_position_embeddings": 2048,
            "attention_factor": 1.25,
        },
        32,
        4096,
    ),
}


def ropes() -> dict[str, Any]:
    """What transformers makes of each, through a Llama's rotary embedding."""
    made = {}
    for name, (parameters, head_dim, context) in ROPES.items():
        config = transformers.LlamaConfig(
            head_dim=head_dim, max_position_embeddings=context, rope_parameters=dict(parameters)
        )
        embedding = transformers.models.llama.modeling_llama.LlamaRotaryEmbedding(config)
        made[name] = {
            "rope_parameters": parameters,
            "head_dim": head_dim,
            "max_position_embeddings": context,
            "inverse_frequencies": embedding.inv_freq.tolist(),
            "magnitude": float(embedding.attention_scaling),
        }
    return made


if __name__ == "__main__":
    Path(__file__).with_name("models_rope.json").write_text(json.dumps(ropes(), indent=1) + "\n")
