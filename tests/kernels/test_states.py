"""Layers with a state: the same bits for every cut, batch, thread and instruction set; steps of any size; pages."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ouvert import arithmetic, kernels
from ouvert.kernels import linear
from ouvert.kernels.pages import PAGE_TOKENS
from ouvert.models import StateMemory
from ouvert.models.mamba import graph as mamba
from ouvert.models.mamba2 import graph as mamba2

from .tiny import matrix

VOCABULARY = 40
SETS = linear.available_instruction_sets()
# (channels, hidden, states, taps, rank, layers): around the lanes of a register and the channels of a piece.
SIZES = [(1, 1, 1, 1, 1, 1), (15, 7, 3, 2, 2, 2), (16, 8, 1, 4, 1, 1), (17, 9, 16, 3, 2, 2), (65, 33, 5, 16, 3, 1)]
SMALL = SIZES[3]
# (heads, head_dim, groups, states, taps, hidden, layers): heads of less and more than 64 numbers
SIZES_OF_HEADS = [(1, 1, 1, 1, 1, 1, 1), (4, 15, 2, 3, 2, 7, 2), (2, 64, 1, 8, 4, 9, 1), (3, 81, 3, 5, 3, 8, 2)]
SMALL_HEADS = SIZES_OF_HEADS[1]


class Runs:
    """What models of both families share. A subclass has `graph`, `weights`, `config` and `memories`."""

    def program(self, *, threads=2, **options):
        tracer = kernels.Tracer(exact=True)
        packed = {
            name: matrix(values, "F32")
            if values.ndim == 2 and not name.endswith(("convolution", ".A"))
            else np.ascontiguousarray(values)
            for name, values in self.weights.items()
        }
        parameters = self.graph.assemble(self.config, packed)
        logits = self.graph.forward(self.config, parameters, tracer.begin(self.memories), tracer)
        return tracer.finish(logits, threads=threads, **options)

    def logits(self, ids, dtype=np.float64):
        ops = arithmetic.Ops(dtype)
        placed = {name: values.astype(dtype) for name, values in self.weights.items()}
        batch = ops.begin([(ops.new_cache(self.memories), ids)], "all")
        return self.graph.forward(self.config, self.graph.assemble(self.config, placed), batch, ops)


class Model(Runs):
    """Random weights of these sizes; of the last bits' worth of float32, so that only the order of sums differs."""

    graph = mamba

    def __init__(self, channels, hidden, states, taps, rank, layers, seed=0):
        random = np.random.default_rng(seed)

        def normal(*dims):
            return (random.standard_normal(dims) * dims[-1] ** -0.5).astype(np.float32)

        weights = {"embedding": normal(VOCABULARY, hidden) * np.float32(hidden**0.5), "norm": 1 + normal(hidden)}
        weights["unembedding"] = normal(VOCABULARY, hidden)
        shapes = {
            "mixer_norm": (hidden,), "x": (channels, hidden), "gate": (channels, hidden),
            "convolution": (channels, taps), "convolution_bias": (channels,),
            "dt_low": (rank, channels), "B": (states, channels),
            "C": (states, channels), "dt": (channels, rank), "dt_bias": (channels,), "D": (channels,),
            "out": (hidden, channels),
        }  # fmt: skip
        for n in range(layers):
            weights |= {f"layers.{n}.{name}": normal(*shape) for name, shape in shapes.items()}
            weights[f"layers.{n}.A"] = -np.exp(normal(channels, states))
        self.weights, self.layers = weights, layers
        self.config = SimpleNamespace(num_hidden_layers=layers, layer_norm_epsilon=1e-5, mixer_rms_eps=None)
        self.memories = [StateMemory(channels, taps, states, channels)] * layers


class Mamba2(Runs):
    """The same of Mamba-2."""

    graph = mamba2

    def __init__(self, heads, head_dim, groups, states, taps, hidden, layers, seed=0):
        random = np.random.default_rng(seed)

        def normal(*dims):
            return (random.standard_normal(dims) * dims[-1] ** -0.5).astype(np.float32)

        channels = heads * head_dim
        convolved = channels + 2 * groups * states
        weights = {"embedding": normal(VOCABULARY, hidden) * np.float32(hidden**0.5), "norm": 1 + normal(hidden)}
        weights["unembedding"] = normal(VOCABULARY, hidden)
        shapes = {
            "mixer_norm": (hidden,), "gate": (channels, hidden), "xBC": (convolved, hidden), "dt": (heads, hidden),
            "dt_bias": (heads,), "convolution": (convolved, taps), "convolution_bias": (convolved,), "D": (heads,),
            "inner_norm": (channels,), "out": (hidden, channels),
        }  # fmt: skip
        for n in range(layers):
            weights |= {f"layers.{n}.{name}": normal(*shape) for name, shape in shapes.items()}
            weights[f"layers.{n}.A"] = -np.exp(normal(heads))
        self.weights, self.layers = weights, layers
        self.config = SimpleNamespace(
            num_hidden_layers=layers, layer_norm_epsilon=1e-5, n_groups=groups, time_step_limit=(0.0, None),
            use_bias=False, use_conv_bias=True,
        )  # fmt: skip
        self.memories = [StateMemory(channels, taps, states, convolved)] * layers


def some_ids(count, seed=0):
    return np.random.default_rng(seed).integers(0, VOCABULARY, count).astype(np.int32)


def computed(program, ids, cut=None):
    sequence, rows, at = program.new_sequence(9000), [], 0
    for count in cut or [len(ids)]:
        rows.append(program.step([(sequence, ids[at : at + count])], "all"))
        at += count
    return sequence, np.concatenate(rows)


EITHER = [(Model, sizes) for sizes in SIZES] + [(Mamba2, sizes) for sizes in SIZES_OF_HEADS]


@pytest.mark.parametrize(("kind", "sizes"), EITHER, ids=str)
def test_bits_depend_on_no_cut_batch_thread_or_instruction_set(kind, sizes):
    model, ids = kind(*sizes), some_ids(200)
    program = model.program()
    _, whole = computed(program, ids)
    for cut in ([1] * 200, [63, 1, 1, 64, 71], [64, 64, 72], [65, 135], [2, 1, 197]):
        np.testing.assert_array_equal(computed(program, ids, cut)[1], whole)
    others = [(program.new_sequence(99), some_ids(n, n)) for n in (1, 70)]
    sequence = program.new_sequence(200)
    together = program.step([others[0], (sequence, ids), others[1]], ["none", "all", "none"])
    np.testing.assert_array_equal(together, whole)
    for instruction_set in SETS:
        for threads in (1, 3):
            other = model.program(threads=threads, instruction_set=instruction_set)
            np.testing.assert_array_equal(computed(other, ids)[1], whole)


SMALL_ONES = [(Model, SMALL), (Mamba2, SMALL_HEADS)]


@pytest.mark.parametrize("scale", [0.0, 30.0, 1000.0])
@pytest.mark.parametrize(("kind", "sizes"), SMALL_ONES, ids=str)
def test_steps_of_any_size_are_like_arithmetics(kind, sizes, scale):
    """softplus at both ends: nothing moves, or everything at once. No number is lost to overflow."""
    model, ids = kind(*sizes), some_ids(20)
    for sign in (-1, 1):
        for n in range(model.layers):
            model.weights[f"layers.{n}.dt_bias"][:] = sign * scale
        expected = model.logits(ids)
        _, found = computed(model.program(), ids)
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize(("kind", "sizes"), SMALL_ONES, ids=str)
def test_what_is_not_a_number_stays_so(kind, sizes):
    model = kind(*sizes)
    model.weights["layers.0.dt_bias"][3] = np.nan
    _, found = computed(model.program(), some_ids(4))
    assert np.isnan(found).all()


# ---- pages


def test_a_page_in_part_is_resumed_at_its_end_and_nowhere_else():
    model, ids = Model(*SMALL), some_ids(200)
    program = model.program()
    sequence, _ = computed(program, ids[:150])
    pages = [sequence.page(n) for n in range(3)]
    for length, left in ((150, 150), (149, 128), (128, 128), (127, 0), (64, 0), (1, 0)):
        again = program.resume(pages, length, 500)
        assert again.length == left
        _, expected = computed(program, ids)
        found = program.step([(again, ids[left:])], "all")
        np.testing.assert_array_equal(found, expected[left:])
        again.close()


def test_a_sequence_holds_every_fourth_state_and_the_last_two():
    model, ids = Model(*SMALL), some_ids(1000)
    program = model.program()
    sequence, _ = computed(program, ids)
    assert [sequence.page(n).blocks_held for n in range(16)] == [(int(n % 4 == 3 or n >= 14),) for n in range(16)]
    assert program.cache_bytes_in_use <= program.cache_bytes(1000)
    assert sequence.truncate(900) == 768
    assert sequence.truncate(768) == 768
    assert sequence.truncate(767) == 512
    again = program.step([(sequence, ids[512:])], "all")
    np.testing.assert_array_equal(again, computed(program, ids)[1][512:])
    assert sequence.truncate(255) == 0


@pytest.mark.parametrize(("kind", "sizes"), SMALL_ONES, ids=str)
def test_pages_travel_as_bytes(kind, sizes):
    model, ids = kind(*sizes), some_ids(200)
    program, other = model.program(), model.program()
    sequence, _ = computed(program, ids)
    pages = [other.page_from(bytes(sequence.page(n).read())) for n in range(4)]
    again = other.resume(pages, 200, 300)
    assert again.length == 200
    more = some_ids(30, 7)
    np.testing.assert_array_equal(other.step([(again, more)], "all"), program.step([(sequence, more)], "all"))


@pytest.mark.parametrize(("kind", "sizes"), SMALL_ONES, ids=str)
def test_what_a_sequence_holds_does_not_grow(kind, sizes):
    """In steps of several sizes: at most 16 states far back, evenly, and three near; each can be gone back to."""
    program = kind(*sizes).program()
    sequence, held = program.new_sequence(20_000), []
    for count in [512] * 20 + [1] * 70 + [300] * 10:
        program.step([(sequence, some_ids(count))], "none")
        held.append(sequence.blocks_held[0])
        assert program.cache_bytes_in_use == held[-1] * program.page_bytes <= program.cache_bytes(sequence.length)
    assert max(held) <= 19
    for tokens in (1, 64, 65, 300, 1000, 5000, 20_000):
        assert program.cache_bytes(tokens) == program.page_bytes * kernels.states_held(tokens, program.page_bytes)
    assert program.cache_bytes(20_000) == program.cache_bytes(2_000_000)
    pages = -(-sequence.length // PAGE_TOKENS)
    kept = [n for n in range(pages) if sequence.page(n).blocks_held[0]]
    assert kept == [*range(15, pages - 2, 16), pages - 2, pages - 1]
    assert sequence.truncate(7000) == 7000 // 1024 * 1024


def test_a_sequence_that_has_gone_back_goes_on_with_the_same_bits():
    model, ids = Mamba2(*SMALL_HEADS), some_ids(9000)
    program = model.program()
    sequence, whole = computed(program, ids, [512] * 17 + [296])
    for length in (8999, 5000, 2047):
        left = sequence.truncate(length)
        assert left % PAGE_TOKENS == 0
        np.testing.assert_array_equal(
            program.step([(sequence, ids[left : left + 600])], "all"), whole[left : left + 600]
        )


def test_a_step_that_finds_no_memory_changes_nothing():
    model, ids = Model(*SMALL), some_ids(200)
    program = model.program()
    _, whole = computed(program, ids)
    program.cache_limit = program.cache_bytes_in_use + 2 * program.page_bytes
    sequence = program.new_sequence(300)
    program.step([(sequence, ids[:100])], "none")
    with pytest.raises(MemoryError):
        program.step([(sequence, ids[100:])], "none")
    assert sequence.length == 100
    program.cache_limit = None
    np.testing.assert_array_equal(program.step([(sequence, ids[100:])], "all"), whole[100:])


MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("step"), st.integers(1, 130)),
        st.tuples(st.just("truncate"), st.integers(0, 400)),
        st.tuples(st.just("pages"), st.just(0)),
        st.tuples(st.just("resume"), st.integers(0, 400)),
    ),
    min_size=2,
    max_size=12,
)
PROGRAM = Model(*SMALL).program()
IDS = some_ids(1800)
WHOLE = computed(PROGRAM, IDS)[1]


@given(MOVES)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_happens_references_add_up_and_bits_are_right(moves):
    sequence, pages = PROGRAM.new_sequence(1800), []
    for move, number in moves:
        if move == "step":
            at = sequence.length
            rows = PROGRAM.step([(sequence, IDS[at : at + number])], "all")
            np.testing.assert_array_equal(rows, WHOLE[at : at + number])
        elif move == "truncate":
            before = sequence.length
            assert sequence.truncate(number) == sequence.length <= min(number, before)
        elif move == "pages":
            for page in pages:
                page.close()
            pages = [sequence.page(n) for n in range(-(-sequence.length // PAGE_TOKENS))]
        else:
            length = min(number, sum(page.tokens for page in pages))
            sequence.close()
            sequence = PROGRAM.resume(pages, length, 1800)
            assert sequence.length <= length
        held = [holder.blocks_held for holder in (sequence, *pages)]
        (use,) = PROGRAM.blocks_in_use()
        assert use.references == sum(blocks for (blocks,) in held)
    for holder in (sequence, *pages):
        holder.close()
    assert [use.references for use in PROGRAM.blocks_in_use()] == [0]
