"""What the comparisons of chat formats share."""

import importlib.util
from pathlib import Path

import pytest


def module_at(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def make_chat():
    """The script tests/goldens/make_chat.py."""
    return module_at(Path(__file__).parents[2] / "goldens" / "make_chat.py")


@pytest.fixture(scope="session")
def byte_tokenizer():
    """The tiny vocabulary of tests/chat."""
    return module_at(Path(__file__).parents[2] / "chat" / "conftest.py").ByteTokenizer
