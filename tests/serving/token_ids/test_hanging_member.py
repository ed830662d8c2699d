"""A member of a pool that is there and says nothing more: its answer goes on at another, after `silence`."""

import contextlib
import socket
import threading

import pytest

from ouvert import Sampling, load
from ouvert.engine import (
    Address,
    EngineUnreachableError,
    MemberAddress,
    MemberEngine,
    Patience,
    PoolRules,
    PoolSettings,
    Wanted,
    open_pool,
)
from ouvert.engine.remote.connection import Connection
from ouvert.serving import ENGINE_ENDPOINTS

SILENCE = 2.0  # seconds; a member gives signs of life more often, however busy this machine is
SAMPLED = Sampling(temperature=1.0, seed=5, max_tokens=40)


class Passage:
    """A way to a server that passes on `bytes` of each answer, all where that is None, and then nothing."""

    def __init__(self, port):
        self.bytes = None
        self.hung = threading.Event()
        self._port, self._ends = port, []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.base = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(("127.0.0.1", self._port))
                self._ends += [client, server]
                for way in ((client, server, False), (server, client, True)):
                    threading.Thread(target=self._pass, args=way, daemon=True).start()

    def _pass(self, source, target, answers):
        passed, silent = 0, False
        with contextlib.suppress(OSError):
            while data := source.recv(512):
                passed += len(data)
                silent = silent or (answers and self.bytes is not None and passed > self.bytes)
                if silent:
                    self.hung.set()
                else:
                    target.sendall(data)
            if not silent:
                target.shutdown(socket.SHUT_WR)

    def close(self):
        for end in (self._listening, *self._ends):
            end.close()


@pytest.fixture
def servers(start_server, tiny_gpt_oss):
    return [start_server(models=(str(tiny_gpt_oss),), only_these=True, endpoints=ENGINE_ENDPOINTS) for _ in "ab"]


@pytest.fixture
def passage(servers):
    made = Passage(servers[0].port)
    yield made
    made.close()


def pool_of(bases):
    connection = Connection(Address.of(bases[0]))
    statement = MemberEngine(connection).statement
    wanted = Wanted(
        weights_digest=statement.facts.weights_digest,
        vocabulary_size=statement.vocabulary_size,
        tokenizer_digest=statement.tokenizer_digest,
    )
    members = [MemberAddress(name=str(n), address=Address.of(base)) for n, base in enumerate(bases)]
    settings = PoolSettings(rules=PoolRules(wait=0.1), patience=Patience(failures=1, rest=600.0), silence=SILENCE)
    return open_pool(members, settings, wanted)


@pytest.mark.parametrize("most", [900, 4000])
def test_an_answer_whose_member_falls_silent_goes_on_at_another(servers, passage, tiny_gpt_oss, most):
    prompts = [[104 + n, 101, 108] for n in range(6)]
    pool = pool_of([passage.base, servers[1].base])
    try:
        passage.bytes = most
        written = [[token.id for token in pool.generate(ids, SAMPLED)] for ids in prompts]
        lost = [member.lost for member in pool.load.members]
    finally:
        pool.close()
    assert passage.hung.is_set()
    assert lost == [1, 0]
    with load(tiny_gpt_oss, receipts=False, prefixes=False, threads=1) as model:
        assert written == [[token.id for token in model.engine.generate(ids, SAMPLED)] for ids in prompts]


def test_where_every_member_is_silent_the_answer_ends_with_why(passage):
    pool = pool_of([passage.base])
    try:
        passage.bytes = 4000
        with pytest.raises(EngineUnreachableError, match="nothing came for too long"):
            list(pool.generate([104, 101, 108], SAMPLED))
    finally:
        pool.close()
