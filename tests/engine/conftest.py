"""A runner whose logits are a plain function of the tokens so far: a stand-in for a model at the runner's interface.

What a token leaves in a cache is its id, and under a variant its id plus a number of that variant: so pages of another
variant give other numbers, as those of a model do.
"""

import json
import sys
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from tests.engine.base_alone import refuse_all_but_base

from ouvert.engine import BASE, EngineFacts, LocalEngine, Variant
from ouvert.engine.asked import NoAdapters
from ouvert.engine.identity import NumericIdentity

PAGE_TOKENS = 4
PAGE_BYTES = 40
VARIANT = 1000  # the n-th variant adds n times as much to ids


class FakeBlock:
    """Room for the ids of one page. Who holds it counts itself in `references`."""

    def __init__(self, runner: "FakeRunner", ids: Sequence[int] = ()) -> None:
        if (len(runner.blocks) + 1) * PAGE_BYTES > runner.cache_limit:
            raise MemoryError("the fake cache is full")
        self.runner, self.ids, self.references = runner, list(ids), 1
        runner.blocks.add(self)

    def give(self) -> None:
        self.references -= 1
        assert self.references >= 0
        if self.references == 0:
            self.runner.blocks.remove(self)


class FakePage:
    nbytes = PAGE_BYTES

    def __init__(self, block: FakeBlock) -> None:
        self.block, self.closed = block, False
        self.holds = tuple(block.ids)
        block.references += 1

    def read(self) -> bytes:
        return json.dumps(self.holds).encode()

    def close(self) -> None:
        assert not self.closed, "a page was closed twice"
        assert tuple(self.block.ids) == self.holds, "a page was written to"
        self.closed = True
        self.block.give()


class FakeSequence:
    """`ids` are what its tokens left."""

    def __init__(self, runner: "FakeRunner", capacity: int, variant: Variant) -> None:
        self.runner, self.capacity, self.variant, self.closed = runner, capacity, variant, False
        self.blocks: list[FakeBlock] = []

    @property
    def ids(self) -> list[int]:
        return [token for block in self.blocks for token in block.ids]

    @property
    def length(self) -> int:
        return sum(len(block.ids) for block in self.blocks)

    def append(self, token: int) -> None:
        if not self.blocks or len(self.blocks[-1].ids) == PAGE_TOKENS:
            self.blocks.append(FakeBlock(self.runner))
        elif self.blocks[-1].references > 1:  # copied before it is written to
            copy = FakeBlock(self.runner, self.blocks[-1].ids)
            self.blocks[-1].give()
            self.blocks[-1] = copy
        self.blocks[-1].ids.append(token)

    def truncate(self, length: int) -> None:
        assert 0 <= length <= self.length
        kept = self.ids[:length]
        while self.length > length:
            self.blocks.pop().give()
        for token in kept[self.length :]:
            self.append(token)

    def page(self, n: int) -> FakePage:
        return FakePage(self.blocks[n])

    def close(self) -> None:
        assert not self.closed, "a sequence was closed twice"
        self.closed = True
        while self.blocks:
            self.blocks.pop().give()


class FakeRunner:
    """`scores(ids)` gives the logits after `ids`. Remembers every step, sequence and block.

    `steps` has one list a step, of (tokens, wanted) for each sequence. `added[variant]` is what a variant adds to ids.
    """

    threads, instruction_set, cache_type = 1, "fake", "f32"
    page_tokens, page_bytes = PAGE_TOKENS, PAGE_BYTES
    expert_reads, adapters = None, NoAdapters()

    def __init__(
        self, scores: Callable[[list[int]], np.ndarray], vocabulary_size: int, variants: Sequence[Variant] = ()
    ) -> None:
        self.added = {variant: n * VARIANT for n, variant in enumerate((BASE, *variants))}
        self.scores, self.vocabulary_size, self.width = scores, vocabulary_size, vocabulary_size
        self.cache_limit = sys.maxsize
        self.steps: list[list[tuple[int, str]]] = []
        self.sequences: list[FakeSequence] = []
        self.blocks: set[FakeBlock] = set()
        self.before_step: Callable[[], object] = lambda: None
        self.closed = False

    @property
    def cache_bytes_in_use(self) -> int:
        return len(self.blocks) * PAGE_BYTES

    def cache_bytes(self, tokens: int) -> int:
        return -(-tokens // PAGE_TOKENS) * PAGE_BYTES

    def check_variant(self, variant: Variant) -> None:
        if variant not in self.added:
            refuse_all_but_base(variant, "the fake runner")

    def expands(self, variant: Variant) -> bool:
        return False

    def new_sequence(self, capacity: int, variant: Variant = BASE) -> FakeSequence:
        self.check_variant(variant)
        self.sequences.append(FakeSequence(self, capacity, variant))
        return self.sequences[-1]

    def resume(self, pages: Sequence[FakePage], length: int, capacity: int, variant: Variant = BASE) -> FakeSequence:
        sequence = self.new_sequence(capacity, variant)
        for page in pages:
            if length - sequence.length >= PAGE_TOKENS:
                assert len(page.holds) == PAGE_TOKENS
                page.block.references += 1
                sequence.blocks.append(page.block)
            else:
                try:
                    sequence.blocks.append(FakeBlock(self, page.holds[: length - sequence.length]))
                except MemoryError:
                    sequence.close()
                    raise
        assert sequence.length == length
        return sequence

    def page_from(self, data: bytes) -> FakePage:
        block = FakeBlock(self, json.loads(bytes(data)))
        page = FakePage(block)
        block.references -= 1
        return page

    @property
    def open_sequences(self) -> int:
        return sum(not sequence.closed for sequence in self.sequences)

    def step(self, work: Sequence[tuple[FakeSequence, np.ndarray]], wanted: str | Sequence[str]) -> np.ndarray:
        assert not self.closed
        self.before_step()
        each_wanted = [wanted] * len(work) if isinstance(wanted, str) else list(wanted)
        assert len({id(sequence) for sequence, _ in work}) == len(work)
        rows = []
        done: list[tuple[int, str]] = []
        before = [(sequence, sequence.length) for sequence, _ in work]
        for (sequence, ids), wants in zip(work, each_wanted, strict=True):
            assert ids.dtype == np.int32
            assert len(ids) > 0
            assert not sequence.closed
            done.append((len(ids), wants))
            for n, token in enumerate(ids):
                try:
                    sequence.append(int(token) + self.added[sequence.variant])
                except MemoryError:
                    for other, length in before:
                        other.truncate(length)
                    raise
                if wants == "all" or (wants == "last" and n == len(ids) - 1):
                    rows.append(self.scores(sequence.ids))
            assert sequence.length <= sequence.capacity
        self.steps.append(done)
        return np.array(rows, np.float32).reshape(-1, self.vocabulary_size)

    def close(self) -> None:
        assert not self.blocks, "blocks were lost"
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
    """fake_runner(vocabulary_size=16, scores=counting, variants=()): a runner that counts upwards unless told
    otherwise, and computes those variants beside the base."""

    def make(
        vocabulary_size: int = 16,
        scores: Callable[[list[int]], np.ndarray] | None = None,
        variants: Sequence[Variant] = (),
    ) -> FakeRunner:
        return FakeRunner(scores or counting(vocabulary_size), vocabulary_size, variants)

    return make


@pytest.fixture
def facts() -> Callable[[], EngineFacts]:
    return lambda: EngineFacts(
        version="0",
        instruction_set="fake",
        threads=1,
        identity=NumericIdentity(
            weights="sha256:" + "0" * 64,
            configuration="sha256:" + "c" * 64,
            layout="none",
            arithmetic="scripted",
            build=None,
            exact=True,
            cache="f32",
        ),
    )


@pytest.fixture
def runner(fake_runner: Callable[..., FakeRunner]) -> FakeRunner:
    return fake_runner(16)


@pytest.fixture
def engine(runner: FakeRunner, facts: Callable[[], EngineFacts]) -> LocalEngine:
    return LocalEngine(runner, 64, facts)
