"""Whether an answer keeps an instruction. Each check sees the answer without white space around it, and the values.

A word is what stands between spaces and has a letter or a digit. A sentence ends with ".", "!", "?" or "…".
"""

import json
import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

from ouvert.evaluation.suites.stated import words_of

# Words that an answer has: fewer say nothing, and more is not the short text that is asked for.
LEAST, MOST = 5, 300
LEAST_OF = {"words-at-most": 3, "words-exactly": 3, "bullets": 3, "numbered": 3, "json": 3}
Values = Mapping[str, Any]


def keeps(kind: str, text: str, values: Values) -> bool:
    """Whether the text keeps the instruction of that kind, and does not just repeat it."""
    said = text.strip()
    repeats = " ".join(words_of(values["request"])) in " ".join(words_of(said))
    return not repeats and LEAST_OF.get(kind, LEAST) <= len(words(said)) <= MOST and CHECKS[kind](said, values)


def words(text: str) -> list[str]:
    return [word for word in text.split() if any(letter.isalnum() for letter in word)]


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def sentences(text: str) -> int:
    """How many end, and one more if the text goes on behind the last end."""
    parts = re.split(r"[.!?…]+[\"»”)]*(?:\s+|$)", text.replace("\u00a0", " "))
    return sum(bool(words(part)) for part in parts)


def plain(text: str) -> str:
    """With one kind of apostrophes, and spaces where there is any white space."""
    return " ".join(text.replace("’", "'").split())


def bare(letter: str) -> str:
    """Without its accent, in lower case."""
    return unicodedata.normalize("NFD", letter)[0].casefold()


def begins(text: str, values: Values) -> bool:
    said, phrase = plain(text), plain(values["phrase"])
    return said.startswith(phrase) and not said[len(phrase) :][:1].isalnum()


def in_order(text: str, values: Values) -> bool:
    """Lines that begin with 1., 2., … and go on, and no others."""
    found = [re.match(r"(\d+)\.\s+\S", line) for line in lines(text)]
    return [each and int(each[1]) for each in found] == list(range(1, values["n"] + 1))


def dashed(text: str, values: Values) -> bool:
    return len(lines(text)) == values["n"] and all(re.match(r"- \S", line) for line in lines(text))


def titled(text: str, values: Values) -> bool:
    first, *rest = lines(text)
    return (
        bool(re.fullmatch(r"<<[^<>]*\w[^<>]*>>", first)) and bool(words(" ".join(rest))) and "<<" not in " ".join(rest)
    )


def is_object(text: str, values: Values) -> bool:
    """A JSON object with the two keys and texts that are not empty."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return (
        isinstance(found, dict)
        and found.keys() == {values["first"], values["second"]}
        and all(isinstance(each, str) and each.strip() for each in found.values())
    )


def has_words(text: str, *wanted: str) -> bool:
    return set(wanted) <= set(re.findall(r"\w+", text.casefold()))


CHECKS: dict[str, Callable[[str, Values], bool]] = {
    "words-at-most": lambda text, values: len(words(text)) <= values["n"],
    "words-exactly": lambda text, values: len(words(text)) == values["n"],
    "sentences": lambda text, values: sentences(text) == values["n"],
    "lowercase": lambda text, values: text == text.lower(),
    "uppercase": lambda text, values: text == text.upper(),
    "include": lambda text, values: has_words(text, values["first"], values["second"]),
    "avoid": lambda text, values: not has_words(text, values["word"]),
    "letter": lambda text, values: values["letter"] not in {bare(letter) for letter in text},
    "begin": begins,
    "end": lambda text, values: plain(text).endswith(plain(values["phrase"])),
    "bullets": dashed,
    "numbered": in_order,
    "title": titled,
    "json": is_object,
}
