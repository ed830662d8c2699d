"""Sums in five steps, from 3 + 4 to 37 × 84."""

from ouvert.evaluation.suites.draw import Draw
from ouvert.evaluation.suites.generated import Draft, Turn, question
from ouvert.evaluation.suites.ladder.words import words


def arithmetic(turn: Turn, step: int) -> Draft:
    """1: two terms of one digit; 2: two of two digits; 3: three of two digits; 4: four of three digits, plus and minus;
    5: a product of two numbers of two digits."""
    terms, signs = expression(turn.draw, step)
    written = str(terms[0]) + "".join(f" {sign} {term}" for sign, term in zip(signs, terms[1:], strict=True))
    text = words(turn.language)["arithmetic"]["ask"][turn.wording].format(expression=written)
    return Draft(about=written, asks={"": question(text, 64)}, expected={"number": str(value(terms, signs))})


def expression(draw: Draw, step: int) -> tuple[list[int], list[str]]:
    """Its terms, and the signs between them. No step but the fourth has a result below nought."""
    if step == 5:
        return [draw.between(11, 99), draw.between(11, 99)], ["×"]
    count, low, high = {1: (2, 1, 9), 2: (2, 11, 99), 3: (3, 11, 99), 4: (4, 101, 999)}[step]
    terms = [draw.between(low, high) for _ in range(count)]
    signs = [draw.one("+-") for _ in terms[1:]]
    if step == 1:
        signs = ["+"]
    elif step < 4:
        terms, signs = sorted(terms, reverse=True), [*signs[:-1], "+"] if step == 3 else signs
    return terms, signs


def value(terms: list[int], signs: list[str]) -> int:
    if signs == ["×"]:
        return terms[0] * terms[1]
    return terms[0] + sum(term if sign == "+" else -term for sign, term in zip(signs, terms[1:], strict=True))
