"""What a comparison found, as values: what the report, the lessons and `--json` are made of.

Shares are 0 to 1, differences -1 to 1; every interval is 95 % unless said. docs/formats/comparison.md has the JSON
form, which is the fields as they stand here.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

# What may be said of a pair. "floor": both are at what guessing gets, so nothing is compared. "equivalent": shown to
# differ by less than the margin. "not_shown": a difference was neither shown nor excluded.
Verdict = Literal["first_better", "second_better", "equivalent", "not_shown", "floor"]


@dataclass(frozen=True, slots=True)
class Interval:
    """From `low` to `high`."""

    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupScore:
    """One step of a ladder, one subject, one cell of a grid."""

    group: str
    n: int
    share: float
    interval: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class RowScore:
    """One contestant's score in a row. `share`: of items that are right (of graded suites the mean score).

    `floor`: the interval reaches down to `baseline`, the better of chance and of the best trivial strategy, whose name
    is `guess`: then the score says nothing of the contestant. `wordings`: lowest and highest share by paraphrase.
    `chosen`: of letter forms, how often each letter was chosen; `biased`: the letter that it chooses whatever is asked.
    `refused`: items that it could not be asked; `cut`: answers that ended for length.
    """

    contestant: str
    n: int
    right: int
    share: float
    interval: Interval
    baseline: float
    guess: str
    floor: bool
    malformed: int
    refused: int
    cut: int
    wordings: Interval | None = None
    groups: tuple[GroupScore, ...] = ()
    chosen: Mapping[str, int] | None = None
    biased: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One suite in one language and form. `primary`: it decides about the purposes that declared it."""

    row: str
    suite: str
    language: str
    form: str
    purposes: tuple[str, ...]
    primary: bool
    graded: bool
    scores: tuple[RowScore, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two contestants in a row, paired by item. `difference` is first minus second.

    `only_first`: items on which the first scored higher; `both` and `neither`: as high, above 0 and at 0. `p`: exact
    McNemar, mid-p, widened where items come in clusters; None of graded rows and of several answers an item, whose
    `p_adjusted` comes from sign flips of clusters. `p_adjusted`: by Holm over all pairs of the primaries; None of other
    rows, which are exploratory: they get an interval and no verdict but "floor" or "not_shown" or "equivalent".
    `visible`: the smallest difference that this many items could have shown (80 % power), at the share of items that
    differed.
    `design_effect`: by how much clusters widen the variance.
    """

    row: str
    first: str
    second: str
    n: int
    both: int
    only_first: int
    only_second: int
    neither: int
    difference: float
    interval: Interval
    p: float | None
    p_adjusted: float | None
    margin: float
    visible: float
    design_effect: float
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Seconds a question, of answers asked alone. `withheld`: why there are no figures (then all are None).

    `per_right`: seconds spent for each right answer. `reads` and `writes`: tokens a second, prompt and answer. `ratio`:
    the median, over questions, of its seconds over those of the first contestant that has figures. `withheld` and the
    reasons in `Resources.not_measured` are keys of texts/measures.
    """

    contestant: str
    n: int
    withheld: str = ""
    whole: float | None = None
    whole_interval: Interval | None = None
    visible: float | None = None
    per_right: float | None = None
    per_right_interval: Interval | None = None
    output_tokens: float | None = None
    reads: float | None = None
    writes: float | None = None
    ratio: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """Memory in bytes, energy in joules an answer, and money in the owner's currency. None: not known, and
    `not_measured` says why, by field name ("joules": "not measurable here")."""

    contestant: str
    weight_bytes: int | None = None
    peak_bytes: int | None = None
    context: int | None = None
    fits: Mapping[str, bool] | None = None  # "8", "16", "32": GB of memory
    joules: float | None = None
    joules_per_right: float | None = None
    idle_watts: float | None = None
    cost: float | None = None
    cost_per_right: float | None = None
    currency: str = ""
    not_measured: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How far a contestant's confidence can be believed. `bins`: of equal mass, (mean confidence, share right, n).

    `of`: "asked" (it said a number) or "tokens" (its probabilities). `coverage`: (share answered, share right of
    those), the surest first.
    """

    contestant: str
    row: str
    of: Literal["asked", "tokens"]
    n: int
    bins: tuple[tuple[float, float, int], ...]
    ece: float
    ece_interval: Interval
    brier: float
    coverage: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bits:
    """Bits per byte of texts: the only likelihood that may be compared across tokenizers."""

    contestant: str
    row: str
    texts: int
    text_bytes: int
    tokens: int
    bits_per_byte: float
    interval: Interval
    perplexity: float  # a token; never to be compared between tokenizers


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """What fewer bits cost: one contestant beside a reference with the same vocabulary, over the same texts.

    `divergence`: KL in nats a token. `flips`: share of places where another token is the likeliest. `change`: mean
    change of the true token's log-probability. Intervals resample windows of text.
    """

    contestant: str
    reference: str
    language: str
    tokens: int
    windows: int
    divergence: float
    divergence_interval: Interval
    flips: float
    flips_interval: Interval
    change: float
    change_interval: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class DamageRatio:
    """How many times more a contestant's divergence is in `language` than in `beside`. The interval resamples the
    windows of both, apart."""

    contestant: str
    reference: str
    language: str
    beside: str
    ratio: float
    interval: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class EffortPoint:
    """One effort of one model, over the primaries: what thinking costs, and what it brings. Means a question."""

    model: str
    effort: str
    contestant: str
    share: float
    interval: Interval
    output_tokens: float
    thought_tokens: float
    seconds: float | None
    joules: float | None
    knee: bool  # more effort than this was not shown to bring more


@dataclass(frozen=True, slots=True, kw_only=True)
class PassAt:
    """pass@k, unbiased (Chen et al., arXiv 2107.03374), of rows with several answers an item."""

    contestant: str
    row: str
    k: int
    samples: int
    value: float
    interval: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """A contestant's place by people's votes: Bradley-Terry, in Elo points, the mean of all 0."""

    contestant: str
    votes: int
    rating: float
    interval: Interval


# Why less may be concluded than it seems, and of what: of rows, and the last four of contestants.
LIMITS = (
    "floors",  # a contestant is at what guessing gets
    "few_items",  # no difference below ten points could have been shown
    "few_clusters",  # fewer than ten groups of items that belong together
    "one_wording",  # every item was asked in one way
    "public",  # the questions are published: contestants may have read them
    "letter_bias",  # a contestant chooses one letter whatever is asked
    "refused",  # a contestant could not be asked all items
    "incomplete",  # not every contestant has answered every item
    "exploratory",  # no purpose declared it beforehand: intervals, and no winner
    "remote",  # answered elsewhere: the model may change, and nothing can be repeated bit for bit
    "busy_machine",  # figures of speed are withheld
    "few_votes",  # too few votes for a rank
    "separate_votes",  # some were never compared with the others, not even over a third
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All that was found. `plan`: as locked. `contestants`: their facts. `limits`: which of the general limits hold
    here, by key of LIMITS, with the rows they concern."""

    plan: Mapping[str, Any]
    contestants: tuple[Mapping[str, Any], ...]
    rows: tuple[Row, ...] = ()
    pairs: tuple[Pair, ...] = ()
    speeds: tuple[Speed, ...] = ()
    resources: tuple[Resources, ...] = ()
    calibrations: tuple[Calibration, ...] = ()
    bits: tuple[Bits, ...] = ()
    damages: tuple[Damage, ...] = ()
    damage_ratios: tuple[DamageRatio, ...] = ()
    efforts: tuple[EffortPoint, ...] = ()
    passes: tuple[PassAt, ...] = ()
    votes: tuple[Ranked, ...] = ()
    limits: Mapping[str, tuple[str, ...]] | None = None
    connections: Mapping[str, Any] | None = None  # attempted, allowed, denied, of all receipts


def as_json(found: Comparison) -> dict[str, Any]:
    """The JSON object of docs/formats/comparison.md. Raises nothing."""
    return asdict(found)
