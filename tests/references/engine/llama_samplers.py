"""llama.cpp's samplers as xllamacpp carries them, spoken to through their C interface, in the order that Ouvert has."""

import ctypes
import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xllamacpp

from ouvert.engine import Sampling

library = ctypes.CDLL(str(Path(xllamacpp.__file__).with_name("xllamacpp.abi3.so")))
CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])


class Candidates(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("size", ctypes.c_size_t),
        ("selected", ctypes.c_int64),
        ("sorted", ctypes.c_bool),
    )


class Bias(ctypes.Structure):
    _fields_ = (("token", ctypes.c_int32), ("bias", ctypes.c_float))


class ChainParameters(ctypes.Structure):
    _fields_ = (("no_perf", ctypes.c_bool),)


def declare(name: str, result: object, *arguments: object) -> None:
    function = getattr(library, name)
    function.restype, function.argtypes = result, arguments


declare("llama_sampler_chain_init", ctypes.c_void_p, ChainParameters)
declare("llama_sampler_chain_add", None, ctypes.c_void_p, ctypes.c_void_p)
declare("llama_sampler_init_greedy", ctypes.c_void_p)
declare("llama_sampler_init_dist", ctypes.c_void_p, ctypes.c_uint32)
declare("llama_sampler_init_temp", ctypes.c_void_p, ctypes.c_float)
declare("llama_sampler_init_top_k", ctypes.c_void_p, ctypes.c_int32)
declare("llama_sampler_init_top_p", ctypes.c_void_p, ctypes.c_float, ctypes.c_size_t)
declare("llama_sampler_init_min_p", ctypes.c_void_p, ctypes.c_float, ctypes.c_size_t)
declare(
    "llama_sampler_init_penalties",
    ctypes.c_void_p,
    ctypes.c_int32,
    ctypes.c_int32,
    ctypes.c_float,
    ctypes.c_float,
    ctypes.c_float,
)
declare("llama_sampler_init_logit_bias", ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32, ctypes.POINTER(Bias))
declare("llama_sampler_accept", None, ctypes.c_void_p, ctypes.c_int32)
declare("llama_sampler_apply", None, ctypes.c_void_p, ctypes.POINTER(Candidates))
declare("llama_sampler_free", None, ctypes.c_void_p)


class Chain:
    """A chain for one sequence. With `draws`, it ends with the choice of a token."""

    def __init__(self, sampling: Sampling, prompt: Sequence[int], words: int, *, draws: bool) -> None:
        chain = library.llama_sampler_chain_init(ChainParameters(True))
        self._chain = chain
        weakref.finalize(self, library.llama_sampler_free, chain)
        if sampling.logit_bias:
            biases = (Bias * len(sampling.logit_bias))(*sampling.logit_bias.items())
            self._add(library.llama_sampler_init_logit_bias(words, len(biases), biases))
        if sampling.repetition_penalty != 1 or sampling.presence_penalty or sampling.frequency_penalty:
            self._add(
                library.llama_sampler_init_penalties(
                    words,
                    len(prompt),
                    sampling.repetition_penalty,
                    sampling.frequency_penalty,
                    sampling.presence_penalty,
                )
            )
        if sampling.temperature not in (0, 1):
            self._add(library.llama_sampler_init_temp(sampling.temperature))
        if sampling.top_k:
            self._add(library.llama_sampler_init_top_k(sampling.top_k))
        if sampling.top_p < 1:
            self._add(library.llama_sampler_init_top_p(sampling.top_p, 1))
        if sampling.min_p:
            self._add(library.llama_sampler_init_min_p(sampling.min_p, 1))
        if draws:
            last = library.llama_sampler_init_dist(1) if sampling.temperature else library.llama_sampler_init_greedy()
            self._add(last)
        for token in prompt:
            library.llama_sampler_accept(chain, token)
        self._all = np.zeros(words, CANDIDATE)

    def _add(self, sampler: int) -> None:
        library.llama_sampler_chain_add(self._chain, sampler)

    def apply(self, logits: np.ndarray) -> tuple[np.ndarray, int]:
        """The candidates that are left, and the place among them of the one selected, or -1."""
        self._all["id"] = np.arange(logits.size, dtype=np.int32)
        self._all["logit"] = logits
        self._all["p"] = 0
        candidates = Candidates(self._all.ctypes.data, logits.size, -1, False)
        library.llama_sampler_apply(self._chain, ctypes.byref(candidates))
        # A sampler may hand on an array of its own.
        left = (ctypes.c_char * (candidates.size * CANDIDATE.itemsize)).from_address(candidates.data)
        return np.frombuffer(left, CANDIDATE).copy(), candidates.selected

    def choose(self, logits: np.ndarray) -> int:
        left, selected = self.apply(logits)
        return int(left["id"][selected])
