"""Letters counted in one, three and six words."""

from ouvert.evaluation.suites.draw import Draw
from ouvert.evaluation.suites.generated import Draft, Turn, question
from ouvert.evaluation.suites.ladder.words import words

# By step: how many words, and which counts are wanted.
SIZES = {1: (1, (1, 3)), 2: (3, (2, 5)), 3: (6, (3, 8))}


def letters(turn: Turn, step: int) -> Draft:
    """How often a letter occurs. The counts are spread evenly, so that no count is a good guess."""
    said = words(turn.language)["letters"]
    count, (low, high) = SIZES[step]
    chosen, letter = with_letter(turn.draw, said["words"], count, turn.draw.between(low, high))
    text = ", ".join(chosen)
    ask = said["ask_one" if count == 1 else "ask_several"][turn.wording].format(letter=letter, text=text)
    return Draft(
        about=f"{letter} in {text}", asks={"": question(ask, 64)}, expected={"number": str(text.count(letter))}
    )


def with_letter(draw: Draw, vocabulary: list[str], count: int, wanted: int) -> tuple[list[str], str]:
    """Words, and a letter that occurs `wanted` times in them. Ends: every vocabulary has such words."""
    while True:
        chosen = draw.some(vocabulary, count)
        together = "".join(chosen)
        if fitting := sorted(letter for letter in set(together) if together.count(letter) == wanted):
            return chosen, draw.one(fitting)
