"""Learning from rewards: GRPO (Shao et al., arXiv:2402.03300), in the form without a bias for length.

The model answers each prompt several times; what is better than the others of its group becomes likelier. Answers come
from a sampler that `cli` makes of the engine: in the same process, over the same weights, with the adapter as it is
now. So the log-probability at which a token was drawn is the one that is learnt from, the same number, and the first
update's ratio is 1: where it is not, the run ends, for then something else answers than what is trained.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import Protocol

import numpy as np

from ouvert.packed import Adapter
from ouvert.tuning.error import TuningError
from ouvert.tuning.example import Item, Prompt
from ouvert.tuning.learner import Array, Learner, Loss
from ouvert.tuning.recipe import Recipe
from ouvert.tuning.terms import Term

SPREAD = 1e-4  # added to a group's deviation


@dataclass(frozen=True, slots=True, eq=False)
class Sampled:
    """One answer: ids, int32 (tokens,), with the one that ends it; the log-probability of each when it was drawn,
    float64 (tokens,); whether it ended by itself; and its text, without what was thought."""

    ids: Array
    log_probabilities: Array
    stopped: bool
    text: str


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """A prompt that is to be answered, and the seed of each answer."""

    ids: Array
    seeds: tuple[int, ...]


class Sampler(Protocol):
    """Answers with the adapter as it is. The same answers for the same adapter, prompts and seeds."""

    def __call__(
        self,
        asked: Sequence[Asked],
        adapter: Adapter,
        *,
        length: int,
        temperature: float,
        between: Callable[[], None],
    ) -> Sequence[Sequence[Sampled]]:
        """As many answers to each prompt as it has seeds, of at most `length` tokens. `between` is called between two
        steps, from any thread: it may wait. Raises what it raises, and what the engine raises."""


# What an answer to a prompt is worth.
Judge = Callable[[Sampled, Prompt], float]


class GroupRelative:
    """grpo. The judges' numbers are added up; of a group whose answers are all worth the same, nothing is
    learnt. Making one raises nothing."""

    def __init__(self, recipe: Recipe, sampler: Sampler, judges: Mapping[str, Judge]) -> None:
        self._recipe, self._sampler, self._judges = recipe, sampler, dict(judges)

    def terms(self, items: Sequence[Item], learner: Learner, step: int) -> Sequence[Term]:
        """Answers are drawn here. Raises what sampler and judges raise."""
        prompts = [item for item in items if isinstance(item, Prompt)]
        settings = self._recipe.reward
        asked = [Asked(each.ids, seeds_of(self._recipe.seed, step, each, settings.answers)) for each in prompts]
        groups = self._drawn(asked, learner, settings.temperature)
        judged = [self._judged(group, prompt) for group, prompt in zip(groups, prompts, strict=True)]
        told = summary(groups, judged)
        alive = [n for n, rewards in enumerate(judged) if len(set(rewards)) > 1]
        tokens = sum(len(answer.ids) for n in alive for answer in groups[n])
        terms = [
            Term((np.concatenate([prompts[n].ids, answer.ids]),), clipped(answer, len(prompts[n].ids), worth, tokens))
            for n in alive
            for answer, worth in zip(groups[n], advantages(judged[n]), strict=True)
        ]
        if not terms:  # nothing is learnt of this step; it is told all the same
            ids = np.concatenate([prompts[0].ids, groups[0][0].ids])
            terms = [Term((ids,), lambda found: Loss(0.0, [np.zeros(len(found[0]), np.float32)]))]
        return [telling(terms[0], told), *terms[1:]]

    def held_out(self, items: Sequence[Item], learner: Learner) -> Mapping[str, float]:
        """What the likeliest answers are worth; "loss" is its negative. Raises what sampler and judges raise."""
        prompts = [item for item in items if isinstance(item, Prompt)]
        asked = [Asked(each.ids, (0,)) for each in prompts]
        groups = self._drawn(asked, learner, 0.0)
        judged = [self._judged(group, prompt) for group, prompt in zip(groups, prompts, strict=True)]
        reward = fmean(each for rewards in judged for each in rewards)
        stopped = fmean(answer.stopped for group in groups for answer in group)
        return {"loss": -reward, "reward": reward, "stopped": stopped}

    def _drawn(self, asked: Sequence[Asked], learner: Learner, temperature: float) -> Sequence[Sequence[Sampled]]:
        return self._sampler(
            asked, learner.adapter, length=self._recipe.reward.length, temperature=temperature, between=learner.between
        )

    def _judged(self, group: Sequence[Sampled], prompt: Prompt) -> list[float]:
        return [sum(judge(answer, prompt) for judge in self._judges.values()) for answer in group]


def advantages(rewards: Sequence[float]) -> list[float]:
    """How much each is above the group's mean, in deviations. Raises nothing."""
    mean, deviation = fmean(rewards), pstdev(rewards)
    return [(each - mean) / (deviation + SPREAD) for each in rewards]


def clipped(answer: Sampled, prompt: int, worth: float, tokens: int) -> Callable[[Sequence[Array]], Loss]:
    """Of one answer behind `prompt` tokens, in a step whose answers have `tokens` together: each token counts alike,
    in a long answer and in a short one (DAPO, arXiv:2503.14476). Raises nothing."""

    def loss(log_probabilities: Sequence[Array]) -> Loss:
        """Raises TuningError where the answer's tokens have other probabilities than when they were drawn."""
        [found] = log_probabilities
        now = found[prompt:]
        if not np.array_equal(now, answer.log_probabilities):
            apart = float(np.abs(now - answer.log_probabilities).max())
            raise TuningError(
                f"learning from answers: their tokens' log-probabilities differ from those at which they were drawn, "
                f"by up to {apart:.3g}; expected the same numbers. Something else answers than what is trained: please "
                "report it."
            )
        # The ratio is 1, so the clipped objective and its derivative are those of the plain one.
        gradient = np.zeros(len(found), np.float32)
        gradient[prompt:] = -worth / tokens
        return Loss(-worth * len(now) / tokens, [gradient], {})

    return loss


def telling(term: Term, metrics: Mapping[str, float]) -> Term:
    """The same term, whose loss says these besides. Raises nothing."""

    def loss(log_probabilities: Sequence[Array]) -> Loss:
        found = term.loss(log_probabilities)
        return Loss(found.value, found.gradients, {**found.metrics, **metrics})

    return Term(term.sequences, loss, term.wanted)


def summary(groups: Sequence[Sequence[Sampled]], judged: Sequence[Sequence[float]]) -> dict[str, float]:
    """What is told of a step. Raises nothing."""
    answers = [answer for group in groups for answer in group]
    rewards = [each for group in judged for each in group]
    return {
        "reward": fmean(rewards),
        "reward_spread": pstdev(rewards),
        "dead_groups": fmean(len(set(group)) == 1 for group in judged),
        "answer_tokens": fmean(len(each.ids) for each in answers),
        "stopped": fmean(each.stopped for each in answers),
        "surprise": -fmean(float(each.log_probabilities.mean()) for each in answers),
    }


def seeds_of(seed: int, step: int, prompt: Prompt, count: int) -> tuple[int, ...]:
    """Of the answers to one prompt in one step: the same for the same run, whatever else is asked. Raises nothing."""
    of = f"{seed} {step} {prompt.line} ".encode() + prompt.ids.tobytes()
    return tuple(int.from_bytes(hashlib.sha256(of + n.to_bytes(4, "big")).digest()[:4], "big") for n in range(count))
