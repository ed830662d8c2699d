"""Texts of a wanted length with sentences that state numbers, and the questions about them."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from ouvert.evaluation.suites.draw import Draw
from ouvert.evaluation.suites.generated import Draft, Turn, question
from ouvert.evaluation.suites.language_data import language_data

# Needles that are not asked for, so that the only number of a text is never the answer.
OTHERS = 2
SEVERAL = 4
STEPS = 3  # boxes between the one that is asked for and the number
ASTRAY = 3  # other chains


def draft(turn: Turn) -> Draft:
    """One text and a question about it."""
    said = language_data(Path(__file__).parent, turn.language)
    kind, *numbers = turn.group.split("-")
    length, depth = int(numbers[0]), int(numbers[1]) if len(numbers) > 1 else 0
    if kind == "one":
        return one(turn, said, length, depth)
    return several(turn, said, length) if kind == "several" else variable(turn, said, length)


def one(turn: Turn, said: Mapping[str, Any], length: int, depth: int) -> Draft:
    things = turn.draw.some(said["needles"]["things"], 1 + OTHERS)
    codes = distinct_codes(turn.draw, 1 + OTHERS)
    wanted, *others = [
        said["needles"]["one"].format(thing=thing, number=code) for thing, code in zip(things, codes, strict=True)
    ]
    sentences = scattered(turn.draw, hay(turn.draw, said, length), others)
    sentences.insert(len(sentences) * depth // 100, wanted)
    text = said["ask"]["one"][turn.wording].format(text=" ".join(sentences), thing=things[0])
    return Draft(about=f"{things} {codes}", asks={"": question(text, 48)}, expected={"number": codes[0]})


def several(turn: Turn, said: Mapping[str, Any], length: int) -> Draft:
    things = turn.draw.some(said["needles"]["things"], SEVERAL + OTHERS)
    codes = distinct_codes(turn.draw, SEVERAL + OTHERS)
    needles = [
        said["needles"]["one"].format(thing=thing, number=code) for thing, code in zip(things, codes, strict=True)
    ]
    sentences = scattered(turn.draw, hay(turn.draw, said, length), needles)
    text = said["ask"]["several"][turn.wording].format(text=" ".join(sentences), things=", ".join(things[:SEVERAL]))
    return Draft(about=f"{things} {codes}", asks={"": question(text, 64)}, expected={"numbers": codes[:SEVERAL]})


def variable(turn: Turn, said: Mapping[str, Any], length: int) -> Draft:
    """A box holds what another holds, and so on; the sentences stand in any order. Shorter chains lead astray."""
    names = turn.draw.some(said["needles"]["names"], STEPS + 1 + 2 * ASTRAY)
    codes = distinct_codes(turn.draw, 1 + ASTRAY)
    needles = chain(said, names[: STEPS + 1], codes[0])
    for place, code in enumerate(codes[1:]):
        needles += chain(said, names[STEPS + 1 + 2 * place :][:2], code)
    sentences = scattered(turn.draw, hay(turn.draw, said, length), needles)
    text = said["ask"]["variable"][turn.wording].format(text=" ".join(sentences), name=names[STEPS])
    return Draft(about=f"{names} {codes}", asks={"": question(text, 48)}, expected={"number": codes[0]})


def chain(said: Mapping[str, Any], names: Sequence[str], code: str) -> list[str]:
    """The first box holds the number, each following one the same as the one before it."""
    needles = said["needles"]
    handed_on = [needles["follow"].format(name=name, other=other) for other, name in pairwise(names)]
    return [needles["start"].format(name=names[0], number=code), *handed_on]


def distinct_codes(draw: Draw, count: int) -> list[str]:
    """Numbers of five digits, none twice."""
    codes: dict[str, None] = {}
    while len(codes) < count:
        codes[str(draw.between(10000, 99999))] = None
    return list(codes)


def hay(draw: Draw, said: Mapping[str, Any], length: int) -> list[str]:
    """Everyday sentences of about `length` words in all."""
    sentences: list[str] = []
    words = 0
    while words < length:
        values = {name: draw.one(options) for name, options in said["hay_lists"].items()}
        values |= {"Person": values["person"][0].upper() + values["person"][1:]}
        sentence = draw.one(said["hay"]).format_map(values)
        sentences.append(sentence[0].upper() + sentence[1:])
        words += len(sentence.split())
    return sentences


def scattered(draw: Draw, sentences: list[str], needles: Sequence[str]) -> list[str]:
    """The sentences with the needles among them, each in a stretch of its own; which needle in which is drawn."""
    stretch = len(sentences) / len(needles)
    places = [int(stretch * part + draw.below(100) / 100 * stretch) for part in range(len(needles))]
    among = list(sentences)
    for place, needle in zip(reversed(places), draw.shuffled(needles), strict=True):
        among.insert(place, needle)
    return among
