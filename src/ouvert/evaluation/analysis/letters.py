"""Does a contestant choose one letter whatever is asked?"""

from collections import Counter
from collections.abc import Sequence

from ouvert.evaluation.analysis.marks import Mark, RowMarks
from ouvert.evaluation.statistics import holm, mcnemar_mid_p

# Both must hold: shown beyond doubt, and large enough to matter.
SHOWN = 0.01
SURPLUS = 0.10  # of all items, above the letter's share of the right answers


def chosen_letters(row: RowMarks, marks: Sequence[Mark]) -> dict[str, int] | None:
    """How often each letter was chosen, those that no one chose among them; None where no letters are asked for.

    Raises nothing.
    """
    if row.planned.kind != "chat" or not any(score.chosen for mark in marks for score in mark.scores):
        return None
    counts = Counter(score.chosen for mark in marks for score in mark.scores if score.chosen)
    golden = {str(mark.item.expected["letter"]) for mark in marks if "letter" in mark.item.expected}
    return {letter: counts[letter] for letter in sorted(golden | set(counts))}


def biased_letter(marks: Sequence[Mark]) -> str:
    """The letter that is chosen more often than it is right, "" if none is shown to be. Raises nothing.

    Whether a letter is chosen where another is right as often as the other way round is a paired question with an exact
    answer, McNemar's, one for each letter; Holm over letters. A contestant that is right often, and one that guesses
    evenly, passes; the order of the right answers does not matter.
    """
    told = [
        (mark.scores[0].chosen, str(mark.item.expected["letter"]))
        for mark in marks
        if "letter" in mark.item.expected and mark.scores[0].chosen
    ]
    letters = sorted({letter for pair in told for letter in pair})
    over = [sum(chosen == letter != gold for chosen, gold in told) for letter in letters]
    under = [sum(gold == letter != chosen for chosen, gold in told) for letter in letters]
    shown = holm([mcnemar_mid_p(more, fewer) for more, fewer in zip(over, under, strict=True)])
    surplus = {
        letter: more - fewer
        for letter, more, fewer, p in zip(letters, over, under, shown, strict=True)
        if p <= SHOWN and more - fewer >= SURPLUS * len(told)
    }
    return max(surplus, key=lambda letter: surplus[letter], default="")
