"""What several tests share: a real, small model."""

from pathlib import Path

import pytest

from ouvert.store import Store

# Not the user's own store: tests neither see nor touch that.
HOME = Path(__file__).parents[1] / "build" / "store"


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct, Q4_1 (Apache-2.0), as a GGUF file. Fetched once, digest checked."""
    return Store(HOME).pull("smollm2").path
