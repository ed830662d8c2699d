"""The pool: every piece of every instruction exactly once, and nothing of the next before the last of one is done."""

import pytest

from ouvert.kernels import _native


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_instructions_run_in_order_and_every_piece_once(threads):
    counts = [(7 * n) % 13 for n in range(60)] + [0, 0, 1, 1, 500]
    assert _native.pool_faults(threads, counts, 200) == 0


def test_no_instructions_are_no_work():
    assert _native.pool_faults(2, [], 3) == 0
