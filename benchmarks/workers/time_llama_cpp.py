"""Times llama.cpp or ik_llama.cpp through their C API. Started by side_by_side.py as

    time_llama_cpp.py {llama_cpp | ik_llama_cpp} MODEL.gguf THREADS CONTEXT

Reads one JSON request a line, answers one JSON object a line. The best settings found for each are used:
llama.cpp with flash attention and its load-time repacking, ik_llama.cpp with run-time repacking. The request "stretch"
makes llama.cpp's past as long as "depth" without computing it: see llama_cpp_cache.py.
"""

import ctypes
import importlib
import json
import sys
import time
from typing import Any

BATCH = 2048
STRETCHED_FROM = 256  # tokens
QUIET = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda level, text, data: None)


def say(**answer: object) -> None:
    print(json.dumps(answer), flush=True)


class LlamaCpp:
    """llama-cpp-python's thin wrapping of llama.h."""

    def __init__(self, path: str, threads: int, context: int) -> None:
        self.api: Any = importlib.import_module("llama_cpp")
        self.api.llama_backend_init()
        self.api.llama_log_set(ctypes.cast(QUIET, self.api.llama_log_callback), ctypes.c_void_p(0))
        self.model = self.api.llama_model_load_from_file(path.encode(), self.api.llama_model_default_params())
        params = self.api.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = context, BATCH, 512
        params.n_threads = params.n_threads_batch = threads
        params.flash_attn_type = 1
        self.context = self.api.llama_init_from_model(self.model, params)
        self.memory = self.api.llama_get_memory(self.context)
        self.system = self.api.llama_print_system_info().decode()

    def forget(self, start: int) -> None:
        self.api.llama_memory_seq_rm(self.memory, 0, start, -1)

    def stretch(self, tokens: int) -> None:
        """Make the past of a few hundred tokens one of `tokens`."""
        from llama_cpp_cache import stretched

        size = self.api.llama_state_seq_get_size(self.context, 0)
        saved = (ctypes.c_uint8 * size)()
        self.api.llama_state_seq_get_data(self.context, saved, size, 0)
        data = stretched(bytes(saved), tokens)
        longer = (ctypes.c_uint8 * len(data)).from_buffer_copy(data)
        self.forget(0)
        if self.api.llama_state_seq_set_data(self.context, longer, len(data), 0) != len(data):
            raise SystemExit("llama_cpp: the stretched past was not taken")


class IkLlamaCpp:
    """ik_llama.cpp's older API, through its package's ctypes declarations."""

    def __init__(self, path: str, threads: int, context: int) -> None:
        self.api: Any = importlib.import_module("ik_llama_cpp._ctypes_api")
        self.api._lib.llama_log_set(QUIET, None)
        self.api.llama_backend_init()
        params = self.api.llama_model_default_params()
        params.repack_tensors, params.use_mmap = True, False
        self.model = self.api.llama_model_load_from_file(path.encode(), params)
        params = self.api.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = context, BATCH, 512
        params.n_threads = params.n_threads_batch = threads
        params.flash_attn = False
        self.context = self.api.llama_init_from_model(self.model, params)
        self.remove = self.api._lib.llama_kv_cache_seq_rm
        self.remove.argtypes = [ctypes.c_void_p, *[ctypes.c_int32] * 3]
        self.api._lib.llama_print_system_info.restype = ctypes.c_char_p
        self.system = self.api._lib.llama_print_system_info().decode()

    def forget(self, start: int) -> None:
        self.remove(self.context, 0, start, -1)


def main() -> None:
    kind, path, threads, context = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    began = time.perf_counter()
    peer = {"llama_cpp": LlamaCpp, "ik_llama_cpp": IkLlamaCpp}[kind](path, threads, context)
    api = peer.api
    if not peer.context:
        raise SystemExit(f"{kind}: {path} could not be loaded")
    vocabulary = api.llama_vocab_n_tokens(api.llama_model_get_vocab(peer.model))
    batch = api.llama_batch_init(BATCH, 0, 1)
    say(ready=True, load_seconds=time.perf_counter() - began, system=peer.system)

    def run(start: int, count: int) -> None:
        batch.n_tokens = count
        for i in range(count):
            batch.token[i], batch.pos[i] = (7919 * (start + i) + 13) % (vocabulary - 300), start + i
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, 0
            batch.logits[i] = i == count - 1
        if api.llama_decode(peer.context, batch):
            raise SystemExit(f"{kind}: llama_decode failed")
        api.llama_get_logits_ith(peer.context, count - 1)  # waits for the result

    def fill(count: int) -> None:
        peer.forget(0)
        for start in range(0, count, BATCH):
            run(start, min(BATCH, count - start))

    filled = 0
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "prefill":
            began = time.perf_counter()
            fill(request["tokens"])
            seconds, filled = time.perf_counter() - began, request["tokens"]
        elif request["do"] == "stretch":
            fill(STRETCHED_FROM)
            began = time.perf_counter()
            peer.stretch(request["depth"])
            seconds, filled = time.perf_counter() - began, request["depth"]
        else:
            if filled != (depth := request["depth"]):
                fill(depth)
            began = time.perf_counter()
            for i in range(request["tokens"]):
                run(depth + i, 1)
            seconds, filled = time.perf_counter() - began, depth
            peer.forget(depth)
        say(seconds=seconds)


if __name__ == "__main__":
    main()
