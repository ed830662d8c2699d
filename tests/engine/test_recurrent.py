"""The engine over caches that are a state and not a row a token: what is kept can be resumed at the end of a page only.

No family here has one yet (Mamba will): this runner stands in for it at the same face.
"""

import numpy as np
import pytest

from ouvert.engine import LocalEngine, Sampling
from ouvert.engine.page_files import PageFiles
from ouvert.engine.shelf import Shelf

PAGE_TOKENS = 16
VOCABULARY = 16
BEGINNING = [n % 7 for n in range(150)]


class Page:
    nbytes = 8

    def __init__(self, tokens, state):
        self.tokens, self.state = tokens, state

    def read(self):
        return memoryview(np.array([self.tokens, self.state], np.int64).tobytes())

    def close(self):
        pass


class Sequence:
    """A state that every token changes, and what it was at the end of every whole page."""

    def __init__(self, capacity):
        self.capacity, self.length, self.state, self.ends = capacity, 0, 0, []

    def append(self, token):
        self.state = (self.state * 1_000_003 + token + 1) % (1 << 40)
        self.length += 1
        if self.length % PAGE_TOKENS == 0:
            self.ends.append(self.state)

    def truncate(self, length):
        if length < self.length:
            whole = length // PAGE_TOKENS
            self.ends = self.ends[:whole]
            self.length, self.state = whole * PAGE_TOKENS, self.ends[-1] if whole else 0

    def page(self, n):
        whole = n < len(self.ends)
        return Page(PAGE_TOKENS if whole else self.length % PAGE_TOKENS, self.ends[n] if whole else self.state)

    def close(self):
        pass


class RecurrentRunner:
    threads, instruction_set, cache_type = 1, "fake", "f32"
    page_tokens, page_bytes, cache_bytes_in_use = PAGE_TOKENS, 8, 0
    vocabulary_size = width = VOCABULARY

    def __init__(self):
        self.read = 0

    def cache_bytes(self, tokens):
        return 8 * -(-tokens // PAGE_TOKENS)

    def new_sequence(self, capacity):
        return Sequence(capacity)

    def resume(self, pages, length, capacity):
        sequence = Sequence(capacity)
        for page in pages:
            if sequence.length + page.tokens > length:
                break
            sequence.length, sequence.state = sequence.length + page.tokens, page.state
            if page.tokens == PAGE_TOKENS:
                sequence.ends.append(page.state)
        return sequence

    def page_from(self, data):
        tokens, state = np.frombuffer(data, np.int64)
        return Page(int(tokens), int(state))

    def step(self, work, wanted):
        each = [wanted] * len(work) if isinstance(wanted, str) else wanted
        rows = []
        for (sequence, ids), wish in zip(work, each, strict=True):
            self.read += len(ids)
            for n, token in enumerate(ids):
                sequence.append(int(token))
                if wish == "all" or (wish == "last" and n == len(ids) - 1):
                    rows.append(np.random.default_rng(sequence.state).standard_normal(VOCABULARY))
        return np.array(rows, np.float32).reshape(-1, VOCABULARY)

    def close(self):
        pass


def answer(engine, prompt, seed=1):
    generation = engine.generate(prompt, Sampling(seed=seed, max_tokens=20))
    return [token.id for token in generation], generation.stopped.reused_tokens


@pytest.mark.parametrize("seed", range(4))
def test_answers_are_those_without_kept_states(facts, seed):
    random = np.random.default_rng(seed)
    kept = LocalEngine(RecurrentRunner(), 4096, facts)
    reused = 0
    for _ in range(30):
        shared = BEGINNING[: random.integers(0, 150)]
        prompt = [*shared, *random.integers(0, VOCABULARY, random.integers(1, 40)).tolist()]
        asked = int(random.integers(1000))
        found, again = answer(kept, prompt, asked)
        assert found == answer(LocalEngine(RecurrentRunner(), 4096, facts), prompt, asked)[0]
        reused += again
    assert reused > 500


def test_what_is_resumed_is_whole_pages_and_the_rest_is_read_anew(facts):
    runner = RecurrentRunner()
    engine = LocalEngine(runner, 4096, facts)
    answer(engine, BEGINNING)
    before = runner.read
    _, reused = answer(engine, [*BEGINNING[:100], 9, 9])
    assert reused == 96
    assert runner.read - before == 102 - 96 + 19  # and the answer, but for its last token


def test_states_outlive_a_restart(facts, tmp_path):
    def engine():
        runner = RecurrentRunner()
        shelf = Shelf(PageFiles(tmp_path, quota=10**9), lambda: {"weights": "a"}, PAGE_TOKENS)
        return LocalEngine(runner, 4096, facts, shelf=shelf)

    first = engine()
    found, _ = answer(first, BEGINNING)
    first.close()
    second = engine()
    assert answer(second, BEGINNING) == (found, 144)
    assert answer(second, [*BEGINNING[:140], 3])[1] == 128
    second.close()
