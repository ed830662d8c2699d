"""Some people, what is known of them, and the text that says it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ouvert.evaluation.suites.draw import Draw
from ouvert.evaluation.suites.language_data import language_data

ATTRIBUTES = ("job", "city", "pet", "age")
UNSTATED = {2: 0, 5: 3}  # by the number of people: attributes that the text leaves out, each of another person


def said(language: str) -> Mapping[str, Any]:
    return language_data(Path(__file__).parent, language)


@dataclass(frozen=True, slots=True)
class Passage:
    """`people`: each with a name and all attributes; no two share a value. `stated`: (name, attribute) of every fact
    that the text has."""

    text: str
    people: tuple[Mapping[str, str], ...]
    stated: frozenset[tuple[str, str]]

    def knows(self, person: Mapping[str, str], *attributes: str) -> bool:
        return all((person["name"], each) in self.stated for each in attributes)


def passage(draw: Draw, language: str, count: int = 5) -> Passage:
    """About two or five people. Its facts stand in an order that is drawn, one a sentence, with two sentences that say
    nothing of anybody."""
    lists = said(language)["people"]
    values = {kind: draw.some(options, count) for kind, options in lists.items()}
    values["age"] = [str(age) for age in draw.some(range(19, 90), count)]
    people = tuple({kind: values[kind][place] for kind in values} for place in range(count))
    left_out = {
        (person["name"], attribute)
        for person, attribute in zip(
            draw.some(people, UNSTATED[count]), draw.some(ATTRIBUTES, UNSTATED[count]), strict=True
        )
    }
    facts = [(person, attribute) for person in people for attribute in ATTRIBUTES]
    stated = [(person, attribute) for person, attribute in facts if (person["name"], attribute) not in left_out]
    sentences = [as_sentence(draw.one(said(language)["facts"][attribute]), person) for person, attribute in stated]
    sentences = draw.shuffled([*sentences, *draw.some(said(language)["fillers"], 2)])
    text = " ".join([draw.one(said(language)["openings"][str(count)]), *sentences])
    return Passage(text, people, frozenset((person["name"], attribute) for person, attribute in stated))


def as_sentence(template: str, person: Mapping[str, str]) -> str:
    text = template.format_map(person)
    return text[0].upper() + text[1:]
