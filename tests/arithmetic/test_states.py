"""What a state remembers, and steps of any size."""

import numpy as np
import pytest

from ouvert import arithmetic
from ouvert.arithmetic import KEPT_EVERY, State, selective_scan, ssd_scan


@pytest.fixture
def random():
    return np.random.default_rng(3)


def test_large_steps_stay_as_they_are():
    one, zero = np.ones((1, 1)), np.zeros((1, 1))
    result, _ = selective_scan(one, 1000 * one, -one, one, one, np.zeros(1), zero)
    assert result == [[1000.0]]


def grown(state, lengths):
    """What a state of one channel holds after steps of so many tokens, each adding one."""
    for length in lengths:
        state.incoming = np.full((length, 1), state.length, float)
        state.append(state.now.state + np.arange(1, length + 1)[:, None, None])
    return state


def test_a_state_goes_back_to_the_ends_of_pages_and_to_before_its_last_step():
    state = grown(State(1, 3, 1, 1, np.float64), [100, 100, 7])
    assert (state.length, state.now.state.item()) == (207, 207)
    state.truncate(206)
    assert (state.length, state.now.state.item()) == (200, 200)
    state.truncate(200)
    assert state.length == 200
    state.truncate(199)
    assert (state.length, state.now.state.item()) == (3 * KEPT_EVERY, 3 * KEPT_EVERY)
    state.truncate(1)
    assert (state.length, state.now.state.item(), state.now.inputs.tolist()) == (0, 0, [[0], [0]])


def test_inputs_of_the_convolution_are_the_last_ones_across_steps():
    state = grown(State(1, 4, 1, 1, np.float64), [2, 1, 1])
    assert state.now.inputs.ravel().tolist() == [0, 2, 3]


def test_layers_that_are_ahead_after_an_interruption_go_back_together():
    class Memory:
        channels, convolution, states, convolved = 1, 2, 1, 1

    cache = arithmetic.Ops(np.float64).new_cache([Memory, Memory])
    for layer in cache.layers:
        grown(layer, [10])
    grown(cache.layers[0], [5])  # the second layer of this step never came
    cache.truncate(cache.length)
    assert [layer.length for layer in cache.layers] == [10, 10]
    grown(cache.layers[0], [5])
    cache.truncate(12)
    assert [layer.length for layer in cache.layers] == [10, 10]
    cache.truncate(9)
    assert [layer.length for layer in cache.layers] == [0, 0]


def chunked(x, decays, B, C, chunk):
    """The scan as the paper's listing 1 has it, of one head: products within chunks of tokens, and from each to the
    next a state. x (tokens, head_dim), times delta; decays (tokens,), logarithms; B and C (tokens, states)."""
    result, state = np.zeros_like(x), np.zeros((x.shape[1], B.shape[1]))
    for at in range(0, len(x), chunk):
        now = slice(at, at + chunk)
        sums = np.cumsum(decays[now])
        between = np.tril(np.exp(sums[:, None] - sums))  # how much is left, at token t, of what token s put in
        result[now] = (between * (C[now] @ B[now].T)) @ x[now] + np.exp(sums)[:, None] * (C[now] @ state.T)
        state = np.exp(sums[-1]) * state + (np.exp(sums[-1] - sums)[:, None] * x[now]).T @ B[now]
    return result


@pytest.mark.parametrize("chunk", [1, 8, 21, 64])
def test_the_scan_of_mamba2_is_the_chunked_one_of_its_paper(random, chunk):
    tokens, heads, head_dim, groups, states = 21, 4, 3, 2, 5
    x, dt = random.standard_normal((tokens, heads, head_dim)), random.standard_normal((tokens, heads))
    B, C = random.standard_normal((2, tokens, groups, states))
    A, D, nothing = -np.exp(random.standard_normal(heads)), np.zeros(heads), np.zeros((states, heads * head_dim))
    xBC = np.concatenate([each.reshape(tokens, -1) for each in (x, B, C)], axis=1)
    found, _ = ssd_scan(xBC, dt, A, D, nothing, (0.0, np.inf))
    delta = np.log1p(np.exp(dt))
    for h in range(heads):
        expected = chunked(delta[:, h, None] * x[:, h], delta[:, h] * A[h], B[:, h // 2], C[:, h // 2], chunk)
        np.testing.assert_allclose(found[:, h * head_dim : (h + 1) * head_dim], expected, rtol=0, atol=1e-13)
