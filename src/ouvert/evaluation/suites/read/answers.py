"""What counts as the answer to a question about a text, and what looking without reading gets."""

import re
from collections.abc import Mapping, Sequence

from ouvert.evaluation.item import Item
from ouvert.evaluation.outcome import Outcome, Score
from ouvert.evaluation.suites.generated import all_or_nothing, copies_the_question, says, text_of
from ouvert.evaluation.suites.read.passage import said
from ouvert.evaluation.suites.stated import behind_mark, mentioned, stated_choice, stated_number, words_of
from ouvert.evaluation.suites.suite import Guess

ARTICLE = re.compile(r"^(?:un|une) ")


def score(item: Item, outcome: Outcome) -> Score:
    """1 for the one value of its kind that the answer mentions, or for saying that nothing is stated; else 0."""
    stated = stated_value(item, outcome.text)
    expected = ARTICLE.sub("", item.expected["answer"])
    return all_or_nothing(stated == expected, f"states {stated}", malformed=stated is None)


def stated_value(item: Item, text: str) -> str | None:
    """The value, without an article; for all ways to say that nothing is stated, the first. None: no value, several, or
    one that is denied."""
    unstated = said(item.language)["unstated"]
    if mentioned(behind_mark(text), unstated):
        return None if values_mentioned(item, behind_mark(text)) else str(unstated[0])
    if item.expected["kind"] == "age":
        number = stated_number(text, item.language)
        return None if number is None else str(number)
    choice = stated_choice(text, values(item.expected["kind"], item.language))
    denied = set(words_of(behind_mark(text))) & set(said(item.language)["negations"])
    return None if denied else choice


def values(kind: str, language: str) -> list[str]:
    """All values of a kind that texts have."""
    return [ARTICLE.sub("", each) for each in said(language)["people"][kind]]


def values_mentioned(item: Item, text: str) -> set[str]:
    kind = item.expected["kind"]
    return set(re.findall(r"\b[1-9][0-9]\b", text)) if kind == "age" else mentioned(text, values(kind, item.language))


def sentences_of(item: Item) -> list[str]:
    return re.split(r"(?<=\.)\s+", text_of(item))


def nearest(item: Item) -> Outcome:
    """A strategy: the value of that kind in the sentence that shares most words with the question."""
    asked = {word for word in words_of(item.expected["question"]) if len(word) > 2}
    ranked = sorted(sentences_of(item), key=lambda sentence: -len(asked & set(words_of(sentence))))
    found = [sorted(values_mentioned(item, sentence)) for sentence in ranked]
    return Outcome(text=next((each[0] for each in found if each), "?"), reason="stop")


def first_value(item: Item) -> Outcome:
    """A strategy: the value of that kind that stands first in the text."""
    for sentence in sentences_of(item):
        if found := values_mentioned(item, sentence):
            return Outcome(text=sorted(found)[0], reason="stop")
    return Outcome(text="?", reason="stop")


def guesses(items: Sequence[Item]) -> Mapping[str, Guess]:
    unstated = said(items[0].language)["unstated"][0] if items else "?"
    return {
        "always that it is not stated": says(unstated),
        "the first value of that kind": first_value,
        "the value in the sentence most like the question": nearest,
        "copies the question": copies_the_question,
    }
