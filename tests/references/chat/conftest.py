"""What the comparisons of chat formats share."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from tests.engine.base_alone import refuse_all_but_base

from ouvert.chat.harmony import HarmonyFormat
from ouvert.engine import BASE, EngineFacts, LocalEngine
from ouvert.engine.asked import NoAdapters
from ouvert.engine.identity import NumericIdentity

FACTS = EngineFacts(
    version="0",
    instruction_set="noise",
    threads=1,
    identity=NumericIdentity(
        weights="sha256:0",
        configuration="sha256:" + "c" * 64,
        layout="none",
        arithmetic="scripted",
        build=None,
        exact=True,
        cache="none",
    ),
)


class Noise:
    """A runner whose scores are noise: what is well formed is so because nothing else was let through."""

    threads, instruction_set, cache_type = 1, "noise", "none"
    page_tokens, page_bytes, cache_bytes_in_use = 64, 0, 0
    expert_reads, adapters = None, NoAdapters()

    def __init__(self, size, seed, ends, favour):
        self.vocabulary_size = self.width = size
        self.random, self.ends, self.favour = np.random.default_rng(seed), ends, favour

    def cache_bytes(self, tokens):
        return 0

    def check_variant(self, variant):
        refuse_all_but_base(variant, "the noise")

    def expands(self, variant):
        return False

    def new_sequence(self, capacity, variant=BASE):
        return Length()

    def step(self, work, wanted):
        [(sequence, ids)] = work
        sequence.length += len(ids)
        scores = self.random.standard_normal((int(wanted == ["last"]), self.vocabulary_size), np.float32)
        scores[:, self.ends] += self.favour  # of 200,000 words one would otherwise hardly ever be an end
        return scores

    def close(self):
        pass


class Page:
    """What tokens of noise leave: nothing."""

    nbytes = 0

    def close(self):
        pass


class Length:
    length = 0

    def page(self, n):
        return Page()

    def truncate(self, length):
        self.length = length

    def close(self):
        pass


def module_at(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def make_chat():
    """The script tests/goldens/make_chat.py."""
    return module_at(Path(__file__).parents[2] / "goldens" / "make_chat.py")


@pytest.fixture(scope="session")
def byte_tokenizer():
    """The tiny vocabulary of tests/chat."""
    return module_at(Path(__file__).parents[2] / "chat" / "conftest.py").ByteTokenizer


@pytest.fixture(scope="session")
def o200k(make_chat, tmp_path_factory):
    """openai-harmony's encoding of gpt-oss and our tokenizer, both reading the same file of ranks."""
    from ouvert.tokenization import tokenizer_from_ranks

    folder = tmp_path_factory.mktemp("o200k")
    encoding = make_chat.harmony_encoding(folder)
    return encoding, tokenizer_from_ranks(folder / "o200k_base.tiktoken")


@pytest.fixture(scope="session")
def encoding(o200k):
    return o200k[0]


@pytest.fixture(scope="session")
def chat(o200k):
    return HarmonyFormat(o200k[1])


@pytest.fixture(scope="session")
def noise():
    """noise(vocabulary_size, seed, ends) -> an engine whose scores are noise, in favour of the tokens `ends`."""
    return lambda size, seed, ends, favour=9.0: LocalEngine(Noise(size, seed, ends, favour), 4000, lambda: FACTS)
