"""NumPy's runner keeps pages as the native one does."""

import numpy as np
import pytest

from ouvert import arithmetic, models, weights
from ouvert.engine.runners.numpy_runner import NumpyRunner


@pytest.fixture(params=[np.float32, np.float64])
def runner(speaking_model, request):
    ops = arithmetic.Ops(request.param)
    with weights.open_checkpoint(speaking_model()) as checkpoint:
        return NumpyRunner(models.load(checkpoint, ops), ops)


@pytest.fixture
def ids():
    return np.random.default_rng(3).integers(0, 256, 150).astype(np.int32)


@pytest.mark.parametrize("length", [1, 63, 64, 65, 100])
@pytest.mark.parametrize("through_bytes", [False, True])
def test_going_on_from_pages_changes_no_bit(runner, ids, length, through_bytes):
    source = runner.new_sequence(200)
    runner.step([(source, ids[:length])], "none")
    pages = [source.page(n) for n in range(-(-length // runner.page_tokens))]
    expected = runner.step([(source, ids[length:])], "all")
    source.close()
    if through_bytes:
        pages = [runner.page_from(page.read()) for page in pages]
    sequence = runner.resume(pages, length, 200)
    before = [bytes(page.read()) for page in pages]
    assert sequence.length == length
    np.testing.assert_array_equal(runner.step([(sequence, ids[length:])], "all"), expected)
    assert [bytes(page.read()) for page in pages] == before


def test_memory_is_counted_in_pages(runner, ids):
    assert runner.cache_type == {np.float32: "f32", np.float64: "f64"}[runner.ops.dtype]
    sequence = runner.new_sequence(200)
    assert runner.cache_bytes_in_use == 0
    runner.step([(sequence, ids[:100])], "none")
    assert runner.cache_bytes_in_use == 2 * runner.page_bytes == runner.cache_bytes(100)
    page = sequence.page(1)
    assert (page.tokens, page.nbytes) == (36, runner.page_bytes)
    assert runner.cache_bytes_in_use == 3 * runner.page_bytes
    page.close()
    sequence.close()
    assert runner.cache_bytes_in_use == 0


def test_each_sequence_says_which_rows_it_wants(runner, ids):
    sequences = [runner.new_sequence(200) for _ in range(3)]
    work = [(each, ids[:size]) for each, size in zip(sequences, (5, 9, 2), strict=True)]
    rows = runner.step(work, ["last", "none", "all"])
    alone = runner.new_sequence(200)
    whole = runner.step([(alone, ids[:5])], "all")
    np.testing.assert_allclose(rows, [whole[4], *whole[:2]], rtol=1e-4, atol=1e-4)  # products of other sizes
    with pytest.raises(ValueError, match="begin: wanted is"):
        runner.step([(alone, ids[:1])], ["last", "last"])


def test_what_does_not_fit_is_refused(runner, ids):
    sequence = runner.new_sequence(200)
    runner.step([(sequence, ids[:70])], "none")
    pages = [sequence.page(0), sequence.page(1)]
    with pytest.raises(ValueError, match="page 1 holds 6 tokens, expected 7"):
        runner.resume(pages, 71, 200)
    with pytest.raises(ValueError, match="page: n is 2, expected 0 to 1"):
        sequence.page(2)
    with pytest.raises(ValueError, match="page_from: the page has"):
        runner.page_from(bytes(pages[0].read())[:-1])
    pages[0].close()
    with pytest.raises(ValueError, match="it was closed"):
        runner.resume(pages, 70, 200)
