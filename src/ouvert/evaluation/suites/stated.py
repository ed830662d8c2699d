"""What a text states as its answer: a number, one of some choices, a list. Strict: more than one answer is none.

What stands behind the last "Answer:" (French: "Réponse :") is the answer where there is such a mark; else the whole
text is looked at, as each function says. None: nothing was stated, or several things were.

For the generated suites, whose answers are a few words: "The sum of 3 and 4 is 7." states 7, though it names three
numbers. `final_number` is for answers that calculate at length, and says why the two are not one.
"""

import re
from collections.abc import Iterable
from decimal import Decimal

MARK = re.compile(r"(?:\banswer|\bréponse|\breponse)(?: finale?)?\W{0,4}[:：]", re.IGNORECASE)
EMPHASIS = re.compile(r"[*_`$«»“”\"]+")
SPACES = " \u00a0\u202f"

# "1,234.5" in English; "1 234,5" in French. A point is a decimal point in both: no one groups digits by points in the
# two languages. A comma that groups nothing ("5,6" in English) parts two numbers.
NUMBER = {
    "en": re.compile(r"(?<![\w.])[-−]?(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?(?![\w])"),
    "fr": re.compile(rf"(?<![\w.])[-−]?(?:[0-9]{{1,3}}(?:[{SPACES}][0-9]{{3}})+(?![0-9])|[0-9]+)(?:[.,][0-9]+)?(?!\w)"),
}
# Between two numbers, this makes them alternatives or a list, of which none is the answer.
JOINS = re.compile(r"[\s,;/&]*(?:\b(?:or|and|ou|et|to|à)\b)?[\s,;/&]*", re.IGNORECASE)
LIST_MARK = re.compile(r"^\s*(?:[-•*]|[0-9]{1,2}[.)](?=\s))\s*", re.MULTILINE)
SENTENCE = re.compile(r"[.!?;\n]+")


def behind_mark(text: str) -> str:
    """What stands behind the last "Answer:", on its line or the next; without such a mark, the text."""
    marks = list(MARK.finditer(text))
    if not marks:
        return text
    lines = [line for line in text[marks[-1].end() :].splitlines() if line.strip(" *_`")]
    return lines[0] if lines else ""


def stated_number(text: str, language: str) -> Decimal | None:
    """The last number, unless it is one of several that are joined ("5 or 7", "5, 6, 7"). Number words are none.

    "3 + 4 = 7" and "The sum of 3 and 4 is 7." both state 7.
    """
    said = EMPHASIS.sub("", behind_mark(text)).replace("\\", " ")
    found = list(NUMBER[language].finditer(said))
    if not found or (len(found) > 1 and JOINS.fullmatch(said, found[-2].end(), found[-1].start())):
        return None
    return as_decimal(found[-1].group(), language)


def as_decimal(written: str, language: str) -> Decimal:
    """A number as NUMBER finds it."""
    plain = written.replace("−", "-")
    plain = plain.replace(",", "") if language == "en" else plain.replace(",", ".")
    return Decimal("".join(plain.split()))


def words_of(text: str) -> list[str]:
    """Its words, in lower case, without marks around them."""
    return re.findall(r"\w+(?:['’-]\w+)*", text.casefold().replace("’", "'"))


def mentioned(text: str, choices: Iterable[str]) -> set[str]:
    """The choices that stand in the text as whole words; one inside a longer one that stands there does not count."""
    said = " " + " ".join(words_of(text)) + " "
    found = set()
    for choice in sorted(choices, key=lambda each: (-len(each), each)):
        whole = " " + " ".join(words_of(choice)) + " "
        if whole in said:
            found.add(choice)
            said = said.replace(whole, " | ")
    return found


def stated_choice(text: str, choices: Iterable[str]) -> str | None:
    """The one of `choices` that the text mentions, if it mentions no other; sentences that are nothing but a choice
    ("Yes.") go before all others."""
    said, among = behind_mark(text), tuple(choices)
    alone = {each for part in SENTENCE.split(said) for each in among if words_of(part) == words_of(each)}
    found = alone or mentioned(said, among)
    return found.pop() if len(found) == 1 else None


def stated_numbers(text: str) -> tuple[str, ...]:
    """The integers that are listed, as they are written: those of the last line that has several, or, one on each line,
    of all lines. Behind a mark or, on a line, behind a colon. (): none is listed."""
    found = [re.findall(r"(?<![\w.])[-−]?[0-9]+(?!\w)", line) for line in listing_lines(text)]
    several = [numbers for numbers in found if len(numbers) > 1]
    return tuple(several[-1]) if several else tuple(number for numbers in found for number in numbers)


def stated_words(text: str) -> tuple[str, ...]:
    """The words that are listed, in lower case: parted by commas, semicolons or arrows, or one on each line. Behind a
    mark, or behind a colon or "are" on a line. Of several lines that are lists the last; (): nothing is listed."""
    lines = [re.sub(r"^.*\b(?:are|sont)\b", "", line) for line in listing_lines(text)]
    listed = [parts for line in lines if len(parts := parts_of(line)) > 1]
    return listed[-1] if listed else tuple(line.casefold() for line in lines if line and " " not in line)


def listing_lines(text: str) -> list[str]:
    """Lines without their numbers or dashes, without what introduces them, and without marks of emphasis."""
    said = re.sub(r"^[^\n]*:[ \t]*", "", EMPHASIS.sub("", behind_mark(text)), flags=re.MULTILINE)
    return [LIST_MARK.sub("", line).strip(" []().") for line in said.splitlines()]


def parts_of(line: str) -> tuple[str, ...]:
    """One line as the list it is."""
    joined = re.sub(r",?\s+(?:and|et)\s+", ", ", line, flags=re.IGNORECASE)
    parts = (part.strip(" .[]()").casefold() for part in re.split(r"[,;<>→]|\s->\s", joined))
    return tuple(part for part in parts if part)
