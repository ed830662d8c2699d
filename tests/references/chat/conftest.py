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


@pytest.fixture(scope="session")
def o200k(make_chat, tmp_path_factory):
    """openai-harmony's encoding of gpt-oss and our tokenizer, both reading the same file of ranks."""
    from ouvert.tokenization import tokenizer_from_ranks

    folder = tmp_path_factory.mktemp("o200k")
    encoding = make_chat.harmony_encoding(folder)
    return encoding, tokenizer_from_ranks(folder / "o200k_base.tiktoken")
