"""Tiny models with an adapter: what our engine computes from them, and transformers with peft."""

import importlib.util
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from peft import PeftModel

from ouvert import kernels, packed
from ouvert.engine import BASE, EngineFacts, LocalEngine, ScaledAdapter, Variant
from ouvert.engine.identity import NumericIdentity
from ouvert.engine.runners.native_runner import NativeRunner

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


def facts():
    identity = NumericIdentity(weights="sha256:0", configuration="sha256:0", layout="none", arithmetic="", build=None,
                               exact=True, cache="f32")  # fmt: skip
    return EngineFacts(version="0", instruction_set="any", threads=2, identity=identity)


def logits_of(files, adapter, ids, *, exact):
    """Of our engine with the adapter beside the weights, as it is served: (tokens, vocabulary)."""
    model = files.place(packed.InMemory(2)).model
    programs = kernels.Programs(model, threads=2, exact=exact, cache="f32" if exact else "f16")
    with closing(LocalEngine(NativeRunner(model, programs), 4096, facts)) as engine:
        variant = Variant((ScaledAdapter(engine.adapters.add(adapter)),)) if adapter else BASE
        return engine.logits([int(each) for each in ids], variant)


@pytest.fixture(scope="session")
def ours():
    """ours(files, adapter or None): logits of IDS, (tokens, vocabulary), of the engine and its kernels, exact: what is
    multiplied is not rounded."""
    return lambda files, adapter: logits_of(files, adapter, IDS, exact=True)


@pytest.fixture(scope="session")
def served():
    """served(files, adapter or None, ids): the same as a server computes it, activations in 8 bits."""
    return lambda files, adapter, ids: logits_of(files, adapter, ids, exact=False)


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
