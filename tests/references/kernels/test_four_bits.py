"""Four bits of ours beside llama.cpp's Q4_K_M, both made from one F16 file of a real model: benchmarks/four_bits.py."""

import numpy as np
import pytest


@pytest.fixture(scope="module")
def four_bits(module_of_benchmarks):
    return module_of_benchmarks("four_bits")


@pytest.fixture(scope="module")
def made(four_bits, smollm2, tmp_path_factory):
    folder = tmp_path_factory.mktemp("four-bits")
    return folder, four_bits.compared(smollm2, folder, most=200)


def test_what_is_measured_is_the_same_function_on_another_grid(four_bits, made, smollm2):
    """The turned F16 model answers as the shipped one, and no block of it has only sixteen values any more."""
    half = made[0] / "f16.gguf"
    ids = four_bits.texts_as_ids(half, 64)
    shipped, turned = four_bits.placed(smollm2, "stored"), four_bits.placed(half, "stored")
    [by_text] = four_bits.divergences(shipped, [turned], ids)
    found = np.concatenate(list(by_text.values()))
    assert found.mean() < 1e-4
    with four_bits.open_model(half) as files:
        blocks = [each for each in files.parameters if each.kind == "linear" and each.same_as is None]
        for parameter in (blocks[0], blocks[6], blocks[-1]):
            values = parameter.decode()[:8].reshape(-1, 32)
            assert min(len(np.unique(block)) for block in values) > 16, parameter.name


def test_four_bits_lose_no_more_than_llama_cpp(made):
    """Over English and French. The mean, and twice its standard error, of the difference token by token."""
    found = made[1]
    mean, error = found.difference
    assert mean + error < 0
    assert found.ours.bits < 1.03 * found.theirs.bits
    assert found.ours.bits_in_layers < 1.03 * found.theirs.bits_in_layers
