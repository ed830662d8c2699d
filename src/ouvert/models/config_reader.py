"""What a checkpoint says about its own shape, read so that nothing it says is overlooked."""

import math
from collections.abc import Mapping
from typing import Any, Final

from ouvert.weights import CheckpointError


def shown(value: Any) -> str:
    """A value for an error message, cut short; a number may be too long even to be written out."""
    if isinstance(value, int) and abs(value) > 10**40:
        return "a number of more than 40 digits"
    return repr(value)[:80]


def is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


class Required:
    """The default of a key that has none."""


REQUIRED: Final = Required()

# No count or number of a real model comes near these; beyond them sizes overflow and powers vanish.
MOST: Final = 2**31 - 1
SMALLEST: Final = 1e-9
LARGEST: Final = 1e12


class ConfigReader:
    """The keys of one configuration. Each is asked for by name; `finish` refuses those that nobody asked about.

    `source` names the file (and place in it) in errors; `prefix` stands before every key in the file, and keys without
    it are not this configuration's. A key whose value is null counts as absent, except in `optional`. Where GGUF is
    expected to say one number, a list that gives every layer the same one is read as that number.

    Each method raises CheckpointError, by the key's name, if the key is missing and has no default, or if its value is
    not what the method says.
    """

    def __init__(self, source: str, raw: Mapping[str, Any], prefix: str = "") -> None:
        self.source, self.raw, self.prefix = source, raw, prefix
        self.asked: set[str] = set()

    def fault(self, what: str) -> CheckpointError:
        """The error for something that this version does not compute."""
        return CheckpointError(f"{self.source}: {what}. This checkpoint needs something this version does not have.")

    def _take(self, name: str, default: Any) -> Any:
        full = self.prefix + name
        self.asked.add(full)
        value = self.raw.get(full)
        if value is not None:
            return value
        if default is REQUIRED:
            raise CheckpointError(
                f"{self.source}: {full} is missing, expected a value, because it changes what the model computes. "
                "Take it from the model's publisher."
            )
        return default

    def _same(self, name: str, value: Any) -> Any:
        """The one value of a list that says it for each layer, as GGUF may. CheckpointError where layers differ."""
        if not self.prefix or not isinstance(value, list) or len(value) != self.raw.get(self.prefix + "block_count"):
            return value
        if not value:
            return value  # of no layers: the caller says what is wrong with it
        if any(each != value[0] for each in value):
            raise self.fault(
                f"{self.prefix + name} differs from layer to layer ({shown(value)}), and we compute all layers alike"
            )
        return value[0]

    def _wrong(self, name: str, value: Any, expected: str) -> CheckpointError:
        return CheckpointError(
            f"{self.source}: {self.prefix + name} is {shown(value)}, expected {expected}. "
            "Compare the file with the publisher's."
        )

    def integer(self, name: str, default: int | Required = REQUIRED, *, most: int = MOST) -> int:
        """A whole number of at least 1 (no model has none of something it counts) and at most `most`."""
        value = self._same(name, self._take(name, default))
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
            raise self._wrong(name, value, f"a whole number from 1 to {most}")
        return value

    def optional(self, name: str, default: int | Required | None = REQUIRED) -> int | None:
        """A whole number or null; the key itself must be there unless it has a default."""
        if self.prefix + name in self.raw and self.raw[self.prefix + name] is None:
            self.asked.add(self.prefix + name)
            return None
        value = self._take(name, default)
        return None if value is None else self.integer(name, value)

    def whole(self, name: str, default: int | Required = REQUIRED) -> int:
        """A whole number, 0 or more."""
        value = self._same(name, self._take(name, default))
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST:
            raise self._wrong(name, value, f"a whole number from 0 to {MOST}")
        return value

    def number(self, name: str, default: float | Required | None = REQUIRED) -> float:
        """A number from 0 to LARGEST."""
        value = self._same(name, self._take(name, REQUIRED if default is None else default))
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LARGEST:
            raise self._wrong(name, value, f"a number from 0 to {LARGEST:g}")
        return float(value)

    def positive(self, name: str, default: float | Required | None = REQUIRED) -> float:
        """A number from SMALLEST to LARGEST: something is divided by it."""
        value = self.number(name, default)
        if value < SMALLEST:
            raise self._wrong(name, value, f"a number from {SMALLEST:g} to {LARGEST:g}")
        return value

    def flag(self, name: str, default: bool | Required = REQUIRED) -> bool:
        """True or false."""
        value = self._take(name, default)
        if not isinstance(value, bool):
            raise self._wrong(name, value, "true or false")
        return value

    def text(self, name: str, default: str | Required | None = REQUIRED) -> str | None:
        """Text, or the default."""
        value = self._take(name, default)
        if not isinstance(value, str | None):
            raise self._wrong(name, value, "text")
        return value

    def texts(self, name: str, default: list[str] | Required | None = REQUIRED) -> list[str] | None:
        """A list of texts, or the default."""
        value = self._take(name, default)
        if value is not None and not (isinstance(value, list) and all(isinstance(each, str) for each in value)):
            raise self._wrong(name, value, "a list of texts")
        return value

    def whole_numbers(self, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
        """A list of whole numbers, 0 or more, or the default."""
        value = self._take(name, default)
        if not isinstance(value, list | tuple) or not all(type(each) is int and 0 <= each <= MOST for each in value):
            raise self._wrong(name, value, f"a list of whole numbers from 0 to {MOST}")
        return tuple(value)

    def interval(self, name: str, default: tuple[float, float | None]) -> tuple[float, float | None]:
        """Two numbers, 0 or more, the first the smaller; None for a second that is infinite, in either of
        transformers' ways to write that."""
        if self.raw.get(self.prefix + name) is None:
            return default
        value = self._take(name, default)
        ends = [math.inf if each == {"__float__": "Infinity"} else each for each in value] if is_list(value) else []
        if len(ends) != 2 or not all(type(each) in (int, float) for each in ends) or not 0 <= ends[0] <= ends[1]:
            raise self._wrong(name, value, "two numbers, 0 or more, the first the smaller")
        return float(ends[0]), None if ends[1] == math.inf else float(ends[1])

    def mapping(self, name: str, default: Mapping[str, Any] | Required | None = REQUIRED) -> Mapping[str, Any] | None:
        """An object, or the default."""
        value = self._take(name, default)
        if not isinstance(value, Mapping | None):
            raise self._wrong(name, value, "an object")
        return value

    def neutral(self, name: str, *values: Any) -> None:
        """Accept the key only at values that mean "as we compute it"; absent is fine too."""
        value = self._take(name, None)
        if value is not None and value not in values and self._same(name, value) not in values:
            expected = " or ".join(repr(each) for each in values)
            raise self.fault(f"{self.prefix + name} is {shown(value)}, and we compute it only as {expected}")

    def finish(self, harmless: Mapping[str, str]) -> None:
        """Refuse every key that was neither asked for nor is known to change nothing. `harmless` has no prefixes.

        Null says nothing, whatever the key.
        """
        unknown = sorted(
            key
            for key, value in self.raw.items()
            if key.startswith(self.prefix) and value is not None
            if key not in self.asked and key.removeprefix(self.prefix) not in harmless
        )
        if unknown:
            raise CheckpointError(
                f"{self.source}: unknown keys {unknown[:8]}{' and more' if len(unknown) > 8 else ''}. They may change "
                "what the model computes, so it is not run without them: a newer Ouvert may honour them, or see "
                "docs/guides/a-new-family.md to add them with a reason."
            )
