"""A pool over engines in this process: answers that lose their member go on as if nothing had happened."""

import threading
from dataclasses import replace

import numpy as np
import pytest

from ouvert.arithmetic import LowRank
from ouvert.engine import (
    EngineBusyError,
    EngineError,
    Grammar,
    LocalEngine,
    Sampling,
    ScaledAdapter,
    Variant,
    Vocabulary,
)
from ouvert.engine.interface import EngineUnreachableError
from ouvert.engine.pool.breaker import Patience
from ouvert.engine.pool.engine import PoolEngine
from ouvert.engine.pool.generation import Rules
from ouvert.engine.pool.members import Expected, Member, MemberError, Members
from ouvert.engine.pool.placing import ranked
from ouvert.packed import Adapter

PROMPT = [1, 2, 3]
WEIGHTS = "sha256:" + "0" * 64
SAMPLED = Sampling(temperature=1.0, seed=7, max_tokens=30, logprobs=1)
VOCABULARY = Vocabulary([bytes([97 + n]) for n in range(12)] + [b""] * 4, {12, 13, 14, 15}, lambda text: [])


def noise(ids):
    return np.random.default_rng(ids).standard_normal(16).astype(np.float32) * 2


class Mortal:
    """An engine that is lost when it has written so many tokens more; None: never. `here`: whether it can be opened."""

    def __init__(self, engine):
        self.engine, self.lives, self.here = engine, None, True
        self.asked, self.scored = [], []
        self.problem = EngineUnreachableError("reading an answer: the connection was lost. Ask again.")

    def open(self):
        if not self.here:
            raise EngineUnreachableError("reaching a member: nobody answers. Start it.")
        return Face(self)


class Face:
    """One opening of a mortal engine."""

    def __init__(self, mortal):
        self.mortal = mortal

    def __getattr__(self, name):
        return getattr(self.mortal.engine, name)

    def close(self):
        pass

    def generate(self, ids, sampling, *more, written=(), **others):
        self.mortal.asked.append(len(written))
        if self.mortal.lives == 0:
            raise self.mortal.problem
        return Dying(self.mortal, self.mortal.engine.generate(ids, sampling, *more, written=written, **others))

    def score_all(self, texts, *more, **others):
        self.mortal.scored.append(len(texts))
        if self.mortal.lives == 0:
            raise self.mortal.problem
        return self.mortal.engine.score_all(texts, *more, **others)


class Dying:
    def __init__(self, mortal, generation):
        self.mortal, self.generation = mortal, generation
        self.cancel, self.reading = generation.cancel, generation.reading

    @property
    def stopped(self):
        return self.generation.stopped

    def __iter__(self):
        for token in self.generation:
            if self.mortal.lives == 0:
                raise self.mortal.problem
            if self.mortal.lives is not None:
                self.mortal.lives -= 1
            yield token
        if self.mortal.lives == 0:
            raise self.mortal.problem


@pytest.fixture
def mortals(fake_runner, facts):
    """Three engines that are alike, by name; the one that a prompt belongs to first comes first."""
    made = {name: Mortal(LocalEngine(fake_runner(16, noise), 200, facts)) for name in ranked("abc", PROMPT, "")}
    yield made
    for mortal in made.values():
        mortal.engine.close()


@pytest.fixture
def pool(mortals):
    """pool(Rules) over them, once for each call."""
    made = []

    def make(rules=Rules(wait=0.05), patience=Patience(failures=1, rest=0.01), weights=WEIGHTS):  # noqa: B008
        members = [Member(name, mortal.open) for name, mortal in mortals.items()]
        made.append(PoolEngine(Members(members, Expected(weights=weights, vocabulary_size=16), patience), rules))
        return made[-1]

    yield make
    for each in made:
        each.close()


def undisturbed(mortals, sampling):
    generation = next(iter(mortals.values())).engine.generate(PROMPT, sampling)
    return list(generation), generation.stopped


ASKED = {
    "sampled": SAMPLED,
    "penalised": replace(SAMPLED, repetition_penalty=1.7, frequency_penalty=0.5, presence_penalty=-0.2),
    "greedy": replace(SAMPLED, temperature=0.0),
    "stopped": replace(SAMPLED, stop_ids=frozenset({4}), seed=3),
    "constrained": replace(
        SAMPLED, constraint=VOCABULARY.compile(Grammar.regex("(ab|cd|ef){3,9}")), stop_ids=frozenset({12})
    ),
}


def test_adapters_are_refused_by_name(pool):
    variant = Variant((ScaledAdapter("sha256:" + "a" * 64),))
    engine = pool()
    for ask in (
        lambda: engine.generate(PROMPT, SAMPLED, variant),
        lambda: engine.score(PROMPT, 0, variant),
        lambda: engine.logits(PROMPT, variant),
        lambda: engine.embed([PROMPT], variant),
    ):
        with pytest.raises(EngineError, match=r"adapter sha256:a+: a pool computes this model, without adapters"):
            ask()
    one = LowRank(np.ones((1, 4), np.float32), np.ones((4, 1), np.float32), 1.0)
    with pytest.raises(EngineError, match="another program computes this model, without adapters"):
        engine.adapters.add(Adapter({"layers.0.q": one}))


@pytest.mark.parametrize("asked", ASKED)
def test_an_answer_that_loses_its_member_at_any_token_is_the_undisturbed_one(mortals, pool, asked):
    whole, ended = undisturbed(mortals, ASKED[asked])
    first, second, _ = mortals
    for cut in range(len(whole) + 1):
        engine = pool()
        mortals[first].lives = cut
        generation = engine.generate(PROMPT, ASKED[asked])
        assert list(generation) == whole, f"lost behind token {cut}"
        stopped = generation.stopped
        assert (stopped.reason, stopped.seed, stopped.prompt_tokens) == (ended.reason, ended.seed, 3)
        assert stopped.output_tokens == len(whole)
        begun = [(part.member, part.start) for part in stopped.parts]
        assert begun == ([(second, 0)] if cut == 0 else [(first, 0), (second, cut)])
        mortals[first].lives = None


def test_an_answer_outlives_every_member_but_one_and_all_of_them_where_one_comes_back(mortals, pool):
    whole, _ = undisturbed(mortals, SAMPLED)
    a, b, c = mortals.values()
    a.lives, b.lives = 5, 5
    assert list(pool().generate(PROMPT, SAMPLED)) == whole
    assert (b.asked[-1], c.asked[-1]) == (5, 10)

    a.lives = b.lives = c.lives = None
    engine = pool(Rules(wait=20))
    a.lives = b.lives = c.lives = 4
    generation = iter(engine.generate(PROMPT, SAMPLED))
    begun = [next(generation) for _ in range(12)]

    def revive():
        b.lives = None

    threading.Timer(0.1, revive).start()
    assert begun + list(generation) == whole


def test_texts_that_are_scored_are_divided_and_those_of_a_lost_member_go_to_another(mortals, pool):
    texts = [[n, *range(8), n] for n in range(16)]
    expected = next(iter(mortals.values())).engine.score_all(texts, 1, starts=[4] * 16)
    assert pool().score_all(texts, 1, starts=[4] * 16) == expected
    assert sorted(mortal.scored for mortal in mortals.values()) == [[5], [5], [6]]
    with pytest.raises(EngineError, match="token 16 is not in the vocabulary"):
        pool().score_all([[16, 1]])
    next(iter(mortals.values())).lives = 0
    assert pool().score_all(texts, 1, starts=[4] * 16) == expected
    for mortal in mortals.values():
        mortal.lives = 0
    with pytest.raises(EngineUnreachableError, match="connection was lost"):
        pool().score_all(texts)


def test_where_no_member_comes_back_the_answer_ends_with_why(mortals, pool):
    engine = pool()
    for mortal in mortals.values():
        mortal.lives, mortal.here = 3, False
    generation = engine.generate(PROMPT, SAMPLED)
    begun = iter(generation)
    assert len([next(begun) for _ in range(9)]) == 9
    with pytest.raises(EngineUnreachableError, match="connection was lost"):
        next(begun)


def test_what_is_wrong_with_a_request_is_not_asked_of_everybody(mortals, pool):
    engine = pool()
    with pytest.raises(EngineError, match="temperature"):
        engine.generate(PROMPT, Sampling(temperature=-1))
    assert [len(mortal.asked) for mortal in mortals.values()] == [1, 0, 0]
    assert [each.is_in for each in engine.load.members] == [True] * 3
    assert engine.load.running == 0


def test_a_member_that_has_too_much_to_do_is_passed_by_and_stays_in(mortals, pool):
    first, second, third = mortals.values()
    first.lives, first.problem = 0, EngineBusyError("taking in a request: 9 wait already. Ask again in a while.")
    engine = pool()
    assert len(list(engine.generate(PROMPT, SAMPLED))) == 30
    assert [each.is_in for each in engine.load.members] == [True] * 3
    for mortal in (second, third):
        mortal.lives, mortal.problem = 0, first.problem
    with pytest.raises(EngineBusyError):
        engine.generate(PROMPT, SAMPLED)


def test_a_member_that_is_out_is_left_alone_until_it_is_tried_and_well(mortals, pool):
    name, first = next(iter(mortals.items()))
    engine = pool(patience=Patience(failures=1, rest=0.2))
    first.lives, first.here = 1, False
    list(engine.generate(PROMPT, SAMPLED))
    asked = len(first.asked)
    list(engine.generate(PROMPT, SAMPLED))
    assert len(first.asked) == asked
    facts = {each.name: each for each in engine.load.members}[name]
    assert (facts.is_in, facts.lost) == (False, 1)
    assert facts.why is not None
    first.lives, first.here = None, True
    with engine.members._changed:
        assert engine.members._changed.wait(10)
    list(engine.generate(PROMPT, SAMPLED))
    assert len(first.asked) == asked + 1
    assert {each.name: each.is_in for each in engine.load.members}[name]


def test_the_second_choice_takes_over_where_the_first_has_a_queue(mortals, pool):
    first, second, _ = mortals
    engine = pool(Rules(overflow=2))
    waiting = [engine.generate(PROMPT, SAMPLED) for _ in range(6)]
    loads = {each.name: each.running for each in engine.load.members}
    assert (loads[first], loads[second]) == (4, 2)
    for generation in waiting:
        list(generation)
    assert engine.load.running == 0


def test_answers_that_are_cancelled_or_dropped_give_their_member_back(mortals, pool):
    engine = pool()
    endless = replace(SAMPLED, max_tokens=None)
    first = engine.generate(PROMPT, endless)
    begun = iter(first)
    next(begun)
    first.cancel()
    assert list(begun) == []
    assert (first.stopped.reason, first.stopped.output_tokens) == ("cancelled", 1)
    del first, begun
    second = engine.generate(PROMPT, endless)
    del second
    assert engine.load.running == 0


def test_other_weights_and_another_vocabulary_are_refused(mortals, pool, fake_runner, facts):
    with pytest.raises(MemberError, match="its weights are sha256:0"):
        pool(weights="sha256:" + "1" * 64)
    list(mortals.values())[-1].engine = LocalEngine(fake_runner(17), 64, facts)
    with pytest.raises(MemberError, match="17 tokens, expected 16"):
        pool(weights=None)


def test_an_answer_goes_on_at_a_member_of_the_same_identity_and_says_where_that_was_not_to_be_had(
    mortals, pool, fake_runner, facts
):
    """The second member is of another build."""
    first, second, third = mortals

    def newer():
        return replace(facts(), identity=replace(facts().identity, build="sha256:" + "b" * 64))

    mortals[second].engine = LocalEngine(fake_runner(16, noise), 200, newer)
    engine = pool()
    mortals[first].lives = 5
    generation = engine.generate(PROMPT, SAMPLED)
    list(generation)
    assert [part.member for part in generation.stopped.parts] == [first, third]
    assert len({part.facts.identity.digest for part in generation.stopped.parts}) == 1
    mortals[first].lives, mortals[third].lives, mortals[third].here = 5, 0, False
    engine = PoolEngine(
        Members(
            [Member(first, mortals[first].open), Member(second, mortals[second].open)],
            Expected(weights=WEIGHTS, vocabulary_size=16),
            Patience(failures=1),
        )
    )
    generation = engine.generate(PROMPT, SAMPLED)
    list(generation)
    assert len({part.facts.identity.digest for part in generation.stopped.parts}) == 2
    engine.close()


def test_a_pool_of_nobody_says_so(mortals, pool):
    for mortal in mortals.values():
        mortal.here = False
    with pytest.raises(EngineUnreachableError, match="none of its 3 members is there"):
        pool()


def test_a_pool_that_is_closed_ends_its_answers(mortals, pool):
    engine = pool(Rules(wait=20))
    for mortal in mortals.values():
        mortal.lives, mortal.here = 2, False
    generation = engine.generate(PROMPT, SAMPLED)
    threading.Timer(0.1, engine.close).start()
    with pytest.raises(EngineError, match="closed"):
        list(generation)


def test_a_member_that_is_out_is_told_to_forget_when_it_is_in_again(mortals, pool):
    told = []
    name, first = next(iter(mortals.items()))
    engine = pool(patience=Patience(failures=1, rest=0.05))
    for each, mortal in mortals.items():
        mortal.engine.forget = lambda holds, owner="", each=each: told.append((each, owner))
    first.lives, first.here = 1, False
    list(engine.generate(PROMPT, SAMPLED))
    engine.forget(lambda ids: True, "me")
    assert sorted(told) == sorted((each, "me") for each in mortals if each != name)
    first.lives, first.here = None, True
    until = threading.Event()
    first.engine.forget = lambda holds, owner="": (told.append((name, owner)), until.set())
    assert until.wait(20)
    assert told[-1] == (name, "me")
    assert len(told) == 3
