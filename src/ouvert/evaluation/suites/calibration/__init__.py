"""The suite `calibration`: does a contestant know what it knows? Questions from easy to hard, with a confidence.

In the form "asked" the contestant writes a letter and how sure it is; in the form "tokens" the confidence is the share
of probability that the likeliest of four numbers has. What it is worth shows only over many answers: see the analysis.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase

from ouvert.evaluation.item import Item, Likelihood
from ouvert.evaluation.outcome import Outcome, Score
from ouvert.evaluation.suites.choices import CONTEXTS, choice_guesses, letter_in, lettered, score_likelihood, take
from ouvert.evaluation.suites.final_number import numbers_in
from ouvert.evaluation.suites.generated import Draft, GeneratedSuite, Turn, question
from ouvert.evaluation.suites.language_data import language_data
from ouvert.evaluation.suites.suite import Card, Guess

VERSION = 1
FOLDER = Path(__file__).parent
CHOICES = 4
ANSWER_TOKENS = 64
# By group: what is asked, the ranges of both numbers, and what they make. From easy to hard.
LEVELS: Mapping[str, tuple[str, tuple[int, int], tuple[int, int], Callable[[int, int], int]]] = {
    "sum-1": ("sum", (2, 9), (2, 9), lambda a, b: a + b),
    "sum-2": ("sum", (13, 89), (13, 89), lambda a, b: a + b),
    "days": ("days", (2, 12), (1, 6), lambda a, b: 7 * a + b),
    "product-1": ("product", (12, 49), (3, 9), lambda a, b: a * b),
    "minutes": ("minutes", (2, 15), (3, 57), lambda a, b: 60 * a + b),
    "product-2": ("product", (13, 98), (13, 98), lambda a, b: a * b),
}
STEPS = (1, 2, 3, 10)  # how far the wrong numbers lie from the right one
CONFIDENCE = re.compile(r"\b(?:confidence|confiance)\b[*_\"”»]*\s*:", re.IGNORECASE)


def suite(card: Card) -> GeneratedSuite:
    """The suite. It has no settings."""
    return GeneratedSuite(card=card, version=VERSION, groups=tuple(LEVELS), draft=draft, scorer=score, guess=guesses)


def draft(turn: Turn) -> Draft:
    """A question with four numbers, of which one is right; its place is drawn."""
    data, draw = language_data(FOLDER, turn.language), turn.draw
    kind, first, second, result = LEVELS[turn.group]
    a, b = draw.between(*first), draw.between(*second)
    right = result(a, b)
    # How many are smaller is drawn, so that "one in the middle" is no better a guess than any other.
    smaller = draw.below(CHOICES)
    below = draw.some([right - step for step in STEPS if right > step], smaller)
    above = draw.some([right + step for step in STEPS], CHOICES - 1 - smaller)
    numbers = draw.shuffled([right, *below, *above])
    asked, choices = data[kind][turn.wording].format(a=a, b=b), tuple(map(str, numbers))
    said = data["ask"][turn.wording].format(question=asked, choices=lettered(choices))
    context = CONTEXTS[turn.language][turn.wording].replace("{question}", asked)
    return Draft(
        about=f"{kind} {a} {b}",
        asks={
            "asked": question(said, ANSWER_TOKENS),
            "tokens": Likelihood(context=context, choices=tuple(f" {choice}" for choice in choices)),
        },
        expected={"letter": ascii_uppercase[numbers.index(right)], "choices": choices},
    )


def score(item: Item, outcome: Outcome) -> Score:
    """Right or wrong by the choice alone; the confidence stands beside it. Raises nothing."""
    if isinstance(item.ask, Likelihood):
        by_likelihood = score_likelihood(item, outcome)
        share = share_of_likeliest(outcome.logprobs) if by_likelihood.chosen else None
        return _with_confidence(by_likelihood.chosen, share, item, by_likelihood.note)
    head, mark, tail = _parted(outcome.text)
    chosen = letter_in(head, CHOICES)
    confidence = stated_confidence(tail, item.language) if mark else None
    note = "" if chosen else "says no letter, or several"
    return _with_confidence(chosen, confidence, item, note or ("" if confidence is not None else "no confidence"))


def _with_confidence(chosen: str, confidence: float | None, item: Item, note: str) -> Score:
    right = chosen == item.expected["letter"]
    return Score(value=float(right), right=right, malformed=not chosen, note=note, chosen=chosen, confidence=confidence)


def _parted(text: str) -> tuple[str, bool, str]:
    """What stands before the first "Confidence:", whether there is exactly one, and what stands behind it."""
    marks = list(CONFIDENCE.finditer(text))
    return (text[: marks[0].start()], len(marks) == 1, text[marks[0].end() :]) if marks else (text, False, "")


def stated_confidence(text: str, language: str) -> float | None:
    """0 to 1: the one percentage of the first line that has anything; None for none or several. Raises nothing."""
    lines = [line for line in text.splitlines() if line.strip(" *_\"'«»“”")]
    numbers = numbers_in(lines[0], language) if lines else []
    if len(numbers) != 1 or not 0 <= numbers[0] <= 100:
        return None
    return float(numbers[0]) / 100


def share_of_likeliest(logprobs: Sequence[float]) -> float:
    """How much of the probability of all choices together the likeliest has: 0.25 to 1 of four. Raises ValueError where
    there is none."""
    top = max(logprobs)
    return 1 / math.fsum(math.exp(each - top) for each in logprobs)


def guesses(items: Sequence[Item]) -> Mapping[str, Guess]:
    """The strategies of multiple choice, as sure as chance allows."""
    ranks = {f"number {rank + 1} in order of size": _by_rank(rank) for rank in range(CHOICES)}
    return {name: _with_words(guess) for name, guess in {**choice_guesses(CHOICES), **ranks}.items()}


def _by_rank(rank: int) -> Guess:
    def guess(item: Item) -> Outcome:
        choices = item.expected["choices"]
        return take(item, sorted(range(len(choices)), key=lambda n: int(choices[n]))[rank])

    return guess


def _with_words(guess: Guess) -> Guess:
    def say(item: Item) -> Outcome:
        outcome = guess(item)
        if isinstance(item.ask, Likelihood):
            return outcome
        answer, confidence = ("Answer", "Confidence") if item.language == "en" else ("Réponse", "Confiance")
        return Outcome(text=f"{answer}: {outcome.text}\n{confidence}: 25%", reason="stop")

    return say
