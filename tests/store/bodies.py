"""Contents that look like models to the store, which reads names, sizes, digests and first bytes."""

import json


def gguf(size: int, seed: int = 0) -> bytes:
    """`size` bytes that begin as a GGUF file does; another `seed`, another content."""
    return b"GGUF" + bytes((n * 31 + seed * 7 + n // 251) % 256 for n in range(size - 4))


def safetensors(size: int, seed: int = 0) -> bytes:
    """One tensor of `size` bytes."""
    described = {"t": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}
    header = json.dumps(described).encode()
    return len(header).to_bytes(8, "little") + header + gguf(size, seed)


def folder_model(shards: int = 2) -> dict[str, bytes]:
    """A repository with configuration, tokenizer, sharded weights, and things that are not to be fetched."""
    names = [f"model-{n + 1:05}-of-{shards:05}.safetensors" for n in range(shards)]
    index = {"weight_map": {f"t{n}": name for n, name in enumerate(names)}}
    return {
        "config.json": b'{"model_type": "llama"}',
        "generation_config.json": b"{}",
        "tokenizer.json": b'{"model": {}}',
        "tokenizer_config.json": b'{"chat_template": "hello"}',
        "chat_template.jinja": b"{{ messages }}",
        "LICENSE": b"Apache",
        "model.safetensors.index.json": json.dumps(index).encode(),
        **{name: safetensors(3000, seed) for seed, name in enumerate(names)},
        "README.md": b"# a model",
        "pytorch_model.bin": b"\x80\x04pickle",
        "original/consolidated.00.pth": b"\x80\x04pickle",
        "consolidated.safetensors": safetensors(6000, 9),
        "onnx/model.onnx": b"onnx",
    }
