"""XQuAD in English: questions whose answers stand word for word in a passage. It has no French.

Source: Artetxe et al., On the Cross-lingual Transferability of Monolingual Representations, arXiv 1910.11856; scored as
Rajpurkar et al., SQuAD, arXiv 1606.05250, do: words in common, without articles and punctuation.
"""

import json
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from ouvert.evaluation.item import Item
from ouvert.evaluation.outcome import Outcome, Score
from ouvert.evaluation.suites.folder_suite import Entry, FolderSuite, Source
from ouvert.evaluation.suites.generated import copies_the_question, question
from ouvert.evaluation.suites.suite import Card, Guess

ANSWER_TOKENS = 64
INSTRUCTIONS = (
    "Answer with the words of the passage that answer the question, and nothing else.",
    "Copy the shortest part of the passage that answers this. Write nothing else.",
    "Reply only with the answer, in the words of the passage.",
)
PUNCTUATION = str.maketrans("", "", string.punctuation + "“”‘’–—")
ARTICLES = {"a", "an", "the"}


def read(name: str, content: bytes) -> list[Entry]:
    """SQuAD's form: articles of paragraphs of questions."""
    return [
        Entry(
            str(asked["id"]),
            str(number),
            {
                "passage": paragraph["context"].strip(),
                "question": asked["question"].strip(),
                "answers": tuple(str(answer["text"]) for answer in asked["answers"]),
                "paragraph": f"{number}-{place}",
            },
        )
        for number, article in enumerate(json.loads(content)["data"])
        for place, paragraph in enumerate(article["paragraphs"])
        for asked in paragraph["qas"]
    ]


def make(card: Card, entry: Entry, wording: int) -> Item:
    """Passage and question."""
    fields = entry.fields
    said = f"{fields['passage']}\n\nQuestion: {fields['question']}\n{INSTRUCTIONS[wording]}"
    return Item(
        suite=card.name,
        id=entry.id,
        language="en",
        ask=question(said, ANSWER_TOKENS),
        expected={"answers": fields["answers"], "passage": fields["passage"]},
        cluster=fields["paragraph"],
        group="",
        wording=wording,
    )


def words(text: str) -> list[str]:
    """In lower case, without articles and punctuation. Raises nothing."""
    return [word for word in text.casefold().translate(PUNCTUATION).split() if word not in ARTICLES]


def overlap(said: Sequence[str], expected: Sequence[str]) -> float:
    """F1 over words: 0 to 1. Raises nothing."""
    common = sum((Counter(said) & Counter(expected)).values())
    return 2 * common / (len(said) + len(expected)) if common else 0.0


def score(item: Item, outcome: Outcome) -> Score:
    """The best overlap with an answer; right where the words are the same. Raises nothing."""
    said = words(outcome.text)
    if not said:
        return Score(value=0.0, right=False, malformed=True, note="empty answer")
    best = max((overlap(said, words(answer)) for answer in item.expected["answers"]), default=0.0)
    right = any(said == words(answer) for answer in item.expected["answers"])
    return Score(value=1.0 if right else min(best, 0.99), right=right, note=f"overlap {best:.2f}")


def guesses(items: Sequence[Item]) -> Mapping[str, Guess]:
    """Copies of what was asked."""
    return {
        "copies the question": copies_the_question,
        "the first sentence of the passage": lambda item: Outcome(
            text=str(item.expected["passage"]).partition(". ")[0], reason="stop"
        ),
        "says nothing": lambda item: Outcome(reason="stop"),
    }


def suite(card: Card, *, path: str | Path) -> FolderSuite:
    """`path`: xquad.en.json, or a folder that holds it. Raises nothing; `items` reads."""
    source = Source(folders=(".",), pattern="xquad.en.json", read=read, make=make, scorer=score, guess=guesses)
    return FolderSuite(card, Path(path), source)
