"""What a suite is: its card of facts, its items, its scorer, and what guessing gets."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from ouvert.evaluation.item import Item
from ouvert.evaluation.outcome import Outcome, Score


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """The facts of a suite, as cards/NAME.toml has them. Texts are by language, "en" and "fr".

    `kind`: "generated" (from a seed), "package" (read from an installed package or its downloaded wheel), "folder" (the
    owner gives its place), "own" (the owner's prompts). `digest`: of the data file, "" where the items are generated.
    `chance`: the share that blind choice gets, by form; None where there is nothing to choose from. `scorer`: name and
    version; a scorer that gives another score for any outcome is another version. `graded`: scores between 0 and 1
    count, not only right and wrong. `stays`: its prompts never go to a remote contestant unless the owner says so.
    """

    name: str
    module: str
    kind: Literal["generated", "package", "folder", "own"]
    title: Mapping[str, str]
    what: Mapping[str, str]  # two or three sentences: what is asked, what a right answer is
    source: str
    licence: str
    languages: tuple[str, ...]
    forms: tuple[str, ...]
    asks: tuple[str, ...]
    chance: Mapping[str, float | None]
    scorer: str
    cluster: Mapping[str, str]  # what items of one cluster share
    contamination: Mapping[str, str]
    small_models: Mapping[str, str]  # can a small model do it
    digest: str = ""
    graded: bool = False
    stays: bool = False


# A way to answer without understanding: "always A", "says nothing", "copies the question".
Guess = Callable[[Item], Outcome]


class Suite(Protocol):
    """A suite. `module.suite(card, **settings)` makes one: for a folder its place, for own prompts their file."""

    @property
    def card(self) -> Card:
        """Its facts. Raises nothing."""
        ...

    def items(self, language: str, count: int, seed: int) -> tuple[Item, ...]:
        """The first `count` items of the order that `seed` decides, in all forms: an item that is asked in two forms is
        two items of one id, and counts once. Fewer where the suite has fewer.

        The items for a smaller count begin those for a larger one. Groups take turns, so that any beginning is
        balanced. Raises EvaluationError for a language it lacks, and for data that is missing or of another digest.
        """

    def score(self, item: Item, outcome: Outcome) -> Score:
        """Strict, and pure: the same outcome has the same score everywhere. Raises nothing."""

    def guesses(self, items: Sequence[Item]) -> Mapping[str, Guess]:
        """The trivial strategies, by name; the best of them on these items is the baseline that stands beside every
        score. Raises nothing."""

    def describe(self) -> Mapping[str, Any]:
        """What a plan writes down so that the suite can be made again: digests, places, versions. Raises nothing."""
