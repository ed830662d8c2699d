"""BLiMP: pairs of sentences that differ in one thing, of which one is English. The likelier one counts.

Source: Warstadt et al., BLiMP: The Benchmark of Linguistic Minimal Pairs for English, arXiv 1912.00582.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ouvert.evaluation.item import Item, Likelihood
from ouvert.evaluation.suites.choices import choice_guesses, score_likelihood
from ouvert.evaluation.suites.folder_suite import Entry, FolderSuite, Source
from ouvert.evaluation.suites.suite import Card, Guess
from ouvert.evaluation.suites.turns import drawn

# A sentence needs something before it: of the first token of a text no model says how likely it is.
CONTEXTS = ("Here is a sentence:", "Someone said:", "Example:")


def read(name: str, content: bytes) -> list[Entry]:
    """A line a pair."""
    pairs = [json.loads(line) for line in content.decode("utf-8").splitlines() if line.strip()]
    return [
        Entry(
            f"{pair['UID']}:{pair['pairID']}",
            str(pair["UID"]),
            {
                "good": str(pair["sentence_good"]),
                "bad": str(pair["sentence_bad"]),
                "term": str(pair["linguistics_term"]),
            },
        )
        for pair in pairs
    ]


def make(card: Card, entry: Entry, wording: int) -> Item:
    """The two sentences as choices; the pair's id decides which stands first, so that "the first" is no strategy."""
    good_first = drawn(0, entry.id)[0] % 2 == 0
    sentences = (entry.fields["good"], entry.fields["bad"])
    choices = sentences if good_first else sentences[::-1]
    return Item(
        suite=card.name,
        id=entry.id,
        language="en",
        ask=Likelihood(context=CONTEXTS[wording], choices=tuple(f" {choice}" for choice in choices)),
        expected={"letter": "A" if good_first else "B", "choices": choices},
        form="likelihood",
        cluster=entry.group,
        group=entry.fields["term"],
        wording=wording,
    )


def guesses(items: Sequence[Item]) -> Mapping[str, Guess]:
    """The first, the second, the longer, the shorter."""
    return choice_guesses(2)


def suite(card: Card, *, path: str | Path) -> FolderSuite:
    """`path`: the folder of the 67 files. Raises nothing; `items` reads."""
    source = Source(
        folders=(".", "data"), pattern="*.jsonl", read=read, make=make, scorer=score_likelihood, guess=guesses
    )
    return FolderSuite(card, Path(path), source)
