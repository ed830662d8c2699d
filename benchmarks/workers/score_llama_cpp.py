"""Scores texts and choices through llama.cpp's C API, as its perplexity tool does. Started by scoring.py as

    score_llama_cpp.py MODEL.gguf THREADS

Reads one JSON job a line, {"texts": [ids, ...]} or {"questions": [[context ids, [choice ids, ...]], ...]}, and answers
{"seconds", "logprob"}. As in that tool's `--multiple-choice`, the context of a question stands in the batch once, for
all its choices, and logits are asked for where a token is scored; several questions, or texts, share a batch of 2048
tokens. `seconds` are those of llama_decode alone: what the tool takes for log-softmaxes comes on top of it there, and
is not counted here. `logprob` is the sum over the first text or question, to see that both programs do the same.
"""

import ctypes
import importlib
import json
import sys
import time
from itertools import pairwise
from typing import Any

import numpy as np

BATCH, CONTEXT, SEQUENCES = 2048, 2048, 64
QUIET = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda level, text, data: None)

# A token of a batch: id, position, the sequences it is of, and the token that is scored behind it.
Entry = tuple[int, int, list[int], int | None]


class Scorer:
    def __init__(self, path: str, threads: int) -> None:
        self.api: Any = importlib.import_module("llama_cpp")
        self.api.llama_backend_init()
        self.api.llama_log_set(ctypes.cast(QUIET, self.api.llama_log_callback), ctypes.c_void_p(0))
        self.model = self.api.llama_model_load_from_file(path.encode(), self.api.llama_model_default_params())
        params = self.api.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = CONTEXT, BATCH, 512
        params.n_seq_max, params.kv_unified = SEQUENCES, True
        params.n_threads = params.n_threads_batch = threads
        params.flash_attn_type = 1
        self.context = self.api.llama_init_from_model(self.model, params)
        if not self.context:
            raise SystemExit("score_llama_cpp: llama.cpp makes no context")
        self.vocabulary = self.api.llama_vocab_n_tokens(self.api.llama_model_get_vocab(self.model))
        self.batch = self.api.llama_batch_init(BATCH, 0, SEQUENCES)

    def run(self, units: list[list[list[Entry]]]) -> tuple[float, float]:
        """Units that stay together, each a list of branches; the seconds, and the first unit's sum."""
        seconds, first, count = 0.0, None, 0
        while units:
            entries: list[Entry] = []
            sequences = 0
            while units:
                needed = 1 + max(each for branch in units[0] for _, _, of, _ in branch for each in of)
                tokens = sum(map(len, units[0]))
                if entries and (len(entries) + tokens > BATCH or sequences + needed > SEQUENCES):
                    break
                unit = units.pop(0)
                entries += [
                    (token, place, [sequences + each for each in of], scored)
                    for branch in unit
                    for token, place, of, scored in branch
                ]
                sequences += needed
                count = count or len(entries)
            seconds += self.decode(entries)
            if first is None:
                first = self.logprob(entries[:count])
        return seconds, first or 0.0

    def decode(self, entries: list[Entry]) -> float:
        self.api.llama_memory_clear(self.api.llama_get_memory(self.context), True)
        self.batch.n_tokens = len(entries)
        for n, (token, place, of, scored) in enumerate(entries):
            self.batch.token[n], self.batch.pos[n], self.batch.n_seq_id[n] = token, place, len(of)
            for k, each in enumerate(of):
                self.batch.seq_id[n][k] = each
            self.batch.logits[n] = scored is not None
        began = time.perf_counter()
        if self.api.llama_decode(self.context, self.batch):
            raise SystemExit("score_llama_cpp: llama_decode failed")
        self.api.llama_synchronize(self.context)
        return time.perf_counter() - began

    def logprob(self, entries: list[Entry]) -> float:
        total = 0.0
        for n, (_, _, _, scored) in enumerate(entries):
            if scored is not None:
                row = np.ctypeslib.as_array(self.api.llama_get_logits_ith(self.context, n), (self.vocabulary,))
                wide = row.astype(np.float64)
                total += wide[scored] - wide.max() - np.log(np.exp(wide - wide.max()).sum())
        return float(total)


def of_text(ids: list[int]) -> list[list[Entry]]:
    return [[(token, n, [0], following) for n, (token, following) in enumerate(pairwise(ids))]]


def of_question(context: list[int], choices: list[list[int]]) -> list[list[Entry]]:
    """The last token of the context once a choice, since each has another token behind it."""
    every, last = list(range(len(choices))), len(context) - 1
    shared: list[Entry] = [(token, n, every, None) for n, token in enumerate(context[:-1])]
    branches = []
    for number, choice in enumerate(choices):
        ids = [context[-1], *choice]
        branches.append([(ids[n], last + n, [number], ids[n + 1]) for n in range(len(choice))])
    return [shared, *branches]


def main() -> None:
    scorer = Scorer(sys.argv[1], int(sys.argv[2]))
    print(json.dumps({"version": scorer.api.__version__}), flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        units = [of_text(ids) for ids in job.get("texts", [])]
        units += [of_question(context, choices) for context, choices in job.get("questions", [])]
        seconds, logprob = scorer.run(units)
        print(json.dumps({"seconds": seconds, "logprob": logprob}), flush=True)


main()
