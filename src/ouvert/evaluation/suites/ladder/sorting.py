"""Three numbers, five numbers and six words, to be put in order."""

from ouvert.evaluation.suites.draw import Draw
from ouvert.evaluation.suites.generated import Draft, Turn, question
from ouvert.evaluation.suites.ladder.words import words


def sorting(turn: Turn, step: int) -> Draft:
    """1: three numbers of two digits; 2: five of two or three digits; 3: six words that begin with different letters.

    What is given is neither in order nor in backward order: neither copying nor turning round is a way to answer.
    """
    said = words(turn.language)
    if step == 3:
        things = first_letters(turn.draw, said["letters"]["words"], 6)
        ordered = sorted(things)
    else:
        numbers = turn.draw.some(range(10, 100) if step == 1 else range(10, 1000), 3 if step == 1 else 5)
        things, ordered = [str(each) for each in numbers], [str(each) for each in sorted(numbers)]
    while things in (ordered, ordered[::-1]):
        things = turn.draw.shuffled(things)
    ask = said["sorting"]["ask_words" if step == 3 else "ask_numbers"][turn.wording].format(things=", ".join(things))
    return Draft(
        about=" ".join(ordered), asks={"": question(ask, 96)}, expected={"list": ordered, "given": list(things)}
    )


def first_letters(draw: Draw, vocabulary: list[str], count: int) -> list[str]:
    """Words of which no two begin with the same letter."""
    by_letter: dict[str, list[str]] = {}
    for word in vocabulary:
        by_letter.setdefault(word[0], []).append(word)
    return [draw.one(by_letter[letter]) for letter in draw.some(sorted(by_letter), count)]
