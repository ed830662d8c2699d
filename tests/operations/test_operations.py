"""Every operation of every implementation against its slow loop, whole and in pieces."""

from functools import cache

import numpy as np
import pytest

from ouvert.models import Operations

from .cases import CASES
from .implementations import CPP, IMPLEMENTATIONS

# `attend_expanded` computes the rows that a cache's `expanded` names, which is no value of a case: it is held to its
# definition on every instruction set by tests/kernels/test_expanded.py. The others are for taps alone:
# tests/models/test_showing.py.
ELSEWHERE = {"attend_expanded", "attention_rows", "each_expert", "selective_norms", "ssd_norms"}
# Operations that graphs use besides those that the protocol names.
BESIDES = {"+", "clamped_swiglu", "route_top_k of given experts"}
# A scan has no backward pass yet: such a model is refused by its family's name before.
SCANS = {"convolve", "selective_scan", "ssd_scan"}
# What an implementation does not have: it refuses it by name.
LACKING = {
    "numpy float32": set(),
    "numpy float64": set(),
    "c++ plain": {"route_top_k of given experts"},
    "c++ avx2": {"route_top_k of given experts"},
    "c++ avx512": {"route_top_k of given experts"},
    "torch float32": SCANS,
    "torch float64": SCANS,
}

of_every_case = pytest.mark.parametrize("case", CASES, ids=str)
of_every_implementation = pytest.mark.parametrize("implementation", IMPLEMENTATIONS, ids=lambda each: each.name)


@cache
def expected_of(case):
    return case.expected()


def run(implementation, case, pieces=None):
    placed = {name: implementation.place(each) for name, each in case.parameters().items()}
    watch = [name for name in expected_of(case) if name != "rows"]
    return implementation.run(case.graph(placed), case.ids, pieces or [len(case.ids)], watch)


def allowed(case, implementation):
    return case.roundings * implementation.rounding * np.abs(expected_of(case)["rows"]).max()


def ways_to_cut(case):
    """In one step; and where an operation remembers something, token by token and in uneven steps."""
    tokens = len(case.ids)
    if case.memory is None or tokens == 1:
        return [[tokens]]
    return [[tokens], [tokens // 3, 1, tokens - tokens // 3 - 1], *([[1] * tokens] if tokens <= 20 else [])]


@of_every_implementation
@of_every_case
def test_an_operation_is_what_its_slow_loop_says(implementation, case):
    if case.operation in LACKING[implementation.name]:
        with pytest.raises(implementation.refusal, match=f"^({case.operation.partition(' ')[0]}|convolve): "):
            run(implementation, case)
        return
    expected = expected_of(case)
    for pieces in ways_to_cut(case):
        found = run(implementation, case, pieces)
        np.testing.assert_allclose(found.rows, expected["rows"], rtol=0, atol=allowed(case, implementation))
        for name, seen in found.seen.items():
            np.testing.assert_array_equal(seen, expected[name], err_msg=name)


@of_every_case
def test_every_instruction_set_gives_the_same_bits(case):
    if case.operation not in LACKING["c++ plain"]:
        one, *others = (run(implementation, case).rows for implementation in CPP)
        for other in others:
            np.testing.assert_array_equal(other, one)


@of_every_case
def test_the_tolerance_would_notice_a_mistake(case):
    mistaken = case.expected(case.mistake)["rows"]
    for implementation in IMPLEMENTATIONS:
        assert np.abs(mistaken - expected_of(case)["rows"]).max() > 10 * allowed(case, implementation)


def test_every_operation_that_a_graph_may_ask_for_has_cases():
    named = {name for name in vars(Operations) if not name.startswith("_")}
    assert {case.operation for case in CASES} == named - ELSEWHERE | BESIDES


def test_every_implementation_says_what_it_lacks():
    assert {each.name for each in IMPLEMENTATIONS} <= set(LACKING)
    assert set().union(*LACKING.values()) <= {case.operation for case in CASES}
