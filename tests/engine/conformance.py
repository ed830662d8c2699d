"""What every engine keeps to: ours, a remote one, several as one. Subclass `Conformance` and give it a `subject`.

    class TestOurs(Conformance):
        @pytest.fixture
        def subject(self): ...

Nothing here knows what the model wants to write: an answer is compared with what the same engine says elsewhere.
"""

import json
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import pytest

from ouvert.engine import Engine, EngineError, Grammar, Sampling, Vocabulary

from .asking import eventually, greedy, ids_of

PROMPT = [5, 60, 7, 8]
YES_OR_NO = Grammar.regex("(yes|no|perhaps not)")
POINT = Grammar.json_schema(
    {
        "type": "object",
        "properties": {"x": {"type": "integer"}, "name": {"enum": ["a", "b"]}},
        "required": ["x", "name"],
        "additionalProperties": False,
    }
)


@dataclass(frozen=True)
class Subject:
    """`computed()`: how many tokens of answers were computed, wherever that happens, since it was opened. Its engine's
    context holds 400 tokens at least, its vocabulary every byte as a token. `any_form`: constraints need not be made of
    grammars. `exact`: an answer goes on elsewhere with the very draws.

    `tolerance`: how far two log-probabilities of the same may lie apart.
    """

    engine: Engine
    vocabulary: Vocabulary
    computed: Callable[[], int]
    tolerance: float = 1e-6
    any_form: bool = True
    exact: bool = True

    def text(self, ids) -> str:
        """What the ids say, without control tokens."""
        spelled = (b"" if self.vocabulary.is_control(each) else self.vocabulary.bytes_of(each) for each in ids)
        return b"".join(spelled).decode()

    def ask(self, prompt=PROMPT, **changes):
        return self.engine.generate(prompt, greedy(**changes))


class EvenThenOdd:
    """A form that no grammar says: ids that are even and odd by turns; after six of them nothing."""

    source: Mapping[str, object] = {}

    def begin(self):
        return EvenThenOddState()


class EvenThenOddState:
    def __init__(self):
        self.written = []

    def allowed(self):
        return np.arange(len(self.written) % 2, 256, 2)

    def advance(self, token):
        assert token in self.allowed()
        self.written.append(token)

    @property
    def accepting(self):
        return len(self.written) == 6

    @property
    def finished(self):
        return self.accepting


class Conformance:
    # --- order and log-probabilities ----------------------------------------------------------------------------------

    def test_a_greedy_answer_is_the_likeliest_token_each_time(self, subject):
        tokens = list(subject.ask(max_tokens=8, logprobs=3))
        assert len(tokens) == 8
        for token in tokens:
            assert len(token.top) == 3
            assert token.logprob == pytest.approx(token.top[0][1], abs=subject.tolerance)
            assert [logprob for _, logprob in token.top] == sorted((each for _, each in token.top), reverse=True)

    def test_log_probabilities_are_those_of_the_text_when_it_is_read(self, subject):
        tokens = list(subject.ask(max_tokens=8, logprobs=3))
        read = subject.engine.score([*PROMPT, *(token.id for token in tokens)], 3)
        assert len(read) == len(PROMPT) + 7
        for written, scored in zip(tokens, read[-8:], strict=True):
            assert scored.id == written.id
            assert scored.logprob == pytest.approx(written.logprob, abs=subject.tolerance)
            assert [each for _, each in scored.top] == pytest.approx(
                [each for _, each in written.top], abs=subject.tolerance
            )

    def test_texts_that_are_scored_together_have_the_scores_of_each_alone(self, subject):
        texts = [[*PROMPT, n, n + 1, *PROMPT] for n in (65, 70, 65)] + [PROMPT[:1], PROMPT, [66, 67]]
        starts = [len(PROMPT), 1, 3, 1, 2, 2]
        expected = [subject.engine.score(text, 2)[start - 1 :] for text, start in zip(texts, starts, strict=True)]
        found = subject.engine.score_all(texts, 2, starts=starts, owner="ada")
        assert [[token.id for token in text] for text in found] == [
            text[start:] for text, start in zip(texts, starts, strict=True)
        ]
        for here, alone in zip(found, expected, strict=True):
            assert [token.logprob for token in here] == pytest.approx(
                [token.logprob for token in alone], abs=subject.tolerance
            )
            assert [len(token.top) for token in here] == [2] * len(here)
        assert subject.engine.score_all([]) == []
        with pytest.raises(EngineError, match="starts="):
            subject.engine.score_all([PROMPT], starts=[0])

    def test_tokens_have_no_log_probabilities_unless_asked_for(self, subject):
        assert [(token.logprob, token.top) for token in subject.ask(max_tokens=2)] == [(None, ())] * 2
        assert [len(token.top) for token in subject.ask(max_tokens=2, logprobs=0)] == [0, 0]

    def test_a_token_that_is_made_likely_comes(self, subject):
        assert ids_of(subject.ask(max_tokens=3, logit_bias={65: 100.0})) == [65, 65, 65]

    # --- why an answer ends -------------------------------------------------------------------------------------------

    def test_the_same_prompt_gives_the_same_answer_and_as_many_tokens_as_asked_for(self, subject):
        first = subject.ask(max_tokens=20)
        ids = ids_of(first)
        assert len(ids) == 20
        assert (first.stopped.reason, first.stopped.output_tokens, first.stopped.prompt_tokens) == ("length", 20, 4)
        assert ids_of(subject.ask(max_tokens=20)) == ids

    def test_a_stop_id_ends_the_answer_and_is_its_last_token(self, subject):
        ids = ids_of(subject.ask(max_tokens=20))
        stop = ids[3]
        stopping = subject.ask(max_tokens=20, stop_ids=frozenset({stop}))
        assert ids_of(stopping) == ids[: ids.index(stop) + 1]
        assert stopping.stopped.reason == "stop"

    def test_an_answer_ends_where_the_context_is_full(self, subject):
        room = 3
        generation = subject.ask([5] * (subject.engine.context - room))
        assert len(ids_of(generation)) == room
        assert generation.stopped.reason == "length"

    def test_an_answer_that_goes_in_circles_ends(self, subject):
        generation = subject.ask(max_tokens=200, logit_bias={65: 100.0}, repetition_guard=8)
        assert 8 <= len(ids_of(generation)) < 200
        assert generation.stopped.reason == "repetition"

    def test_an_answer_without_time_ends_as_it_is(self, subject):
        generation = subject.engine.generate(PROMPT, greedy(max_tokens=300), timeout=0.0)
        ids = ids_of(generation)
        assert generation.stopped.reason == "timeout"
        assert generation.stopped.output_tokens == len(ids) < 300

    def test_why_an_answer_ended_is_not_known_before(self, subject):
        generation = subject.ask(max_tokens=3)
        next(iter(generation))
        with pytest.raises(RuntimeError, match="still to come"):
            _ = generation.stopped
        generation.cancel()

    # --- leaving early ------------------------------------------------------------------------------------------------

    def test_cancelling_ends_an_answer_and_what_computes_it(self, subject):
        before, most = subject.computed(), subject.engine.context - len(PROMPT)
        generations = [subject.ask([*PROMPT, n]) for n in range(8)]
        for generation in generations:
            tokens = iter(generation)
            next(tokens), next(tokens)
            generation.cancel()
            assert list(tokens) == []
            assert (generation.stopped.reason, generation.stopped.output_tokens) == ("cancelled", 2)
        eventually(lambda: subject.engine.load.running == 0)
        assert subject.computed() - before < 8 * most
        assert len(ids_of(subject.ask(max_tokens=3))) == 3

    def test_an_answer_that_nobody_holds_is_cancelled(self, subject):
        before, most = subject.computed(), subject.engine.context - len(PROMPT)
        for n in range(8):
            next(iter(subject.ask([*PROMPT, n])))
        eventually(lambda: subject.engine.load.running == 0)
        assert subject.computed() - before < 8 * most

    # --- what cannot be asked -----------------------------------------------------------------------------------------

    @pytest.mark.parametrize("more", [0, 1, 1000])
    def test_a_prompt_that_does_not_fit_is_refused_with_both_numbers(self, subject, more):
        tokens = subject.engine.context + more
        with pytest.raises(EngineError, match=f"{tokens} tokens.*{subject.engine.context}"):
            subject.engine.generate([5] * tokens, greedy())

    @pytest.mark.parametrize("token", [-1, "vocabulary", 2**40])
    def test_an_id_that_there_is_not_is_refused_and_nothing_else_suffers(self, subject, token):
        other = subject.ask(max_tokens=20)
        strange = subject.engine.vocabulary_size if token == "vocabulary" else token
        for ask in (subject.engine.score, lambda ids: subject.engine.generate(ids, greedy())):
            with pytest.raises(EngineError, match=f"{strange} is not in the vocabulary"):
                ask([5, strange, 5])
        assert len(ids_of(other)) == 20

    def test_a_stop_id_that_there_is_not_never_comes(self, subject):
        strange = frozenset({subject.engine.vocabulary_size + 7})
        assert len(ids_of(subject.ask(max_tokens=5, stop_ids=strange))) == 5

    def test_a_prompt_of_no_tokens_is_refused(self, subject):
        with pytest.raises(EngineError, match="no tokens"):
            subject.engine.generate([], greedy())

    @pytest.mark.parametrize("wrong", [{"temperature": -1.0}, {"top_p": 0.0}, {"max_tokens": 0}, {"logprobs": -1}])
    def test_sampling_that_cannot_be_is_refused_by_name(self, subject, wrong):
        [(name, _)] = wrong.items()
        with pytest.raises(EngineError, match=name):
            subject.engine.generate(PROMPT, replace(greedy(), **wrong))

    # --- forms --------------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("logprobs", [None, 2])
    def test_an_answer_follows_a_regular_expression_and_ends_with_it(self, subject, logprobs):
        constraint = subject.vocabulary.compile(YES_OR_NO)
        generation = subject.ask(max_tokens=40, constraint=constraint, logprobs=logprobs)
        tokens = list(generation)
        assert re.fullmatch("yes|no|perhaps not", subject.text(token.id for token in tokens))
        assert generation.stopped.reason == "stop"
        assert all((token.logprob is None) == (logprobs is None) for token in tokens)

    @pytest.mark.parametrize("temperature", [0.0, 1.0])
    def test_an_answer_follows_a_schema(self, subject, temperature):
        constraint = subject.vocabulary.compile(POINT)
        end = subject.vocabulary.size - 1
        sampling = Sampling(
            temperature=temperature, seed=3, max_tokens=120, constraint=constraint, stop_ids=frozenset({end})
        )
        generation = subject.engine.generate(PROMPT, sampling)
        text = subject.text(ids_of(generation))
        if generation.stopped.reason == "stop":
            point = json.loads(text)
            assert list(point) == ["x", "name"]
            assert isinstance(point["x"], int)
            assert point["name"] in ("a", "b")
        else:  # a model of noise may write digits for ever
            assert re.match(r'\{\s*"x"\s*:\s*-?\d+', text)

    def test_an_answer_follows_a_choice_of_texts(self, subject):
        constraint = subject.vocabulary.compile(Grammar.one_of(["left", "right"]))
        generation = subject.ask(constraint=constraint)
        assert subject.text(ids_of(generation)) in ("left", "right")
        assert generation.stopped.reason == "stop"

    def test_an_answer_follows_a_form_that_no_grammar_says(self, subject):
        if not subject.any_form:
            with pytest.raises(EngineError):
                ids_of(subject.ask(max_tokens=40, constraint=EvenThenOdd()))
            return
        generation = subject.ask(max_tokens=40, constraint=EvenThenOdd())
        ids = ids_of(generation)
        assert [token % 2 for token in ids] == [0, 1] * 3
        assert generation.stopped.reason == "stop"

    def test_a_form_that_ends_nowhere_ends_with_its_tokens(self, subject):
        constraint = subject.vocabulary.compile(Grammar.regex("a+"))
        generation = subject.ask(max_tokens=5, constraint=constraint)
        assert subject.text(ids_of(generation)) == "aaaaa"
        assert generation.stopped.reason == "length"

    # --- going on -----------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("temperature", [0.0, 0.8])
    def test_an_answer_that_began_elsewhere_goes_on_behind_its_first_tokens(self, subject, temperature):
        sampling = Sampling(temperature=temperature, seed=5, max_tokens=12)
        whole = ids_of(subject.engine.generate(PROMPT, sampling))
        for cut in (1, 5, 11, 12):
            rest = subject.engine.generate(PROMPT, sampling, written=whole[:cut])
            ids = ids_of(rest)
            assert (len(ids), rest.stopped.reason, rest.stopped.output_tokens) == (12 - cut, "length", 12)
            assert ids == whole[cut:] or (temperature and not subject.exact)

    def test_an_answer_under_a_form_goes_on_under_it(self, subject):
        sampling = greedy(constraint=subject.vocabulary.compile(YES_OR_NO))
        whole = ids_of(subject.engine.generate(PROMPT, sampling))
        for cut in range(1, len(whole) + 1):
            rest = subject.engine.generate(PROMPT, sampling, written=whole[:cut])
            assert ids_of(rest) == whole[cut:]
            assert rest.stopped.reason == "stop"

    def test_what_cannot_be_the_beginning_of_an_answer_is_refused(self, subject):
        with pytest.raises(EngineError, match="seed is None"):
            subject.engine.generate(PROMPT, Sampling(temperature=1.0), written=[4])
        with pytest.raises(EngineError, match="3 tokens, expected max_tokens=2"):
            subject.engine.generate(PROMPT, greedy(max_tokens=2), written=[4, 5, 6])

    # --- side by side -------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("temperature", [0.0, 0.8])
    def test_eight_side_by_side_give_what_each_gives_alone(self, subject, temperature):
        sampling = Sampling(temperature=temperature, seed=11, max_tokens=24, logprobs=0)
        prompts = [[*PROMPT, *range(n + 1)] for n in range(8)]

        def answer(prompt):
            return [(token.id, token.logprob) for token in subject.engine.generate(prompt, sampling)]

        alone = [answer(prompt) for prompt in prompts]
        with ThreadPoolExecutor(8) as threads:
            together = list(threads.map(answer, prompts))
        assert together == alone

    def test_forgetting_changes_no_answer(self, subject):
        ids = ids_of(subject.ask(max_tokens=12))
        subject.engine.forget(lambda ids: True)
        assert ids_of(subject.ask(max_tokens=12)) == ids
        subject.engine.forget_all()
        assert ids_of(subject.ask(max_tokens=12)) == ids

    # --- what it says of itself ---------------------------------------------------------------------------------------

    def test_it_says_what_it_is_and_what_it_has_done(self, subject):
        before = subject.engine.load
        ids_of(subject.ask(max_tokens=6))
        eventually(lambda: subject.engine.load.running == 0)
        after = subject.engine.load
        assert (after.prompt_tokens - before.prompt_tokens, after.output_tokens - before.output_tokens) == (4, 6)
        assert subject.engine.facts.version
        assert subject.engine.facts.identity.digest == subject.engine.facts.identity.digest
        assert subject.engine.failure is None

    # --- closing ------------------------------------------------------------------------------------------------------

    def test_closing_ends_answers_with_an_error_and_refuses_new_ones(self, subject):
        generation = subject.ask()
        tokens = iter(generation)
        next(tokens)
        subject.engine.close()
        with pytest.raises(EngineError, match="closed"):
            list(tokens)
        with pytest.raises(EngineError, match="closed"):
            subject.ask()
        with pytest.raises(EngineError, match="closed"):
            subject.engine.score(PROMPT)
        subject.engine.close()
