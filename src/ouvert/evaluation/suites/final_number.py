"""The number that an answer ends with, read strictly: an answer that names several has none.

For answers that calculate at length ("5 * 3 = 15 … Answer: $1,200"), where a number on the way must never count: marks
as models write them that were trained on such questions (####, \\boxed{}), several of which have to agree; money; no
answer at all where it was cut. `stated.stated_number` reads short answers, in which the last number is the answer
wherever it stands. Joined, one of the two would accept what it refuses now, and scores given before would change.
"""

import re
from decimal import Decimal

from ouvert.evaluation.item import Item
from ouvert.evaluation.outcome import Outcome, Score

# What stands before a final answer: "Answer: 18", "The answer is 18", "#### 18", "\boxed{18}", "Réponse : 18".
MARK = re.compile(
    r"\b(?:answer|réponse)\b[*_]*\s*(?:(?:is|est)\b)?\s*[*_]*\s*:|\b(?:answer is|réponse est)\b|####|\\boxed\{",
    re.IGNORECASE,
)
SPACES = "\u0020\u00a0\u202f\u2009"  # between thousands in French
NUMBERS = {
    "en": re.compile(r"(?<!\d)[-+−]?\s?\$?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?!\d)"),
    "fr": re.compile(rf"(?<!\d)[-+−]?(?:\d{{1,3}}(?:[{SPACES}]\d{{3}})+|\d+)(?:[.,]\d+)?(?!\d)"),
}
MOST_DIGITS = 30  # longer runs of digits are no answer to a question about apples


def numbers_in(text: str, language: str) -> list[Decimal]:
    """Every number, as that language writes them. Raises nothing."""
    found = []
    for each in NUMBERS[language].findall(text):
        plain = each.replace("−", "-").replace("$", "")
        plain = plain.replace(",", "") if language == "en" else plain.replace(",", ".")
        if len(plain := re.sub(r"\s", "", plain)) <= MOST_DIGITS:
            found.append(Decimal("".join(str(int(sign)) if sign.isdigit() else sign for sign in plain)))
    return found


def final_number(text: str, language: str, cut: bool = False) -> tuple[Decimal | None, str]:
    """The answer's last word, and "" or why there is none. Raises nothing.

    A marked answer counts ("Answer: 18"); where several are marked they have to agree. Without a mark the last line has
    to hold exactly one number, and the answer must have come to its end (`cut`: it ended for length).
    """
    marked = [_only_number(rest, language) for rest in _behind_marks(text)]
    stated = {number for number in marked if number is not None}
    if marked and len(stated) == 1 and marked[-1] is not None:
        return marked[-1], ""
    if marked:
        return None, "several answers are stated" if len(stated) > 1 else "the stated answer is not one number"
    if cut:
        return None, "cut before an answer was stated"
    lines = [line for line in text.splitlines() if line.strip()]
    if lines and (number := _only_number(lines[-1], language)) is not None:
        return number, ""
    return None, "no answer is stated"


def _behind_marks(text: str) -> list[str]:
    """What stands behind each mark: up to the end of its line, or the next line where that is empty; of \\boxed{…} the
    inside."""
    rests = []
    for mark in MARK.finditer(text):
        rest = text[mark.end() :].lstrip(" \t*_\n\r")
        rest = rest.partition("\n")[0]
        rests.append(rest.partition("}")[0] if mark[0].startswith("\\boxed") else rest)
    # "The answer is \boxed{18}" has two marks, one behind the other: both say 18.
    return rests


def _only_number(line: str, language: str) -> Decimal | None:
    """The one number of a line; of a calculation what stands behind its last equals sign."""
    numbers = numbers_in(line.rpartition("=")[2], language)
    return numbers[0] if len(numbers) == 1 else None


def score_number(item: Item, outcome: Outcome) -> Score:
    """Right if the final number equals the expected one exactly. Raises nothing."""
    if outcome.refused:
        return Score(value=0.0, right=False, note="could not be asked")
    number, why = final_number(outcome.text, item.language, cut=outcome.reason == "length")
    if number is None:
        return Score(value=0.0, right=False, malformed=True, note=why)
    right = number == Decimal(item.expected["number"])
    return Score(value=float(right), right=right, note=f"says {number}"[:60])
