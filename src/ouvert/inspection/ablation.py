"""Ablation: what a metric loses when a head, an expert or a layer no longer says what it says.

    zero       its output is 0
    mean       its output is the mean of what it says at the tokens of other texts (McDougall et al., arXiv:2310.04625)
    resample   its output is what it said at other texts, token by token (Chan et al., "Causal Scrubbing", 2022)

A zero is something that no layer above has ever seen, and may do harm that says little of the head; so the three are
offered side by side. `change` is the metric without it, less the metric as it is: below 0, it was good for the metric.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from ouvert.inspection.error import InspectionError
from ouvert.inspection.graph_lines import How, lines_with
from ouvert.inspection.layer_programs import ROWS_AT_ONCE, LayerPrograms, require_shown
from ouvert.inspection.metrics import Measure, Metric, ids_of, log_probabilities
from ouvert.inspection.patching import MIXED, Progress, columns_of_head, heads_of, layers_with, prompt_facts
from ouvert.inspection.rerun import Rerun
from ouvert.inspection.subject import Array, Subject
from ouvert.inspection.view import View

ReplacedBy = Literal["zero", "mean", "resample"]
HEADS, EXPERTS, LAYERS = "heads", "experts", "layers"
WEIGHTS, CHOSEN = "experts.weights", "experts.chosen"

RESAMPLES = 5  # other texts, where a unit says what it said at them


SAYS = (
    "The unit's output is replaced at all tokens of the prompt, one unit at a time. Its layer and those above are "
    "computed again with it by the kernels that serve, and the metric is read off the served logits."
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Ablation(View):
    """Changes of a metric: `changes[i, j]` is without unit j of `layers[i]`. docs/formats/patch.md has its JSON.

    With resampling, `changes` is the mean over the texts, and `spread` its standard deviation over them; else None.
    `divergence`: KL(as it is || without), in nats, of the next token. An expert that no token chose changes nothing.
    """

    view: ClassVar[str] = "ablation"

    model: Mapping[str, Any]
    prompt: Mapping[str, Any]
    metric: Mapping[str, Any]
    of: str
    replaced_by: ReplacedBy
    layers: Array
    units: Array
    changes: Array
    divergence: Array
    spread: Array | None

    def table(self) -> list[dict[str, Any]]:
        """One row a unit, the greatest change first. Raises nothing."""
        rows = [
            {
                "layer": int(layer),
                "unit": int(unit),
                "change": float(self.changes[i, j]),
                "divergence": float(self.divergence[i, j]),
                "spread": None if self.spread is None else float(self.spread[i, j]),
            }
            for i, layer in enumerate(self.layers)
            for j, unit in enumerate(self.units)
        ]
        return sorted(rows, key=lambda row: -abs(float(row["change"] or 0)))


def ablate(
    subject: Subject,
    prompt: str | Sequence[int],
    metric: Metric,
    *,
    of: str = HEADS,
    replaced_by: ReplacedBy = "zero",
    layers: Sequence[int] | None = None,
    others: Sequence[str | Sequence[int]] = (),
    progress: Progress | None = None,
) -> Ablation:
    """Silence every head, expert or layer in turn, at all tokens of a prompt, and read the metric.

    `of`: "heads" (shares of attention.mixed), "experts" (each one's weight where it was chosen; zero only, and the
    others keep their weights), "layers" (what a layer adds to the residual stream), or the last part of a value that is
    added to it: "attention.out", "mlp.out", "experts.out", "mixer.out". `others`: texts of at least as many tokens, for
    mean and resample.

    Raises InspectionError for what this model does not have, and where texts are needed and missing or too short;
    MemoryError if the caches cannot grow.
    """
    chosen = checked(subject, of, replaced_by, layers)
    ids, measure = ids_of(subject, prompt, "ablation"), metric.ready_for(subject)
    rest = checked_others(subject, others, replaced_by, len(ids))
    programs = LayerPrograms(subject)
    run: Rerun | None = None
    try:
        names = [f"layers.{n}.{value_of(of)}" for n in chosen]
        watched = [*names, *(f"layers.{n}.{CHOSEN}" for n in chosen if of == EXPERTS)]
        run = Rerun(programs, ids, watched)
        elsewhere = [outputs_at(programs, each, names, chosen, of) for each in rest]
        instead = Instead(subject, run, of, replaced_by, elsewhere)
        cells = list(instead.grid(chosen, measure, progress))
    finally:
        if run is not None:
            run.close()
        programs.close()
    changes, divergence = np.stack(cells, axis=1)  # each (layers, units, texts)
    return Ablation(
        kind="intervention",
        how=How(SAYS, lines_with(subject.model, f'tap("{value_of(of)}"')),
        model=subject.facts,
        prompt=prompt_facts(subject, ids, instead.metric(measure)),
        metric=measure.facts,
        of=of,
        replaced_by=replaced_by,
        layers=np.array(chosen),
        units=np.arange(changes.shape[1]),
        changes=changes.mean(axis=-1),
        divergence=divergence.mean(axis=-1),
        spread=changes.std(axis=-1, ddof=1) if changes.shape[-1] > 1 else None,
    )


def value_of(of: str) -> str:
    """The last part of the name of the value that is changed."""
    return {HEADS: MIXED, EXPERTS: WEIGHTS, LAYERS: "out"}.get(of, of)


def checked(subject: Subject, of: str, replaced_by: str, layers: Sequence[int] | None) -> tuple[int, ...]:
    """The layers that have such units. Raises InspectionError for what this model does not have."""
    if replaced_by not in get_args(ReplacedBy):
        raise InspectionError(
            f"ablation: replaced_by={replaced_by!r}, expected one of {', '.join(get_args(ReplacedBy))}."
        )
    added = ("attention.out", "mlp.out", "experts.out", "mixer.out")
    if of not in (HEADS, EXPERTS, LAYERS, *added):
        raise InspectionError(
            f"ablation: of={of!r}, expected {HEADS}, {EXPERTS}, {LAYERS}, or a value that is added to the residual "
            f"stream: {', '.join(added)}."
        )
    require_shown(subject, value_of(of), f"ablation of {of}")
    if of == EXPERTS and replaced_by != "zero":
        raise InspectionError(
            f"ablation of experts: replaced_by={replaced_by!r}, expected zero: at other texts, other tokens choose it. "
            'Use of="experts.out" for all experts of a layer together.'
        )
    return layers_with(subject, value_of(of), layers)


def checked_others(
    subject: Subject, others: Sequence[str | Sequence[int]], replaced_by: ReplacedBy, tokens: int
) -> list[list[int]]:
    """The other texts, as tokens. Raises InspectionError where they are missing or too short."""
    if replaced_by == "zero":
        return []
    found = [ids_of(subject, each, "a text for ablation") for each in others]
    long_enough = [each for each in found if len(each) >= tokens]
    if len(long_enough) < 2:
        raise InspectionError(
            f"ablation: replaced_by={replaced_by!r} needs 2 or more other texts of at least {tokens} tokens, found "
            f"{len(long_enough)}. Give them: others=[…]; any texts of the kind that the prompt is."
        )
    return long_enough[:RESAMPLES] if replaced_by == "resample" else long_enough


def outputs_at(
    programs: LayerPrograms, ids: Sequence[int], names: Sequence[str], layers: Sequence[int], of: str
) -> dict[str, Array]:
    """What the units say at another text: the named values, of a layer what it adds."""
    inputs = ["embedding" if n == 0 else f"layers.{n - 1}.out" for n in layers] if of == LAYERS else []
    values, _ = programs.record(ids, [*names, *inputs], logits=False)
    if of == LAYERS:
        return {name: values[name] - values[before] for name, before in zip(names, inputs, strict=True)}
    return {name: values[name] for name in names}


@dataclass
class Instead:
    """A run in which units say something else."""

    subject: Subject
    run: Rerun
    of: str
    replaced_by: ReplacedBy
    elsewhere: Sequence[Mapping[str, Array]]

    def metric(self, measure: Measure) -> float:
        """The metric as the run is. Raises nothing."""
        return measure.value(self.run.logits[measure.first_row :], self.run.ids)

    def grid(self, layers: Sequence[int], measure: Measure, progress: Progress | None) -> Iterator[Array]:
        """Of each layer, (2, units, texts): the change of the metric, and the divergence after the last token."""
        before = self.metric(measure)
        last = log_probabilities(self.run.logits[-1:])[0]
        for done, n in enumerate(layers):
            numbers = []
            for values in self.lanes(n):
                for logits in self.logits_with(n, values, measure.first_row):
                    after = log_probabilities(logits[-1:])[0]
                    change = measure.value(logits, self.run.ids) - before
                    numbers.append((change, float((np.exp(last) * (last - after)).sum())))
            if progress is not None:
                progress(done + 1, len(layers))
            yield np.array(numbers).T.reshape(2, -1, self.texts)

    @property
    def texts(self) -> int:
        """How many numbers there are of each unit: of each other text one, or one in all. Raises nothing."""
        return len(self.elsewhere) if self.replaced_by == "resample" else 1

    def lanes(self, n: int) -> Iterator[Array]:
        """The values of `units`, as many together as a step takes."""
        together = max(1, ROWS_AT_ONCE // len(self.run.ids))
        waiting: list[Array] = []
        for unit in self.units(n):
            waiting += list(unit)
            while len(waiting) >= together:
                yield np.stack(waiting[:together])
                waiting = waiting[together:]
        if waiting:
            yield np.stack(waiting)

    def units(self, n: int) -> Iterator[Array]:
        """Of each unit of a layer, its values (texts, tokens, width) instead of the recorded ones."""
        name = f"layers.{n}.{value_of(self.of)}"
        own = self.run.values[name]
        if self.of == EXPERTS:
            chosen = self.run.values[f"layers.{n}.{CHOSEN}"]
            for expert in range(self.subject.width(f"layers.{n}.experts.scores", 1)):
                yield np.where(chosen == expert, 0, own)[None]
            return
        if self.of == LAYERS:
            yield self.run.input_of(n) + self.said(name, len(own))
            return
        said = self.said(name, len(own))
        if self.of != HEADS:
            yield said
            return
        for head in range(heads_of(self.subject)):
            columns = columns_of_head(self.subject, name, head)
            changed = np.repeat(own[None], len(said), axis=0)
            changed[:, :, columns] = said[:, :, columns]
            yield changed

    def said(self, name: str, tokens: int) -> Array:
        """What stands in the place of the whole value: (texts, tokens, width)."""
        if self.replaced_by == "zero":
            return np.zeros((1, tokens, self.subject.width(name, 1)), np.float32)
        if self.replaced_by == "mean":
            mean = np.concatenate([each[name] for each in self.elsewhere]).mean(axis=0, dtype=np.float64)
            return np.broadcast_to(mean.astype(np.float32), (1, tokens, len(mean)))
        return np.stack([each[name][:tokens] for each in self.elsewhere])

    def logits_with(self, n: int, values: Array, first_row: int) -> Array:
        """(texts, tokens from first_row, vocabulary) with these values in layer `n`."""
        if self.of != LAYERS:
            inputs = np.repeat(self.run.input_of(n)[None], len(values), axis=0)
            values = self.run.through(n, 0, inputs, {f"layers.{n}.{value_of(self.of)}": values})
        return self.run.logits_after(n, 0, values, first_row)
