"""Random workloads: requests that come, are cancelled, fail and run out of time, with little memory.

Some ask for the base, some for a variant of the model, which changes its numbers. After every step an invariant checker
counts: every block belongs to a sequence or to the tree of kept prefixes, held as often as there are holders; no page
serves another variant than the one that computed it; nobody else's sequence is open; the tree's sums are right. And
every answer that ended by itself is what it would have been alone.
"""

import random

import numpy as np
import pytest

from ouvert.engine import BASE, EngineBusyError, EngineError, Limits, LocalEngine, Sampling, ScaledAdapter, Variant

SIZE = 16
CONTEXT = 60
VARIANTS = tuple(Variant((ScaledAdapter(f"sha256:{digit * 64}"),)) for digit in "ab")


def scores(ids):
    """Noise that depends on every token so far; some sequences break."""
    if len(ids) > 30 and sum(ids) % 97 == 0:
        return np.full(SIZE, np.nan, np.float32)
    return np.random.default_rng(ids).standard_normal(SIZE).astype(np.float32) * 2


def check(loop, runner):
    requests = list(loop.queues)
    references = {}
    for request in requests:
        if request.sequence is not None:
            added = runner.added[request.variant]
            assert request.sequence.ids == [token + added for token in request.tokens[: request.cached]]
            for block in request.sequence.blocks:
                references[block] = references.get(block, 0) + 1
        else:
            assert (request.cached, request.nodes) == (0, [])
    for sequence in loop.caches.lent:
        for block in sequence.blocks:
            references[block] = references.get(block, 0) + 1
    added_in = {variant.digest: added for variant, added in runner.added.items()}
    for node in loop.kept.tree:
        assert [token + added_in[node.scope.variant] for token in node.ids] == node.page.block.ids
        references[node.page.block] = references.get(node.page.block, 0) + 1
    assert references == {block: block.references for block in runner.blocks}
    assert runner.cache_bytes_in_use <= runner.cache_limit
    assert runner.open_sequences == len(loop.caches.lent) + sum(request.sequence is not None for request in requests)
    users = {}
    for request in requests:
        for node in request.nodes:
            users[node] = users.get(node, 0) + 1
    assert {node: node.users for node in loop.kept.tree if node.users} == {
        n: u for n, u in users.items() if n in loop.kept.tree._order
    }
    assert len({request.id for request in requests}) == len(requests)
    assert [request.id for request in loop.queues.running] == sorted(request.id for request in loop.queues.running)
    assert not any(request.ended.is_set() for request in requests)


def alone(fake_runner, facts, prompt, sampling, variant):
    with_room = LocalEngine(fake_runner(SIZE, scores, VARIANTS), CONTEXT, facts)
    try:
        return [token.id for token in with_room.generate(prompt, sampling, variant)], None
    except EngineError as problem:
        return None, str(problem)
    finally:
        with_room.close()


def check_between_steps(loop, runner):
    """What `check` finds between any two steps of the engine from now on."""
    broken = []

    def between_steps():
        try:
            check(loop, runner)
        except AssertionError as problem:
            broken.append(problem)
        else:
            loop.mailbox.post(between_steps)

    loop.mailbox.post(between_steps)
    return broken


class Client:
    """Asks at random. `asked` has (prompt, sampling, variant, generation); `read` the tokens of the first of them, None
    for what failed, whose errors are in `complaints`."""

    def __init__(self, engine, chance):
        self.engine, self.chance = engine, chance
        self.starts = [[chance.randrange(SIZE) for _ in range(chance.randrange(1, 30))] for _ in range(3)]
        self.asked, self.read, self.complaints = [], [], []

    def ask(self):
        """And sometimes cancel an answer, or score a text. Where the engine is busy, read instead."""
        chance = self.chance
        prompt = [*chance.choice(self.starts), *(chance.randrange(SIZE) for _ in range(chance.randrange(0, 9)))]
        sampling = Sampling(seed=chance.randrange(1000), max_tokens=chance.randrange(1, 40))
        timeout = chance.choice([None, None, None, 0.0, 0.01])
        variant = chance.choice([BASE, BASE, *VARIANTS])
        try:
            generation = self.engine.generate(prompt, sampling, variant, timeout=timeout)
        except EngineBusyError:
            self.read_oldest()
            return
        self.asked.append((prompt, sampling, variant, generation))
        if chance.random() < 0.2:
            chance.choice(self.asked)[-1].cancel()
        if chance.random() < 0.2:
            scored = [chance.randrange(SIZE) for _ in range(9)]
            try:
                assert self.engine.logits(scored, chance.choice(VARIANTS)).shape == (9, SIZE)
            except EngineError as problem:
                self.complaints.append(str(problem))

    def read_oldest(self):
        """To its end."""
        try:
            self.read.append([token.id for token in self.asked[len(self.read)][-1]])
        except EngineError as problem:
            self.read.append(None)
            self.complaints.append(str(problem))


@pytest.mark.parametrize("pages", [16, 20, 40, 200])
@pytest.mark.parametrize("seed", range(12))
def test_nothing_is_lost_shared_wrongly_or_changed(fake_runner, facts, pages, seed):
    chance = random.Random(seed)
    runner = fake_runner(SIZE, scores, VARIANTS)
    runner.cache_limit = pages * runner.page_bytes
    engine = LocalEngine(
        runner, CONTEXT, facts, limits=Limits(
            cache_bytes=runner.cache_limit, kept_bytes=runner.cache_limit // 2, most_running=5, most_waiting=12
        ),
    )  # fmt: skip
    fails = chance.random() < 0.3

    def before_step():
        if fails and chance.random() < 0.02:
            raise MemoryError("now and then")

    runner.before_step = before_step
    broken, client = check_between_steps(engine._loop, runner), Client(engine, chance)
    for _ in range(25):
        client.ask()
    while len(client.read) < len(client.asked):
        client.read_oldest()
    for (prompt, sampling, variant, generation), tokens in zip(client.asked, client.read, strict=True):
        if tokens is None:
            continue
        expected, _ = alone(fake_runner, facts, prompt, sampling, variant)
        if generation.stopped.reason in ("cancelled", "timeout"):
            assert expected is None or tokens == expected[: len(tokens)]
        else:
            assert tokens == expected
    engine.close()
    assert not broken, broken[0]
    assert [each for each in client.complaints if "NaN" not in each and "now and then" not in each] == []
    assert not runner.blocks
    assert runner.open_sequences == 0
