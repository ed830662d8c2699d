"""Watching an answer while it is written: what may be asked for, and what is seen at each token.

docs/formats/watch.md describes it. What a direction's file holds is `inspection`'s to read: probes are made of it by
whoever may import both.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np

from ouvert.assistant.error import AssistantError
from ouvert.engine import Confidence, Token, Vocabulary, Watch, entropy_of_shares

CONFIDENCE, EXPERTS = "confidence", "experts"
PROBE = "probe:"  # before the name of a direction
MOST_WATCHED = 16  # names of one request


class ReadDirection(Protocol):
    """inspection.Direction."""

    @property
    def facts(self) -> Mapping[str, Any]: ...
    @property
    def layer(self) -> int: ...
    def unit(self, layer: int | None = None) -> np.ndarray: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A direction of the residual stream after a layer, of length 1, along which an answer is watched.

    A projection above `threshold` is on the side of the direction's first set; None: nobody has said where it ends.
    """

    name: str
    layer: int
    vector: tuple[float, ...]
    threshold: float | None = None

    @classmethod
    def of(cls, name: str, direction: ReadDirection) -> Self:
        """The probe of a direction, at the layer that it chose. Raises nothing."""
        threshold = direction.facts.get("threshold")
        number = isinstance(threshold, int | float) and not isinstance(threshold, bool)
        vector = tuple(float(each) for each in direction.unit())
        return cls(name=name, layer=direction.layer, vector=vector, threshold=threshold if number else None)

    @property
    def tap(self) -> str:
        """The value that it is a direction of. Raises nothing."""
        return f"layers.{self.layer}.out"

    @property
    def digest(self) -> str:
        """ "sha256:<hex>" of its vector, float32, the lowest byte first. Raises nothing."""
        return "sha256:" + hashlib.sha256(np.asarray(self.vector, "<f4").tobytes()).hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class WatchedExperts:
    """The experts that a mixture took at one place. `chosen` (layers, top_k), best first; `entropy` (layers,): of their
    weights as shares of their sum, in nats."""

    layers: tuple[int, ...]
    chosen: np.ndarray
    entropy: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Watched:
    """What was seen while a token was written; it comes before the text that the token makes.

    `place`: of the token in the sequence, from 0. `confidence` is of the token; `experts` and `probes` (projections, by
    the names of `watch`'s probes) are of the place before it, where it was chosen. `texts`: what the token and its
    alternatives say, by id. `watch`: the probes, with their layers and thresholds. What was not asked for is None, or
    empty.
    """

    place: int
    id: int
    texts: Mapping[int, str]
    confidence: Confidence | None = None
    experts: WatchedExperts | None = None
    probes: Mapping[str, float]
    watch: tuple[Probe, ...] = ()


class Watcher:
    """What one answer is watched by, in one model, and what was seen of it so far."""

    def __init__(self, watch: Sequence[str | Probe], shown: Mapping[str, int], model: str) -> None:
        """`shown`: `Engine.shown` of the model. Raises AssistantError for what cannot be watched, with what can."""
        self.probes = tuple({each.name: each for each in watch if isinstance(each, Probe)}.values())
        named = {each for each in watch if isinstance(each, str)}
        layers = [n for n in range(layers_of(shown)) if f"layers.{n}.experts.chosen" in shown]
        self._refuse_unknown(named, model, shown, layers)
        for probe in self.probes:
            refuse_other_models(probe, shown, model)
        self.confidence = CONFIDENCE in named
        self.layers = tuple(layers) if EXPERTS in named else ()
        self._chosen = [f"layers.{n}.experts.chosen" for n in self.layers]
        self._weights = [f"layers.{n}.experts.weights" for n in self.layers]
        self._vectors = [np.asarray(probe.vector, np.float32) for probe in self.probes]
        self._ranks: list[int] = []
        self._logprobs: list[float] = []
        self._entropies: list[float] = []
        self._expert_entropies: list[float] = []
        self._projections: list[list[float]] = [[] for _ in self.probes]
        self._tokens = 0

    @property
    def asked(self) -> Watch:
        """What the engine is asked to tell. Raises nothing."""
        names = (*self._chosen, *self._weights, *(probe.tap for probe in self.probes))
        return Watch(confidence=self.confidence, names=frozenset(names))

    @property
    def names(self) -> list[str]:
        """As they are asked for. Raises nothing."""
        own = [name for name, asked in ((CONFIDENCE, self.confidence), (EXPERTS, self.layers)) if asked]
        return [*own, *(PROBE + probe.name for probe in self.probes)]

    def saw(self, place: int, token: Token, vocabulary: Vocabulary) -> Watched:
        """What is told of the token at that place; it is counted. Raises nothing."""
        seen = token.seen or {}
        self._tokens += 1
        ids = [token.id, *(other for other, _ in token.confidence.top)] if token.confidence else [token.id]
        projections = [
            float(np.dot(seen[probe.tap], vector)) for probe, vector in zip(self.probes, self._vectors, strict=True)
        ]
        for of_probe, projection in zip(self._projections, projections, strict=True):
            of_probe.append(projection)
        if token.confidence is not None:
            self._logprobs.append(token.confidence.logprob)
            self._entropies.append(token.confidence.entropy)
            self._ranks.append(token.confidence.rank)
        return Watched(
            place=place,
            id=token.id,
            texts={each: vocabulary.bytes_of(each).decode("utf-8", "backslashreplace") for each in ids},
            confidence=token.confidence,
            experts=self._experts(seen) if self.layers else None,
            probes={probe.name: value for probe, value in zip(self.probes, projections, strict=True)},
            watch=self.probes,
        )

    def _experts(self, seen: Mapping[str, np.ndarray]) -> WatchedExperts:
        weights = np.stack([seen[name] for name in self._weights])
        entropy = entropy_of_shares(weights / weights.sum(axis=1, keepdims=True))
        self._expert_entropies.append(float(entropy.mean()))
        return WatchedExperts(self.layers, np.stack([seen[name] for name in self._chosen]), entropy)

    @property
    def summary(self) -> dict[str, Any]:
        """The part `watched` of a receipt. Raises nothing."""
        facts: dict[str, Any] = {"watch": self.names, "tokens": self._tokens}
        if not self._tokens:
            return facts
        if self.confidence:
            facts["confidence"] = {
                "mean_logprob": mean(self._logprobs),
                "mean_entropy": mean(self._entropies),
                "not_likeliest": sum(rank > 1 for rank in self._ranks),
            }
        if self.layers:
            facts["experts"] = {"mean_entropy": mean(self._expert_entropies)}
        if self.probes:
            each = zip(self.probes, self._projections, strict=True)
            facts["probes"] = {probe.name: probe_facts(probe, projections) for probe, projections in each}
        return facts

    def _refuse_unknown(
        self, named: Collection[str], model: str, shown: Mapping[str, int], layers: Sequence[int]
    ) -> None:
        if not shown:
            raise AssistantError(
                f"watching an answer of {model}: another program computes it, and shows nothing of it. Leave `watch` "
                "out, or load the model here."
            )
        for name in sorted(named):
            if name == EXPERTS and not layers:
                raise AssistantError(
                    f"watching experts: {model} has none. It can be watched by confidence and probe:NAME."
                )
            if name.startswith(PROBE):
                raise AssistantError(
                    f"watching {name:.80}: expected an ouvert.assistant.Probe here. `ouvert.load(...).chat` makes one "
                    "of a direction's name."
                )
            if name not in (CONFIDENCE, EXPERTS):
                can = ", ".join([CONFIDENCE, *([EXPERTS] if layers else []), PROBE + "NAME"])
                raise AssistantError(f"watching {name!r:.80}: there is no such thing to watch. {model} has {can}.")


def probe_facts(probe: Probe, projections: Sequence[float]) -> dict[str, Any]:
    facts = {
        "layer": probe.layer,
        "threshold": probe.threshold,
        "digest": probe.digest,
        "mean": mean(projections),
        "highest": round(max(projections), 5),
    }
    if probe.threshold is not None:
        facts["above"] = sum(each > probe.threshold for each in projections)
    return facts


def mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 5)


def layers_of(shown: Mapping[str, int]) -> int:
    """How many layers a model has that shows these values."""
    return sum(name.startswith("layers.") and name.endswith(".out") and name.count(".") == 2 for name in shown)


def refuse_other_models(probe: Probe, shown: Mapping[str, int], model: str) -> None:
    """Raises AssistantError for a probe of a model of another shape."""
    if shown.get(probe.tap) != len(probe.vector):
        raise AssistantError(
            f"watching probe:{probe.name}: it is a direction of {len(probe.vector)} numbers after layer {probe.layer}, "
            f"but {model} has {layers_of(shown)} layers of {shown.get('layers.0.out')} numbers. It was made for "
            "another model."
        )


def as_watch(watch: Iterable[str | Probe]) -> tuple[str | Probe, ...]:
    """What `watch=` was given, as a request has it. Raises AssistantError for a name alone: it is a list of letters."""
    if isinstance(watch, str) or not isinstance(watch, Iterable):
        check_watch(watch)
    return tuple(watch)


def check_watch(watch: object) -> None:
    """Raises AssistantError for what is no list of names and probes."""
    wrong = (
        [watch]
        if isinstance(watch, str) or not isinstance(watch, Sequence)
        else [each for each in watch if not isinstance(each, str | Probe)]
    )
    if wrong:
        raise AssistantError(
            f"watching an answer: {wrong[0]!r:.80} was given, expected a list of confidence, experts and probe:NAME."
        )
    if isinstance(watch, Sequence) and len(watch) > MOST_WATCHED:
        raise AssistantError(
            f"watching an answer: {len(watch)} names were given, expected {MOST_WATCHED} at most. Watch fewer at once."
        )
