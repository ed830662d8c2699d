"""What shows that an adapter computes, and computes as it did when it was made: a few numbers, kept in its record.

An adapter that is ignored, or put on the wrong weights, still gives answers. The probe is a short text, and the
log-probabilities of a few tokens behind it, without the adapter and with it. Who computes them is handed in.
"""

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
# Of `numbers`: what rounds weights or what is between them. Where one of these differs, the model itself is another.
ROUNDING = ("precision", "exact", "cache", "configuration")

# (sequences of ids, with the adapter) -> the log-probability of the last token of each, as the engine or a learner says
LogProbabilities = Callable[[Sequence[Sequence[int]], bool], Sequence[float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterProbe:
    """`ids` were read; `bare` and `adapted` are the log-probabilities of the tokens `top` after the last of them, as
    float32. `numbers`: the build, layout and settings that computed them."""

    ids: tuple[int, ...]
    top: tuple[int, ...]
    bare: tuple[float, ...]
    adapted: tuple[float, ...]
    numbers: Mapping[str, Any]

    @classmethod
    def made(cls, ids: Sequence[int], top: Sequence[int], of: LogProbabilities, numbers: Mapping[str, Any]) -> Self:
        """Compute one, of `ids` (those of SENTENCE, which `probe_ids` cuts) and the tokens `top`, best those that are
        likeliest there.

        Raises StoreError for an adapter that changes nothing; what `of` raises.
        """
        adapted, bare = (behind(ids, top, of, each) for each in (True, False))
        if bare == adapted:
            raise StoreError(changes_nothing("it", adapted))
        return cls(ids=tuple(ids), top=tuple(top), bare=bare, adapted=adapted, numbers=dict(numbers))

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
        }

    def check(self, name: str, of: LogProbabilities, numbers: Mapping[str, Any]) -> None:
        """Compute it again, and compare. `numbers`: of the engine that computes now.

        Where they are those of the probe, the same bits; where another build or layout computes in float32, nearly the
        same; where anything else differs, only that the adapter changes something. Raises StoreError, with both
        numbers, for an adapter that changes nothing or answers otherwise; what `of` raises.
        """
        adapted, bare = (behind(self.ids, self.top, of, each) for each in (True, False))
        if adapted == bare:
            raise StoreError(changes_nothing(f"the adapter {name}", adapted))
        same = dict(numbers) == dict(self.numbers)
        rounded = any(numbers.get(each) != self.numbers.get(each) for each in ROUNDING)
        allowed = 0.0 if same else float("inf") if rounded or not numbers.get("exact") else TOLERANCE
        for what, then, now in (("without it", self.bare, bare), (f"with {name}", self.adapted, adapted)):
            off = max(abs(a - b) for a, b in zip(then, now, strict=True))
            if not off <= allowed:
                within = "the same bits" if same else f"no more than {TOLERANCE} away"
                raise StoreError(
                    f"loading the adapter {name}: {what}, the log-probabilities of its probe are {shown(now)}, and "
                    f"they were {shown(then)} when it was made, expected {within}: it would not answer as it was "
                    f"checked. If another version of Ouvert made it: `ouvert adapter export {name} --to peft`, and "
                    "import that under another name; else make it again."
                )


AGAIN = "Remove the adapter, and make or import it again."


def probe_ids(encode: Callable[[str], Sequence[int]]) -> tuple[int, ...]:
    """What a probe reads. `encode` gives the ids of a plain text. Raises what `encode` raises."""
    return tuple(int(each) for each in encode(SENTENCE)[:LONGEST])


def behind(ids: Sequence[int], top: Sequence[int], of: LogProbabilities, adapted: bool) -> tuple[float, ...]:
    """The log-probability of each of `top` behind `ids`."""
    return tuple(as_float32(each) for each in of([[*ids, token] for token in top], adapted))


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
