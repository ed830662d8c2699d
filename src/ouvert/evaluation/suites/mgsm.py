"""MGSM in French: 250 stories of GSM8K, translated by people.

Source: Shi et al., Language Models are Multilingual Chain-of-Thought Reasoners, arXiv 2210.03057.
"""

from pathlib import Path

from ouvert.evaluation.item import Item
from ouvert.evaluation.suites.final_number import score_number
from ouvert.evaluation.suites.folder_suite import Entry, FolderSuite, Source
from ouvert.evaluation.suites.suite import Card
from ouvert.evaluation.suites.word_problems import Problem, problem_guesses, problem_item


def read(name: str, content: bytes) -> list[Entry]:
    """A line a story: the story, a tab, the number."""
    stories = [line.split("\t") for line in content.decode("utf-8").splitlines() if line.strip()]
    return [
        Entry(f"mgsm-fr-{n:03}", "", {"question": question.strip(), "number": str(int(number.replace(",", "")))})
        for n, (question, number) in enumerate(stories)
    ]


def make(card: Card, entry: Entry, wording: int) -> Item:
    """A story in French."""
    return problem_item(card.name, "fr", Problem(entry.id, entry.fields["question"], entry.fields["number"]), wording)


def suite(card: Card, *, path: str | Path) -> FolderSuite:
    """`path`: mgsm_fr.tsv, or a folder that holds it. Raises nothing; `items` reads."""
    source = Source(
        folders=(".", "mgsm"), pattern="mgsm_fr.tsv", read=read, make=make, scorer=score_number,
        guess=lambda items: problem_guesses(),
    )  # fmt: skip
    return FolderSuite(card, Path(path), source)
