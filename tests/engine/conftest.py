"""A runner whose logits are a plain function of the tokens so far: a stand-in for a model at the runner's face."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from ouvert.engine import EngineFacts


class FakeSequence:
    def __init__(self, capacity: int) -> None:
        self.capacity, self.ids, self.closed = capacity, [], False

    @property
    def length(self) -> int:
        return len(self.ids)

    def truncate(self, length: int) -> None:
        assert 0 <= length <= len(self.ids)
        del self.ids[length:]

    def close(self) -> None:
        assert not self.closed, "a sequence was closed twice"
        self.closed = True


class FakeRunner:
    """`scores(ids)` gives the logits after `ids`. Remembers every step and every sequence."""

    threads, instruction_set, cache_type = 1, "fake", "f32"

    def __init__(self, scores: Callable[[list[int]], np.ndarray], vocabulary_size: int) -> None:
        self.scores, self.vocabulary_size = scores, vocabulary_size
        self.steps: list[tuple[int, str]] = []  # (tokens, wanted)
        self.sequences: list[FakeSequence] = []
        self.before_step: Callable[[], None] = lambda: None
        self.closed = False

    def new_sequence(self, capacity: int) -> FakeSequence:
        self.sequences.append(FakeSequence(capacity))
        return self.sequences[-1]

    @property
    def open_sequences(self) -> int:
        return sum(not sequence.closed for sequence in self.sequences)

    def step(self, work: Sequence[tuple[FakeSequence, np.ndarray]], wanted: str) -> np.ndarray:
        self.before_step()
        rows = []
        for sequence, ids in work:
            assert ids.dtype == np.int32
            assert len(ids) > 0
            assert not sequence.closed
            self.steps.append((len(ids), wanted))
            for n, token in enumerate(ids):
                sequence.ids.append(int(token))
                if wanted == "all" or (wanted == "last" and n == len(ids) - 1):
                    rows.append(self.scores(list(sequence.ids)))
            assert len(sequence.ids) <= sequence.capacity
        return np.array(rows, np.float32).reshape(-1, self.vocabulary_size)

    def close(self) -> None:
        self.closed = True


def counting(vocabulary_size: int) -> Callable[[list[int]], np.ndarray]:
    """The likeliest next token is the last one plus one; everything else is equally unlikely."""

    def scores(ids: list[int]) -> np.ndarray:
        row = np.zeros(vocabulary_size, np.float32)
        row[(ids[-1] + 1) % vocabulary_size] = 5.0
        return row

    return scores


@pytest.fixture
def fake_runner() -> Callable[..., FakeRunner]:
    """fake_runner(vocabulary_size=16, scores=counting): a runner that counts upwards unless told otherwise."""

    def make(vocabulary_size: int = 16, scores: Callable[[list[int]], np.ndarray] | None = None) -> FakeRunner:
        return FakeRunner(scores or counting(vocabulary_size), vocabulary_size)

    return make


@pytest.fixture
def facts() -> Callable[[], EngineFacts]:
    return lambda: EngineFacts(
        version="0",
        instruction_set="fake",
        threads=1,
        cache_type="f32",
        exact=True,
        weights_digest="sha256:" + "0" * 64,
        packed_digest=None,
    )
