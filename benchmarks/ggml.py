"""Single operations of ggml, the library under llama.cpp, as the wheel xllamacpp carries it."""

import ctypes
from pathlib import Path

import numpy as np

TYPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 8, "Q4_K": 12, "Q6_K": 14, "MXFP4": 39}
ROOM = 1 << 20  # bytes for what describes tensors and graphs


class Params(ctypes.Structure):
    _fields_ = (("size", ctypes.c_size_t), ("buffer", ctypes.c_void_p), ("no_alloc", ctypes.c_bool))


def opened() -> ctypes.CDLL:
    """Raises ImportError where xllamacpp is not installed."""
    import xllamacpp

    library = ctypes.CDLL(str(Path(xllamacpp.__file__).with_name("xllamacpp.abi3.so")))
    pointer, count = ctypes.c_void_p, ctypes.c_int64
    for name, result, arguments in (
        ("ggml_init", pointer, [Params]),
        ("ggml_free", None, [pointer]),
        ("ggml_cpu_init", None, []),
        ("ggml_new_tensor_2d", pointer, [pointer, ctypes.c_int, count, count]),
        ("ggml_transpose", pointer, [pointer, pointer]),
        ("ggml_out_prod", pointer, [pointer, pointer, pointer]),
        ("ggml_get_data", pointer, [pointer]),
        ("ggml_new_graph", pointer, [pointer]),
        ("ggml_build_forward_expand", None, [pointer, pointer]),
        ("ggml_graph_compute_with_ctx", ctypes.c_int, [pointer, pointer, ctypes.c_int]),
        (
            "ggml_quantize_chunk",
            ctypes.c_size_t,
            [ctypes.c_int, pointer, pointer, count, count, count, pointer],
        ),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    library.ggml_cpu_init()
    return library


class Ggml:
    """Raises ImportError where xllamacpp is not installed."""

    def __init__(self) -> None:
        self.library = opened()

    def encoded(self, encoding: str, values: np.ndarray) -> np.ndarray:
        """float32 (rows, columns) rounded to an encoding: uint8, flat, as in a GGUF file."""
        rows, columns = values.shape
        out = np.empty(values.nbytes + 64, np.uint8)
        size = self.library.ggml_quantize_chunk(
            TYPES[encoding], values.ctypes.data, out.ctypes.data, 0, rows, columns, None
        )
        return out[:size].copy()

    def out_product(self, encoding: str, data: np.ndarray, dy: np.ndarray, columns: int) -> "OutProduct":
        """dy @ weights as llama.cpp's backward pass has it computed: `ggml_out_prod` with a transposed gradient."""
        return OutProduct(self.library, encoding, data, dy, columns)


class OutProduct:
    """Called, it computes. `result` is float32 (tokens, columns). Close it."""

    def __init__(self, library: ctypes.CDLL, encoding: str, data: np.ndarray, dy: np.ndarray, columns: int) -> None:
        tokens, rows = dy.shape
        self.library = library
        self.context = library.ggml_init(Params(data.nbytes + dy.nbytes + 4 * tokens * columns + ROOM, None, False))
        weights = library.ggml_new_tensor_2d(self.context, TYPES[encoding], columns, rows)
        gradient = library.ggml_new_tensor_2d(self.context, TYPES["F32"], rows, tokens)
        product = library.ggml_out_prod(self.context, weights, library.ggml_transpose(self.context, gradient))
        ctypes.memmove(library.ggml_get_data(weights), data.ctypes.data, data.nbytes)
        ctypes.memmove(library.ggml_get_data(gradient), dy.ctypes.data, dy.nbytes)
        self.graph = library.ggml_new_graph(self.context)
        library.ggml_build_forward_expand(self.graph, product)
        at = library.ggml_get_data(product)
        self.result = np.ctypeslib.as_array(ctypes.cast(at, ctypes.POINTER(ctypes.c_float)), (tokens, columns))

    def __call__(self, threads: int) -> None:
        if status := self.library.ggml_graph_compute_with_ctx(self.context, self.graph, threads):
            raise RuntimeError(f"ggml_out_prod: status {status}.")

    def close(self) -> None:
        self.library.ggml_free(self.context)
