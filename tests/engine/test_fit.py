"""Forecasts: arithmetic that a reader can check, and what the files of a real model ask for."""

import subprocess
import sys

import pytest

from ouvert.engine.fit import (
    BESIDES,
    SHARE_OF_BANDWIDTH,
    Demand,
    Machine,
    demand_of_files,
    demand_of_shape,
    forecast,
    longest_context,
)
from ouvert.models.shapes import known_shapes

MACHINE = Machine(memory=24_000_000_000, bandwidth=40e9, multiply_adds=400e9, threads=2)


def demand(**changes):
    plain = {"weights": 10_000_000_000, "read_per_token": 2_000_000_000, "active": 4_000_000_000}
    return Demand(**(plain | {"cache": lambda tokens: 100_000 * tokens} | changes))


def test_a_token_takes_its_bytes_over_the_bandwidth():
    seen = forecast(demand(), MACHINE, context=20_000)
    seconds = (2e9 + 100_000 * 10_000) / 40e9  # at half the depth on average
    assert seen.decode == pytest.approx(tuple(share / seconds for share in SHARE_OF_BANDWIDTH))
    assert seen.memory == 10_000_000_000 + 2_000_000_000 + BESIDES
    assert seen.fits


def test_what_is_larger_than_memory_does_not_fit():
    seen = forecast(demand(weights=30_000_000_000), MACHINE, context=100)
    assert not seen.fits
    assert seen.longest == 0


def test_the_longest_context_is_the_last_that_fits():
    room = 12_000_000_000
    longest = longest_context(demand(), room)
    assert 10_000_000_000 + BESIDES + 100_000 * longest <= room < 10_000_000_000 + BESIDES + 100_000 * (longest + 128)


def test_no_context_beyond_what_the_makers_promise():
    assert longest_context(demand(context=4096), 23_000_000_000) == 4096
    assert longest_context(demand(cache=lambda tokens: 1000), 23_000_000_000) == 1 << 20


def test_files_ask_for_what_their_packed_form_weighs(smollm2):
    found = demand_of_files(smollm2)
    shape = demand_of_shape(known_shapes()["smollm2"])
    assert found.cache(1000) == shape.cache(1000) == 30 * 1000 * 2 * 3 * 64 * 2
    assert found.active == pytest.approx(shape.active, rel=0.001)
    assert found.active == pytest.approx(30 * (576 * 64 * 24 + 3 * 576 * 1536), rel=0.001)
    # The table has 4-bit words, the file 8-bit ones: 15 % more in all.
    assert 1.0 < found.weights / shape.weights < 1.2
    assert found.read_per_token <= found.weights
    assert found.context == 8192


def test_experts_that_are_not_chosen_are_not_read():
    oss = demand_of_shape(known_shapes()["gpt-oss:20b"])
    assert oss.read_per_token < 0.3 * oss.weights


def test_without_native_kernels_nothing_is_foretold():
    """As on a machine without a compiler: forecasts end in a sentence, and everything else goes on."""
    program = """
import sys
sys.modules["ouvert.kernels._native"] = None
from ouvert import kernels
kernels.available = lambda: False
from ouvert.cli import main
print(main(["fit"]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
    assert "the native kernels were not built" in done.stderr
    assert "Traceback" not in done.stderr
