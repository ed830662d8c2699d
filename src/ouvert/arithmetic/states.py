"""Selective state spaces: what Mamba and Mamba-2 have in place of attention, and what they keep of a sequence."""

from typing import NamedTuple

import numpy as np

from ouvert.arithmetic.dense import Array
from ouvert.arithmetic.gates import silu

# A state is what all tokens so far have made of it: there is no cutting it back. So it is kept at the end of every
# so many tokens.
KEPT_EVERY = 64


class StateSnapshot(NamedTuple):
    """What is kept of one layer at one length: the convolution's last inputs, the latest last, and the state."""

    inputs: Array  # (convolution - 1, convolved channels)
    state: Array  # (states, channels)

    @property
    def numbers(self) -> Array:
        """Both, one after the other, as one vector. Raises nothing."""
        return np.concatenate([self.inputs.ravel(), self.state.ravel()])


class State:
    """One layer's snapshots of one sequence: at its length, at the length before the last step, and every KEPT_EVERY.

    Making one raises nothing.
    """

    def __init__(self, channels: int, convolution: int, states: int, convolved: int, dtype: type[np.floating]) -> None:
        self.length = self._before = 0
        self.snapshots = {
            0: StateSnapshot(np.zeros((convolution - 1, convolved), dtype), np.zeros((states, channels), dtype))
        }
        self.incoming = np.empty((0, convolved), dtype)  # inputs whose states are yet to come

    @property
    def now(self) -> StateSnapshot:
        """The snapshot at its length. Raises nothing."""
        return self.snapshots[self.length]

    @property
    def before(self) -> StateSnapshot:
        """The snapshot that the last step began with. Raises nothing."""
        return self.snapshots[self._before]

    def append(self, states: Array) -> None:
        """Take in the states (tokens, states, channels) after each of the tokens whose inputs are `incoming`.

        Raises nothing.
        """
        inputs = np.concatenate([self.now.inputs, self.incoming])
        kept = len(self.now.inputs)
        before, self._before, self.length = self.length, self.length, self.length + len(states)
        self.snapshots = {at: each for at, each in self.snapshots.items() if at % KEPT_EVERY == 0 or at == before}
        for n, state in enumerate(states, 1):
            if (before + n) % KEPT_EVERY == 0 or n == len(states):
                self.snapshots[before + n] = StateSnapshot(inputs[n : n + kept].copy(), state.copy())

    def resume(self, length: int, numbers: Array) -> None:
        """Go on at `length` from what was kept of it, `StateSnapshot.numbers`.

        Raises ValueError for another count of numbers.
        """
        empty = self.snapshots[0]
        inputs, state = numbers[: empty.inputs.size], numbers[empty.inputs.size :]
        self.snapshots[length] = StateSnapshot(inputs.reshape(empty.inputs.shape), state.reshape(empty.state.shape))
        self.length = self._before = length

    def truncate(self, length: int) -> None:
        """Go back to the last kept snapshot at or before `length`. Raises nothing."""
        self.length = self._before = max(at for at in self.snapshots if at <= length)
        self.snapshots = {at: each for at, each in self.snapshots.items() if at <= self.length}


def convolve(x: Array, weight: Array, bias: Array, before: Array) -> Array:
    """silu of each channel's weighted sum over its last inputs: causal, and one filter a channel.

    x (tokens, channels); weight (channels, taps), the latest input's last; bias (channels,); before (taps - 1,
    channels) is what stood before x. -> like x. Gu and Dao, Mamba, arXiv:2312.00752, figure 3.

    Raises nothing.
    """
    inputs = np.concatenate([before, x])
    total = np.broadcast_to(bias, x.shape).astype(x.dtype)
    for tap in range(weight.shape[1]):
        total = total + inputs[tap : tap + len(x)] * weight[:, tap]
    return silu(total)


def selective_scan(x: Array, dt: Array, A: Array, B: Array, C: Array, D: Array, before: Array) -> tuple[Array, Array]:
    """The selective scan of Mamba (arXiv:2312.00752, algorithm 2), token by token.

    x and dt (tokens, channels), dt before its softplus; A (channels, states), less than 0; B and C (tokens, states);
    D (channels,); before (states, channels) is the state that x meets.

        delta = softplus(dt)
        state = exp(delta * A) * state + delta * x * B
        y     = sum over states of state * C, + D * x

    -> y like x, and the state after every token, (tokens, states, channels). Raises nothing.
    """
    delta = np.logaddexp(0, dt).astype(x.dtype)
    states = np.empty((len(x), *before.shape), x.dtype)
    state = before
    for t in range(len(x)):
        state = np.exp(delta[t] * A.T) * state + (delta[t] * x[t]) * B[t][:, None]
        states[t] = state
    return np.einsum("tsc,ts->tc", states, C) + D * x, states


def ssd_scan(
    xBC: Array, dt: Array, A: Array, D: Array, before: Array, limits: tuple[float, float]
) -> tuple[Array, Array]:
    """The scan of Mamba-2, token by token: Dao and Gu, arXiv:2405.21060, equation 2, with heads as in section 7.

    xBC (tokens, channels + 2 * groups * states) has x, B and C side by side; dt (tokens, heads), before its softplus;
    A (heads,), less than 0; D (heads,); before (states, channels) is the state that x meets. Neighbouring channels are
    a head, and neighbouring heads share the B and C of a group.

        delta = softplus(dt), at least the first and at most the second of `limits`
        state = exp(delta * A) * state + delta * x * B
        y     = sum over states of state * C, + D * x

    The paper computes the same in chunks, by products of matrices (its section 6); we keep to this order for prompts
    too, so that a token's numbers do not depend on how a prompt is cut.

    -> y (tokens, channels), and the state after every token, (tokens, states, channels). Raises ValueError if heads or
    groups do not cut the channels evenly.
    """
    count, channels = before.shape
    x, of_groups = xBC[:, :channels], xBC[:, channels:].reshape(len(xBC), 2, -1, count)
    B, C = np.repeat(of_groups, channels // of_groups.shape[2], axis=2).transpose(1, 0, 3, 2)  # like the states
    delta, A, D = (
        np.repeat(each, channels // len(A), axis=-1)
        for each in (np.clip(np.logaddexp(0, dt).astype(xBC.dtype), *limits), A, D)
    )
    states = np.empty((len(xBC), *before.shape), xBC.dtype)
    state = before
    for t in range(len(xBC)):
        state = np.exp(delta[t] * A) * state + (delta[t] * x[t]) * B[t]
        states[t] = state
    return np.einsum("tsc,tsc->tc", states, C) + D * x, states
