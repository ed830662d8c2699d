"""The causal test of a direction: does it change what is measured, more than a random direction of the same length?

Three edits at one layer, at all tokens: `add` (h += a v), `subtract` (h -= a v), and `project_out` (h -= v vᵀ h), where
v has the length 1 and a is the strength times the typical norm of that layer. Measured are

    effect   of ln p(one continuation | prompt) - ln p(another | prompt), the mean over prompts
    damage   KL(model || edited) of the next token on a neutral text, in nats a token

each beside what random directions do. An effect within the random directions' interval shows nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from ouvert.inspection.directions.direction import Direction
from ouvert.inspection.directions.making import STRENGTH, Prompts
from ouvert.inspection.error import InspectionError
from ouvert.inspection.graph_lines import How, lines_with
from ouvert.inspection.layer_programs import LayerPrograms
from ouvert.inspection.metrics import ids_of, log_of_sum, log_probabilities, tokenizer_of
from ouvert.inspection.microscope import own_texts, standard_error
from ouvert.inspection.patching import prediction_interval
from ouvert.inspection.price import Price, price_of
from ouvert.inspection.rerun import Rerun
from ouvert.inspection.subject import Array, Subject
from ouvert.inspection.view import View

EDITS = ("add", "subtract", "project_out")
NEUTRAL_TOKENS = 128


SAYS = (
    "The edit is made to the residual stream after one layer, at all tokens. The layers above are computed again by "
    "the kernels that serve, and probabilities are read off the served logits; the same is done with random directions."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tested:
    """What one edit did. `random_low` and `random_high` bound what another random direction would do (95 %).

    `error` is the standard error of the effect over prompts; `damage_random` the mean damage of random directions;
    `beyond_random`: the effect lies outside what another random direction would do.
    """

    edit: str
    effect: float
    error: float
    random_mean: float
    random_low: float
    random_high: float
    beyond_random: bool
    damage: float
    damage_random: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class DirectionTest(View):
    """The causal test of a direction on one model. docs/formats/direction.md has its JSON.

    `length` is what is added, `strength` times the typical norm; `before` the mean of the measured difference without
    an edit; `edits` are `Tested`, as JSON.
    """

    view: ClassVar[str] = "direction_test"

    model: Mapping[str, Any]
    layer: int
    strength: float
    length: float
    of: str
    less: str
    prompts: int
    randoms: int
    seed: int
    before: float
    edits: Sequence[Mapping[str, Any]]

    def table(self) -> list[dict[str, Any]]:
        """One row an edit. Raises nothing."""
        return [dict(each) for each in self.edits]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """How a direction is to be tested. Making one raises nothing: `causal_test` checks it against model and direction.

    `of` and `less`: the two continuations, texts of any length or tokens. `strength`: a share of the layer's typical
    norm; left out, the direction's own, or a quarter. `layer`: left out, the chosen one. `randoms`: how many random
    directions. `neutral`: the text that damage is measured on; left out, the English page that comes with Ouvert.
    """

    prompts: Prompts
    of: str | Sequence[int]
    less: str | Sequence[int]
    strength: float | None = None
    layer: int | None = None
    randoms: int = 8
    neutral: str | Sequence[int] | None = None
    seed: int = 0


def causal_test(
    subject: Subject,
    direction: Direction,
    trial: Trial,
    progress: Callable[[int, int], None] | None = None,
    price: Callable[[Price], None] | None = None,
) -> DirectionTest:
    """Add, subtract and project out the direction, beside random directions of the same length. `price` is told what it
    takes before anything is computed.

    Raises InspectionError for a direction of another model, a strength or number that makes no sense, and continuations
    that are empty; MemoryError if the caches cannot grow.
    """
    direction.require_model(subject.name, subject.layers, subject.width("embedding", 1))
    n = direction.layer if trial.layer is None else trial.layer
    unit, share = direction.unit(n), strength_of(direction, trial)
    units = np.stack([unit, *random_units(len(unit), trial.randoms, trial.seed)])
    if price is not None:
        price(price_of_test(subject, trial, n))
    programs = LayerPrograms(subject)
    try:
        text = Rerun(programs, neutral_ids(subject, trial))
        length = share * typical_norm(direction, n, text)
        damage = damages(text, n, units, length)
        text.close()
        before, after = scores(subject, programs, trial, n, units, length, progress)
    finally:
        programs.close()
    changes = after - before[:, None, None]  # (prompts, directions, edits)
    return DirectionTest(
        kind="intervention",
        how=How(SAYS, lines_with(subject.model, 'tap("out"')),
        model=subject.facts,
        layer=n,
        strength=share,
        length=length,
        of=words(trial.of),
        less=words(trial.less),
        prompts=len(trial.prompts),
        randoms=trial.randoms,
        seed=trial.seed,
        before=float(before.mean()),
        edits=[asdict(summarised(changes[:, :, e], damage[:, e], name)) for e, name in enumerate(EDITS)],
    )


def price_of_test(subject: Subject, trial: Trial, n: int) -> Price:
    """Of reading all texts whole, and once more from layer `n` up for each edit by each direction."""
    ends = [len(continuation_ids(subject, text)) for text in (trial.of, trial.less)]
    starts = [len(ids_of(subject, prompt, "a prompt")) for prompt in trial.prompts]
    neutral = len(neutral_ids(subject, trial))
    texts = [neutral, *(start + end for start in starts for end in ends)]
    again = len(EDITS) * (1 + trial.randoms)
    work = round(sum(texts) * (1 + again * (subject.layers - 1 - n) / subject.layers))
    rows = (1 + again) * (neutral + len(starts) * sum(ends))
    names = [f"layers.{each}.out" for each in range(subject.layers)]
    return price_of(subject, work, names, max(texts), head_rows=rows - work)


def words(text: str | Sequence[int]) -> str:
    """A continuation, to be read."""
    return text if isinstance(text, str) else str(list(text))


def neutral_ids(subject: Subject, trial: Trial) -> list[int]:
    """The tokens that damage is measured on."""
    text = own_texts()["english"] if trial.neutral is None else trial.neutral
    return ids_of(subject, text, "the neutral text")[:NEUTRAL_TOKENS]


def scores(
    subject: Subject,
    programs: LayerPrograms,
    trial: Trial,
    n: int,
    units: Array,
    length: float,
    progress: Callable[[int, int], None] | None,
) -> tuple[Array, Array]:
    """(prompts,) and (prompts, directions, edits): what is measured, without and with each edit."""
    found = []
    for done, prompt in enumerate(trial.prompts):
        found.append(scored(subject, programs, prompt, (trial.of, trial.less), n, units, length))
        if progress is not None:
            progress(done + 1, len(trial.prompts))
    return np.array([each[0] for each in found]), np.stack([each[1] for each in found])


def summarised(changes: Array, damage: Array, name: str) -> Tested:
    """Changes (prompts, directions) and damages (directions,) of one edit; the first direction is the one tested."""
    of_random = changes[:, 1:].mean(axis=0)
    low, high = map(float, prediction_interval(of_random))
    effect = float(changes[:, 0].mean())
    return Tested(
        edit=name,
        effect=effect,
        error=standard_error(changes[:, 0]),
        random_mean=float(of_random.mean()),
        random_low=low,
        random_high=high,
        beyond_random=not low <= effect <= high,
        damage=float(damage[0]),
        damage_random=float(damage[1:].mean()),
    )


def strength_of(direction: Direction, trial: Trial) -> float:
    """The strength asked for, or what the direction's file recommends, or a quarter.

    Raises InspectionError for one that makes no sense, and for too few prompts or random directions.
    """
    stated = direction.facts.get("strength") if trial.strength is None else trial.strength
    share = stated if isinstance(stated, int | float) else STRENGTH
    if not 0 <= share <= 100 or not 2 <= trial.randoms <= 64 or not trial.prompts:
        raise InspectionError(
            f"testing a direction: strength={share}, randoms={trial.randoms}, {len(trial.prompts)} prompts; expected a "
            "strength of 0 to 100 typical norms, 2 to 64 random directions, and at least one prompt."
        )
    return float(share)


def typical_norm(direction: Direction, n: int, text: Rerun) -> float:
    """Of the residual stream after layer `n`: what the direction's file says, else the median over the neutral text."""
    norms = direction.facts.get("norms")
    if isinstance(norms, list) and n < len(norms) and isinstance(norms[n], int | float) and norms[n] > 0:
        return float(norms[n])
    return float(np.median(np.linalg.norm(text.values[f"layers.{n}.out"], axis=-1)))


def random_units(width: int, count: int, seed: int) -> Array:
    """Directions drawn evenly from the sphere, float32 (count, width)."""
    drawn = np.random.default_rng(seed).standard_normal((count, width))
    units: Array = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)
    return units


def edited(stream: Array, units: Array, length: float) -> Array:
    """The stream (tokens, hidden) with every edit by every direction: (directions * edits, tokens, hidden).

    Rounded where the kernels round when an answer is edited so (native/instructions_edits.cpp): a test holds the bits.
    """
    rows = []
    for unit in units:
        added = np.float32(length) * unit
        wide = unit.astype(np.float64)
        axis = (wide / np.linalg.norm(wide)).astype(np.float32)
        part = (stream.astype(np.float64) @ axis.astype(np.float64)).astype(np.float32)
        rows += [stream + added, stream - added, stream - part[:, None] * axis]
    return np.stack(rows)


def scored(
    subject: Subject,
    programs: LayerPrograms,
    prompt: str | Sequence[int],
    continuations: tuple[str | Sequence[int], str | Sequence[int]],
    n: int,
    units: Array,
    length: float,
) -> tuple[float, Array]:
    """ln p(of) - ln p(less) after a prompt: as it is, and (directions, edits) with the edits."""
    start = ids_of(subject, prompt, "a prompt")
    totals, plain = [], []
    for text in continuations:
        ids = [*start, *continuation_ids(subject, text)]
        run = Rerun(programs, ids)
        try:
            rows = edited(run.values[f"layers.{n}.out"], units, length)
            logits = run.logits_after(n, 0, rows, len(start) - 1)
        finally:
            run.close()
        plain.append(total_of(run.logits[len(start) - 1 :], ids[len(start) :]))
        totals.append([total_of(each, ids[len(start) :]) for each in logits])
    return plain[0] - plain[1], (np.array(totals[0]) - np.array(totals[1])).reshape(len(units), len(EDITS))


def continuation_ids(subject: Subject, text: str | Sequence[int]) -> list[int]:
    """The tokens of a text that follows others. Raises InspectionError for an empty one."""
    ids = tokenizer_of(subject).encode(text) if isinstance(text, str) else text
    return ids_of(subject, ids, f"the continuation {text!r:.60}")


def total_of(logits: Array, continuation: Sequence[int]) -> float:
    """ln p of a continuation, whose first token the first row predicts."""
    rows = logits[: len(continuation)]
    chosen = rows[np.arange(len(continuation)), list(continuation)].astype(np.float64)
    return float((chosen - log_of_sum(rows)).sum())


def damages(run: Rerun, n: int, units: Array, length: float) -> Array:
    """KL(as it is || edited), the mean over tokens: (directions, edits)."""
    before = log_probabilities(run.logits)
    probabilities = np.exp(before)
    found = []
    for unit in units:
        logits = run.logits_after(n, 0, edited(run.values[f"layers.{n}.out"], unit[None], length), 0)
        found.append([float((probabilities * (before - log_probabilities(each))).sum(-1).mean()) for each in logits])
    return np.array(found)
