"""Random weights in files of real shapes: a fair stand-in for speed and memory, and nothing else.

    python benchmarks/random_checkpoints.py gpt-oss-20b --layers 4 --into build/checkpoints
    python benchmarks/random_checkpoints.py gpt-oss-20b --layout hf --into build/checkpoints

GGUF files (for this the `gguf` package must be there) carry a made-up vocabulary, because llama.cpp's server wants to
write tokens as text; both Ouvert and llama.cpp load them. `--layout hf` makes a gpt-oss folder as Hugging Face has it:
config.json, and shards with experts in 4-bit pairs and everything else in BF16; for this Ouvert must be there. Blocks
are random bytes with small constant scales, so that activations stay finite through all layers. Memory stays at a few
tensors' rows in folders, and at one tensor in GGUF.
"""

import argparse
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from random_deepseek import DEEPSEEK_SHAPES, deepseek_tensors, describe_deepseek
from state_space_shapes import STATE_SPACE_SHAPES, describe_state_space, state_space_tensors

if TYPE_CHECKING:
    import gguf

# (values, bytes) of a block, as ggml has them.
BLOCKS = {
    "F32": (1, 4),
    "BF16": (1, 2),
    "U8": (1, 1),
    "Q4_0": (32, 18),
    "Q4_1": (32, 20),
    "Q8_0": (32, 34),
    "MXFP4": (32, 17),
    "Q4_K": (256, 144),
    "Q6_K": (256, 210),
}

TINY = {
    "hidden": 64,
    "ffn": 96,
    "layers": 4,
    "heads": 4,
    "kv_heads": 2,
    "head_dim": 32,
    "vocabulary": 320,
    "encoding": "Q4_0",
    "unembedding": "Q8_0",
    "embedding": "Q4_0",
}
# Shapes as the models' own config.json state them.
EIGHT_BILLION = {
    "hidden": 4096,
    "ffn": 14336,
    "layers": 32,
    "heads": 32,
    "kv_heads": 8,
    "head_dim": 128,
    "vocabulary": 128256,
    "encoding": "Q4_0",
    "unembedding": "Q6_K",
    "embedding": "Q4_0",
}
LLAMA_SHAPES = {
    "llama-3.2-1b": {
        "hidden": 2048,
        "ffn": 8192,
        "layers": 16,
        "heads": 32,
        "kv_heads": 8,
        "head_dim": 64,
        "vocabulary": 128256,
        "encoding": "Q4_K",
        "unembedding": None,  # tied
        "embedding": "Q6_K",
    },
    "llama-3.1-8b": EIGHT_BILLION,
    "mixtral-8x7b": EIGHT_BILLION
    | {"vocabulary": 32000, "experts": 8, "kept": 2, "encoding": "Q4_K", "embedding": "Q4_K"},
    "qwen3-30b-a3b": {
        "architecture": "qwen3moe",
        "hidden": 2048,
        "ffn": 6144,
        "expert_ffn": 768,
        "layers": 48,
        "heads": 32,
        "kv_heads": 4,
        "head_dim": 128,
        "vocabulary": 151936,
        "experts": 128,
        "kept": 8,
        "encoding": "Q4_K",
        "unembedding": "Q6_K",
        "embedding": "Q4_K",
    },
    # For tests: made in a moment.
    "mixtral-tiny": TINY | {"experts": 5, "kept": 2},
    "qwen3moe-tiny": TINY | {"architecture": "qwen3moe", "expert_ffn": 32, "experts": 9, "kept": 3},
}
OPENAI = {
    "hidden": 2880,
    "ffn": 2880,
    "heads": 64,
    "kv_heads": 8,
    "head_dim": 64,
    "vocabulary": 201088,
    "kept": 4,
}
GPT_OSS_SHAPES = {
    "gpt-oss-20b": OPENAI | {"layers": 24, "experts": 32},
    "gpt-oss-120b": OPENAI | {"layers": 36, "experts": 128},
    # For tests: made in a moment.
    "gpt-oss-tiny": {
        "hidden": 64,
        "ffn": 96,
        "heads": 4,
        "kv_heads": 2,
        "head_dim": 32,
        "vocabulary": 320,
        "kept": 2,
        "layers": 4,
        "experts": 6,
    },
}
SHAPES = LLAMA_SHAPES | GPT_OSS_SHAPES | STATE_SPACE_SHAPES | DEEPSEEK_SHAPES
NAMES = tuple(SHAPES)
OTHERS = (
    (STATE_SPACE_SHAPES, describe_state_space, state_space_tensors),
    (DEEPSEEK_SHAPES, describe_deepseek, deepseek_tensors),
)
LAYOUTS = ("gguf", "hf")

# A file of a folder holds at most about this much, as the published ones do.
SHARD_BYTES = 4_800_000_000
# Made and written at once.
PIECE_BYTES = 64_000_000


@dataclass(frozen=True)
class Planned:
    """A tensor to write: its name, its shape (row-major) and its encoding."""

    name: str
    shape: tuple[int, ...]
    encoding: str

    @property
    def bytes(self) -> int:
        block, size = BLOCKS[self.encoding]
        return math.prod(self.shape) // block * size


def random_bytes(planned: Planned, random: np.random.Generator) -> np.ndarray:
    """Encoded bytes whose decoded values have a standard deviation of about 1 / sqrt(columns)."""
    columns = planned.shape[-1]
    spread = 1.0 / np.sqrt(columns)
    if planned.name.endswith("norm.weight"):
        ones = np.ones(planned.shape, np.float32)
        return as_bfloat16(ones) if planned.encoding == "BF16" else ones.view(np.uint8)
    if planned.name.endswith("ssm_a"):  # states decay
        return (-random.uniform(1, 16, planned.shape).astype(np.float32)).reshape(-1).view(np.uint8)
    if planned.encoding == "F32":
        return (random.standard_normal(planned.shape) * spread).astype(np.float32).reshape(-1).view(np.uint8)
    if planned.encoding == "BF16":
        return as_bfloat16(random.standard_normal(math.prod(planned.shape), dtype=np.float32) * np.float32(spread))
    if planned.name.endswith("_scales"):  # one for each 32 columns
        return np.full(math.prod(planned.shape), mxfp4_scale(32 * columns), np.uint8)
    if planned.encoding == "U8":  # 4-bit codes
        return np.frombuffer(random.bytes(math.prod(planned.shape)), np.uint8)
    return random_blocks(planned, random, spread)


def random_blocks(planned: Planned, random: np.random.Generator, spread: float) -> np.ndarray:
    """Quantised blocks: random codes under scales that give the decoded values the standard deviation `spread`."""
    columns = planned.shape[-1]
    block, size = BLOCKS[planned.encoding]
    count = math.prod(planned.shape) // block
    data = np.frombuffer(random.bytes(count * size), np.uint8).reshape(count, size).copy()

    def half(value: float) -> np.ndarray:
        return np.array([value], np.float16).view(np.uint8)

    fill: dict[str, Callable[[], None]] = {
        "Q4_0": lambda: data.__setitem__((slice(None), slice(0, 2)), half(spread / 4.6)),
        "Q8_0": lambda: data.__setitem__((slice(None), slice(0, 2)), half(spread / 74)),
        "Q6_K": lambda: data.__setitem__((slice(None), slice(208, 210)), half(spread / 18.5 / 74)),
        "MXFP4": lambda: data.__setitem__((slice(None), 0), mxfp4_scale(columns)),
    }
    if planned.encoding == "Q4_1":
        data[:, 0:2], data[:, 2:4] = half(spread / 4.6), half(-spread * 7.5 / 4.6)
    elif planned.encoding == "Q4_K":
        data[:, 0:2], data[:, 2:4] = half(spread / 4.6 / 37), half(spread * 7.5 / 4.6 / 37)
    else:
        fill[planned.encoding]()
    return data.reshape(-1)


def as_bfloat16(values: np.ndarray) -> np.ndarray:
    return (values.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)


def mxfp4_scale(columns: int) -> np.uint8:
    """The power of two, as stored, that gives random 4-bit codes a standard deviation of about 1 / sqrt(columns)."""
    return np.uint8(127 + round(np.log2(1 / np.sqrt(columns) / 3)))


def llama_tensors(shape: dict, layers: int) -> Iterator[Planned]:
    hidden, ffn, encoding = shape["hidden"], shape.get("expert_ffn", shape["ffn"]), shape["encoding"]
    queries, keys = shape["heads"] * shape["head_dim"], shape["kv_heads"] * shape["head_dim"]
    yield Planned("token_embd.weight", (shape["vocabulary"], hidden), shape["embedding"])
    yield Planned("output_norm.weight", (hidden,), "F32")
    if shape["unembedding"] is not None:
        yield Planned("output.weight", (shape["vocabulary"], hidden), shape["unembedding"])
    for n in range(layers):
        yield Planned(f"blk.{n}.attn_norm.weight", (hidden,), "F32")
        yield Planned(f"blk.{n}.attn_q.weight", (queries, hidden), encoding)
        yield Planned(f"blk.{n}.attn_k.weight", (keys, hidden), encoding)
        yield Planned(f"blk.{n}.attn_v.weight", (keys, hidden), encoding)
        yield Planned(f"blk.{n}.attn_output.weight", (hidden, queries), encoding)
        if shape.get("architecture") == "qwen3moe":
            yield Planned(f"blk.{n}.attn_q_norm.weight", (shape["head_dim"],), "F32")
            yield Planned(f"blk.{n}.attn_k_norm.weight", (shape["head_dim"],), "F32")
        yield Planned(f"blk.{n}.ffn_norm.weight", (hidden,), "F32")
        if "experts" in shape:
            yield Planned(f"blk.{n}.ffn_gate_inp.weight", (shape["experts"], hidden), "F32")
        count, ending = ((shape["experts"],), "_exps") if "experts" in shape else ((), "")
        for name, rows, columns in (("gate", ffn, hidden), ("up", ffn, hidden), ("down", hidden, ffn)):
            yield Planned(f"blk.{n}.ffn_{name}{ending}.weight", (*count, rows, columns), encoding)


def gpt_oss_tensors(shape: dict, layers: int) -> Iterator[Planned]:
    hidden, ffn, vocabulary, experts = shape["hidden"], shape["ffn"], shape["vocabulary"], shape["experts"]
    heads, kv_heads, head_dim = shape["heads"], shape["kv_heads"], shape["head_dim"]
    # As the GGUF files people download have it: experts MXFP4, attention and embeddings Q8_0, the rest F32.
    yield Planned("token_embd.weight", (vocabulary, hidden), "Q8_0")
    yield Planned("output_norm.weight", (hidden,), "F32")
    yield Planned("output.weight", (vocabulary, hidden), "Q8_0")
    for n in range(layers):
        yield Planned(f"blk.{n}.attn_norm.weight", (hidden,), "F32")
        for name, rows in (("q", heads), ("k", kv_heads), ("v", kv_heads)):
            yield Planned(f"blk.{n}.attn_{name}.weight", (rows * head_dim, hidden), "Q8_0")
            yield Planned(f"blk.{n}.attn_{name}.bias", (rows * head_dim,), "F32")
        yield Planned(f"blk.{n}.attn_output.weight", (hidden, heads * head_dim), "Q8_0")
        yield Planned(f"blk.{n}.attn_output.bias", (hidden,), "F32")
        yield Planned(f"blk.{n}.attn_sinks.weight", (heads,), "F32")
        yield Planned(f"blk.{n}.post_attention_norm.weight", (hidden,), "F32")
        yield Planned(f"blk.{n}.ffn_gate_inp.weight", (experts, hidden), "F32")
        yield Planned(f"blk.{n}.ffn_gate_inp.bias", (experts,), "F32")
        for name, rows, columns in (("gate", ffn, hidden), ("up", ffn, hidden), ("down", hidden, ffn)):
            yield Planned(f"blk.{n}.ffn_{name}_exps.weight", (experts, rows, columns), "MXFP4")
            yield Planned(f"blk.{n}.ffn_{name}_exps.bias", (experts, rows), "F32")


def gpt_oss_folder_tensors(shape: dict, layers: int) -> Iterator[Planned]:
    """As Hugging Face has them: experts' codes and scales in two tensors, gate and up in alternate rows."""
    hidden, ffn, vocabulary, experts = shape["hidden"], shape["ffn"], shape["vocabulary"], shape["experts"]
    queries, keys = shape["heads"] * shape["head_dim"], shape["kv_heads"] * shape["head_dim"]
    yield Planned("model.embed_tokens.weight", (vocabulary, hidden), "BF16")
    for n in range(layers):
        layer = f"model.layers.{n}."
        yield Planned(layer + "input_layernorm.weight", (hidden,), "BF16")
        for name, rows, columns in (
            ("q", queries, hidden),
            ("k", keys, hidden),
            ("v", keys, hidden),
            ("o", hidden, queries),
        ):
            yield Planned(f"{layer}self_attn.{name}_proj.weight", (rows, columns), "BF16")
            yield Planned(f"{layer}self_attn.{name}_proj.bias", (rows,), "BF16")
        yield Planned(layer + "self_attn.sinks", (shape["heads"],), "BF16")
        yield Planned(layer + "post_attention_layernorm.weight", (hidden,), "BF16")
        yield Planned(layer + "mlp.router.weight", (experts, hidden), "BF16")
        yield Planned(layer + "mlp.router.bias", (experts,), "BF16")
        for name, rows, columns in (("gate_up", 2 * ffn, hidden), ("down", hidden, ffn)):
            yield Planned(f"{layer}mlp.experts.{name}_proj_blocks", (experts, rows, columns // 32, 16), "U8")
            yield Planned(f"{layer}mlp.experts.{name}_proj_scales", (experts, rows, columns // 32), "U8")
            yield Planned(f"{layer}mlp.experts.{name}_proj_bias", (experts, rows), "BF16")
    yield Planned("model.norm.weight", (hidden,), "BF16")
    yield Planned("lm_head.weight", (vocabulary, hidden), "BF16")


def gpt_oss_config(shape: dict, layers: int) -> dict:
    """config.json as published with gpt-oss-20b, with this shape."""
    return {
        "architectures": ["GptOssForCausalLM"],
        "attention_bias": True,
        "attention_dropout": 0.0,
        "eos_token_id": 200002,
        "experts_per_token": shape["kept"],
        "head_dim": shape["head_dim"],
        "hidden_act": "silu",
        "hidden_size": shape["hidden"],
        "initial_context_length": 4096,
        "initializer_range": 0.02,
        "intermediate_size": shape["ffn"],
        "layer_types": [("sliding_attention", "full_attention")[n % 2] for n in range(layers)],
        "max_position_embeddings": 131072,
        "model_type": "gpt_oss",
        "num_attention_heads": shape["heads"],
        "num_experts_per_tok": shape["kept"],
        "num_hidden_layers": layers,
        "num_key_value_heads": shape["kv_heads"],
        "num_local_experts": shape["experts"],
        "output_router_logits": False,
        "pad_token_id": 199999,
        "quantization_config": {
            "modules_to_not_convert": [
                "model.layers.*.self_attn",
                "model.layers.*.mlp.router",
                "model.embed_tokens",
                "lm_head",
            ],
            "quant_method": "mxfp4",
        },
        "rms_norm_eps": 1e-05,
        "rope_scaling": {
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "factor": 32.0,
            "original_max_position_embeddings": 4096,
            "rope_type": "yarn",
            "truncate": False,
        },
        "rope_theta": 150000,
        "router_aux_loss_coef": 0.9,
        "sliding_window": 128,
        "swiglu_limit": 7.0,
        "tie_word_embeddings": False,
        "transformers_version": "4.55.0.dev0",
        "use_cache": True,
        "vocab_size": shape["vocabulary"],
    }


def describe_llama(writer: "gguf.GGUFWriter", shape: dict, layers: int) -> None:
    writer.add_context_length(131072)
    writer.add_embedding_length(shape["hidden"])
    writer.add_block_count(layers)
    writer.add_feed_forward_length(shape["ffn"])
    writer.add_head_count(shape["heads"])
    writer.add_head_count_kv(shape["kv_heads"])
    writer.add_key_length(shape["head_dim"])
    writer.add_value_length(shape["head_dim"])
    writer.add_rope_dimension_count(shape["head_dim"])
    writer.add_rope_freq_base(500000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(shape["vocabulary"])
    if "experts" in shape:
        writer.add_expert_count(shape["experts"])
        writer.add_expert_used_count(shape["kept"])
    if "expert_ffn" in shape:
        writer.add_expert_feed_forward_length(shape["expert_ffn"])


def describe_gpt_oss(writer: "gguf.GGUFWriter", shape: dict, layers: int) -> None:
    from gguf import RopeScalingType

    writer.add_context_length(131072)
    writer.add_embedding_length(shape["hidden"])
    writer.add_block_count(layers)
    writer.add_feed_forward_length(shape["ffn"])
    writer.add_expert_feed_forward_length(shape["ffn"])
    writer.add_head_count(shape["heads"])
    writer.add_head_count_kv(shape["kv_heads"])
    writer.add_key_length(shape["head_dim"])
    writer.add_value_length(shape["head_dim"])
    writer.add_rope_freq_base(150000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_expert_count(shape["experts"])
    writer.add_expert_used_count(shape["kept"])
    writer.add_sliding_window(128)
    writer.add_rope_scaling_type(RopeScalingType.YARN)
    writer.add_rope_scaling_factor(32.0)
    writer.add_rope_scaling_orig_ctx_len(4096)
    writer.add_vocab_size(shape["vocabulary"])


def write_checkpoint(name: str, into: Path, layers: int | None = None, seed: int = 20, layout: str = "gguf") -> Path:
    """The path of a GGUF file or a folder of that shape, written now if it is not there yet."""
    if name not in NAMES:
        raise SystemExit(f"random_checkpoints: {name!r} is not a shape we make; they are {', '.join(NAMES)}.")
    if layout == "hf" and name not in GPT_OSS_SHAPES:
        raise SystemExit(
            f"random_checkpoints: {name} is made as GGUF only; --layout hf makes {', '.join(GPT_OSS_SHAPES)}."
        )
    layers = layers or SHAPES[name]["layers"]
    path = into / f"{name}-{layers}-layers{'.gguf' if layout == 'gguf' else '-hf'}"
    if not path.exists():
        into.mkdir(parents=True, exist_ok=True)
        (write_gguf if layout == "gguf" else write_folder)(name, path, layers, seed)
    return path


def announce(writer: "gguf.GGUFWriter", planned: Planned) -> None:
    """Put the tensor into the file's table; its bytes follow later."""
    import gguf

    block, size = BLOCKS[planned.encoding]
    encoded_shape = (*planned.shape[:-1], planned.shape[-1] // block * size)
    is_float = planned.encoding == "F32"
    writer.add_tensor_info(
        planned.name,
        planned.shape if is_float else encoded_shape,
        np.dtype(np.float32) if is_float else np.dtype(np.uint8),
        planned.bytes,
        raw_dtype=gguf.GGMLQuantizationType[planned.encoding],
    )


def described(writer: "gguf.GGUFWriter", name: str, layers: int) -> list[Planned]:
    """Write what the file says of its model's shape; the tensors that belong to it."""
    if name in LLAMA_SHAPES:
        describe_llama(writer, LLAMA_SHAPES[name], layers)
        return list(llama_tensors(LLAMA_SHAPES[name], layers))
    for shapes, describe, tensors in OTHERS:
        if name in shapes:
            describe(writer, shapes[name], layers)
            return [Planned(*each) for each in tensors(shapes[name], layers)]
    describe_gpt_oss(writer, GPT_OSS_SHAPES[name], layers)
    return list(gpt_oss_tensors(GPT_OSS_SHAPES[name], layers))


def write_gguf(name: str, path: Path, layers: int, seed: int) -> None:
    import gguf

    partial = path.with_suffix(".partial")
    architecture = SHAPES[name].get("architecture", "llama" if name in LLAMA_SHAPES else "gpt-oss")
    writer = gguf.GGUFWriter(partial, architecture, use_temp_file=False)
    planned = described(writer, name, layers)
    vocabulary = planned[0].shape[0]  # of the embedding
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([f"t{n}" for n in range(vocabulary)])
    writer.add_token_types([gguf.TokenType.NORMAL] * vocabulary)
    writer.add_token_merges(["t 0"])
    for each in planned:
        announce(writer, each)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    random = np.random.default_rng(seed)
    for each in planned:
        writer.write_tensor_data(random_bytes(each, random))
    writer.close()
    partial.rename(path)


def write_folder(name: str, path: Path, layers: int, seed: int) -> None:
    """config.json, the shards and their index, in a folder that gets its name when it is whole."""
    from ouvert.weights import SafetensorsWriter

    shape = GPT_OSS_SHAPES[name]
    partial = path.with_name(path.name + ".partial")
    partial.mkdir(exist_ok=True)
    shards: list[list[Planned]] = [[]]
    for each in gpt_oss_folder_tensors(shape, layers):
        if shards[-1] and sum(other.bytes for other in shards[-1]) + each.bytes > SHARD_BYTES:
            shards.append([])
        shards[-1].append(each)
    random = np.random.default_rng(seed)
    files: dict[str, str] = {}
    for n, planned in enumerate(shards):
        file = f"model-{n:05}-of-{len(shards) - 1:05}.safetensors"
        declared = {each.name: (each.encoding, each.shape) for each in planned}
        with SafetensorsWriter(partial / file, declared, {"format": "pt"}) as writer:
            for each in planned:
                for piece in pieces(each):
                    writer.write(each.name, random_bytes(piece, random))
        files |= dict.fromkeys(declared, file)
    total = sum(each.bytes for planned in shards for each in planned)
    index = {"metadata": {"total_size": total}, "weight_map": files}
    (partial / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))
    (partial / "config.json").write_text(json.dumps(gpt_oss_config(shape, layers), indent=2))
    partial.rename(path)


def pieces(planned: Planned) -> Iterator[Planned]:
    """The tensor in parts along its first axis, of about PIECE_BYTES."""
    rows = planned.shape[0]
    step = max(1, PIECE_BYTES * rows // planned.bytes)
    for start in range(0, rows, step):
        yield Planned(planned.name, (min(step, rows - start), *planned.shape[1:]), planned.encoding)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--layers", type=int, help="fewer layers than the model has")
    parser.add_argument("--layout", choices=LAYOUTS, default="gguf", help="a GGUF file (default), or a folder")
    parser.add_argument("--into", type=Path, default=Path("build/checkpoints"))
    parser.add_argument("--seed", type=int, default=20)
    arguments = parser.parse_args()
    print(write_checkpoint(arguments.name, arguments.into, arguments.layers, arguments.seed, arguments.layout))
