"""Whether a conclusion follows: as often yes as no, about kinds of things that do not exist."""

from collections.abc import Mapping

from ouvert.evaluation.suites.generated import Draft, Turn, question
from ouvert.evaluation.suites.ladder.words import words

Statement = tuple[str, str, str]  # "all", "some" or "none"; of what; what it is
Argument = tuple[tuple[Statement, ...], Statement]  # premises, conclusion

# By step: arguments that hold, each beside one that does not and has a conclusion of the same form; else the form would
# give the answer away. All kinds may be empty, so "some" never follows from "all" alone.
VALID: dict[int, tuple[Argument, ...]] = {
    1: (((("all", "A", "B"), ("all", "B", "C")), ("all", "A", "C")),),
    2: (
        ((("all", "A", "B"), ("none", "B", "C")), ("none", "A", "C")),
        ((("some", "A", "B"), ("all", "B", "C")), ("some", "A", "C")),
    ),
    3: (
        ((("all", "A", "B"), ("all", "B", "C"), ("none", "C", "D")), ("none", "A", "D")),
        ((("some", "A", "B"), ("all", "B", "C"), ("all", "C", "D")), ("some", "A", "D")),
    ),
}
INVALID: dict[int, tuple[Argument, ...]] = {
    1: (((("all", "A", "B"), ("all", "C", "B")), ("all", "A", "C")),),
    2: (
        ((("all", "A", "B"), ("none", "A", "C")), ("none", "B", "C")),
        ((("some", "A", "B"), ("all", "C", "B")), ("some", "A", "C")),
    ),
    3: (
        ((("all", "A", "B"), ("all", "B", "C"), ("none", "A", "D")), ("none", "C", "D")),
        ((("some", "A", "B"), ("all", "B", "C"), ("all", "D", "C")), ("some", "A", "D")),
    ),
}


def syllogisms(turn: Turn, step: int) -> Draft:
    """One argument; every second one holds."""
    said = words(turn.language)["syllogisms"]
    holds = turn.number % 2 == 0
    premises, conclusion = turn.draw.one((VALID if holds else INVALID)[step])
    kinds = dict(zip("ABCD", turn.draw.some(said["kinds"], 4), strict=True))
    stated = [in_words(said["premise"], each, kinds) for each in turn.draw.shuffled(premises)]
    claim = in_words(said["claim"], conclusion, kinds)
    ask = said["ask"][turn.wording].format(premises=" ".join(stated), claim=claim)
    yes, no = said["yes"], said["no"]
    return Draft(
        about=f"{stated} {claim}",
        asks={"": question(ask, 64)},
        expected={"choice": yes if holds else no, "of": [yes, no]},
    )


def in_words(sentences: Mapping[str, str], statement: Statement, kinds: Mapping[str, str]) -> str:
    quantifier, subject, predicate = statement
    a, b = kinds[subject], kinds[predicate]
    return sentences[quantifier].format_map({"a": a, "as": a + "s", "b": b, "bs": b + "s"})
