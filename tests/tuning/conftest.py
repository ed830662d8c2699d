"""Tests of tuning compute tiny things: on one thread, as a learner does, with the formats and tokenizers of tests/chat,
which are small enough to think about."""

import functools
import importlib.util
from pathlib import Path

import pytest

CHAT = Path(__file__).parents[1] / "chat" / "conftest.py"


@pytest.fixture(autouse=True)
def one_thread():
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def small_chat():
    """tests/chat/conftest.py: a byte tokenizer with the control tokens of each family."""
    spec = importlib.util.spec_from_file_location("small_chat", CHAT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def tokenizer_of(small_chat):
    return functools.cache(lambda family: small_chat.ByteTokenizer(**small_chat.VOCABULARIES[family]))


@pytest.fixture(scope="session")
def chat_of(tokenizer_of):
    """The format that a model with the vocabulary of a family speaks."""
    from ouvert.chat import format_for

    return functools.cache(lambda family: format_for(tokenizer_of(family)))
