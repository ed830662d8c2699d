"""Anthropic's own client, held to its types, of a model that answers and of one that thinks."""

import pytest
from anthropic import Anthropic

from .asking import NAME


@pytest.fixture
def sdk(server):
    with Anthropic(base_url=server.base, api_key="x", max_retries=0, _strict_response_validation=True) as sdk:
        yield sdk


@pytest.fixture(scope="module")
def harmony(start_server, tiny_gpt_oss, tmp_path_factory):
    model = tmp_path_factory.mktemp("models") / NAME
    model.symlink_to(tiny_gpt_oss)
    return start_server(models=(str(model),))


@pytest.fixture
def thinker(harmony):
    with Anthropic(base_url=harmony.base, api_key="x", max_retries=0, _strict_response_validation=True) as sdk:
        yield sdk
