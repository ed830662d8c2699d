"""Random-weight GGUF files of real shapes: a fair stand-in for speed and memory, and nothing else.

    python benchmarks/random_checkpoints.py gpt-oss-20b --layers 4 --into build/checkpoints

The files carry no tokenizer (`tokenizer.ggml.model = no_vocab`); both Ouvert and llama.cpp load them. Blocks
are random bytes with small constant scales, so that activations stay finite through all layers.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np

Q = gguf.GGMLQuantizationType

# Shapes as the models' own config.json state them.
LLAMA_SHAPES = {
    "llama-3.2-1b": {
        "hidden": 2048,
        "ffn": 8192,
        "layers": 16,
        "heads": 32,
        "kv_heads": 8,
        "head_dim": 64,
        "vocabulary": 128256,
        "encoding": Q.Q4_K,
        "unembedding": None,  # tied
        "embedding": Q.Q6_K,
    },
    "llama-3.1-8b": {
        "hidden": 4096,
        "ffn": 14336,
        "layers": 32,
        "heads": 32,
        "kv_heads": 8,
        "head_dim": 128,
        "vocabulary": 128256,
        "encoding": Q.Q4_0,
        "unembedding": Q.Q6_K,
        "embedding": Q.Q4_0,
    },
}
GPT_OSS_SHAPES = {
    "gpt-oss-20b": {"layers": 24, "experts": 32},
    "gpt-oss-120b": {"layers": 36, "experts": 128},
}
NAMES = (*LLAMA_SHAPES, *GPT_OSS_SHAPES)


@dataclass(frozen=True)
class Planned:
    """A tensor to write: its name, its shape (row-major) and its encoding."""

    name: str
    shape: tuple[int, ...]
    encoding: gguf.GGMLQuantizationType

    @property
    def bytes(self) -> int:
        block, size = gguf.GGML_QUANT_SIZES[self.encoding]
        return int(np.prod(self.shape)) // block * size


def random_bytes(planned: Planned, random: np.random.Generator) -> np.ndarray:
    """Encoded bytes whose decoded values have a standard deviation of about 1 / sqrt(columns)."""
    columns = planned.shape[-1]
    spread = 1.0 / np.sqrt(columns)
    if planned.encoding == Q.F32:
        if len(planned.shape) == 1 and planned.name.endswith("norm.weight"):
            return np.ones(planned.shape, np.float32).view(np.uint8)
        return (random.standard_normal(planned.shape) * spread).astype(np.float32).reshape(-1).view(np.uint8)
    if planned.encoding == Q.BF16:
        values = random.standard_normal(int(np.prod(planned.shape)), dtype=np.float32) * np.float32(spread)
        return (values.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
    block, size = gguf.GGML_QUANT_SIZES[planned.encoding]
    count = int(np.prod(planned.shape)) // block
    data = np.frombuffer(random.bytes(count * size), np.uint8).reshape(count, size).copy()

    def half(value: float) -> np.ndarray:
        return np.array([value], np.float16).view(np.uint8)

    fill: dict[gguf.GGMLQuantizationType, Callable[[], None]] = {
        Q.Q4_0: lambda: data.__setitem__((slice(None), slice(0, 2)), half(spread / 4.6)),
        Q.Q8_0: lambda: data.__setitem__((slice(None), slice(0, 2)), half(spread / 74)),
        Q.Q6_K: lambda: data.__setitem__((slice(None), slice(208, 210)), half(spread / 18.5 / 74)),
        Q.MXFP4: lambda: data.__setitem__((slice(None), 0), np.uint8(127 + round(np.log2(spread / 3)))),
    }
    if planned.encoding == Q.Q4_1:
        data[:, 0:2], data[:, 2:4] = half(spread / 4.6), half(-spread * 7.5 / 4.6)
    elif planned.encoding == Q.Q4_K:
        data[:, 0:2], data[:, 2:4] = half(spread / 4.6 / 37), half(spread * 7.5 / 4.6 / 37)
    else:
        fill[planned.encoding]()
    return data.reshape(-1)


def llama_tensors(shape: dict, layers: int) -> Iterator[Planned]:
    hidden, ffn, encoding = shape["hidden"], shape["ffn"], shape["encoding"]
    queries, keys = shape["heads"] * shape["head_dim"], shape["kv_heads"] * shape["head_dim"]
    yield Planned("token_embd.weight", (shape["vocabulary"], hidden), shape["embedding"])
    yield Planned("output_norm.weight", (hidden,), Q.F32)
    if shape["unembedding"] is not None:
        yield Planned("output.weight", (shape["vocabulary"], hidden), shape["unembedding"])
    for n in range(layers):
        yield Planned(f"blk.{n}.attn_norm.weight", (hidden,), Q.F32)
        yield Planned(f"blk.{n}.attn_q.weight", (queries, hidden), encoding)
        yield Planned(f"blk.{n}.attn_k.weight", (keys, hidden), encoding)
        yield Planned(f"blk.{n}.attn_v.weight", (keys, hidden), encoding)
        yield Planned(f"blk.{n}.attn_output.weight", (hidden, queries), encoding)
        yield Planned(f"blk.{n}.ffn_norm.weight", (hidden,), Q.F32)
        yield Planned(f"blk.{n}.ffn_gate.weight", (ffn, hidden), encoding)
        yield Planned(f"blk.{n}.ffn_up.weight", (ffn, hidden), encoding)
        yield Planned(f"blk.{n}.ffn_down.weight", (hidden, ffn), encoding)


def gpt_oss_tensors(layers: int, experts: int) -> Iterator[Planned]:
    hidden, heads, kv_heads, head_dim, ffn, vocabulary = 2880, 64, 8, 64, 2880, 201088
    # As the GGUF files people download have it: experts MXFP4, attention and embeddings Q8_0, the rest F32.
    yield Planned("token_embd.weight", (vocabulary, hidden), Q.Q8_0)
    yield Planned("output_norm.weight", (hidden,), Q.F32)
    yield Planned("output.weight", (vocabulary, hidden), Q.Q8_0)
    for n in range(layers):
        yield Planned(f"blk.{n}.attn_norm.weight", (hidden,), Q.F32)
        for name, rows in (("q", heads), ("k", kv_heads), ("v", kv_heads)):
            yield Planned(f"blk.{n}.attn_{name}.weight", (rows * head_dim, hidden), Q.Q8_0)
            yield Planned(f"blk.{n}.attn_{name}.bias", (rows * head_dim,), Q.F32)
        yield Planned(f"blk.{n}.attn_output.weight", (hidden, heads * head_dim), Q.Q8_0)
        yield Planned(f"blk.{n}.attn_output.bias", (hidden,), Q.F32)
        yield Planned(f"blk.{n}.attn_sinks.weight", (heads,), Q.F32)
        yield Planned(f"blk.{n}.post_attention_norm.weight", (hidden,), Q.F32)
        yield Planned(f"blk.{n}.ffn_gate_inp.weight", (experts, hidden), Q.F32)
        yield Planned(f"blk.{n}.ffn_gate_inp.bias", (experts,), Q.F32)
        for name, rows, columns in (("gate", ffn, hidden), ("up", ffn, hidden), ("down", hidden, ffn)):
            yield Planned(f"blk.{n}.ffn_{name}_exps.weight", (experts, rows, columns), Q.MXFP4)
            yield Planned(f"blk.{n}.ffn_{name}_exps.bias", (experts, rows), Q.F32)


def describe_llama(writer: gguf.GGUFWriter, shape: dict, layers: int) -> None:
    writer.add_context_length(131072)
    writer.add_embedding_length(shape["hidden"])
    writer.add_block_count(layers)
    writer.add_feed_forward_length(shape["ffn"])
    writer.add_head_count(shape["heads"])
    writer.add_head_count_kv(shape["kv_heads"])
    writer.add_rope_dimension_count(shape["head_dim"])
    writer.add_rope_freq_base(500000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(shape["vocabulary"])


def describe_gpt_oss(writer: gguf.GGUFWriter, layers: int, experts: int) -> None:
    writer.add_context_length(131072)
    writer.add_embedding_length(2880)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(2880)
    writer.add_expert_feed_forward_length(2880)
    writer.add_head_count(64)
    writer.add_head_count_kv(8)
    writer.add_key_length(64)
    writer.add_value_length(64)
    writer.add_rope_freq_base(150000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_expert_count(experts)
    writer.add_expert_used_count(4)
    writer.add_sliding_window(128)
    writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    writer.add_rope_scaling_factor(32.0)
    writer.add_rope_scaling_orig_ctx_len(4096)
    writer.add_vocab_size(201088)


def write_checkpoint(name: str, into: Path, layers: int | None = None, seed: int = 20) -> Path:
    """The path of a GGUF file of that shape, written now if it is not there yet."""
    if name not in NAMES:
        raise SystemExit(f"random_checkpoints: {name!r} is not a shape we make; they are {', '.join(NAMES)}.")
    is_llama = name in LLAMA_SHAPES
    layers = layers or (LLAMA_SHAPES if is_llama else GPT_OSS_SHAPES)[name]["layers"]
    path = into / f"{name}-{layers}-layers.gguf"
    if path.exists():
        return path
    into.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    writer = gguf.GGUFWriter(partial, "llama" if is_llama else "gpt-oss", use_temp_file=False)
    if is_llama:
        describe_llama(writer, LLAMA_SHAPES[name], layers)
        planned = list(llama_tensors(LLAMA_SHAPES[name], layers))
    else:
        experts = GPT_OSS_SHAPES[name]["experts"]
        describe_gpt_oss(writer, layers, experts)
        planned = list(gpt_oss_tensors(layers, experts))
    writer.add_tokenizer_model("no_vocab")
    for each in planned:
        block, size = gguf.GGML_QUANT_SIZES[each.encoding]
        encoded_shape = (*each.shape[:-1], each.shape[-1] // block * size)
        is_float = each.encoding in (Q.F32,)
        writer.add_tensor_info(
            each.name,
            each.shape if is_float else encoded_shape,
            np.dtype(np.float32) if is_float else np.dtype(np.uint8),
            each.bytes,
            raw_dtype=each.encoding,
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    random = np.random.default_rng(seed)
    for each in planned:
        writer.write_tensor_data(random_bytes(each, random))
    writer.close()
    partial.rename(path)
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--layers", type=int, help="fewer layers than the model has")
    parser.add_argument("--into", type=Path, default=Path("build/checkpoints"))
    parser.add_argument("--seed", type=int, default=20)
    arguments = parser.parse_args()
    print(write_checkpoint(arguments.name, arguments.into, arguments.layers, arguments.seed))
