"""A store in a temporary folder, a hub on this machine, and bodies that look like models."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ouvert.store import Hub, Store

from .hub_server import TinyHub


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


@pytest.fixture
def tiny_hub() -> Iterator[TinyHub]:
    with TinyHub().serving() as hub:
        yield hub


@pytest.fixture
def hub(tiny_hub: TinyHub) -> Hub:
    """How the store reaches that hub: it does not wait between tries."""
    return Hub(endpoint=tiny_hub.address, pause=0.0)
