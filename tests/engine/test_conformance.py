"""Our engine keeps to what every engine keeps to."""

import numpy as np
import pytest

from ouvert.engine import LocalEngine, Vocabulary

from .conformance import Conformance, Subject

SIZE = 264
BYTES = Vocabulary(
    [bytes([n]) if n < 256 else b"<%d>" % n for n in range(SIZE)], range(256, SIZE), lambda text: list(text.encode())
)


def noise(ids):
    """Scores that depend on everything before, and are the same every time."""
    return np.random.default_rng((len(ids), *ids[-3:])).standard_normal(SIZE).astype(np.float32) * 4


class TestOurs(Conformance):
    @pytest.fixture
    def subject(self, fake_runner, facts):
        engine = LocalEngine(fake_runner(SIZE, noise), 2048, facts)
        yield Subject(engine, BYTES, lambda: engine.load.output_tokens)
        engine.close()
