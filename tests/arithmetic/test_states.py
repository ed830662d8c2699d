"""The selective scan and its convolution against plain loops, and what a state remembers."""

import math

import numpy as np
import pytest

from ouvert import arithmetic
from ouvert.arithmetic import KEPT_EVERY, State, convolve, selective_scan


@pytest.fixture
def random():
    return np.random.default_rng(3)


@pytest.mark.parametrize(("tokens", "channels", "taps"), [(1, 1, 1), (2, 3, 4), (9, 5, 3)])
def test_a_convolution_is_a_sum_over_the_last_inputs(random, tokens, channels, taps):
    x, weight, bias, before = (
        random.standard_normal(shape)
        for shape in ((tokens, channels), (channels, taps), channels, (taps - 1, channels))
    )
    result = convolve(x, weight, bias, before)
    inputs = [*before, *x]
    for t in range(tokens):
        for c in range(channels):
            total = bias[c] + sum(inputs[t + tap][c] * weight[c, tap] for tap in range(taps))
            assert result[t, c] == pytest.approx(total / (1 + math.exp(-total)), rel=1e-12)


@pytest.mark.parametrize(("tokens", "channels", "states"), [(1, 1, 1), (3, 2, 4), (7, 5, 3)])
def test_a_scan_is_a_loop_over_tokens_channels_and_states(random, tokens, channels, states):
    x, dt = random.standard_normal((2, tokens, channels))
    b, c = random.standard_normal((2, tokens, states))
    A, D = -np.exp(random.standard_normal((channels, states))), random.standard_normal(channels)
    before = random.standard_normal((states, channels))
    result, after = selective_scan(x, dt, A, b, c, D, before)
    for channel in range(channels):
        state = list(before[:, channel])
        for t in range(tokens):
            d = math.log1p(math.exp(dt[t, channel]))
            for s in range(states):
                state[s] = math.exp(d * A[channel, s]) * state[s] + d * x[t, channel] * b[t, s]
                assert after[t, s, channel] == pytest.approx(state[s], rel=1e-12)
            y = sum(state[s] * c[t, s] for s in range(states)) + D[channel] * x[t, channel]
            assert result[t, channel] == pytest.approx(y, rel=1e-9)


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
    state = grown(State(1, 3, 1, np.float64), [100, 100, 7])
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
    state = grown(State(1, 4, 1, np.float64), [2, 1, 1])
    assert state.now.inputs.ravel().tolist() == [0, 2, 3]


def test_layers_that_are_ahead_after_an_interruption_go_back_together():
    class Memory:
        channels, convolution, states = 1, 2, 1

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
