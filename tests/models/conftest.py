"""The tiny checkpoints of tests/goldens/models, with what transformers computed from them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

GOLDENS = Path(__file__).parents[1] / "goldens" / "models"


@dataclass(frozen=True)
class Golden:
    folder: Path
    ids: np.ndarray
    float32: np.ndarray  # logits, (tokens, vocabulary)
    float64: np.ndarray
    inverse_frequencies: np.ndarray


def golden_called(name: str) -> Golden:
    return Golden(GOLDENS / name, **load_file(GOLDENS / name / "golden.safetensors"))


@pytest.fixture(params=sorted(folder.name for folder in GOLDENS.iterdir()))
def golden(request: pytest.FixtureRequest) -> Golden:
    return golden_called(request.param)


@pytest.fixture(params=sorted(file.parent.name for file in GOLDENS.glob("*/model.gguf")))
def golden_gguf(request: pytest.FixtureRequest) -> Golden:
    return golden_called(request.param)


@pytest.fixture(scope="session")
def golden_of():
    return golden_called
