"""BIG-Bench Hard: 27 kinds of riddles. Asked without examples.

Source: Suzgun et al., Challenging BIG-Bench Tasks and Whether Chain-of-Thought Can Solve Them, arXiv 2210.09261.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ouvert.evaluation.item import Item
from ouvert.evaluation.outcome import Outcome, Score
from ouvert.evaluation.suites.folder_suite import Entry, FolderSuite, Source
from ouvert.evaluation.suites.generated import commonest, copies_the_question, question
from ouvert.evaluation.suites.riddles import score_riddle
from ouvert.evaluation.suites.suite import Card, Guess

RIDDLE_TOKENS = 512
INSTRUCTIONS = (
    'End with one line of the form "Answer: …", with nothing but the answer on it; of options, only the letter.',
    'Your last line must be "Answer: " followed by the answer alone; where there are options, by the letter alone.',
    'Write the answer on the last line, as "Answer: " and then the answer (with options: its letter).',
)


def read(name: str, content: bytes) -> list[Entry]:
    """One task: an object with `examples` of `input` and `target`."""
    task = name.removesuffix(".json")
    return [
        Entry(f"{task}:{n}", task, {"input": str(example["input"]), "target": str(example["target"])})
        for n, example in enumerate(json.loads(content)["examples"])
    ]


def make(card: Card, entry: Entry, wording: int) -> Item:
    """A riddle; letters are compared without their brackets."""
    target = entry.fields["target"].strip()
    kind = "number" if target.lstrip("-").isdigit() else "text"
    return Item(
        suite=card.name,
        id=entry.id,
        language="en",
        ask=question(f"{entry.fields['input'].strip()}\n\n{INSTRUCTIONS[wording]}", RIDDLE_TOKENS),
        expected={"kind": kind, "answer": target, "of": ()},
        cluster=entry.group,
        group=entry.group,
        wording=wording,
    )


def score(item: Item, outcome: Outcome) -> Score:
    """Strict: the stated answer and nothing else. Raises nothing."""
    if not outcome.text.strip():
        return Score(value=0.0, right=False, malformed=True, note="empty answer")
    if bracketed(item.expected["answer"]):
        return score_riddle(
            {**item.expected, "answer": item.expected["answer"].strip("()")}, _without_brackets(outcome)
        )
    return score_riddle(item.expected, outcome)


def bracketed(answer: str) -> bool:
    """Whether an answer is a letter, as "(C)". Raises nothing."""
    return len(answer) == 3 and answer[0] == "(" and answer[2] == ")" and answer[1].isalpha()


def _without_brackets(outcome: Outcome) -> Outcome:
    lines = outcome.text.rstrip().splitlines()
    return Outcome(text="\n".join([*lines[:-1], lines[-1].replace("(", "").replace(")", "")]), reason=outcome.reason)


def guesses(items: Sequence[Item]) -> Mapping[str, Guess]:
    """The commonest answer of each task."""
    return {
        "the commonest answer of each task": commonest(items, lambda item: str(item.expected["answer"])),
        "copies the question": copies_the_question,
    }


def suite(card: Card, *, path: str | Path) -> FolderSuite:
    """`path`: the folder of the 27 files. Raises nothing; `items` reads."""
    source = Source(folders=(".", "bbh"), pattern="*.json", read=read, make=make, scorer=score, guess=guesses)
    return FolderSuite(card, Path(path), source)
