"""Texts that are scored together: the same bits as each alone, what they share computed once, answers first."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from ouvert import kernels, models, packed
from ouvert.engine import EngineError, LocalEngine, Sampling
from ouvert.engine.prefixes.disk import DiskPrefixes
from ouvert.engine.prefixes.page_files import PageFiles
from ouvert.engine.runners.native_runner import NativeRunner
from ouvert.engine.sampler import report_all
from ouvert.engine.scoring import Task, plan_scoring
from ouvert.engine.steps import ROW_BYTES, STEP_TOKENS
from ouvert.weights import open_checkpoint

from .asking import eventually, greedy, held_runner, ids_of

GOLDENS = Path(__file__).parents[1] / "goldens" / "models"
FAMILIES = [
    *("llama", "mistral", "qwen2-window", "qwen3", "gpt_oss", "gpt_oss-mxfp4", "mixtral-window", "qwen3_moe"),
    *("mamba", "mamba2", "falcon_mamba", "deepseek_v3", "deepseek_v2"),
]


def few_shot_questions(vocabulary, seed=3, questions=9):
    """Texts and starts, as a suite of questions with four choices makes them: a beginning that all share, contexts that
    four share, choices of which some begin alike, one text twice, one of a single token, one that is scored whole."""
    random = np.random.default_rng(seed)

    def tokens(least, most):
        return random.integers(0, vocabulary, int(random.integers(least, most + 1))).tolist()

    head, texts, starts = tokens(70, 70), [], []
    for _ in range(questions):
        context = [*head, *tokens(1, 90)]
        alike = tokens(1, 3)
        for n in range(4):
            texts.append([*context, *(alike if n % 2 else []), *tokens(1, 9)])
            starts.append(len(context))
    return [*texts, texts[5], [1], texts[7]], [*starts, starts[5], 1, 1]


def alone(engine, texts, starts, top):
    """Each text by itself, from `logits`, which has no part in scoring."""
    return [
        report_all(engine.logits(ids[:-1]), ids[1:], top)[start - 1 :] if len(ids) > 1 else []
        for ids, start in zip(texts, starts, strict=True)
    ]


# --- the same bits ----------------------------------------------------------------------------------------------------


def engine_of(family, facts, threads):
    """With room for texts of several pages, which these checkpoints were not made for."""
    with open_checkpoint(GOLDENS / family / "model.safetensors") as checkpoint:
        model = models.load(checkpoint, packed.InMemory())
    return LocalEngine(NativeRunner(model, kernels.Programs(model, threads=threads)), 512, facts)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_number_is_that_of_the_text_alone(family, facts):
    expected = None
    for threads in (1, 2, 3):
        with closing(engine_of(family, facts, threads)) as engine:
            texts, starts = few_shot_questions(engine.vocabulary_size, questions=4)
            found = engine.score_all(texts, 2, starts=starts)
            if expected is None:
                expected = alone(engine, texts, starts, 2)
            assert found == expected
            assert engine.score_all(texts, 2, starts=starts) == expected  # from what was kept
            assert engine.score(texts[0], 2)[starts[0] - 1 :] == expected[0]


def test_answers_beside_and_callers_from_several_threads_change_no_bit(facts):
    with closing(engine_of("llama", facts, 2)) as engine:
        texts, starts = few_shot_questions(engine.vocabulary_size, questions=12)
        expected = alone(engine, texts, starts, 0)
        sampling = Sampling(seed=1, max_tokens=60, logprobs=0)
        written = list(engine.generate(texts[0], sampling))
        engine.forget_all()
        answer = engine.generate(texts[0], sampling)
        with ThreadPoolExecutor(4) as pool:
            parts = [range(n, len(texts), 4) for n in range(4)]
            asked = [
                pool.submit(engine.score_all, [texts[n] for n in part], starts=[starts[n] for n in part])
                for part in parts
            ]
            assert list(answer) == written
            for part, each in zip(parts, asked, strict=True):
                assert each.result() == [expected[n] for n in part]


def test_a_text_that_made_room_in_its_middle_goes_on_with_the_same_numbers(fake_runner, facts):
    """An answer that comes while a long text is scored, and needs all the caches."""
    table = np.random.default_rng(5).standard_normal((997, 16)).astype(np.float32)
    runner = fake_runner(16, lambda ids: table[hash(tuple(ids)) % 997])
    engine = LocalEngine(runner, 4096, facts)
    text = np.random.default_rng(6).integers(0, 16, 1500).tolist()
    expected = engine.score(text)
    engine.forget_all()
    runner.steps.clear()
    runner.cache_limit = 1600 // 4 * 40
    engine._loop.limits = engine._loop.kept.limits = type(engine._loop.limits)(cache_bytes=runner.cache_limit)
    answers, paused, pause = [], [], engine._loop.caches.pause
    engine._loop.caches.pause = lambda request: (paused.append(request.scoring is not None), pause(request))

    def interrupt():
        if len(runner.steps) == 1 and not answers:
            answers.append(engine.generate(text[1:900], greedy(max_tokens=3)))

    runner.before_step = interrupt
    assert engine.score(text) == expected
    assert len(ids_of(answers[0])) == 3
    assert paused
    assert all(paused)  # the text, and not the answer


# --- computed once ----------------------------------------------------------------------------------------------------


def test_a_context_is_read_once_and_only_the_choices_give_logits(fake_runner, facts):
    runner = fake_runner(16)
    engine = LocalEngine(runner, 64, facts)
    context = [n % 16 for n in range(20)]
    choices = [[3, 4, 5], [7, 8], [9]]
    found = engine.score_all([context + choice for choice in choices], starts=[20] * 3)
    assert [[token.id for token in text] for text in found] == choices
    # All of the context but its last token; then that token and the choice without its last, for each choice.
    # How many choices share a step depends on how far they had come when it began.
    assert runner.steps[0] == [(19, "none")]
    assert [part for step in runner.steps[1:] for part in step] == [(3, "all"), (2, "all"), (1, "all")]
    assert runner.open_sequences == 0


def test_tokens_that_texts_begin_with_are_scored_once(fake_runner, facts):
    runner = fake_runner(16)
    engine = LocalEngine(runner, 64, facts)
    sentence = [n % 16 for n in range(12)]
    texts = [[*sentence, 3, 4], [*sentence, 9, 4], sentence, [*sentence, 3, 4]]
    found = engine.score_all(texts)
    assert sum(tokens for step in runner.steps for tokens, _ in step) == 11 + 2 + 2
    assert found == [engine.score(text) for text in texts]


def test_what_stands_before_the_start_is_kept_in_memory_and_never_on_disk(fake_runner, facts, tmp_path):
    disk = DiskPrefixes(PageFiles(tmp_path, quota=10**9), lambda: {"weights": "a"}, 4)
    runner = fake_runner(16)
    engine = LocalEngine(runner, 4096, facts, disk=disk)
    text = [n % 16 for n in range(300)]
    engine.score_all([text], starts=[290])
    engine.score_all([text], starts=[290])
    assert runner.steps == [[(289, "none")], [(10, "all")], [(10, "all")]]
    generation = engine.generate(text[:289], greedy(max_tokens=1))
    ids_of(generation)
    assert generation.stopped.reused_tokens == 288
    engine.close()
    assert sum(path.is_file() for path in tmp_path.rglob("*")) <= 289 // 4 + 2  # the answer's pages and their index


def test_nothing_of_one_owner_is_used_for_another(fake_runner, facts):
    runner = fake_runner(16)
    engine = LocalEngine(runner, 4096, facts)
    text = [n % 16 for n in range(40)]
    for owner in ("ada", "bob", "ada"):
        engine.score_all([text], starts=[30], owner=owner)
    assert runner.steps == [[(29, "none")], [(10, "all")]] * 2 + [[(10, "all")]]


# --- the loop ---------------------------------------------------------------------------------------------------------


def test_an_answer_that_comes_later_is_read_first(fake_runner, facts):
    runner, held = held_runner(fake_runner)
    engine = LocalEngine(runner, 4096, facts)
    texts = [[n, *([1] * 299)] for n in range(10)]
    with ThreadPoolExecutor(1) as pool:
        scored = pool.submit(engine.score_all, texts)
        eventually(lambda: engine.load.waiting)
        answer = engine.generate([2, 3], greedy(max_tokens=2))
        held.set()
        assert ids_of(answer) == [4, 5]
        assert len(scored.result()) == 10
    first = next(n for n, step in enumerate(runner.steps) if (2, "last") in step)
    assert first <= 1
    assert len(runner.steps) > 5


def test_a_step_never_makes_more_logits_than_fit_into_its_memory(fake_runner, facts):
    vocabulary = ROW_BYTES // 4 // 50  # room for fifty rows
    runner = fake_runner(vocabulary, lambda ids: np.zeros(vocabulary, np.float32))
    engine = LocalEngine(runner, 4096, facts)
    engine.score_all([[n, *([1] * 129)] for n in range(3)])
    rows = [sum(tokens for tokens, wanted in step if wanted == "all") for step in runner.steps]
    assert max(rows) == 50
    assert sum(rows) == 3 * 129


def test_a_step_reads_as_many_texts_as_it_has_room_for(fake_runner, facts):
    runner = fake_runner(16)
    engine = LocalEngine(runner, 4096, facts)
    engine.score_all([[n % 16, (n // 16) % 16, *([1] * 31)] for n in range(64)])
    assert max(sum(tokens for tokens, _ in step) for step in runner.steps) == STEP_TOKENS


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "settings", "said"),
    [
        ([[1, 2], []], {}, "has no tokens"),
        ([[1, 2], [1, 16]], {}, "token 16 is not in the vocabulary"),
        ([[1] * 65], {}, "65 tokens.*holds 64"),
        ([[1, 2]], {"starts": [0]}, "starts="),
        ([[1, 2]], {"starts": [1, 1]}, "for 1 texts"),
        ([[1, 2]], {"top": -1}, "top=-1"),
        ([[1, 2]], {"top": 17}, "0 to 16"),
    ],
)
def test_what_cannot_be_scored_is_refused_before_anything_is_computed(engine, runner, texts, settings, said):
    with pytest.raises(EngineError, match=said):
        engine.score_all(texts, **settings)
    assert runner.steps == []


def test_no_texts_have_no_scores_and_a_start_behind_the_text_none(engine):
    assert engine.score_all([]) == []
    assert engine.score_all([[1, 2, 3]], starts=[3]) == [[]]


def test_logits_that_are_not_finite_end_the_call_with_their_layer_and_leave_nothing_behind(fake_runner, facts):
    def scores(ids):
        return np.full(16, np.nan) if ids[:2] == [7, 8] else np.zeros(16)

    runner = fake_runner(16, scores)
    engine = LocalEngine(runner, 64, facts, locate=lambda ids: f"layers.3.out after {ids}")
    with pytest.raises(EngineError, match=r"NaN.*layers\.3\.out after \[7, 8"):
        engine.score_all([[7, 8, 9, 1], *([n, 1, 2, 3] for n in range(6))])
    assert len(engine.score_all([[1, 2, 3]])[0]) == 2
    assert runner.open_sequences == 0


def test_an_engine_that_is_closed_meanwhile_ends_the_call(fake_runner, facts):
    runner, held = held_runner(fake_runner)
    engine = LocalEngine(runner, 4096, facts)
    with ThreadPoolExecutor(2) as pool:
        scored = pool.submit(engine.score_all, [[n, *([1] * 600)] for n in range(3)])
        eventually(lambda: engine.load.waiting)
        closing = pool.submit(engine.close)
        held.set()
        with pytest.raises(EngineError, match="closed"):
            scored.result()
        closing.result()


# --- the plan ---------------------------------------------------------------------------------------------------------


def test_the_plan_puts_side_by_side_what_begins_alike_and_lends_what_was_scored():
    texts = [[1, 2, 3, 4], [5, 6], [1, 2, 3, 9, 9], [1, 2, 3, 4]]
    assert plan_scoring(texts, [1, 1, 1, 1]) == [
        Task(0, 1, 3, None),  # leaves what the next one starts with
        Task(3, 4, 3, 0),  # the same text: nothing to compute
        Task(2, 3, 2, 3),
        Task(1, 1, 0, None),
    ]


def test_nothing_is_lent_by_a_text_that_was_wanted_from_a_later_token_on():
    assert plan_scoring([[1, 2, 3, 4], [1, 2, 3, 5]], [3, 1]) == [Task(0, 3, 2, None), Task(1, 1, 0, None)]
