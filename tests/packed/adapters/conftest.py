"""Tiny models of every family, and adapters for them."""

from pathlib import Path

import numpy as np
import pytest

from ouvert import models
from ouvert.arithmetic import LowRank
from ouvert.models import counterparts
from ouvert.packed import Adapter, open_model

GOLDENS = Path(__file__).parents[2] / "goldens" / "models"


def adapter_for(files, ranks=(3, 2), *, seed=3, scales=(1.25,)) -> Adapter:
    """One that adds something to every weight that may carry one; of experts, to a part of them."""
    random, pairs = np.random.default_rng(seed), {}
    for matrix in counterparts(files.family, files.config, "transformers"):
        kept = None if matrix.experts is None else tuple(range(1, matrix.experts, 2))
        before = () if kept is None else (len(kept),)
        for part in matrix.parts:
            rank, scale = ranks[len(pairs) % len(ranks)], scales[len(pairs) % len(scales)]
            a = random.standard_normal((*before, rank, matrix.inputs), np.float32) * np.float32(0.2)
            b = random.standard_normal((*before, len(part.rows), rank), np.float32) * np.float32(0.2)
            pairs[part.ours] = LowRank(a, b, scale, kept)
    return Adapter(pairs)


@pytest.fixture(scope="session")
def make_adapter():
    return adapter_for


@pytest.fixture
def open_tiny():
    """open_tiny(case): one of the checkpoints of tests/goldens/models, recognised."""
    opened = []

    def open_it(case):
        opened.append(open_model(GOLDENS / case))
        return opened[-1]

    yield open_it
    for files in opened:
        files.close()


@pytest.fixture
def adaptable_names():
    """The names of what may carry an adapter, as `models.adaptable` gives them."""
    from ouvert import arithmetic

    return lambda files: set(models.adaptable(models.load(files.checkpoint, arithmetic.Ops())))
