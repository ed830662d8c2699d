"""A GGUF file's weights in another encoding, by llama.cpp's own quantiser."""

import ctypes
from pathlib import Path

import gguf
import numpy as np
import xllamacpp
from gguf import GGMLQuantizationType as Encoding

library = ctypes.CDLL(str(Path(xllamacpp.__file__).with_name("xllamacpp.abi3.so")))
library.ggml_quantize_chunk.restype = ctypes.c_size_t
library.ggml_quantize_chunk.argtypes = (
    *(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p),
    *(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p),
)

# SmolLM2-135M with zeros around it: columns in multiples of 256, as the K encodings want them. 9 heads of 64 become 12,
# 3 kv heads 4. The mean of squares is over more columns now, so eps and the norms' weights are smaller: it is the same
# function.
WIDER = {576: 768, 192: 256}
WIDENED = {
    "llama.embedding_length": 768,
    "llama.attention.head_count": 12,
    "llama.attention.head_count_kv": 4,
}
EPS = "llama.attention.layer_norm_rms_epsilon"


def encode(values: np.ndarray, encoding: Encoding) -> np.ndarray:
    """uint8 (..., bytes of a row)."""
    rows, columns = values.size // values.shape[-1], values.shape[-1]
    values = np.ascontiguousarray(values, np.float32)
    block, size = gguf.GGML_QUANT_SIZES[encoding]
    out = np.empty((*values.shape[:-1], columns // block * size), np.uint8)
    written = library.ggml_quantize_chunk(encoding, values.ctypes.data, out.ctypes.data, 0, rows, columns, None)
    assert written == out.nbytes, f"{written} bytes for {values.shape} in {encoding.name}, expected {out.nbytes}"
    return out


def rewrite(source: Path, path: Path, encoding: Encoding, *, widened: bool = False) -> None:
    """Write every matrix of `source` anew in `encoding`; with `widened`, of SmolLM2-135M with zeros around it."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(path, "llama")
    for field in reader.fields.values():
        if not field.name.startswith(("GGUF.", "general.architecture")):
            kind, inner = field.types[0], field.types[-1] if len(field.types) > 1 else None
            value = field.contents()
            if widened:
                value = value * 576 / 768 if field.name == EPS else WIDENED.get(field.name, value)
            writer.add_key_value(field.name, value, kind, inner)
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if widened:
            values = np.pad(values, [(0, WIDER.get(size, size) - size) for size in values.shape])
            values = values if values.ndim > 1 else values * np.float32((576 / 768) ** 0.5)
        if values.ndim == 1 or encoding == Encoding.F32:
            writer.add_tensor(tensor.name, values)
        else:
            writer.add_tensor(tensor.name, encode(values, encoding), raw_dtype=encoding)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
