"""Learning from rewards: what is drawn is learnt from, dead groups cost nothing, good answers become likelier."""

import json

import numpy as np
import pytest
import torch

from ouvert.tuning import Prompt, Recipe, TuningError
from ouvert.tuning.reinforce import GroupRelative, Sampled, advantages
from ouvert.tuning.reward_files import digests_of, require_same_files, with_whole_paths, without_folders
from ouvert.tuning.rewards import judges_of, require_columns
from ouvert.tuning.terms import joined, sequences_of

from .tiny_learner import VOCABULARY, TinyLearner


class TinySampler:
    """Draws from a learner, token by token, as the learner's log-probabilities say."""

    def __init__(self, learner):
        self.learner, self.asked = learner, []

    def __call__(self, asked, adapter, *, length, temperature, between):
        between()
        self.asked.append((len(asked), adapter.digest, temperature))
        return [[self._one(each.ids, seed, length, temperature) for seed in each.seeds] for each in asked]

    def _one(self, prompt, seed, length, temperature):
        random, ids = np.random.default_rng(seed), list(prompt)
        for _ in range(length):
            found = self.learner.log_probabilities([np.array([*ids, k], np.int32) for k in range(VOCABULARY)])
            scores = np.array([each[-1] for each in found])
            shares = np.exp(scores) / np.exp(scores).sum()
            ids.append(int(scores.argmax() if temperature == 0 else random.choice(VOCABULARY, p=shares)))
        whole = np.array(ids, np.int32)
        [now] = self.learner.log_probabilities([whole])
        answer = whole[len(prompt) :]
        return Sampled(answer, now[len(prompt) :], True, " ".join(map(str, answer)))


def prompts(count):
    return [Prompt(np.array([n, n + 1], np.int32), {"answer": "3"}, n + 1) for n in range(count)]


def recipe(**reward):
    return Recipe.of({"method": "grpo", "reward": {"answers": 6, "length": 2, **reward}})


def share_of_even(answer, prompt):
    return float((answer.ids % 2 == 0).mean())


def test_answers_that_are_worth_more_become_likelier():
    learner = TinyLearner()
    way = GroupRelative(recipe(), TinySampler(learner), {"even": share_of_even})
    optimiser = torch.optim.Adam(learner.parameters.values(), lr=0.1)
    told = []
    for step in range(12):
        optimiser.zero_grad()
        terms = way.terms(prompts(4), learner, step)
        told.append(learner.learn(sequences_of(terms), joined(terms)).metrics)
        optimiser.step()
    assert told[-1]["reward"] > told[0]["reward"] + 0.25


def test_a_group_of_equals_teaches_nothing_and_is_told():
    learner = TinyLearner()
    terms = GroupRelative(recipe(), TinySampler(learner), {"same": lambda *_: 1.0}).terms(prompts(3), learner, 0)
    found = learner.learn(sequences_of(terms), joined(terms))
    assert found.metrics["dead_groups"] == 1
    assert found.metrics["reward"] == 1
    assert all(not each.any() for each in found.gradients)


def test_other_probabilities_than_those_that_were_drawn_end_the_run():
    learner = TinyLearner()
    sampler = TinySampler(learner)

    def off(*args, **kind):
        return [
            [Sampled(each.ids, np.nextafter(each.log_probabilities, 0), True, each.text) for each in group]
            for group in sampler(*args, **kind)
        ]

    terms = GroupRelative(recipe(), off, {"even": share_of_even}).terms(prompts(4), learner, 0)
    with pytest.raises(TuningError, match="expected the same numbers"):
        learner.learn(sequences_of(terms), joined(terms))


def test_every_token_counts_alike_and_the_same_seeds_draw_the_same():
    learner = TinyLearner()
    way = GroupRelative(recipe(), TinySampler(learner), {"even": share_of_even})
    first, again, other = (way.terms(prompts(4), learner, step) for step in (0, 0, 1))
    assert [each.tolist() for each in sequences_of(first)] == [each.tolist() for each in sequences_of(again)]
    assert [each.tolist() for each in sequences_of(first)] != [each.tolist() for each in sequences_of(other)]
    loss = joined(first)(learner.log_probabilities(sequences_of(first)))
    assert sum(float(np.abs(each).sum()) for each in loss.gradients) > 0
    assert loss.value == pytest.approx(0, abs=1e-6)  # advantages of a group add up to none


def test_advantages_are_deviations_from_the_mean():
    assert advantages([1.0, 0.0]) == pytest.approx([1, -1], abs=1e-3)


def test_held_out_prompts_are_answered_with_the_likeliest():
    learner = TinyLearner()
    sampler = TinySampler(learner)
    found = GroupRelative(recipe(), sampler, {"even": share_of_even}).held_out(prompts(2), learner)
    assert sampler.asked[-1][2] == 0.0
    assert found["loss"] == -found["reward"]


def answer(text, tokens=4, *, stopped=True):
    return Sampled(np.zeros(tokens, np.int32), np.zeros(tokens), stopped, text)


def prompt(**columns):
    return Prompt(np.array([1, 2], np.int32), columns, 7)


SCHEMA = {
    "type": "object", "properties": {"n": {"$ref": "#/$defs/count"}}, "required": ["n"], "additionalProperties": False,
    "$defs": {"count": {"type": "integer", "minimum": 0}},
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "columns", "worth"),
    [
        ("exact:answer", " yes\n", {"answer": "yes"}, 1),
        ("exact:answer", "yes.", {"answer": "yes"}, 0),
        ("number:answer", "It is 1,024 then.", {"answer": "1024"}, 1),
        ("number:answer", "12 or 13", {"answer": 12}, 0),
        ("number:answer", "none", {"answer": 12}, 0),
        ("regex:form", "AB-12", {"form": "[A-Z]+-[0-9]+"}, 1),
        ("regex:form", "see AB-12", {"form": "[A-Z]+-[0-9]+"}, 0),
        ("json", '{"a": 1}', {}, 1),
        ("json", '{"a": 1} done', {}, 0),
        ("json", "NaN", {}, 0),
        ("matches:AB:[0-9]+", "AB:12\n", {}, 1),
        ("matches:AB:[0-9]+", "see AB:12", {}, 0),
        ("matches:./a.py:b", "./a.py:b", {}, 1),
        ("schema:form", '{"n": 3}', {"form": SCHEMA}, 1),
        ("schema:form", '{"n": 3}', {"form": json.dumps(SCHEMA)}, 1),
        ("schema:form", '{"n": "3"}', {"form": SCHEMA}, 0),
        ("schema:form", '{"n": 3, "m": 1}', {"form": SCHEMA}, 0),
        ("schema:form", "3", {"form": SCHEMA}, 0),
        ("schema:form", "{", {"form": SCHEMA}, 0),
        ("schema:form", "3", {"form": True}, 1),
        ("stops", "", {}, 1),
        ("shorter:2", "", {}, -1),
        ("shorter:4", "", {}, 0),
    ],
)
def test_rewards(name, text, columns, worth):
    [judge] = judges_of([name], owns_files=False).values()
    assert judge(answer(text), prompt(**columns)) == worth


def test_one_schema_for_all_prompts_stands_in_a_file(tmp_path):
    (tmp_path / "form.json").write_text(json.dumps(SCHEMA))
    name = f"schema:{tmp_path}/form.json"
    [judge] = judges_of([name], owns_files=True).values()
    assert judge(answer('{"n": 3}'), prompt()) == 1
    assert judge(answer('{"n": -3}'), prompt()) == 0
    with pytest.raises(TuningError, match="not over HTTP"):
        judges_of([name], owns_files=False)


def test_nothing_is_fetched_for_a_schema():
    elsewhere = {"$ref": "http://127.0.0.1:9/form.json"}
    with pytest.raises(TuningError, match=r"refers to 'http://127.0.0.1:9/form.json', which does not stand in it"):
        judges_of(["schema:form"], owns_files=False)["schema:form"](answer("3"), prompt(form=elsewhere))


@pytest.mark.parametrize(
    ("name", "columns", "said"),
    [
        ("exact:answer", {"question": "x"}, "no column 'answer', but 'question'"),
        ("number:answer", {"answer": "many"}, "expected a number"),
        ("regex:form", {"form": "("}, "is no pattern"),
        ("schema:form", {"form": {"type": "thing"}}, "column 'form' of line 7: 'thing' is not valid"),
        ("schema:form", {"form": "{"}, "Expected a JSON Schema"),
    ],
)
def test_prompts_are_looked_at_before_anything_is_computed(name, columns, said):
    with pytest.raises(TuningError, match=said):
        require_columns(["stops", name], [prompt(answer=1, form=True), prompt(**columns)])


def test_the_owners_function_is_not_asked_beforehand(tmp_path):
    (tmp_path / "reward.py").write_text("def score(text, columns):\n    raise ValueError\n")
    require_columns([f"{tmp_path}/reward.py:score", "exact:answer"], [prompt(answer="x")])


def test_a_reward_that_changes_while_a_run_is_interrupted_is_refused(tmp_path):
    path = tmp_path / "reward.py"
    path.write_text("def score(text, columns):\n    return 1\n")
    [name] = with_whole_paths([str(path.relative_to(tmp_path.parent)) + ":score"])
    assert with_whole_paths(["stops", "exact:a/b"]) == ("stops", "exact:a/b")
    assert without_folders([f"{path}:score", "schema:/a/b.json", "stops"]) == (
        "reward.py:score", "schema:b.json", "stops"
    )  # fmt: skip
    then = digests_of([f"{path}:score", "stops"])
    require_same_files("run", then)
    path.write_text("def score(text, columns):\n    return 2\n")
    with pytest.raises(TuningError, match="Bring the file back as it was"):
        require_same_files("run", then)
    assert name.endswith("reward.py:score")


def test_an_answer_that_was_cut_off_is_not_rewarded_for_stopping():
    assert judges_of(["stops"], owns_files=False)["stops"](answer("", stopped=False), prompt()) == 0


def test_a_function_of_the_owners_own(tmp_path):
    (tmp_path / "reward.py").write_text("def score(text, columns):\n    return len(text) - columns['less']\n")
    name = f"{tmp_path}/reward.py:score"
    [judge] = judges_of([name], owns_files=True).values()
    assert judge(answer("abc"), prompt(less=1)) == 2
    with pytest.raises(TuningError, match=r"fails at an answer to the prompt of line 7: KeyError"):
        judge(answer("abc"), prompt())
    with pytest.raises(TuningError, match="not over HTTP"):
        judges_of([name], owns_files=False)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("exact", "there is no reward 'exact'"),
        ("tests:cases", "programs that a model writes are not run here"),
        ("judge:model", "no other model gives marks here"),
        ("matches:(", "expected a pattern"),
        ("schema:absent.json", "Expected a file with a JSON Schema"),
        ("shorter:many", "expected a number of tokens"),
        ("./absent.py:score", "no such file"),
    ],
)
def test_rewards_that_there_are_not(name, said):
    with pytest.raises(TuningError, match=said):
        judges_of([name], owns_files=True)


def test_a_column_that_a_prompt_lacks_is_named_with_those_that_it_has():
    with pytest.raises(TuningError, match=r"line 7: it has no column 'answer', but 'question'"):
        judges_of(["exact:answer"], owns_files=False)["exact:answer"](answer(""), prompt(question="x"))
