"""The engine over caches of other kinds: states, which can be resumed at the ends of pages only, and latents."""

import numpy as np
import pytest
from tests.models.conftest import golden_called

from ouvert import arithmetic, kernels, models, packed
from ouvert.engine import LocalEngine, Sampling
from ouvert.engine.prefixes.disk import DiskPrefixes
from ouvert.engine.prefixes.page_files import PageFiles
from ouvert.engine.runners.native_runner import NativeRunner
from ouvert.engine.runners.numpy_runner import NumpyRunner
from ouvert.weights import open_checkpoint

PAGE = 64
VOCABULARY = 64
BEGINNING = [n % 61 for n in range(700)]


def numpy_runner(name):
    ops = arithmetic.Ops()
    with open_checkpoint(golden_called(name).folder / "model.safetensors") as checkpoint:
        return NumpyRunner(models.load(checkpoint, ops), ops)


def native_runner(name, **options):
    with open_checkpoint(golden_called(name).folder / "model.safetensors") as checkpoint:
        model = models.load(checkpoint, packed.InMemory())
    return NativeRunner(model, kernels.Programs(model, threads=2, **options))


RUNNERS = {
    "mamba, NumPy": lambda: numpy_runner("mamba"),
    "mamba": lambda: native_runner("mamba"),
    "mamba2, NumPy": lambda: numpy_runner("mamba2"),
    "mamba2": lambda: native_runner("mamba2"),
    "deepseek_v3, NumPy": lambda: numpy_runner("deepseek_v3"),
    "deepseek_v3": lambda: native_runner("deepseek_v3"),
    "deepseek_v3, q8": lambda: native_runner("deepseek_v3", cache="q8"),
}


@pytest.fixture(params=RUNNERS)
def runner(request):
    return RUNNERS[request.param]


@pytest.fixture
def whole_pages(request):
    """Whether only whole pages are resumed."""
    return "mamba" in request.node.name


def answer(engine, prompt, seed=1):
    generation = engine.generate(prompt, Sampling(seed=seed, max_tokens=20))
    return [token.id for token in generation], generation.stopped.reused_tokens


@pytest.mark.parametrize("seed", range(3))
def test_answers_are_those_without_kept_states(facts, runner, seed):
    random = np.random.default_rng(seed)
    kept = LocalEngine(runner(), 4096, facts)
    reused = 0
    for _ in range(20):
        shared = BEGINNING[: random.integers(0, 700)]
        prompt = [*shared, *random.integers(0, VOCABULARY, random.integers(1, 100)).tolist()]
        asked = int(random.integers(1000))
        found, again = answer(kept, prompt, asked)
        assert found == answer(LocalEngine(runner(), 4096, facts), prompt, asked)[0]
        reused += again
    assert reused > 2000


def test_the_next_turn_goes_on_where_the_last_one_ended(facts, runner):
    """Its prompt is the last one's, the answer and more; the answer's last token was never read."""
    engine = LocalEngine(runner(), 4096, facts)
    found, _ = answer(engine, BEGINNING[:100])
    _, reused = answer(engine, [*BEGINNING[:100], *found, 9, 9])
    assert reused == 100 + len(found) - 1


def test_what_is_kept_outlives_a_restart(facts, runner, whole_pages, tmp_path):
    def engine():
        disk = DiskPrefixes(PageFiles(tmp_path, quota=10**9), lambda: {"weights": "a"}, PAGE)
        return LocalEngine(runner(), 4096, facts, disk=disk)

    first = engine()
    found, _ = answer(first, BEGINNING)
    first.close()
    second = engine()
    again, reused = answer(second, BEGINNING)
    assert again == found
    assert reused == 10 * PAGE if whole_pages else reused >= len(BEGINNING) - PAGE
    second.close()
