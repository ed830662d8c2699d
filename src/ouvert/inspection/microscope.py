"""The microscope: how far one way of computing a model is from another, layer by layer and at the end.

    layer   ‖h - h_reference‖ / ‖h_reference‖ of the residual stream after it, the mean over tokens
    lens    KL(reference || this) of what the head makes of that layer's stream, at some tokens: of the last layer it is
            the KL of the answers at those tokens, bit for bit
    end     KL(reference || this) of the next token, in nats, and the share of tokens whose best next token is another

One text is one row; figures come with the standard error of their mean over tokens, which are not independent: it says
how far the mean of another text of this kind may lie off, roughly.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ouvert import kernels
from ouvert.inspection.error import InspectionError
from ouvert.inspection.graph_lines import How, lines_with
from ouvert.inspection.head import Head
from ouvert.inspection.metrics import log_probabilities, text_ids, tokenizer_of
from ouvert.inspection.price import Price, price_of
from ouvert.inspection.subject import Array, Step, Subject, Watching, adapted_weights, adapters_within, steps_of
from ouvert.inspection.view import View

TEXTS = Path(__file__).with_name("texts")  # a page each, written for this
# What comparing two models' logits takes beside computing them, for each: shares in float64 of both, and their KL
# (measured on SmolLM2 and a model of 1.5 billion parameters: the forecast was within a factor of two).
SECONDS_A_LOGIT = 6e-8
LENS_TOKENS = 24  # of each text: the head is dear


def own_texts() -> dict[str, str]:
    """The two pages that come with Ouvert, by language: "english" and "french". Raises OSError if they are missing."""
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(TEXTS.glob("*.md"))}


SAYS = (
    "Both programs read the same tokens side by side. Of each layer, the residual stream of the one is taken from that "
    "of the other, and the lengths are compared; at the end, the probabilities of the next token."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OfText:
    """What one text showed. `layers` and `lens` have a number for each layer; empty where the models have other layers.

    `divergence` and `flips` are means over `tokens`, `*_error` their standard errors.
    """

    name: str
    tokens: int
    layers: tuple[float, ...]
    lens: tuple[float, ...]
    divergence: float
    divergence_error: float
    flips: float
    flips_error: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Microscope(View):
    """One way of computing against another, over some texts. docs/formats/microscope.md has its JSON."""

    view: ClassVar[str] = "microscope"

    model: Mapping[str, Any]
    reference: Mapping[str, Any]
    texts: Sequence[Mapping[str, Any]]  # OfText, as JSON

    def table(self) -> list[dict[str, Any]]:
        """One row for each text and layer: text, layer, distance, lens; behind them its end. Raises nothing."""
        rows = []
        for text in self.texts:
            for n, (distance, lens) in enumerate(zip(text["layers"], text["lens"], strict=True)):
                rows.append({"text": text["name"], "layer": n, "distance": distance, "lens": lens})
            rows.append({"text": text["name"], "layer": "answer", "distance": None, "lens": text["divergence"]})
        return rows


def exact(subject: Subject) -> Subject:
    """The same weights with float32 activations and caches, in programs of their own. Raises nothing."""

    def watch(names: Sequence[str]) -> Watching:
        tracer = kernels.Tracer(exact=True, cache="f32")
        adapted = adapted_weights(subject)
        program = kernels.build(tracer, subject.model, threads=subject.threads, watch=names, adapted=adapted)
        return Adapted(program, adapters_within(subject)) if adapted else program

    facts = {**subject.facts, "exact": True, "cache": "f32"}
    return replace(subject, exact=True, cache_type="f32", facts=facts, watch=watch)


class Adapted:
    """A program whose sequences have adapters."""

    def __init__(self, program: kernels.Program, adapters: Sequence[kernels.Adapters]) -> None:
        self._program, self._adapters = program, adapters
        self.step, self.seen, self.close = program.step, program.seen, program.close

    def new_sequence(self, capacity: int) -> kernels.Sequence:
        """As `kernels.Program.new_sequence`."""
        sequence = self._program.new_sequence(capacity)
        sequence.adapters = self._adapters
        return sequence


def magnify(
    seen: Subject,
    reference: Subject | None = None,
    texts: Mapping[str, str] | None = None,
    *,
    most: int | None = None,
    price: Callable[[Price], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Microscope:
    """Compare `seen` with `reference`: left out, the same weights computed exactly. `texts`: name -> text; left out,
    the two pages that come with Ouvert. `most`: tokens of each at most. `price` is told what it will take before it is
    computed, and may raise to stop it.

    Two models need the same vocabulary, token by token; layers are compared where both have as many, of one width.
    Raises InspectionError for models whose tokens differ, and for a text without at least two tokens.
    """
    other = exact(seen) if reference is None else reference
    given = own_texts() if texts is None else texts
    ids = {name: shared_ids(seen, other, name, text)[:most] for name, text in given.items()}
    total, done = sum(map(len, ids.values())), 0
    if price is not None:
        price(price_of_both(seen, other, list(map(len, ids.values()))))

    def advance(tokens: int) -> None:
        nonlocal done
        done += tokens
        if progress is not None:
            progress(done, total)

    with ExitStack() as open_:
        both = [open_.enter_context(closing(Looking(each, same_layers(seen, other)))) for each in (seen, other)]
        found = tuple(of_text(name, each, both[0], both[1], advance) for name, each in ids.items())
    return Microscope(
        how=How(SAYS, lines_with(seen.model, 'tap("out"', 'tap("logits"')),
        model=seen.facts,
        reference=other.facts,
        texts=[asdict(each) for each in found],
    )


def price_of_both(seen: Subject, other: Subject, tokens: Sequence[int]) -> Price:
    """Of reading texts of so many tokens with both models: what is kept of the longest, and a lens of some rows of
    each. Raises nothing."""
    layers = same_layers(seen, other)
    names = [f"layers.{n}.out" for n in range(layers)]
    rows = layers * sum(min(LENS_TOKENS, count) for count in tokens)
    each = [price_of(model, sum(tokens), names, max(tokens), rows) for model in (seen, other)]
    compared = SECONDS_A_LOGIT * (sum(tokens) + rows) * int(seen.model.config.vocab_size)
    return Price(sum(tokens), compared + sum(one.seconds for one in each), sum(one.bytes for one in each))


def shared_ids(seen: Subject, other: Subject, name: str, text: str) -> list[int]:
    """The tokens of a text. Raises InspectionError if the two models do not read it alike."""
    first, second = (text_ids(tokenizer_of(each), text) for each in (seen, other))
    sizes = [int(each.model.config.vocab_size) for each in (seen, other)]
    if first != second or sizes[0] != sizes[1]:
        apart = next((n for n, pair in enumerate(zip(first, second, strict=False)) if len(set(pair)) > 1), 0)
        raise InspectionError(
            f"microscope: {seen.name} and {other.name} read the text {name!r} as different tokens (vocabularies of "
            f"{sizes[0]} and {sizes[1]}; the first difference is at token {apart}), so their answers cannot be "
            "compared. Choose two models, or two precisions of one, with the same vocabulary."
        )
    if len(first) < 2:
        raise InspectionError(
            f"microscope: the text {name!r} has {len(first)} tokens, expected 2 or more. Give a page of text."
        )
    return first


def same_layers(seen: Subject, other: Subject) -> int:
    """How many layers can be compared: all, or 0 where the models have other ones."""
    hidden = {(each.layers, each.width("embedding", 1)) for each in (seen, other)}
    return seen.layers if len(hidden) == 1 else 0


class Looking:
    """One of the two, ready: the names of its residual stream, and its head."""

    def __init__(self, subject: Subject, layers: int) -> None:
        self.subject, self.names = subject, [f"layers.{n}.out" for n in range(layers)]
        self.head = Head(subject)

    def close(self) -> None:
        """Let go of its threads."""
        self.head.close()


def of_text(name: str, ids: Sequence[int], seen: Looking, reference: Looking, advance: Callable[[int], None]) -> OfText:
    """Both compute the text side by side; of each step only sums are kept, and a few rows for the lens."""
    at_lens = set(np.linspace(1, len(ids) - 1, min(LENS_TOKENS, len(ids) - 1)).astype(int).tolist())
    distances, divergences, flips, lens = [], [], [], []
    for one, two in side_by_side(seen, reference, ids):
        given, wanted = (log_probabilities(logits_of(step)) for step in (one, two))
        divergences.append((np.exp(wanted) * (wanted - given)).sum(axis=-1))
        flips.append(given.argmax(axis=-1) != wanted.argmax(axis=-1))
        distances.append([distance(one.values[each], two.values[each]) for each in seen.names])
        rows = [n for n, place in enumerate(one.places.tolist()) if place in at_lens]
        if rows and seen.names:
            lens.append([through_heads(seen, reference, one, two, each, rows) for each in seen.names])
        advance(len(one.places))
    every, flipped = np.concatenate(divergences), np.concatenate(flips).astype(np.float64)
    return OfText(
        name=name,
        tokens=len(ids),
        layers=means(distances),
        lens=means(lens),
        divergence=float(every.mean()),
        divergence_error=standard_error(every),
        flips=float(flipped.mean()),
        flips_error=standard_error(flipped),
    )


def side_by_side(seen: Looking, reference: Looking, ids: Sequence[int]) -> Iterator[tuple[Step, Step]]:
    """Pieces of the same tokens of both, whose steps may be of different lengths."""
    waiting: list[Step | None] = [None, None]
    steps = [steps_of(each.subject, each.names, ids, logits=True) for each in (seen, reference)]
    done = 0
    while done < len(ids):
        one, two = (step or next(more) for step, more in zip(waiting, steps, strict=True))
        count = min(len(one.places), len(two.places))
        yield part_of(one, slice(count)), part_of(two, slice(count))
        rest = [part_of(each, slice(count, None)) for each in (one, two)]
        waiting = [each if len(each.places) else None for each in rest]
        done += count


def part_of(step: Step, rows: slice) -> Step:
    """Some rows of a step."""
    values = {name: value[rows] for name, value in step.values.items()}
    return Step(step.places[rows], values, None if step.logits is None else step.logits[rows])


def logits_of(step: Step) -> Array:
    """The step's logits, which were asked for."""
    return np.empty((0, 0), np.float32) if step.logits is None else step.logits


def distance(one: Array, two: Array) -> Array:
    """‖one - two‖ / ‖two‖ of each row."""
    off = np.linalg.norm(one.astype(np.float64) - two, axis=-1)
    size = np.linalg.norm(two.astype(np.float64), axis=-1)
    share: Array = np.divide(off, size, out=np.zeros_like(off), where=size > 0)
    return share


def through_heads(seen: Looking, reference: Looking, one: Step, two: Step, name: str, rows: Sequence[int]) -> Array:
    """KL of what the two heads make of some rows of a layer's stream."""
    given = log_probabilities(seen.head.all_logits(one.values[name][list(rows)]))
    wanted = log_probabilities(reference.head.all_logits(two.values[name][list(rows)]))
    divergence: Array = (np.exp(wanted) * (wanted - given)).sum(axis=-1)
    return divergence


def means(steps: Sequence[Sequence[Array]]) -> tuple[float, ...]:
    """Of each layer, the mean over all tokens of all steps."""
    return tuple(float(np.concatenate(parts).mean()) for parts in zip(*steps, strict=True))


def standard_error(values: Array) -> float:
    """Of the mean; 0 of one value."""
    return float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 else 0.0
