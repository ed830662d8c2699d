"""References that several parts are compared with."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from ouvert import arithmetic, kernels, models, packed
from ouvert.weights import open_checkpoint


def module_at(path: Path) -> ModuleType:
    """A Python file that is not in a package, such as a script beside the goldens."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def llama_cpp():
    """The class LlamaCpp: llama.cpp with a GGUF file, token ids in, logits out."""
    return module_at(Path(__file__).with_name("llama_cpp.py")).LlamaCpp


@pytest.fixture(scope="session")
def make_models():
    """The script tests/goldens/make_models.py."""
    return module_at(Path(__file__).parents[1] / "goldens" / "make_models.py")


@pytest.fixture(scope="session")
def make_ropes():
    """The script tests/goldens/make_ropes.py."""
    return module_at(Path(__file__).parents[1] / "goldens" / "make_ropes.py")


@pytest.fixture(scope="session")
def agreement():
    """Prompts, a page of text, and how far two programs agree on them: for any engine that gives logits."""
    return module_at(Path(__file__).with_name("agreement.py"))


@pytest.fixture(scope="session")
def module_of_benchmarks():
    """module_of_benchmarks(name): a script of benchmarks/."""
    return lambda name: module_at(Path(__file__).parents[2] / "benchmarks" / f"{name}.py")


@pytest.fixture(scope="session")
def rewriting():
    """A GGUF file's weights in another encoding."""
    return module_at(Path(__file__).with_name("rewriting.py"))


@dataclass(frozen=True)
class Shipped:
    """What llama.cpp makes of SmolLM2 as it is shipped."""

    prompts: list[list[int]]  # agreement.PROMPTS as token ids
    answers: list[Any]  # agreement.Answer to each
    ids: dict[str, list[int]]  # agreement.TEXTS
    logits: dict[str, np.ndarray]


@pytest.fixture(scope="session")
def llama_cpp_as_shipped(smollm2, llama_cpp, agreement):
    with llama_cpp(smollm2) as theirs:
        prompts, answers = [theirs.tokenize(prompt) for prompt in agreement.PROMPTS], []
        for prompt in prompts:
            theirs.clear()
            answers.append(agreement.greedy(theirs.step, prompt, 64))
        ids = {name: theirs.tokenize(text)[: agreement.TEXT_TOKENS] for name, text in agreement.TEXTS.items()}
        return Shipped(prompts, answers, ids, {name: theirs.logits(text) for name, text in ids.items()})


def start_of_reference(path: Path):
    """The float32 graph on this file: start() gives a program at the start of a sequence."""
    ops = arithmetic.Ops()
    with open_checkpoint(path) as checkpoint:
        model = models.load(checkpoint, ops)

    def start():
        past = ops.new_cache(model.memories)
        return lambda ids: model.forward(ops.begin([(past, ids)], "all"), ops)

    return start


def start_of_native(path: Path, *, exact: bool = False, cache: str = "f16"):
    """The same of the native engine, as `ouvert run` has it."""
    tracer = kernels.Tracer(exact=exact, cache=cache)
    with open_checkpoint(path) as checkpoint:
        program = kernels.build(tracer, models.load(checkpoint, packed.InMemory()), threads=2)

    def start():
        sequence = program.new_sequence(2048)
        return lambda ids: program.step([(sequence, np.array(ids, np.int32))], "all")

    return start


@pytest.fixture(scope="session")
def reference_of():
    return start_of_reference


@pytest.fixture(scope="session")
def native_of():
    return start_of_native


@pytest.fixture(scope="session")
def reference(smollm2):
    """SmolLM2 as shipped, on the float32 graph."""
    return start_of_reference(smollm2)


@pytest.fixture(scope="session")
def exact(smollm2):
    """SmolLM2 as shipped, on the native engine with float32 activations."""
    return start_of_native(smollm2, exact=True)


@pytest.fixture(scope="session")
def reference_logits(reference, llama_cpp_as_shipped):
    """The float32 graph's logits of agreement.TEXTS."""
    return {name: reference()(ids) for name, ids in llama_cpp_as_shipped.ids.items()}
