"""Activation patching: which value, of which layer and token, carries the difference between two prompts.

A value of one prompt's run is put into the other's, and the metric is read again. Meng et al., arXiv:2202.05262;
Heimersheim and Nanda, arXiv:2404.15255, whose words are used here:

    denoise   into the corrupted run, from the clean one: what suffices to bring the answer back
    noise     into the clean run, from the corrupted one: what is necessary for the answer

    effect = (metric patched - metric of the run) / (metric of the donor - metric of the run)

so 0 is no effect, and 1 the whole difference. Beside each effect stands what random donors do in the same place: runs
of random tokens. An effect within their prediction interval says nothing.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any, ClassVar, Literal, Self, TypedDict, get_args

import numpy as np

from ouvert.inspection.error import InspectionError
from ouvert.inspection.graph_lines import How, lines_with
from ouvert.inspection.layer_programs import LayerPrograms, require_shown
from ouvert.inspection.metrics import Measure, Metric, ids_of
from ouvert.inspection.rerun import Rerun
from ouvert.inspection.subject import Array, Subject
from ouvert.inspection.view import View, as_json, from_list

Direction = Literal["denoise", "noise"]
Progress = Callable[[int, int], None]  # cells done, of how many

MOST_HELD = 2_000_000_000  # bytes of values and logits
HEADS = "heads"  # of `over`: each head's share of attention.mixed, at all tokens
OUT = "out"
MIXED = "attention.mixed"

# Two-sided 95 % quantiles of Student's t by degrees of freedom: what another random donor would do, told from so many.
T_95 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262, 15: 2.131, 31: 2.04}


SAYS = (
    "The value is recorded in one run of the program that serves and put into the other, one place at a time. The "
    "layers above are computed again with it, from that token on, by the same kernels; the metric is read off the "
    "served logits."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchPrice:
    """What a grid of patches costs: its cells, seconds (told from one forward on this machine), and bytes held."""

    cells: int
    seconds: float
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchRequest:
    """Which grid of patches is wanted. Making one raises nothing: `patch` checks it against the model.

    `clean` and `corrupted`: texts, or token ids. `over` is the last part of a named value's name: "out" (the residual
    stream), "attention.out", "mlp.out", "experts.out", "mixer.out", … (docs/formats/taps.md), or "heads". `layers`:
    which, or all. `alignment`: pairs of tokens, (clean, corrupted), where the prompts have different lengths or only
    some are of interest. `donors`: how many runs of random tokens give the noise; 0 for none.
    """

    clean: str | Sequence[int]
    corrupted: str | Sequence[int]
    metric: Metric
    over: str = OUT
    direction: Direction = "denoise"
    layers: Sequence[int] | None = None
    alignment: Sequence[tuple[int, int]] | None = None
    donors: int = 4
    seed: int = 0


class Noise(TypedDict):
    """What random donors do in the same places: `low` and `high` (layers, columns) bound what another one would do,
    with 95 %; `beyond` says which effects lie outside."""

    donors: int
    seed: int
    low: Array
    high: Array
    beyond: Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Patching(View):
    """A grid of effects: layers × positions, or layers × heads. docs/formats/patch.md describes its JSON.

    `effects[i, j]` is of `layers[i]` and column j, which is the pair of tokens `alignment[j]` (clean, corrupted), or
    head j; `columns` has their texts. `clean` and `corrupted` have `ids`, `tokens` (their texts) and `metric`. `noise`
    is None if no donor was run.
    """

    view: ClassVar[str] = "patch"

    model: Mapping[str, Any]
    clean: Mapping[str, Any]
    corrupted: Mapping[str, Any]
    metric: Mapping[str, Any]
    over: str
    direction: Direction
    layers: Array
    alignment: Array
    columns: Sequence[str]
    effects: Array
    noise: Noise | None
    price: Mapping[str, Any]
    seconds: float

    def json(self) -> dict[str, Any]:
        """The view as docs/formats/patch.md has it. Raises nothing."""
        noise = None if self.noise is None else {name: as_json(value) for name, value in self.noise.items()}
        return {**View.json(self), "noise": noise}

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> Self:
        """The view of its JSON. Raises InspectionError for an object of another form."""
        given = facts.get("noise")
        noise = {name: from_list(value) for name, value in given.items()} if isinstance(given, dict) else None
        return super(Patching, cls).from_json({**facts, "noise": noise})

    def table(self) -> list[dict[str, Any]]:
        """One row a cell, the greatest effect first. Raises nothing."""
        rows = [
            {
                "layer": int(layer),
                "column": j,
                "what": self.columns[j],
                "effect": float(self.effects[i, j]),
                "low": None if self.noise is None else float(self.noise["low"][i, j]),
                "high": None if self.noise is None else float(self.noise["high"][i, j]),
                "beyond_noise": None if self.noise is None else bool(self.noise["beyond"][i, j]),
            }
            for i, layer in enumerate(self.layers)
            for j in range(self.effects.shape[1])
        ]
        return sorted(rows, key=lambda row: -abs(float(row["effect"] or 0)))


@dataclass(frozen=True, slots=True)
class Asked:
    """A grid that was asked for, checked against the model."""

    clean: tuple[int, ...]
    corrupted: tuple[int, ...]
    measure: Measure
    over: str
    direction: Direction
    layers: tuple[int, ...]
    alignment: tuple[tuple[int, int], ...]
    donors: int
    seed: int

    @property
    def run_ids(self) -> tuple[int, ...]:
        """The tokens of the run that values are put into. Raises nothing."""
        return self.corrupted if self.direction == "denoise" else self.clean

    @property
    def donor_ids(self) -> tuple[int, ...]:
        """The tokens of the run that values are taken from. Raises nothing."""
        return self.clean if self.direction == "denoise" else self.corrupted

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """(token of the donor, token of the run) for each column. Raises nothing."""
        return [pair if self.direction == "denoise" else (pair[1], pair[0]) for pair in self.alignment]

    @property
    def value(self) -> str:
        """The last part of the name of the value that is patched. Raises nothing."""
        return MIXED if self.over == HEADS else self.over

    @property
    def names(self) -> list[str]:
        """Full names of the values that are patched. Raises nothing."""
        return [f"layers.{n}.{self.value}" for n in self.layers]


def patch(
    subject: Subject,
    request: PatchRequest,
    *,
    price: Callable[[PatchPrice], None] | None = None,
    progress: Progress | None = None,
) -> Patching:
    """Patch every layer at every token, or every head, and measure.

    `price` is told what the grid will cost before it is computed, and may raise to stop it.

    Raises InspectionError for prompts that cannot be aligned or do not differ in the metric, and for a value, layer,
    direction or number of donors that there is not, for prompts beyond the context, and for what would hold more than
    MOST_HELD bytes; MemoryError if the caches cannot grow.
    """
    asked = checked(subject, request)
    check_held(subject, asked)
    programs = LayerPrograms(subject)
    try:
        return measured(subject, programs, asked, price, progress)
    finally:
        programs.close()


def checked(subject: Subject, request: PatchRequest) -> Asked:
    """The grid that was asked for. Raises InspectionError for what this model cannot do."""
    if request.direction not in get_args(Direction):
        raise InspectionError(
            f"patching: direction={request.direction!r:.80}, expected one of {', '.join(get_args(Direction))}."
        )
    if not 0 <= request.donors <= 32 or request.donors == 1:
        raise InspectionError(
            f"patching: donors={request.donors}, expected 2 to 32 (a band cannot be told from one), or 0 for none."
        )
    value = MIXED if request.over == HEADS else request.over
    require_shown(subject, value, f"patching {request.over}")
    clean = ids_of(subject, request.clean, "the clean prompt")
    corrupted = ids_of(subject, request.corrupted, "the corrupted prompt")
    return Asked(
        clean=tuple(clean),
        corrupted=tuple(corrupted),
        measure=request.metric.ready_for(subject),
        over=request.over,
        direction=request.direction,
        layers=layers_with(subject, value, request.layers),
        alignment=aligned(len(clean), len(corrupted), request.alignment),
        donors=request.donors,
        seed=request.seed,
    )


def check_held(subject: Subject, asked: Asked) -> None:
    """Raises InspectionError for prompts that do not fit the context, or whose runs take more than MOST_HELD bytes."""
    tokens = max(len(asked.run_ids), len(asked.donor_ids))
    if subject.context is not None and tokens > subject.context:
        raise InspectionError(
            f"patching: a prompt of {tokens} tokens, expected at most {subject.context}, the context of {subject.name} "
            "here. Shorten it."
        )
    every_layer = (subject.layers + 1) * subject.width("embedding", tokens)
    patched = sum(subject.width(name, tokens) for name in asked.names) * (asked.donors + 2)
    logits = 2 * int(subject.model.config.vocab_size)
    held = 4 * tokens * (every_layer + patched + logits)
    if held > MOST_HELD:
        raise InspectionError(
            f"patching: {tokens} tokens, {len(asked.layers)} layers and {asked.donors} donors would hold {held} bytes, "
            f"expected at most {MOST_HELD}. Shorten the prompts, or ask for fewer layers or donors."
        )


def layers_with(subject: Subject, value: str, layers: Sequence[int] | None) -> tuple[int, ...]:
    """The layers asked for, or all that have the value. Raises InspectionError for one that does not have it."""
    having = tuple(n for n in range(subject.layers) if f"layers.{n}.{value}" in subject.names)
    if layers is None:
        return having
    if not layers or not set(layers) <= set(having) or len(set(layers)) != len(layers):
        raise InspectionError(
            f"{value}: layers={list(layers)!r:.100}, expected some of those of {subject.name} that have it: "
            f"{list(having)}, each once."
        )
    return tuple(layers)


def aligned(clean: int, corrupted: int, alignment: Sequence[tuple[int, int]] | None) -> tuple[tuple[int, int], ...]:
    """The pairs of tokens of two prompts with so many. Raises InspectionError where they cannot be told."""
    if alignment is None:
        if clean != corrupted:
            raise InspectionError(
                f"patching: the clean prompt has {clean} tokens and the corrupted one {corrupted}, expected as many, "
                "so that each token has its counterpart. Choose words with as many tokens, or say which belong "
                "together: alignment=[(clean, corrupted), …]."
            )
        return tuple((n, n) for n in range(clean))
    pairs = tuple((int(a), int(b)) for a, b in alignment)
    within = all(0 <= a < clean and 0 <= b < corrupted for a, b in pairs)
    if not pairs or not within or len(set(pairs)) != len(pairs):
        raise InspectionError(
            f"patching: alignment={list(pairs)!r:.100}, expected different pairs of token numbers below {clean} "
            f"(clean) and {corrupted} (corrupted)."
        )
    return pairs


def measured(
    subject: Subject,
    programs: LayerPrograms,
    asked: Asked,
    price: Callable[[PatchPrice], None] | None,
    progress: Progress | None,
) -> Patching:
    """The grid, computed."""
    begun, donors = perf_counter(), asked.donors
    run = Rerun(programs, asked.run_ids, asked.names)
    given, donor_logits = programs.record(asked.donor_ids, asked.names)
    cost = price_of(subject, asked, seconds_of_a_token(run, donors + 1))
    if price is not None:
        price(cost)
    first = asked.measure.first_row
    of_run = asked.measure.value(run.logits[first:], asked.run_ids)
    of_donor = asked.measure.value(donor_logits[first:], asked.donor_ids)
    if of_run == of_donor and asked.run_ids != asked.donor_ids:
        raise InspectionError(
            f"patching: the metric is {of_run:.4g} after both prompts, so there is no difference to explain. Choose "
            "prompts after which the model answers differently, or another metric."
        )
    noise = []
    for ids in random_donors(subject, asked):
        noise.append(programs.record(ids, asked.names, logits=False)[0])
        if progress is not None:  # which may stop it
            progress(0, cost.cells)
    scale = (of_donor - of_run) or 1.0  # a run that is its own donor: changes are shown as they are, and are 0
    try:
        changed = np.array(list(rows_of_grid(subject, run, asked, [given, *noise], progress)))
    finally:
        run.close()
    effects = (changed - of_run) / scale  # (layers, columns, lanes)
    clean, corrupted = (of_donor, of_run) if asked.direction == "denoise" else (of_run, of_donor)
    return Patching(
        kind="intervention",
        how=How(SAYS, lines_with(subject.model, f'tap("{asked.value}"')),
        model=subject.facts,
        clean=prompt_facts(subject, asked.clean, clean),
        corrupted=prompt_facts(subject, asked.corrupted, corrupted),
        metric=asked.measure.facts,
        over=asked.over,
        direction=asked.direction,
        layers=np.array(asked.layers),
        alignment=np.array(asked.alignment),
        columns=columns_of(subject, asked),
        effects=effects[:, :, 0],
        noise=noise_of(effects, asked) if donors else None,
        price=asdict(cost),
        seconds=perf_counter() - begun,
    )


def prompt_facts(subject: Subject, ids: Sequence[int], metric: float) -> dict[str, Any]:
    """A prompt's tokens, their texts, and the metric after them."""
    return {"ids": list(ids), "tokens": texts_of(subject, ids), "metric": metric}


def columns_of(subject: Subject, asked: Asked) -> list[str]:
    """What each column of the grid is: a token of the run that values are put into, or a head."""
    if asked.over == HEADS:
        return [f"head {n}" for n in range(heads_of(subject))]
    return texts_of(subject, [asked.run_ids[into] for _, into in asked.pairs])


def noise_of(effects: Array, asked: Asked) -> Noise:
    """What the random donors did; `effects` are (layers, columns, lanes), the first lane that of the donor."""
    low, high = prediction_interval(effects[:, :, 1:])
    beyond = (effects[:, :, 0] < low) | (effects[:, :, 0] > high)
    return Noise(donors=asked.donors, seed=asked.seed, low=low, high=high, beyond=beyond)


def rows_of_grid(
    subject: Subject, run: Rerun, asked: Asked, donors: Sequence[Mapping[str, Array]], progress: Progress | None
) -> Iterator[list[list[float]]]:
    """Of each layer, the metric of every column with every donor: columns × donors."""
    columns = heads_of(subject) if asked.over == HEADS else len(asked.pairs)
    total = columns * len(asked.layers)
    for done, (n, name) in enumerate(zip(asked.layers, asked.names, strict=True)):
        cells: list[list[float]] = [[] for _ in range(columns)]
        for j in reversed(range(columns)):  # the last token first: what stands before it stays in the caches
            if asked.over == HEADS:
                start, rows = with_head_of(subject, run, asked, donors, n, j)
            else:
                start, rows = with_token_of(run, asked, donors, name, n, j)
            logits = run.logits_after(n, start, rows, asked.measure.first_row)
            cells[j] = [asked.measure.value(each, asked.run_ids) for each in logits]
            if progress is not None:
                progress(done * columns + columns - j, total)
        yield cells


def with_token_of(
    run: Rerun, asked: Asked, donors: Sequence[Mapping[str, Array]], name: str, n: int, j: int
) -> tuple[int, Array]:
    """(token, the residual stream after layer `n` from it on, in a lane for each donor), a token's value patched."""
    source, start = asked.pairs[j]
    rows = np.stack([run.values[name][start:]] * len(donors))
    rows[:, 0] = [donor[name][source] for donor in donors]
    if asked.value == OUT:
        return start, rows
    inputs = np.stack([run.input_of(n)[start:]] * len(donors))
    return start, run.through(n, start, inputs, {name: rows})


def with_head_of(
    subject: Subject, run: Rerun, asked: Asked, donors: Sequence[Mapping[str, Array]], n: int, head: int
) -> tuple[int, Array]:
    """The same with a head's share of attention.mixed, at all aligned tokens."""
    name = f"layers.{n}.{MIXED}"
    columns = columns_of_head(subject, name, head)
    start = min(into for _, into in asked.pairs)
    rows = np.stack([run.values[name]] * len(donors))
    for source, into in asked.pairs:
        rows[:, into, columns] = [donor[name][source, columns] for donor in donors]
    inputs = np.stack([run.input_of(n)[start:]] * len(donors))
    return start, run.through(n, start, inputs, {name: rows[:, start:]})


def heads_of(subject: Subject) -> int:
    """How many heads mix values. Raises nothing."""
    return int(subject.model.config.num_attention_heads)


def columns_of_head(subject: Subject, name: str, head: int) -> slice:
    """Which columns of `attention.mixed` are a head's. Raises nothing."""
    width = subject.width(name, 1) // heads_of(subject)
    return slice(head * width, (head + 1) * width)


def random_donors(subject: Subject, asked: Asked) -> list[list[int]]:
    """Random tokens, as many as the donor has."""
    random = np.random.default_rng(asked.seed)
    size = int(subject.model.config.vocab_size)
    return [random.integers(0, size, len(asked.donor_ids)).tolist() for _ in range(asked.donors)]


def prediction_interval(samples: Array) -> tuple[Array, Array]:
    """(low, high) of where another sample lies with 95 %, told from those along the last axis. Raises nothing."""
    count = samples.shape[-1]
    quantile = T_95[max(known for known in T_95 if known <= count - 1)]
    middle, spread = samples.mean(axis=-1), samples.std(axis=-1, ddof=1)
    reach = quantile * spread * (1 + 1 / count) ** 0.5
    return middle - reach, middle + reach


def seconds_of_a_token(run: Rerun, lanes: int) -> float:
    """How long a token takes through all layers but the first, and the head, in so many lanes. Raises nothing."""
    rows = np.stack([run.input_of(1)] * lanes) if run.layers > 1 else np.stack([run.values["layers.0.out"]] * lanes)
    run.logits_after(0, 0, rows)  # programs are built when they are first used
    begun = perf_counter()
    run.logits_after(0, 0, rows)
    return (perf_counter() - begun) / (lanes * len(run.ids))


def price_of(subject: Subject, asked: Asked, seconds_per_token: float) -> PatchPrice:
    """What the grid will cost, told from how long a token takes here. Raises nothing."""
    tokens, lanes = len(asked.run_ids), asked.donors + 1
    per_cell = [tokens - into for _, into in asked.pairs] if asked.over != HEADS else [tokens] * heads_of(subject)
    above = sum(subject.layers - n for n in asked.layers) / subject.layers
    held = tokens * sum(subject.width(name, tokens) for name in asked.names) * (lanes + 1) * 4
    return PatchPrice(
        cells=len(per_cell) * len(asked.layers),
        seconds=seconds_per_token * lanes * sum(per_cell) * above,
        bytes=held,
    )


def texts_of(subject: Subject, ids: Sequence[int]) -> list[str]:
    """The tokens' texts; their numbers where there is no tokenizer. Raises nothing."""
    tokenizer = subject.tokenizer
    return [str(id_) if tokenizer is None else tokenizer.decode([id_], control=True) for id_ in ids]
