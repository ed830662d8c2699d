"""A remote engine over a scripted server."""

import numpy as np
import pytest

from ouvert.engine import LocalEngine, Vocabulary
from ouvert.engine.remote.connection import Address, Connection, Timeouts
from ouvert.engine.remote.endpoint import TokenEndpoint
from ouvert.engine.remote.engine import RemoteEngine

from .token_server import TokenServer

SIZE = 264
CONTEXT = 2048


def noise(ids):
    return np.random.default_rng((len(ids), *ids[-3:])).standard_normal(SIZE).astype(np.float32) * 4


@pytest.fixture
def vocabulary():
    tokens = [bytes([n]) if n < 256 else b"<%d>" % n for n in range(SIZE)]
    return Vocabulary(tokens, range(256, SIZE), lambda text: list(text.encode()))


@pytest.fixture
def server(fake_runner, facts, vocabulary):
    """A scripted server over an engine of noise."""
    made = TokenServer(LocalEngine(fake_runner(SIZE, noise), CONTEXT, facts), vocabulary)
    yield made
    made.close()


@pytest.fixture
def connect(server, facts):
    """connect(key=None, timeouts=...): a remote engine over the server."""
    made = []

    def make(key=None, timeouts=Timeouts(reply=20.0), url=None):  # noqa: B008 - a value that never changes
        connection = Connection(Address.of(url or server.url), key=key, timeouts=timeouts)
        engine = RemoteEngine(
            TokenEndpoint(connection, "tiny"), context=CONTEXT, vocabulary_size=SIZE, facts=lambda version: facts()
        )
        made.append(engine)
        return engine

    yield make
    for engine in made:
        engine.close()


@pytest.fixture
def engine(connect):
    return connect()
