"""What 8-bit keys and values cost, beside 16-bit ones and beside llama.cpp's.

KL divergence of the next token's probabilities from the float32 graph, or from the same program with 16-bit caches.
Float32 activations (`exact`) leave nothing but the cache; as every day, int8 activations are there as well.
"""

import numpy as np
import torch
import transformers
from gguf import GGMLQuantizationType as Encoding

GPT_OSS = {
    "vocab_size": 1024,
    "hidden_size": 256,
    "intermediate_size": 256,
    "num_hidden_layers": 4,
    "num_local_experts": 8,
    "num_experts_per_tok": 4,
    "sliding_window": 32,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "max_position_embeddings": 512,
}


# Divergence by the cache alone, as a share of that by int8 activations alone, which are rounded the same way: 0.26 on
# two pages with SmolLM2, 0.55 with random weights, whose routers change their minds at a touch. Twice what was seen.
OF_ACTIVATIONS = {"SmolLM2": 0.5, "gpt-oss": 1.1}
# Two programs that round alike differ by chance: test_smollm2_native.py.
BY_CHANCE = 1.1


def check(name, found):
    assert found["float32 || exact, f16"] < 0.1 * found["float32 || exact, q8"]
    assert found["float32 || exact, q8"] <= OF_ACTIVATIONS[name] * found["float32 || f16"]
    assert found["float32 || q8"] <= BY_CHANCE * found["float32 || llama.cpp q8_0"]


def measured(name, agreement, pairs):
    """Mean divergences, printed: {what: (reference, found)}."""
    means = {}
    for what, (reference, found) in pairs.items():
        each = agreement.divergence(reference, found)
        means[what] = each.mean()
        print(f"{name}: KL({what}) {each.mean():.3e} ± {each.std() / len(each) ** 0.5:.0e} over {len(each)} tokens")
    return means


def pairs_of(logits, reference):
    """What is compared with what, of logits by program and cache."""
    return {
        "float32 || exact, f16": (reference, logits["exact", "f16"]),
        "float32 || exact, q8": (reference, logits["exact", "q8"]),
        "float32 || f16": (reference, logits["native", "f16"]),
        "float32 || q8": (reference, logits["native", "q8"]),
        "f16 || q8": (logits["native", "f16"], logits["native", "q8"]),
        "float32 || llama.cpp f16": (reference, logits["llama.cpp", "f16"]),
        "float32 || llama.cpp q8_0": (reference, logits["llama.cpp", "q8_0"]),
        "llama.cpp f16 || llama.cpp q8_0": (logits["llama.cpp", "f16"], logits["llama.cpp", "q8_0"]),
    }


def logits_of(path, texts, native_of, llama_cpp):
    found = {}
    for cache in ("f16", "q8"):
        for name, exact in (("exact", True), ("native", False)):
            start = native_of(path, exact=exact, cache=cache)
            found[name, cache] = np.concatenate([start()(ids) for ids in texts])
    for cache in ("f16", "q8_0"):
        with llama_cpp(path, cache=cache) as theirs:
            found["llama.cpp", cache] = np.concatenate([theirs.logits(ids) for ids in texts])
    return found


def test_eight_bits_cost_less_than_rounding_activations_does(
    smollm2, native_of, llama_cpp, llama_cpp_as_shipped, reference_logits, agreement
):
    texts = llama_cpp_as_shipped.ids
    reference = np.concatenate([reference_logits[name] for name in texts])
    found = measured(
        "SmolLM2", agreement, pairs_of(logits_of(smollm2, texts.values(), native_of, llama_cpp), reference)
    )
    check("SmolLM2", found)


def test_so_they_do_with_windows_and_experts(make_models, reference_of, native_of, llama_cpp, agreement, tmp_path):
    """gpt-oss with random weights, as in test_smollm2_native.py."""
    values = make_models.SMALL | make_models.GPT_OSS | make_models.heads(8, 2, 32) | GPT_OSS
    values["rope_parameters"] = make_models.DEFAULT
    model = make_models.draw(transformers.GptOssConfig(**values), 1)
    model.to(torch.bfloat16).save_pretrained(tmp_path)
    make_models.into_mxfp4(tmp_path, 1)
    path, ids = tmp_path / "model.gguf", np.random.default_rng(2).integers(0, GPT_OSS["vocab_size"], 400)
    make_models.write_gguf(tmp_path, path, Encoding.Q8_0)
    logits = logits_of(path, [ids], native_of, llama_cpp)
    check("gpt-oss", measured("gpt-oss", agreement, pairs_of(logits, reference_of(path)()(ids))))
