"""What may stand in a recipe, and the sentence for what may not: by name, with the nearest name that there is."""

import datetime
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from difflib import get_close_matches
from types import UnionType
from typing import Any, Literal, NoReturn, get_args, get_origin, get_type_hints

from ouvert.tuning.error import TuningError
from ouvert.tuning.other_names import CALLED_HERE, SAID_OTHERWISE, reason_against

# Texts that are not free -> what is expected.
TEXTS: Mapping[str, tuple[re.Pattern[str], str]] = {
    "adapter.experts": (
        re.compile(r"all|none|busiest (0?\.\d+|1(\.0+)?)|\d+( \d+)*"),
        '"busiest 0.25", "all", "none", or numbers of experts such as "3 7 12"',
    ),
    "data.date": (re.compile(r"|\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"), 'a day such as "2026-11-05", or ""'),
}
# Single precision has no more; alphas and rates are numbers of it.
MOST_NUMBER = 1e30
NEVER_EMPTY = frozenset({"reward.use"})


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from `least` to `most`, both among them unless `above` says that `least` is not."""

    least: float
    most: float = math.inf
    above: bool = False

    def __contains__(self, value: float) -> bool:
        return (
            value == value
            and abs(value) <= MOST_NUMBER
            and (value > self.least if self.above else value >= self.least)
            and (value <= self.most)
        )

    def __str__(self) -> str:
        if self.most == math.inf:
            return f"above {self.least:g}" if self.above else f"from {self.least:g} on"
        return f"above {self.least:g}, at most {self.most:g}" if self.above else f"from {self.least:g} to {self.most:g}"


# Every number of a recipe.
RANGES: Mapping[str, Range] = {
    "seed": Range(0, 2**63 - 1),
    "data.held_out": Range(0, 0.5),
    "data.length": Range(8, 1 << 20),
    "adapter.rank": Range(1, 1024),
    "adapter.alpha": Range(0, above=True),
    "adapter.expert_rank": Range(1, 1024),
    "optimise.rate": Range(0, 1, above=True),
    "optimise.rate_of_b": Range(0, 1000, above=True),
    "optimise.weight_decay": Range(0, 1),
    "optimise.warm_up": Range(0, 1),
    "optimise.batch": Range(1, 1 << 16),
    "optimise.epochs": Range(0, 10_000, above=True),
    "optimise.steps": Range(0, 1 << 31),
    "optimise.minutes": Range(0, 527_040),  # a year
    "optimise.stop_early": Range(0, 1 << 31),
    "optimise.clip": Range(0),
    "preference.beta": Range(0, 100, above=True),
    "reward.answers": Range(2, 1024),
    "reward.length": Range(1, 1 << 20),
    "reward.temperature": Range(0, 10, above=True),
    "safety.mix": Range(0, 0.5),
}


class RecipeReader:
    """Reads one recipe. `recipe`: the class of recipes, whose sections are dataclasses; `where`: the file or so."""

    def __init__(self, recipe: type, where: str) -> None:
        self._recipe, self._where = recipe, where
        self._known = tuple(dotted(recipe))

    def read(self, said: Mapping[str, Any]) -> Any:
        """Raises TuningError: for all keys that there are not, at once, and for the first value that cannot be."""
        self._refuse_keys(list(unknown_keys(self._recipe, said)))
        return self._section(self._recipe, said, "")

    def _section(self, kind: type, said: Mapping[str, Any], prefix: str) -> Any:
        hints = get_type_hints(kind)
        values = {}
        for key, value in said.items():
            name = f"{prefix}{key}"
            hint = hints[key]
            if is_dataclass(hint) and isinstance(hint, type):
                if not isinstance(value, Mapping):
                    self._refuse(name, value, f"a section with {', '.join(each.name for each in fields(hint))}")
                values[key] = self._section(hint, value, f"{name}.")
            else:
                values[key] = self._value(name, hint, value)
        return kind(**values)

    def _value(self, name: str, hint: Any, value: Any) -> Any:
        if get_origin(hint) is Literal:
            choices = get_args(hint)
            if not isinstance(value, str) or value not in choices:
                self._refuse(name, value, " or ".join(f'"{each}"' for each in choices), near(value, choices))
            return value
        if get_origin(hint) is tuple:
            texts = isinstance(value, list | tuple) and all(isinstance(each, str) for each in value)
            if not texts or (not value and name in NEVER_EMPTY):
                self._refuse(name, value, f"a list of texts{', one at least' * (name in NEVER_EMPTY)}")
            return tuple(value)
        kinds = get_args(hint) if isinstance(hint, UnionType) else (hint,)
        if isinstance(value, bool) != (bool in kinds):
            self._refuse(name, value, expected(name, kinds))
        if isinstance(value, int) and abs(value) >= 1 << 1023:
            self._refuse(name, value, expected(name, kinds))
        if isinstance(value, int) and not isinstance(value, bool) and int not in kinds and float in kinds:
            value = float(value)
        if not isinstance(value, kinds) or (
            name in RANGES and not isinstance(value, str) and value not in RANGES[name]
        ):
            self._refuse(name, value, expected(name, kinds))
        if name in TEXTS and not (TEXTS[name][0].fullmatch(value) and (name != "data.date" or is_day(value))):
            self._refuse(name, value, TEXTS[name][1])
        return value

    def _refuse(self, name: str, value: Any, wanted: str, hint: str = "") -> NoReturn:
        raise TuningError(
            f"reading {self._where}: {name} is {shown(value)}, expected {wanted}.{hint} docs/formats/recipe.md lists "
            "every key."
        )

    def _refuse_keys(self, found: Sequence[tuple[str, Any]]) -> None:
        said = [f"there is no key {name!r:.80}. {self._advice(name, value)}" for name, value in found]
        if len(said) == 1:
            raise TuningError(f"reading {self._where}: {said[0]} docs/formats/recipe.md lists every key.")
        if said:
            listed = "\n".join(f"  {each}" for each in said)
            raise TuningError(
                f"reading {self._where}: {len(said)} keys that there are not:\n{listed}\ndocs/formats/recipe.md lists "
                "every key."
            )

    def _advice(self, name: str, value: Any) -> str:
        last = name.rpartition(".")[2]
        if why := reason_against(last):
            return f"Leave it out: {why}."
        ours = meant(name, self._known, section=isinstance(value, Mapping))
        if ours is None:
            return "Leave it out."
        how = SAID_OTHERWISE.get(last)
        return f"Did you mean {ours}?" + (f" {how}" if how else "")


def is_day(text: str) -> bool:
    """Whether the calendar has such a day. No day is one, too: that of the run."""
    try:
        return not text or datetime.date.fromisoformat(text) is not None
    except ValueError:
        return False


def unknown_keys(kind: type, said: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(name, value) of each key that there is not."""
    hints = get_type_hints(kind)
    for key, value in said.items():
        hint = hints.get(key)
        if hint is None:
            yield f"{prefix}{key}", value
        elif is_dataclass(hint) and isinstance(hint, type) and isinstance(value, Mapping):
            yield from unknown_keys(hint, value, f"{prefix}{key}.")


def meant(name: str, known: tuple[str, ...], *, section: bool = False) -> str | None:
    """The key that somebody means who writes `name`: as others call it, in another section, or spelled alike. Of a
    `section`, the section."""
    above, _, last = name.rpartition(".")
    if section:
        closest = get_close_matches(last, {each.partition(".")[0] for each in known if "." in each}, 1)
        return closest[0] if closest else None
    if last in CALLED_HERE:
        return CALLED_HERE[last]
    beside = {each.rpartition(".")[2]: each for each in known if each.rpartition(".")[0] == above}
    elsewhere = {each.rpartition(".")[2]: each for each in reversed(known)}  # of two, the first
    for cutoff in (0.99, 0.7, 0.6):
        for names in (beside, elsewhere):
            if closest := get_close_matches(last, names, 1, cutoff):
                return names[closest[0]]
    return None


def dotted(recipe: type, prefix: str = "") -> list[str]:
    """The names of all values: "seed", "data.length". Raises nothing."""
    names = []
    for key, hint in get_type_hints(recipe).items():
        inside = is_dataclass(hint) and isinstance(hint, type)
        names += dotted(hint, f"{prefix}{key}.") if inside and isinstance(hint, type) else [f"{prefix}{key}"]
    return names


def expected(name: str, kinds: tuple[type, ...]) -> str:
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    said = []
    for kind in kinds:
        of = f" {RANGES[name]}" if kind in (int, float) and name in RANGES else ""
        said.append(words[kind] + of)
    return " or ".join(said)


def near(value: Any, choices: tuple[str, ...]) -> str:
    closest = get_close_matches(str(value), choices, 1)
    return f' Did you mean "{closest[0]}"?' if closest else ""


def shown(value: Any) -> str:
    return f'"{value:.80}"' if isinstance(value, str) else f"{value!r:.80}"
