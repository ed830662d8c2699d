"""Tiny checkpoints of every family, as they serve: packed, computed natively; and the NumPy graph that defines them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from ouvert import arithmetic, inspection, kernels, models, packed
from ouvert.weights import open_checkpoint

GOLDENS = Path(__file__).parents[1] / "goldens" / "models"
FAMILIES = [
    "deepseek_v3", "falcon_mamba", "gpt_oss", "gpt_oss-mxfp4", "llama", "mamba", "mamba2", "mixtral-window", "qwen2",
    "qwen3", "qwen3_moe",
]  # fmt: skip
IDS = tuple(int(token) for token in np.random.default_rng(7).integers(0, 64, 21))


@dataclass(frozen=True)
class Transcript:
    prompt_ids: tuple = IDS
    output_ids: tuple = ()
    spans: tuple = ()
    channels: tuple = ()
    message: int | None = None
    expanded: int = 0
    receipt: str | None = None


def placed(case, places):
    with open_checkpoint(GOLDENS / case / "model.safetensors") as checkpoint:
        return models.load(checkpoint, places)


@pytest.fixture(scope="session")
def subject_called():
    """subject_called(case, exact=False): the weights of a golden, packed as they serve."""

    def made(case, exact=False):
        model = placed(case, packed.InMemory())
        return inspection.Subject(
            name=case, model=model, threads=1, exact=exact, cache_type="f32" if exact else "f16", facts={},
            tokenizer=None, watch=lambda names: kernels.build(
                kernels.Tracer(exact=exact, cache="f32" if exact else "f16"), model, threads=1, watch=names
            ),
        )  # fmt: skip

    return made


@pytest.fixture(params=FAMILIES)
def case(request):
    return request.param


@pytest.fixture
def subject(case, subject_called):
    return subject_called(case)


@pytest.fixture
def exact(case, subject_called):
    """With activations and caches in float32: what NumPy computes, but for rounding."""
    return subject_called(case, exact=True)


@pytest.fixture
def trace():
    """trace(subject, ids=IDS, **settings): of a text of these ids."""

    def made(subject, ids=IDS, **settings):
        return inspection.trace_of(subject, Transcript(prompt_ids=tuple(ids)), **settings)

    return made


@pytest.fixture
def served_logits():
    """served_logits(subject, ids): the logits of a program that watches nothing, after every token."""

    def made(subject, ids=IDS):
        tracer = kernels.Tracer(exact=subject.exact, cache=subject.cache_type)
        program = kernels.build(tracer, subject.model, threads=1)
        return program.step([(program.new_sequence(len(ids)), np.array(ids, np.int32))], "all")

    return made


@pytest.fixture
def in_numpy():
    """in_numpy(case, names): what the NumPy graph shows of these values, (tokens, …)."""

    def made(case, names, ids=IDS):
        ops = arithmetic.Ops()
        model = placed(case, ops)
        recorder = arithmetic.Recorder(*names)
        model.forward(ops.begin([(ops.new_cache(model.memories), ids)], "all"), ops, recorder)
        return recorder.values()

    return made
