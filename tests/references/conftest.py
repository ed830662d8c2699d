"""References that several parts are compared with."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


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
def agreement():
    """Prompts, a page of text, and how far two programs agree on them: for any engine that gives logits."""
    return module_at(Path(__file__).with_name("agreement.py"))
