"""A token's logits are the same bits, whatever happens around it."""

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ouvert import kernels, models, packed, weights
from ouvert.kernels.linear import available_instruction_sets

from .tiny import SHAPES, program, some_ids, tiny

TOKENS = 330  # more than a segment of keys, and five blocks of them


def once(built, ids):
    sequence = built.new_sequence(len(ids))
    rows = built.step([(sequence, ids)], "all")
    sequence.close()
    return rows


CACHED = [*((name, "f16") for name in SHAPES), ("gpt_oss", "q8"), ("qwen3", "q8")]


@pytest.fixture(scope="module", params=CACHED, ids=" ".join)
def programs(request):
    """(one program for each number of threads, the logits of some tokens computed in one step)"""
    name, cache = request.param
    placed = tiny(SHAPES[name])
    built = {threads: program(placed, threads=threads, cache=cache) for threads in (1, 2, 3)}
    return built, once(built[1], some_ids(TOKENS))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    threads=st.sampled_from([1, 2, 3]),
    cuts=st.lists(st.integers(1, TOKENS - 1), max_size=6),
    others=st.lists(st.tuples(st.integers(1, 80), st.integers(1, 40)), max_size=4),
    place=st.integers(0, 4),
)
def test_splits_company_and_threads_change_no_bit(programs, threads, cuts, others, place):
    """One sequence in any pieces, each in a step with others that have a past of their own."""
    built, expected = programs
    chosen, ids = built[threads], some_ids(TOKENS)
    sequence = chosen.new_sequence(TOKENS)
    company = []
    for n, (past, _) in enumerate(others):
        company.append(chosen.new_sequence(10**5))
        chosen.step([(company[-1], some_ids(past, seed=n))], "none")
    bounds = [0, *sorted(set(cuts)), TOKENS]
    for start, stop in itertools.pairwise(bounds):
        work = [(other, some_ids(new, seed=7)) for other, (_, new) in zip(company, others, strict=True)]
        at = min(place, len(work))
        before = sum(len(new) for _, new in work[:at])
        work.insert(at, (sequence, ids[start:stop]))
        rows = chosen.step(work, "all")[before : before + stop - start]
        np.testing.assert_array_equal(rows, expected[start:stop])
    for each in (sequence, *company):
        each.close()


@pytest.mark.parametrize(("name", "cache"), CACHED)
def test_run_after_run_and_every_instruction_set_change_no_bit(name, cache):
    placed, ids = tiny(SHAPES[name]), some_ids(150)
    expected = once(program(placed, cache=cache), ids)
    for instruction_set in available_instruction_sets():
        built = program(placed, instruction_set=instruction_set, cache=cache)
        for _ in range(3):
            np.testing.assert_array_equal(once(built, ids), expected)


def test_a_busy_pool_changes_no_bit():
    """Seven threads on however few cores: pieces are taken in every order."""
    placed, ids = tiny(SHAPES["gpt_oss"]), some_ids(TOKENS)
    expected, built = once(program(placed, threads=1), ids), program(placed, threads=7)
    for _ in range(10):
        np.testing.assert_array_equal(once(built, ids), expected)


def test_smollm2_in_one_step_or_many(smollm2):
    with weights.open_checkpoint(smollm2) as checkpoint:
        tracer = kernels.Tracer()
        model = models.load(checkpoint, packed.InMemory())
        ids = np.random.default_rng(1).integers(0, 49152, 90).astype(np.int32)
        built = kernels.build(tracer, model, threads=2)
        expected = once(built, ids)
        sequence = built.new_sequence(100)
        for start, stop in ((0, 64), (64, 65), (65, 66), (66, 90)):
            np.testing.assert_array_equal(built.step([(sequence, ids[start:stop])], "all"), expected[start:stop])
