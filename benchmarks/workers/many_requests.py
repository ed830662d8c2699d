"""Requests at once of mixed lengths, to one program. Started by many.py as

    many_requests.py {ouvert | llama_cpp | server} MODEL.gguf THREADS MOST

`llama_cpp` is llama.h with the loop of its server (answers first, then prompts, up to n_batch tokens a step), without
its HTTP and its sampler; `server` is the server inside the wheel xllamacpp, over HTTP on loopback.
Reads one JSON request a line, {"requests": [[prompt tokens, answer tokens], ...], "salt": n}; answers one JSON object a
line: seconds in all, and for every request the seconds of each of its tokens since they all were sent.
"""

import ctypes
import http.client
import importlib
import json
import os
import sys
import threading
import time
from typing import Any

BATCH = 2048
Times = list[list[float]]


def prompt(tokens: int, salt: int, vocabulary: int) -> list[int]:
    """Differs from all others from its first token on, so that nothing is reused."""
    return [(7919 * i + 13 + 31 * salt) % (vocabulary - 300) for i in range(tokens)]


class Ouvert:
    def __init__(self, path: str, threads: int, most: int) -> None:
        from pathlib import Path

        from ouvert.engine import PackedFile, open_engine
        from ouvert.weights import combined_digest, open_checkpoint, sha256_of

        with open_checkpoint(Path(path)) as checkpoint:
            digest = combined_digest({file.name: sha256_of(file) for file in checkpoint.files})
        packed = PackedFile(place=lambda layout: Path(path).with_suffix(f".{layout}"), source_digest=digest)
        self.engine = open_engine(Path(path), threads=threads, packed=packed, weights_digest=digest).engine
        self.vocabulary = self.engine.vocabulary_size

    def run(self, requests: list[tuple[list[int], int]]) -> Times:
        from ouvert.engine import Sampling

        began = time.perf_counter()
        times: Times = [[] for _ in requests]

        def read(n: int, generation: Any) -> None:
            for _ in generation:
                times[n].append(time.perf_counter() - began)

        readers = []
        for n, (ids, tokens) in enumerate(requests):
            generation = self.engine.generate(ids, Sampling(temperature=0, max_tokens=tokens))
            readers.append(threading.Thread(target=read, args=(n, generation)))
            readers[-1].start()
        for reader in readers:
            reader.join()
        return times


class LlamaCpp:
    def __init__(self, path: str, threads: int, most: int) -> None:
        import numpy

        self.numpy = numpy
        self.api: Any = importlib.import_module("llama_cpp")
        quiet = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda level, text, data: None)
        self.quiet = quiet
        self.api.llama_backend_init()
        self.api.llama_log_set(ctypes.cast(quiet, self.api.llama_log_callback), ctypes.c_void_p(0))
        self.model = self.api.llama_model_load_from_file(path.encode(), self.api.llama_model_default_params())
        params = self.api.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch, params.n_seq_max = 1024 * most, BATCH, 512, most
        params.n_threads = params.n_threads_batch = threads
        params.flash_attn_type, params.kv_unified = 1, True
        self.context = self.api.llama_init_from_model(self.model, params)
        if not self.context:
            raise SystemExit(f"llama_cpp: {path} could not be loaded")
        self.vocabulary = self.api.llama_vocab_n_tokens(self.api.llama_model_get_vocab(self.model))
        self.batch = self.api.llama_batch_init(BATCH, 0, 1)

    def run(self, requests: list[tuple[list[int], int]]) -> Times:
        api, batch = self.api, self.batch
        memory = api.llama_get_memory(self.context)
        for n in range(len(requests)):
            api.llama_memory_seq_rm(memory, n, -1, -1)
        began = time.perf_counter()
        times: Times = [[] for _ in requests]
        done = [0] * len(requests)  # tokens in the cache
        following = [-1] * len(requests)
        while True:
            taken: list[tuple[int, int, bool]] = []  # (request, token, logits wanted)
            for n, (ids, tokens) in enumerate(requests):
                if done[n] >= len(ids) and len(times[n]) < tokens:
                    taken.append((n, following[n], True))
            for n, (ids, _) in enumerate(requests):
                room = BATCH - len(taken)
                taken += [(n, ids[i], i == len(ids) - 1) for i in range(done[n], min(len(ids), done[n] + room))]
            if not taken:
                return times
            for place, (n, token, logits) in enumerate(taken):
                batch.token[place], batch.pos[place], batch.logits[place] = token, done[n], logits
                batch.n_seq_id[place], batch.seq_id[place][0] = 1, n
                done[n] += 1
            wanted = [(n, place) for place, (n, _, logits) in enumerate(taken) if logits]
            batch.n_tokens = len(taken)
            if api.llama_decode(self.context, batch):
                raise SystemExit("llama_cpp: llama_decode failed")
            for n, place in wanted:
                row = self.numpy.ctypeslib.as_array(api.llama_get_logits_ith(self.context, place), (self.vocabulary,))
                following[n] = int(row.argmax())
                times[n].append(time.perf_counter() - began)


class Server:
    def __init__(self, path: str, threads: int, most: int) -> None:
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = path
        params.n_ctx, params.n_batch, params.n_ubatch, params.n_parallel = 1024 * most, BATCH, 512, most
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
        params.warmup = False
        params.port = 0
        self.server = xllamacpp.Server(params)
        self.address = self.server.listening_address.removeprefix("http://")
        connection = http.client.HTTPConnection(self.address)
        connection.request("GET", "/v1/models")
        self.vocabulary = json.load(connection.getresponse())["data"][0]["meta"]["n_vocab"]

    def run(self, requests: list[tuple[list[int], int]]) -> Times:
        began = time.perf_counter()
        times: Times = [[] for _ in requests]

        def ask(n: int, ids: list[int], tokens: int) -> None:
            body = {"prompt": ids, "n_predict": tokens, "temperature": 0, "ignore_eos": True, "stream": True}
            connection = http.client.HTTPConnection(self.address)
            connection.request("POST", "/completion", json.dumps(body), {"Content-Type": "application/json"})
            for line in connection.getresponse():
                if line.startswith(b"data: ") and not json.loads(line[6:]).get("stop"):
                    times[n].append(time.perf_counter() - began)

        askers = [threading.Thread(target=ask, args=(n, *request)) for n, request in enumerate(requests)]
        for asker in askers:
            asker.start()
        for asker in askers:
            asker.join()
        return times


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")  # a server may write its log to standard output
    os.dup2(2, 1)
    program = {"ouvert": Ouvert, "llama_cpp": LlamaCpp, "server": Server}[sys.argv[1]](
        sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    )
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        requests = [
            (prompt(tokens, 100 * asked["salt"] + n, program.vocabulary), answer)
            for n, (tokens, answer) in enumerate(asked["requests"])
        ]
        began = time.perf_counter()
        times = program.run(requests)
        print(json.dumps({"seconds": time.perf_counter() - began, "times": times}), file=answers, flush=True)


if __name__ == "__main__":
    main()
