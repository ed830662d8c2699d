"""How many facts of a text a summary keeps, loses and invents."""

import re
from collections.abc import Mapping, Sequence

from ouvert.evaluation.item import Item
from ouvert.evaluation.outcome import Outcome, Score
from ouvert.evaluation.suites.generated import copies_the_question
from ouvert.evaluation.suites.number_words import number_in_words
from ouvert.evaluation.suites.stated import mentioned
from ouvert.evaluation.suites.suite import Guess
from ouvert.evaluation.suites.summary.texts import said

MORE = 1.25  # an answer may be so many times as long as asked for: nobody counts exactly
NUMBER = re.compile(r"[0-9]+(?:[,\u202f\u00a0 ][0-9]{3})*")
SENTENCE = re.compile(r"(?<=[.!?])\s+")


def score(item: Item, outcome: Outcome) -> Score:
    """(facts kept - things invented) / facts, at least 0; right if all are kept and nothing is invented.

    0 for what is no summary: more words than asked for and a quarter, or fewer words in small letters than values.
    """
    text, facts = outcome.text, item.expected["facts"]
    kept = sum(has(text, value, item.language) for value in facts.values())
    invented = len(inventions(text, item))
    words = len(text.split())
    if words > MORE * item.expected["words"]:
        return Score(value=0.0, right=False, note=f"{words} words, of {item.expected['words']}")
    if sum(word[0].islower() for word in text.split()) < kept + invented:
        return Score(value=0.0, right=False, malformed=True, note="a list of values")
    share = max(0.0, (kept - invented) / len(facts))
    lost = len(facts) - kept
    return Score(
        value=share, right=share == 1, note=f"kept {kept}, lost {lost}, invented {invented}" if share < 1 else ""
    )


def has(text: str, value: str, language: str) -> bool:
    """Whether the text states it; small numbers in words, too."""
    if not value.isdigit():
        return bool(mentioned(text, [value]))
    return value in numbers(text) or bool(mentioned(text, [number_in_words(int(value), language)]))


def numbers(text: str) -> set[str]:
    """Every number in it, without what groups its digits."""
    return {re.sub(r"\D", "", each) for each in NUMBER.findall(text)}


def inventions(text: str, item: Item) -> set[str]:
    """Numbers that the original has not, and names, places and days of the suite's lists that it has not."""
    original, values = item.expected["text"], said(item.language)["values"]
    names = [name for kind in ("name", "city", "day") for name in values[kind]]
    return (numbers(text) - numbers(original)) | (mentioned(text, names) - mentioned(original, names))


def first_words(item: Item) -> Outcome:
    """A strategy: the beginning of the text, as long as may be."""
    return Outcome(text=" ".join(item.expected["text"].split()[: longest(item)]), reason="stop")


def last_words(item: Item) -> Outcome:
    """A strategy: its end."""
    return Outcome(text=" ".join(item.expected["text"].split()[-longest(item) :]), reason="stop")


def longest(item: Item) -> int:
    return int(MORE * item.expected["words"])


def shortest_with_facts(item: Item) -> Outcome:
    """A strategy: the shortest sentences that have a figure or a name, as many as may be."""
    sentences = [each for each in SENTENCE.split(item.expected["text"]) if re.search(r"[0-9]|(?<!^)\b[A-ZÉ]\w", each)]
    taken: list[str] = []
    for sentence in sorted(sentences, key=lambda each: len(each.split())):
        if len(" ".join([*taken, sentence]).split()) <= longest(item):
            taken.append(sentence)
    return Outcome(text=" ".join(taken), reason="stop")


def values_alone(item: Item) -> Outcome:
    """A strategy: all figures and names, and no other word."""
    return Outcome(text=", ".join(re.findall(r"[0-9]+|(?<=\s)[A-ZÉ]\w+", item.expected["text"])), reason="stop")


def guesses(items: Sequence[Item]) -> Mapping[str, Guess]:
    return {
        "the first words": first_words,
        "the last words": last_words,
        "the shortest sentences with facts": shortest_with_facts,
        "figures and names alone": values_alone,
        "copies the question": copies_the_question,
    }
