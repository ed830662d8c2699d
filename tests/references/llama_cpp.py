"""llama.cpp as xllamacpp carries it, spoken to through its C interface: token ids in, logits of every token out.

The two parameter structures are not described here, because they change with versions; they are passed as the opaque
bytes that llama.cpp fills with its defaults. The few fields we set are found by position, and their neighbours'
default values are checked first, so a version with another layout ends in a sentence and not in wrong numbers.
"""

import ctypes
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import xllamacpp

library = ctypes.CDLL(str(Path(xllamacpp.__file__).with_name("xllamacpp.abi3.so")))


class Opaque(ctypes.Structure):
    _fields_ = (("words", ctypes.c_int32 * 256),)


class Batch(ctypes.Structure):
    _fields_ = (
        ("n_tokens", ctypes.c_int32),
        ("token", ctypes.POINTER(ctypes.c_int32)),
        ("embd", ctypes.c_void_p),
        ("pos", ctypes.POINTER(ctypes.c_int32)),
        ("n_seq_id", ctypes.POINTER(ctypes.c_int32)),
        ("seq_id", ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
        ("logits", ctypes.POINTER(ctypes.c_int8)),
    )


def declare(name: str, result: object, *arguments: object) -> None:
    function = getattr(library, name)
    function.restype, function.argtypes = result, arguments


LogCallback = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
declare("llama_log_set", None, LogCallback, ctypes.c_void_p)
declare("llama_backend_init", None)
declare("llama_model_default_params", Opaque)
declare("llama_context_default_params", Opaque)
declare("llama_model_load_from_file", ctypes.c_void_p, ctypes.c_char_p, Opaque)
declare("llama_init_from_model", ctypes.c_void_p, ctypes.c_void_p, Opaque)
declare("llama_model_free", None, ctypes.c_void_p)
declare("llama_free", None, ctypes.c_void_p)
declare("llama_model_get_vocab", ctypes.c_void_p, ctypes.c_void_p)
declare("llama_vocab_n_tokens", ctypes.c_int32, ctypes.c_void_p)
declare(
    "llama_tokenize",
    ctypes.c_int32,
    ctypes.c_void_p,
    ctypes.c_char_p,
    ctypes.c_int32,
    ctypes.POINTER(ctypes.c_int32),
    ctypes.c_int32,
    ctypes.c_bool,
    ctypes.c_bool,
)
declare("llama_batch_init", Batch, ctypes.c_int32, ctypes.c_int32, ctypes.c_int32)
declare("llama_batch_free", None, Batch)
declare("llama_decode", ctypes.c_int32, ctypes.c_void_p, Batch)
declare("llama_get_logits", ctypes.POINTER(ctypes.c_float), ctypes.c_void_p)
declare("llama_get_memory", ctypes.c_void_p, ctypes.c_void_p)
declare("llama_memory_clear", None, ctypes.c_void_p, ctypes.c_bool)
declare("llama_adapter_lora_init", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)
declare(
    "llama_set_adapters_lora",
    ctypes.c_int32,
    ctypes.c_void_p,
    ctypes.POINTER(ctypes.c_void_p),
    ctypes.c_size_t,
    ctypes.POINTER(ctypes.c_float),
)

QUIET = LogCallback(lambda level, text, data: None)

# Where fields of llama_context_params lie, in words of 32 bits, and what llama.cpp fills in.
N_CTX, N_BATCH, THREADS, THREADS_BATCH, FLASH, TYPE_K, TYPE_V = 0, 1, 7, 8, 13, 26, 27
DEFAULTS = {0: 512, 1: 2048, 2: 512, 3: 1, 7: 4, 8: 4, 10: -1, 11: -1, 12: -1, 13: -1, 14: 0, 15: 0, 26: 1, 27: 1}
OFF, ON = 0, 1
CACHES = {"f32": 0, "f16": 1, "q8_0": 8}  # ggml_type


class LlamaCpp:
    """One model and one sequence. Keys and values are kept in float32 unless another type is asked for, so that only
    llama.cpp's products differ. Others need its flash attention, without which it keeps no values in 8 bits.

    One thread, because its threads wait for each other by spinning, which takes for ever on a busy machine.
    """

    def __init__(self, path: Path, context: int = 2048, threads: int = 1, cache: str = "f32") -> None:
        library.llama_log_set(QUIET, None)
        library.llama_backend_init()
        parameters = library.llama_context_default_params()
        found = {at: parameters.words[at] for at in DEFAULTS}
        assert found == DEFAULTS, f"llama_context_params has another layout in this version: {found}"
        flash = OFF if cache == "f32" else ON
        for at, value in ((N_CTX, context), (THREADS, threads), (THREADS_BATCH, threads), (FLASH, flash)):
            parameters.words[at] = value
        parameters.words[TYPE_K] = parameters.words[TYPE_V] = CACHES[cache]
        self.model = library.llama_model_load_from_file(str(path).encode(), library.llama_model_default_params())
        assert self.model, f"llama.cpp does not load {path}"
        self.tokens = library.llama_model_get_vocab(self.model)
        self.vocabulary = library.llama_vocab_n_tokens(self.tokens)
        self.context = library.llama_init_from_model(self.model, parameters)
        assert self.context, f"llama.cpp makes no context of {context} tokens for {path}"
        self.room = parameters.words[N_BATCH]
        self.length = 0

    def tokenize(self, text: str) -> list[int]:
        """Token ids; control tokens in the text count as such, and none is added."""
        encoded = text.encode()
        room = (ctypes.c_int32 * (len(encoded) + 8))()
        count = library.llama_tokenize(self.tokens, encoded, len(encoded), room, len(room), False, True)
        assert count >= 0
        return list(room[:count])

    def clear(self) -> None:
        library.llama_memory_clear(library.llama_get_memory(self.context), True)
        self.length = 0

    def step(self, ids: Sequence[int]) -> np.ndarray:
        """float32 (tokens, vocabulary): the logits of tokens that follow those given before."""
        assert len(ids) <= self.room
        batch = library.llama_batch_init(len(ids), 0, 1)
        batch.n_tokens = len(ids)
        for i, token in enumerate(ids):
            batch.token[i] = int(token)
            batch.pos[i] = self.length + i
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = 0
            batch.logits[i] = 1
        failed = library.llama_decode(self.context, batch)
        library.llama_batch_free(batch)
        assert not failed, f"llama_decode returned {failed}"
        self.length += len(ids)
        return np.ctypeslib.as_array(library.llama_get_logits(self.context), (len(ids), self.vocabulary)).copy()

    def logits(self, ids: Sequence[int]) -> np.ndarray:
        """The same from an empty sequence."""
        self.clear()
        return self.step(ids)

    def adapt(self, path: Path, scale: float = 1.0) -> None:
        """Compute with the adapter in a GGUF file from now on. Its memory is the model's."""
        adapter = library.llama_adapter_lora_init(self.model, str(path).encode())
        assert adapter, f"llama.cpp does not load the adapter {path}"
        one, scales = (ctypes.c_void_p * 1)(adapter), (ctypes.c_float * 1)(scale)
        assert library.llama_set_adapters_lora(self.context, one, 1, scales) == 0

    def close(self) -> None:
        library.llama_free(self.context)
        library.llama_model_free(self.model)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
