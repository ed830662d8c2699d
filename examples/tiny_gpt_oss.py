"""Write a gpt-oss of random weights, under a megabyte: it speaks Harmony and means nothing.

Run: python examples/tiny_gpt_oss.py FOLDER
"""

import json
import sys
from pathlib import Path

import numpy as np

from ouvert.weights import SafetensorsWriter

CONTROL = ("<|startoftext|>", "<|endoftext|>", "<|return|>", "<|constrain|>", "<|channel|>", "<|start|>", "<|end|>")
CONTROL += ("<|message|>", "<|call|>")
HEADER_WORDS = ("analysis", "commentary", "final", "assistant", "json", "functions")
WORDS = """ the a we user asks for weather in city today need to call tool with days unit so then perhaps sunny rain
wind cold warm answer is and of it that think about this now check first good not very some day night again sky sea"""
PIECES = (*HEADER_WORDS, *(f" {word}" for word in WORDS.split()))
LAYERS, HIDDEN, HEADS, KV_HEADS, HEAD, EXPERTS, INNER = 2, 64, 4, 2, 16, 4, 32


def letters() -> dict[int, str]:
    """Bytes as byte-level BPE writes them: printable ones as they are, the others from U+0100 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(hidden)}


def write_tiny_gpt_oss(folder: Path, seed: int = 4) -> None:
    folder.mkdir(parents=True)
    added = {text: 256 + n for n, text in enumerate([*CONTROL, *PIECES])}
    size = -(-(256 + len(added)) // 32) * 32
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    tokenizer = {
        "version": "1.0",
        "added_tokens": [
            {"id": token, "content": text, "special": text in CONTROL, **flags} for text, token in added.items()
        ],
        "pre_tokenizer": byte_level,
        "decoder": byte_level,
        "model": {"type": "BPE", "vocab": {letter: byte for byte, letter in letters().items()}, "merges": []},
    }
    config = {
        "architectures": ["GptOssForCausalLM"],
        "model_type": "gpt_oss",
        "attention_bias": True,
        "hidden_act": "silu",
        "head_dim": HEAD,
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "layer_types": ["sliding_attention", "full_attention"],
        "max_position_embeddings": 4096,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "num_experts_per_tok": 2,
        "num_local_experts": EXPERTS,
        "num_hidden_layers": LAYERS,
        "rms_norm_eps": 1e-5,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        "sliding_window": 128,
        "swiglu_limit": 7.0,
        "tie_word_embeddings": False,
        "vocab_size": size,
        "eos_token_id": added["<|return|>"],
    }
    settings = {"eos_token": "<|return|>", "tokenizer_class": "PreTrainedTokenizerFast"}
    for name, content in {"config": config, "tokenizer": tokenizer, "tokenizer_config": settings}.items():
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")

    random = np.random.default_rng(seed)
    shapes = {"model.embed_tokens.weight": (size, HIDDEN), "model.norm.weight": (HIDDEN,)}
    shapes["lm_head.weight"] = (size, HIDDEN)
    for layer in (f"model.layers.{n}." for n in range(LAYERS)):
        for name, out in {"q": HEADS * HEAD, "k": KV_HEADS * HEAD, "v": KV_HEADS * HEAD}.items():
            shapes |= {
                f"{layer}self_attn.{name}_proj.weight": (out, HIDDEN),
                f"{layer}self_attn.{name}_proj.bias": (out,),
            }
        shapes |= {
            f"{layer}self_attn.o_proj.weight": (HIDDEN, HEADS * HEAD),
            f"{layer}self_attn.o_proj.bias": (HIDDEN,),
            f"{layer}self_attn.sinks": (HEADS,),
            f"{layer}mlp.router.weight": (EXPERTS, HIDDEN),
            f"{layer}mlp.router.bias": (EXPERTS,),
            f"{layer}mlp.experts.gate_up_proj": (EXPERTS, HIDDEN, 2 * INNER),
            f"{layer}mlp.experts.gate_up_proj_bias": (EXPERTS, 2 * INNER),
            f"{layer}mlp.experts.down_proj": (EXPERTS, INNER, HIDDEN),
            f"{layer}mlp.experts.down_proj_bias": (EXPERTS, HIDDEN),
            f"{layer}input_layernorm.weight": (HIDDEN,),
            f"{layer}post_attention_layernorm.weight": (HIDDEN,),
        }
    with SafetensorsWriter(
        folder / "model.safetensors", {name: ("F32", shape) for name, shape in shapes.items()}
    ) as file:
        for name, shape in shapes.items():
            values = np.ones(shape) if "norm" in name else random.standard_normal(shape) * shape[-1] ** -0.5
            if name == "model.embed_tokens.weight":
                values[:, 0] = 4  # the same for every token, so that the first column below is a bias
            if name == "lm_head.weight":
                values[:, 0] = 0
                values[:256, 0] = -2  # words are likelier than single bytes
                values[256 : 256 + len(CONTROL), 0] = 0.5  # and no thought goes on for ever
                values[[added[word] for word in HEADER_WORDS], 0] = -1.6  # words of headers belong into headers
                values[added["analysis"], 0] = -1.2  # where one thinks first
            file.write(name, values.astype(np.float32))


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    write_tiny_gpt_oss(Path(sys.argv[1]))
