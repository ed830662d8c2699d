"""An answer that began elsewhere goes on, from wherever it was cut, as if it had never been disturbed."""

from dataclasses import replace

import numpy as np
import pytest

from ouvert.engine import EngineError, Grammar, LocalEngine, Sampling, Vocabulary

from .asking import GREEDY, greedy

PROMPT = [1, 2, 3]
END = 12
VOCABULARY = Vocabulary([bytes([97 + n]) for n in range(12)] + [b""] * 4, {12, 13, 14, 15}, lambda text: [])
HELD = VOCABULARY.compile(Grammar.regex("(ab|cd|ef){2,9}"))


def noise(ids):
    """Scores that depend on every token before, as a model's do."""
    return np.random.default_rng(ids).standard_normal(16).astype(np.float32) * 2


SAMPLED = Sampling(temperature=1.0, seed=7, max_tokens=40, logprobs=2)
ASKED = {
    "greedy": greedy(max_tokens=20, logprobs=1, seed=1),
    "sampled": SAMPLED,
    "filtered": replace(SAMPLED, top_k=5, top_p=0.9, min_p=0.02),
    "penalised": replace(SAMPLED, repetition_penalty=1.7, presence_penalty=0.4, frequency_penalty=0.3),
    "stopped": replace(SAMPLED, stop_ids=frozenset({4, 9}), seed=11),
    "constrained": replace(SAMPLED, constraint=HELD, stop_ids=frozenset({END})),
    "constrained, greedy": greedy(constraint=HELD, stop_ids=frozenset({END}), seed=1),
    "to the end of the context": Sampling(temperature=0.7, seed=3),
}


@pytest.fixture
def engine(fake_runner, facts):
    engine = LocalEngine(fake_runner(16, noise), 64, facts)
    yield engine
    engine.close()


@pytest.mark.parametrize("asked", ASKED)
def test_the_rest_is_the_same_wherever_an_answer_is_cut(engine, asked):
    generation = engine.generate(PROMPT, ASKED[asked])
    whole = list(generation)
    ids = [token.id for token in whole]
    assert len(ids) > 2
    for cut in range(1, len(whole) + 1):
        rest = engine.generate(PROMPT, ASKED[asked], written=ids[:cut])
        assert list(rest) == whole[cut:], f"cut behind token {cut}"
        told, expected = rest.stopped, generation.stopped
        assert (told.reason, told.prompt_tokens, told.output_tokens, told.seed) == (
            (expected.reason, 3, len(ids), expected.seed)
        )


def test_the_guard_against_circles_counts_what_was_written_elsewhere(fake_runner, facts):
    """The runner counts to fifteen for ever: a round of sixteen tokens."""
    engine = LocalEngine(fake_runner(16), 1000, facts)
    asked = greedy(repetition_guard=64)
    whole = [token.id for token in engine.generate([1, 2], asked)]
    for cut in (1, 15, 16, 17, 63, 64):
        rest = engine.generate([1, 2], asked, written=whole[:cut])
        assert [token.id for token in rest] == whole[cut:]
        assert rest.stopped.reason == "repetition"
    engine.close()


def test_what_was_written_is_not_computed_where_nothing_follows(fake_runner, facts):
    runner = fake_runner(16)
    engine = LocalEngine(runner, 64, facts)
    over = engine.generate([1, 2], greedy(stop_ids=frozenset({5})), written=[3, 4, 5])
    assert (list(over), over.stopped.reason, over.stopped.output_tokens) == ([], "stop", 3)
    assert runner.steps == []
    engine.close()


@pytest.mark.parametrize(
    ("sampling", "written", "named"),
    [
        (Sampling(temperature=1.0), [4], "seed is None"),
        (greedy(max_tokens=2), [4, 5, 6], "it has 3 tokens, expected max_tokens=2"),
        (greedy(stop_ids=frozenset({4})), [4, 5], "in its middle"),
        (greedy(constraint=HELD), [0, 3], "constraint"),
        (GREEDY, [16], "token 16 is not in the vocabulary"),
        (GREEDY, [4] * 62, "65 tokens"),
    ],
)
def test_what_cannot_be_the_beginning_of_this_answer_is_refused(engine, sampling, written, named):
    with pytest.raises(EngineError, match=named):
        engine.generate(PROMPT, sampling, written=written)
    with pytest.raises(EngineError, match="no prompt"):
        engine.generate([], GREEDY, written=[4])
