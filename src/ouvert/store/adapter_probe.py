"""What shows that an adapter computes, and computes as it did when it was made: a few numbers, kept in its record.

An adapter that is ignored, or put on the wrong weights, still gives answers. The probe is a short text, and the
log-probabilities of a few tokens behind it, without the adapter and with it. Who computes them is handed in.
"""

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from ouvert.store.error import StoreError

# What is read. It says nothing that an adapter would be made for, and nothing that a model would refuse.
SENTENCE = (
    "In the morning the baker opens the shop, puts fresh bread on the shelves, and writes the prices on a board by "
    "the door; the first people come in before the sun is over the roofs."
)
LONGEST = 32  # tokens of the text
PROBE_TOKENS = 8  # tokens whose log-probabilities are kept
# Another build or layout may sum in another order. With activations in float32 that moves a log-probability by some
# thousandths (SmolLM2: 0.002 for 1 in a million); a wrong scale, or experts in another order, by tenths at least.
# Where activations are rounded to 8 bits it tips some of them over, and moves it as far as an adapter does (0.25).
TOLERANCE = 0.05
# There the adapter is asked louder: its additions times LOUDNESS, the first that moves the numbers LOUD_ENOUGH times as
# far as rounding does, or else the one that does so most. How far rounding moves them is seen by shaking: the same once
# more, louder by these parts of one. docs/formats/adapter.md has what was measured.
LOUDNESS = (4.0, 16.0, 64.0, 256.0)
LOUD_ENOUGH = 100.0
SHAKES = (1e-6, 1e-5, -1e-5)
LEAST_ROUNDING = 0.01  # where none tipped over when it was shaken: in a small model, or of a quiet adapter
ROUNDINGS = 3.0  # as far as rounding, times this, another build may be away
LEAST_SHARE = 0.03  # of what the adapter moves
# Of `numbers`: what rounds weights or what is between them. Where one of these differs, the model itself is another.
ROUNDING = ("precision", "exact", "cache", "configuration")

# (sequences of ids, of each from which token on, the scale of the adapter: 0 is without it) -> the log-probabilities of
# these tokens of each, as the engine or a learner says; NaN where there are none at that scale
LogProbabilities = Callable[[Sequence[Sequence[int]], Sequence[int], float], Sequence[Sequence[float]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loud:
    """The log-probabilities of the tokens `top`, then of `ids` from the second on, with the adapter `scale` times as
    strong; `rounding`: how far they move, in the root of the mean square, where only roundings tip over; `moved`: how
    far the adapter moves them."""

    scale: float
    values: tuple[float, ...]
    rounding: float
    moved: float

    @classmethod
    def made(cls, ids: Sequence[int], top: Sequence[int], of: LogProbabilities) -> "Loud | None":
        """The first that is loud enough, or else the one that stands out most; None where no numbers come at any.
        Raises what `of` raises."""
        bare, best = all_of(ids, top, of, 0.0), None
        for scale in LOUDNESS:
            values = all_of(ids, top, of, scale)
            shaken = [apart(values, all_of(ids, top, of, scale * (1 + by))) for by in SHAKES]
            if not all(map(math.isfinite, (*values, *shaken))):
                break
            made = cls(scale=scale, values=values, rounding=max(shaken), moved=apart(values, bare))
            if best is None or made.stands_out > best.stands_out:
                best = made
            if made.stands_out >= LOUD_ENOUGH:
                return made
        return best

    @property
    def stands_out(self) -> float:
        """How many times as far as rounding the adapter moves the numbers."""
        return self.moved / max(self.rounding, LEAST_ROUNDING)

    @property
    def allowed(self) -> float:
        """How far another build may be away."""
        return max(ROUNDINGS * max(self.rounding, LEAST_ROUNDING), LEAST_SHARE * self.moved)

    @classmethod
    def read(cls, facts: Mapping[str, Any], count: int) -> "Loud":
        """Raises LookupError, TypeError and ValueError for facts that are none."""
        numbers = {name: float.fromhex(facts[name]) for name in ("scale", "rounding", "moved")}
        values = tuple(float.fromhex(each) for each in facts["values"])
        if len(values) != count or not all(map(math.isfinite, (*numbers.values(), *values))):
            raise ValueError("loud")
        return cls(values=values, **numbers)

    def facts(self) -> dict[str, Any]:
        """As it stands in a record. Raises nothing."""
        numbers = {name: getattr(self, name).hex() for name in ("scale", "rounding", "moved")}
        return {**numbers, "values": [each.hex() for each in self.values]}


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterProbe:
    """`ids` were read; `bare` and `adapted` are the log-probabilities of the tokens `top` after the last of them, as
    float32. `numbers`: the build, layout and settings that computed them. `loud`: None in records of before."""

    ids: tuple[int, ...]
    top: tuple[int, ...]
    bare: tuple[float, ...]
    adapted: tuple[float, ...]
    numbers: Mapping[str, Any]
    loud: Loud | None = None

    @classmethod
    def made(cls, ids: Sequence[int], top: Sequence[int], of: LogProbabilities, numbers: Mapping[str, Any]) -> Self:
        """Compute one, of `ids` (those of SENTENCE, which `probe_ids` cuts) and the tokens `top`, best those that are
        likeliest there.

        Raises StoreError for an adapter that changes nothing; what `of` raises.
        """
        adapted, bare = (behind(ids, top, of, scale) for scale in (1.0, 0.0))
        if bare == adapted:
            raise StoreError(changes_nothing("it", adapted))
        loud = None if numbers.get("exact") else Loud.made(ids, top, of)
        return cls(ids=tuple(ids), top=tuple(top), bare=bare, adapted=adapted, numbers=dict(numbers), loud=loud)

    @classmethod
    def read(cls, facts: Any) -> Self:
        """The probe of a record. Raises StoreError for one that is not whole."""
        try:
            probe = cls(
                ids=tuple(int(each) for each in facts["ids"]),
                top=tuple(int(each) for each in facts["top"]),
                bare=tuple(float.fromhex(each) for each in facts["bare"]),
                adapted=tuple(float.fromhex(each) for each in facts["adapted"]),
                numbers=dict(facts["numbers"]),
                loud=None if facts.get("loud") is None else Loud.read(facts["loud"], loud_values(facts)),
            )
        except (LookupError, TypeError, ValueError) as problem:
            raise StoreError(f"reading the probe of an adapter: {problem!r:.80}. {AGAIN}") from None
        if not (probe.ids and probe.top and len(probe.top) == len(probe.bare) == len(probe.adapted)):
            raise StoreError(f"reading the probe of an adapter: its lists have other lengths than each other. {AGAIN}")
        return probe

    def facts(self) -> dict[str, Any]:
        """As it stands in a record (docs/formats/adapter.md). Raises nothing."""
        return {
            "ids": list(self.ids),
            "top": list(self.top),
            "bare": [each.hex() for each in self.bare],
            "adapted": [each.hex() for each in self.adapted],
            "numbers": dict(self.numbers),
            "loud": None if self.loud is None else self.loud.facts(),
        }

    def check(self, name: str, of: LogProbabilities, numbers: Mapping[str, Any]) -> None:
        """Compute it again, and compare. `numbers`: of the engine that computes now.

        Where they are those of the probe, the same bits; where another build or layout computes in float32, nearly the
        same; where it rounds activations, the loud ones, no further away than roundings take them; where anything else
        differs, only that the adapter changes something. Raises StoreError, with both numbers, for an adapter that
        changes nothing or answers otherwise; what `of` raises.
        """
        adapted, bare = (behind(self.ids, self.top, of, scale) for scale in (1.0, 0.0))
        if adapted == bare:
            raise StoreError(changes_nothing(f"the adapter {name}", adapted))
        same = dict(numbers) == dict(self.numbers)
        rounded = any(numbers.get(each) != self.numbers.get(each) for each in ROUNDING)
        if not same and not rounded and not numbers.get("exact"):
            self._check_loud(name, of)
            return
        allowed = 0.0 if same else float("inf") if rounded else TOLERANCE
        within = "the same bits" if same else f"no more than {TOLERANCE} away"
        for what, then, now in (("without it", self.bare, bare), (f"with {name}", self.adapted, adapted)):
            if not max(abs(a - b) for a, b in zip(then, now, strict=True)) <= allowed:
                raise StoreError(otherwise(name, what, now, then, within))

    def _check_loud(self, name: str, of: LogProbabilities) -> None:
        """Another build or layout that rounds activations as the one did that made it."""
        if self.loud is None:
            return
        now = all_of(self.ids, self.top, of, self.loud.scale)
        if not apart(now, self.loud.values) <= self.loud.allowed:
            what = f"with {name} times {self.loud.scale:g}"
            within = f"no more than {self.loud.allowed:.3f} away in the mean, which is as far as roundings take them"
            raise StoreError(otherwise(name, what, now, self.loud.values, within))


AGAIN = "Remove the adapter, and make or import it again."


def probe_ids(encode: Callable[[str], Sequence[int]]) -> tuple[int, ...]:
    """What a probe reads. `encode` gives the ids of a plain text. Raises what `encode` raises."""
    return tuple(int(each) for each in encode(SENTENCE)[:LONGEST])


def behind(ids: Sequence[int], top: Sequence[int], of: LogProbabilities, scale: float) -> tuple[float, ...]:
    """The log-probability of each of `top` behind `ids`."""
    found = of([[*ids, token] for token in top], [len(ids)] * len(top), scale)
    return tuple(as_float32(each[-1]) for each in found)


def all_of(ids: Sequence[int], top: Sequence[int], of: LogProbabilities, scale: float) -> tuple[float, ...]:
    """The same, then those of `ids` from the second on."""
    [*last, along] = of([*([*ids, token] for token in top), list(ids)], [*([len(ids)] * len(top)), 1], scale)
    return tuple(as_float32(each) for each in (*(each[-1] for each in last), *along))


def apart(one: Sequence[float], other: Sequence[float]) -> float:
    """The root of the mean square of the differences."""
    return math.sqrt(math.fsum((a - b) ** 2 for a, b in zip(one, other, strict=True)) / len(one))


def loud_values(facts: Mapping[str, Any]) -> int:
    """How many a probe with these lists has."""
    return len(facts["top"]) + len(facts["ids"]) - 1


def otherwise(name: str, what: str, now: Sequence[float], then: Sequence[float], within: str) -> str:
    return (
        f"loading the adapter {name}: {what}, the log-probabilities of its probe are {shown(now)}, and "
        f"they were {shown(then)} when it was made, expected {within}: it would not answer as it was "
        f"checked. If another version of Ouvert made it: `ouvert adapter export {name} --to peft`, and "
        "import that under another name; else make it again."
    )


def changes_nothing(what: str, values: Sequence[float]) -> str:
    return (
        f"probing an adapter: with and without {what} the log-probabilities are {shown(values)}, expected others: it "
        "changes nothing. Train it on more examples, or at a higher rate; an imported one may be empty."
    )


def shown(values: Sequence[float]) -> str:
    return ", ".join(f"{each:.6f}" for each in values[:3]) + ", …" * (len(values) > 3)


def as_float32(value: float) -> float:
    rounded: float = struct.unpack("<f", struct.pack("<f", value))[0]
    return rounded
