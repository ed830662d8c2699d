"""A lesson filled from a run: the values of its words, and its figure."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Filled:
    """`values`: by the name of their place in the words. `figure`: an SVG. `suites`: whose questions were used, for
    sources and licences. `names_marks`: the figure has the contestants' marks, and their names belong below it."""

    values: Mapping[str, str]
    figure: str
    suites: tuple[str, ...] = ()
    names_marks: bool = True


class MissingError(Exception):
    """The run lacks what a lesson needs; `need` is the key of the sentence that says what gives it."""

    def __init__(self, need: str) -> None:
        super().__init__(need)
        self.need = need
