"""Tiny models with an adapter: what the float32 graph computes from them, and transformers with peft."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from peft import PeftModel

from ouvert import arithmetic, models, packed

TESTS = Path(__file__).parents[2]
GOLDENS = TESTS / "goldens" / "models"
IDS = np.random.default_rng(5).integers(0, 64, 24)


@pytest.fixture(scope="session")
def goldens():
    return GOLDENS


@pytest.fixture(scope="session")
def ids():
    """What `ours` and `theirs` compute."""
    return IDS


@pytest.fixture(scope="session")
def make_adapter():
    """make_adapter(files, ranks, scales=…): one that adds to every weight that may carry one."""
    spec = importlib.util.spec_from_file_location("adapters", TESTS / "packed" / "adapters" / "conftest.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.adapter_for


@dataclass
class Adapted:
    """Experts with what an adapter adds to some of them."""

    weight: Any
    pair: arithmetic.LowRank

    def __getitem__(self, expert):
        matrix = self.weight[expert]
        if expert in self.pair.experts:
            at = self.pair.experts.index(expert)
            matrix = matrix + self.pair.scale * (self.pair.b[at] @ self.pair.a[at])
        return matrix


def with_adapter(model, adapter):
    """The model with the additions in its weights, float32."""

    def put(name, weight):
        if (pair := adapter.pairs.get(name)) is None:
            return weight
        return Adapted(weight, pair) if pair.experts is not None else weight + pair.scale * (pair.b @ pair.a)

    return models.carrying(model, put)


@pytest.fixture(scope="session")
def ours():
    """ours(files, adapter or None): logits of IDS, (tokens, vocabulary), of the float32 graph."""

    def logits(files, adapter):
        ops = arithmetic.Ops()
        model = models.place(files.family, files.config, files.parameters, ops)
        model = with_adapter(model, adapter) if adapter else model
        return model.forward(ops.begin([(ops.new_cache(model.memories), IDS)], "all"), ops)

    return logits


@pytest.fixture(scope="session")
def theirs():
    """theirs(model): logits of IDS of a model of transformers, with peft around it or not."""

    def logits(model):
        with torch.no_grad():
            return model.eval()(torch.from_numpy(IDS)[None]).logits[0].float().numpy()

    return logits


@pytest.fixture(scope="session")
def transformers_model():
    """transformers_model(case): a fresh one. Experts one by one: the joined product wants widths of 16 bytes."""
    return lambda case: transformers.AutoModelForCausalLM.from_pretrained(
        GOLDENS / case if isinstance(case, str) else case, dtype=torch.float32, experts_implementation="eager"
    )


@pytest.fixture(scope="session")
def with_peft(transformers_model):
    """with_peft(case, folder): the model with the adapter in `folder`, as peft loads it."""
    return lambda case, folder: PeftModel.from_pretrained(transformers_model(case), folder)


@pytest.fixture
def open_tiny():
    """open_tiny(case): one of the checkpoints of tests/goldens/models, recognised."""
    opened = []

    def open_it(case):
        opened.append(packed.open_model(GOLDENS / case))
        return opened[-1]

    yield open_it
    for files in opened:
        files.close()
