"""A model of this machine as a contestant: what comes back, and that asking together changes no bit."""

import dataclasses

import pytest
from tests.evaluation.made_up import Scripted, made_up_plan, made_up_suites, still_machine

from ouvert.assistant import load
from ouvert.evaluation import Chat, EvaluationError, Evidence, Item, Likelihood, Plan, Text, compare_outcomes, run
from ouvert.evaluation.asking import Question, answers_to
from ouvert.evaluation.comparing import entrants_again, settings_of
from ouvert.evaluation.contestants.entrants import LoadedOnce, Meant, fit_together, fits, meanings, split_effort
from ouvert.evaluation.contestants.here import Here, facts_of
from ouvert.store import Store


def said(words, max_tokens=12, **more):
    return Chat(messages=({"role": "user", "content": words},), max_tokens=max_tokens, **more)


def item(ask, name="1"):
    return Item(suite="sums", id=name, language="en", ask=ask, expected={"sum": 4})


@pytest.fixture(scope="module")
def model(smollm2):
    with load(smollm2, receipts=False, prefixes=False) as loaded:
        yield loaded


@pytest.fixture
def here(model):
    return Here(model, facts_of(model, "smollm2", about={}), release=lambda: None)


def test_questions_asked_together_have_the_bits_of_those_asked_alone(here):
    words = ("What is 2 + 2?", "Name a colour.", "Say hello in French.", "What is the capital of Italy?", "Count to 5.")
    items = [item(said(each), str(n)) for n, each in enumerate(words)]
    items.append(item(Likelihood(context="Paris is in", choices=(" France", " Spain")), "likely"))
    items.append(item(Text(text="The cat sat on the mat."), "text"))
    plan = made_up_plan([Scripted("a", lambda *_: True)], {"sums/en": 2})
    alone = {each.id: here.ask(each, 0, 1).outcome for each in items}
    questions = [Question(each, 0) for each in items]
    together = {question.item.id: answered.outcome for question, answered in answers_to(here, plan, questions, 8)}
    assert together == alone
    assert all(alone[str(n)].text for n in range(len(words)))


def test_an_answer_comes_with_its_tokens_cost_and_receipt(here, model):
    answered = here.ask(item(said("What is 2 + 2?")), 0, 1)
    outcome, cost = answered.outcome, answered.cost
    assert outcome.text == model.detokenize(outcome.ids)
    assert 0 < len(outcome.logprobs) <= len(outcome.ids) == cost.output_tokens <= 12
    assert 0 < cost.first <= cost.visible <= cost.whole
    assert cost.alone is False
    assert answered.receipt["sampling"]["temperature"] == 0
    assert answered.receipt["tokens"]["output"] == len(outcome.ids)


def test_a_schema_holds_the_answer(here):
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer"}},
        "required": ["n"],
        "additionalProperties": False,
    }
    assert here.ask(item(said("A number, as JSON.", 20, schema=schema)), 0, 1).outcome.text.startswith("{")


def test_what_cannot_be_asked_is_refused_and_says_why(here):
    long = here.ask(item(said("word " * 9000)), 0, 1).outcome
    assert "context holds 8192" in long.refused
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    without = here.ask(item(said("Call f.", tools=(tool,))), 0, 1).outcome
    assert without.calls or without.text or without.refused


def test_likelihood_is_the_sum_over_the_tokens_of_the_choice(here, model):
    ask = Likelihood(context="The capital of France is", choices=(" Paris", " London", " Paris, of course"))
    found = here.ask(item(ask), 0, 1).outcome.logprobs
    before = len(model.text_ids(ask.context))
    for choice, logprob in zip(ask.choices, found, strict=True):
        ids = model.text_ids(ask.context + choice)
        logits = model.logits(ids)
        import numpy as np

        sure = [
            float(logits[n - 1, ids[n]] - np.logaddexp.reduce(logits[n - 1].astype(np.float64)))
            for n in range(before, len(ids))
        ]
        assert logprob == pytest.approx(sum(sure), abs=1e-3)
    assert found[0] > found[1]


def test_a_model_that_was_closed_stops_the_run(smollm2):
    closed = Here(model := load(smollm2, receipts=False, prefixes=False), facts_of(model, "a", about={}))
    closed.close()
    closed.close()
    with pytest.raises(EvaluationError, match="a sums/en 1"):
        closed.ask(item(said("Hello?")), 0, 1)


def test_facts_tell_configurations_apart(model):
    plain = facts_of(model, "a", about={})
    assert plain.digest == facts_of(model, "b", about={"licence": "x"}).digest
    assert plain.digest != facts_of(model, "a", effort="low", about={}).digest
    assert plain.digest != facts_of(model, "a", temperature=1.0, about={}).digest
    assert plain.digest != facts_of(model, "a", copy=2, about={}).digest
    assert plain.asks == {"chat", "likelihood", "text"}


def test_names_say_precision_effort_and_which_of_the_same():
    known = {"gpt-oss:high"}.__contains__
    words = ("smollm2@8", "smollm2@8", "gpt-oss:20b@4:low", "gpt-oss:high")
    assert [each.label for each in meanings(words, known=known)] == [
        "smollm2@8", "smollm2@8#2", "gpt-oss:20b@4:low", "gpt-oss:high",
    ]  # fmt: skip
    assert split_effort("gpt-oss:20b", known) == ("gpt-oss:20b", "")
    spread = meanings(("a", "b"), ("low", "high"), known=known)
    assert [each.label for each in spread] == ["a:low", "a:high", "b:low", "b:high"]
    with pytest.raises(EvaluationError, match="Leave one out"):
        meanings(("a:low",), ("low", "high"), known=known)
    with pytest.raises(EvaluationError, match="'huge'"):
        meanings(("a",), ("huge",), known=known)


def test_a_model_is_loaded_once_however_often_it_meets_itself(smollm2, tmp_path):
    with LoadedOnce(Store(tmp_path)) as loaded:
        entrants = [loaded.entrant(each, 0.0) for each in meanings((str(smollm2),) * 2, known=lambda name: True)]
        assert entrants[0].facts.label + "#2" == entrants[1].facts.label
        one, other = (entrant.open() for entrant in entrants)
        assert one.model is other.model
        assert fit_together(entrants, memory=int(entrants[0].memory * 1.5))
        one.close()
        assert other.ask(item(said("Hello?", 2)), 0, 1).outcome.ids
        with pytest.raises(EvaluationError, match="this model has no efforts"):
            loaded.entrant(Meant(str(smollm2), "low", 1), 0.0)
    assert not fits(10, memory=10)


def test_a_real_model_runs_is_stopped_goes_on_and_runs_again(smollm2, tmp_path, monkeypatch):
    made_up_suites(monkeypatch)
    with LoadedOnce(Store(tmp_path / "store"), context=512, cache="q8") as loaded:
        [entrant] = [loaded.entrant(each, 0.0) for each in meanings((str(smollm2),), known=lambda name: True)]
        plan = made_up_plan([], {"sums/en": 4, "choices/en/likelihood": 3})
        plan = dataclasses.replace(plan, contestants=(entrant.facts,))

        def stop(progress):
            raise KeyboardInterrupt

        with Evidence.create(tmp_path / "c", plan) as evidence, pytest.raises(KeyboardInterrupt):
            run(evidence, [entrant], progress=stop, machine=still_machine())
        stopped = len(Evidence.open(tmp_path / "c").answers())
        assert 1 <= stopped < 7
        with Evidence.open(tmp_path / "c", writing=True) as evidence:
            with (
                LoadedOnce(Store(tmp_path / "store")) as otherwise,
                pytest.raises(EvaluationError, match="context was 512"),
            ):
                run(evidence, entrants_again(evidence.plan, otherwise), machine=still_machine())
            with LoadedOnce(Store(tmp_path / "store"), **settings_of(evidence.plan)) as again:
                run(evidence, entrants_again(evidence.plan, again), machine=still_machine())
        with Evidence.create(tmp_path / "again", Plan.read(plan.toml)) as evidence:
            run(evidence, [entrant], machine=still_machine(), parallel=1)
    found = compare_outcomes(Evidence.open(tmp_path / "c"), Evidence.open(tmp_path / "again"))
    assert found.holds
    assert found.same == 7


def test_what_a_comparison_decides_itself_is_refused_by_name():
    with pytest.raises(EvaluationError, match="receipts was given"):
        LoadedOnce(receipts=False)
