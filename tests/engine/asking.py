"""How the tests of the engine ask, read and wait."""

import threading
import time

import numpy as np

from ouvert.engine import Sampling

GREEDY = Sampling(temperature=0)


def greedy(**changes):
    return Sampling(temperature=0, **changes)


def ids_of(generation):
    return [token.id for token in generation]


def eventually(true):
    """Wait, for thirty seconds at most, until the engine's thread has come so far."""
    until = time.monotonic() + 30
    while not true():
        assert time.monotonic() < until, "it did not come to it"
        time.sleep(0.002)


def counting(size):
    def scores(ids):
        row = np.zeros(size)
        row[(ids[-1] + 1) % size] = 5
        return row

    return scores


def held_runner(fake_runner):
    """A runner that computes once its event is set, so that what is asked for before arrives together."""
    runner = fake_runner(16)
    held = threading.Event()
    runner.before_step = held.wait
    return runner, held
