"""How each of the seven lessons is filled from a run."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from math import comb

from ouvert.evaluation.comparison import Damage, EffortPoint, Pair, Row, RowScore, Speed
from ouvert.evaluation.lessons import charts
from ouvert.evaluation.lessons.filled import Filled, MissingError
from ouvert.evaluation.lessons.run import Run
from ouvert.evaluation.report.charts import Line, Mark, Point, divergences, intervals, plane
from ouvert.evaluation.report.scores import guess_name
from ouvert.evaluation.statistics import items_for, mcnemar_mid_p, smallest_visible, tango_interval, wilson_interval
from ouvert.evaluation.wording import Wording

HALF = 0.5  # below it, a ladder counts as broken
LEAST_ITEMS = 3  # of a step
LEAST_DIFFERING = 6  # questions: of fewer, even all in favour of one give an exact p above 0.05
LADDERS = ("arithmetic", "letters", "sorting", "syllogisms")  # those that have words here


def points(words: Wording, share: float, digits: int = 0) -> str:
    """A difference of shares in points, with a minus sign that is one."""
    return words.number(100 * share, digits).replace("-", "−")


def probability(words: Wording, p: float) -> str:
    return words.number(p, 3) if p >= 0.001 else words("sheet.less_than", value=words.number(0.001, 3))


def exact_p(first: int, second: int) -> float:
    """The two-sided binomial p of a fair coin. Raises nothing."""
    n = first + second
    tail: int = sum(comb(n, k) for k in range(min(first, second) + 1))
    return float(min(1.0, 2 * tail / 2**n))


def in_order(words: Wording, pair: Pair) -> tuple[str, str]:
    """(the one that was right more often, the other)"""
    return (pair.first, pair.second) if pair.difference >= 0 else (pair.second, pair.first)


def of_pair(run: Run, words: Wording, pair: Pair) -> dict[str, str]:
    differing = pair.only_first + pair.only_second
    interval = tango_interval(pair.only_first, pair.only_second, pair.n)
    return {
        "first": pair.first,
        "second": pair.second,
        "row": run.title(run.row(pair.row), words.language),
        "n": words.number(pair.n),
        "only_first": words.number(pair.only_first),
        "only_second": words.number(pair.only_second),
        "both": words.number(pair.both),
        "differing": words.number(differing),
        "difference": points(words, pair.difference),
        "low": points(words, interval.low),
        "high": points(words, interval.high),
        "floor": careful(words, pair, differing),
        "clusters": words("sheet.clusters") if pair.design_effect > 1 else "",
        "visible10": points(words, smallest_visible(10, differing / pair.n)),
    }


def careful(words: Wording, pair: Pair, differing: int) -> str:
    """What has to be said before such a pair is told of: that it shows nothing, and why."""
    if pair.verdict == "floor":
        return words("sheet.floor")
    return words("sheet.thin", differing=words.number(differing)) if differing < LEAST_DIFFERING else ""


def luck(run: Run, words: Wording) -> Filled:
    """Raises MissingError, as all of these do, for what the run has not."""
    pair = run.pair_to_tell()
    courses = [charts.Course(run.place(each), each, run.rights(pair.row, each)) for each in (pair.first, pair.second)]
    better, worse = in_order(words, pair)
    apart = separated(*(course.rights for course in courses))
    said = words("luck.separated_never") if apart is None else words("luck.separated_at", at=words.number(apart))
    return Filled(
        values={
            **of_pair(run, words, pair),
            "better": better,
            "worse": worse,
            "p": probability(words, mcnemar_mid_p(pair.only_first, pair.only_second)),
            "p_exact": probability(words, exact_p(pair.only_first, pair.only_second)),
            "separated": said,
        },
        figure=charts.running_shares(courses, words),
        suites=(run.row(pair.row).suite,),
    )


def separated(first: Sequence[bool], second: Sequence[bool]) -> int | None:
    """From which number of questions on the two bands stay apart; None if they do not."""
    apart = None
    for n in range(1, min(len(first), len(second)) + 1):
        one, other = wilson_interval(sum(first[:n]), n), wilson_interval(sum(second[:n]), n)
        if one.high < other.low or other.high < one.low:
            apart = apart or n
        else:
            apart = None
    return apart


def letters(run: Run, words: Wording) -> Filled:
    chosen = [row for row in run.comparison.rows if any(score.chosen for score in row.scores)]
    # A damaged folder may have choices where nothing is chosen from.
    rows = [row for row in chosen if all("letter" in item.expected for item in run.evidence.items(row.row))]
    if not rows:
        raise MissingError("letters")
    row = max(rows, key=lambda each: max(most_of(score) for score in each.scores))
    score = max(row.scores, key=most_of)
    counts = score.chosen or {}
    letter = max(sorted(counts), key=counts.__getitem__)
    gold = Counter(str(item.expected["letter"]) for item in run.evidence.items(row.row))
    shown = {each.contestant: each.chosen for each in row.scores if each.chosen}
    return Filled(
        values={
            "contestant": score.contestant,
            "n": words.number(score.n),
            "letter": letter,
            "chosen": words.number(counts[letter]),
            "gold": words.number(gold[letter]),
            "share": words.percent(score.share),
            "guess": guess_name(Wording("report", words.language), score.guess)[1:-1],
            "baseline": words.percent(score.baseline),
            "likelihood": by_likelihood(run, row, score.contestant, words),
            "low": words.percent(score.interval.low),
            "high": words.percent(score.interval.high),
            "floor": words(
                "letters.floor_yes" if score.floor else "letters.floor_no",
                low=words.percent(score.interval.low),
                high=words.percent(score.interval.high),
                baseline=words.percent(score.baseline),
            ),
        },
        figure=charts.letters(
            {words("chart.is_right"): gold, **shown},
            {label: run.place(label) for label in shown},
            words,
            words("chart.is_right"),
        ),
        names_marks=False,
        suites=(row.suite,),
    )


def most_of(score: RowScore) -> float:
    """The share of the letter that was chosen most."""
    counts = score.chosen or {}
    return max(counts.values(), default=0) / max(1, sum(counts.values()))


def by_likelihood(run: Run, row: Row, contestant: str, words: Wording) -> str:
    for other in run.comparison.rows:
        if other.suite == row.suite and other.language == row.language and other.form == "likelihood":
            return words.percent(run.scores_of(other)[contestant].share)
    return words("sheet.not_asked")


def proof(run: Run, words: Wording) -> Filled:
    pair = run.pair_to_tell()
    discordant = max((pair.only_first + pair.only_second) / pair.n, 1 / pair.n)
    interval = tango_interval(pair.only_first, pair.only_second, pair.n)
    shown = interval.low > 0 or interval.high < 0
    needed = items_for(max(abs(pair.difference), 1 / pair.n), discordant)
    return Filled(
        values={
            **of_pair(run, words, pair),
            "discordant": words.number(discordant, 2),
            "visible": points(words, smallest_visible(pair.n, discordant)),
            "half_n": words.number(items_for(smallest_visible(pair.n, discordant) / 2, discordant)),
            "n5": words.number(items_for(0.05, discordant)),
            "enough": words("proof.enough_yes") if shown else words("proof.enough_no", needed=words.number(needed)),
        },
        figure=charts.visible_differences(pair.n, discordant, pair.difference, words),
        names_marks=False,
        suites=(run.row(pair.row).suite,),
    )


def bits(run: Run, words: Wording) -> Filled:
    measured = {(each.contestant, each.reference, each.language): each for each in run.comparison.damages}
    both = list(run.pairs_of_languages())
    if not both:
        raise MissingError("damage")
    told = max(both, key=lambda each: measured[*each, "en"].divergence + measured[*each, "fr"].divergence)
    english, french = measured[*told, "en"], measured[*told, "fr"]
    values = {"damaged": told[0], "reference": told[1], "worse": worse_language(english, french, words)}
    for name, each in (("en", english), ("fr", french)):
        values |= {
            f"kl_{name}": words.number(each.divergence, 3),
            f"tokens_{name}": words.number(each.tokens),
            f"flips_{name}": words.percent(each.flips, 1),
            f"change_{name}": words.number(each.change, 3).replace("-", "−"),
        }
    lines = [divergence_line(run, measured[*pair, language], language) for pair in both for language in ("en", "fr")]
    return Filled(values=values, figure=divergences(lines, Wording("report", words.language)))


def divergence_line(run: Run, damage: Damage, language: str) -> Line:
    mark = Mark(run.place(damage.contestant), damage.divergence, damage.divergence_interval)
    return Line(f"{damage.contestant} · {language}", (mark,), 0.0, primary=True)


def worse_language(english: Damage, french: Damage, words: Wording) -> str:
    apart = (
        english.divergence_interval.high < french.divergence_interval.low
        or french.divergence_interval.high < english.divergence_interval.low
    )
    if not apart:
        return words("bits.worse_none")
    less, more = sorted((english, french), key=lambda each: each.divergence)
    ratio = words.number(more.divergence / max(less.divergence, 1e-9), 1)
    return words(f"bits.worse_{more.language}", ratio=ratio)


def effort(run: Run, words: Wording) -> Filled:
    curves = [curve for curve in curves_of(run).values() if len(curve) >= 2]
    if not curves:
        raise MissingError("effort")
    curve = max(curves, key=len)
    least, most = curve[0], curve[-1]
    gained = most.share - least.share
    knee = next((each for each in curve if each.knee), most)
    if gained <= 0:
        cost = words("effort.cost_none")
    else:
        each = (most.output_tokens - least.output_tokens) / (100 * gained)
        cost = words("effort.cost_some", tokens_per_point=words.number(each))
    return Filled(
        values={
            "model": least.model,
            "efforts": ", ".join(each.effort for each in curve),
            "share_low": words.percent(least.share),
            "share_high": words.percent(most.share),
            "tokens_low": words.number(least.output_tokens),
            "tokens_high": words.number(most.output_tokens),
            "knee": knee.effort,
            "cost": cost,
        },
        figure=effort_curve(run, curve, words),
        suites=primaries(run),
    )


def curves_of(run: Run) -> Mapping[str, list[EffortPoint]]:
    """By model, the least tokens first."""
    curves: dict[str, list[EffortPoint]] = {}
    for each in sorted(run.comparison.efforts, key=lambda each: each.output_tokens):
        curves.setdefault(each.model, []).append(each)
    return curves


def effort_curve(run: Run, curve: Sequence[EffortPoint], words: Wording) -> str:
    report = Wording("report", words.language)
    drawn = [
        Point(run.place(each.contestant), each.effort, each.output_tokens, each.share, y_interval=each.interval)
        for each in curve
    ]
    return plane("lesson-effort", drawn, report, report("chart.tokens"), [range(len(drawn))])


def primaries(run: Run) -> tuple[str, ...]:
    return tuple(sorted({row.suite for row in run.comparison.rows if row.primary}))


def ladder(run: Run, words: Wording) -> Filled:
    rows = [row for row in run.comparison.rows if row.suite == "ladder" and enough_items(row)]
    if not rows:
        raise MissingError("ladder")
    row = max(rows, key=lambda each: (each.language == words.language, each.scores[0].n))
    ranked = sorted(row.scores, key=lambda score: -score.share)
    best, worst = ranked[0], ranked[-1]
    steps = sorted(group.group for group in best.groups)
    return Filled(
        values={
            "best": best.contestant,
            "worst": worst.contestant,
            "best_step": broken_at(best, words),
            "worst_step": broken_at(worst, words),
            "best_average": words.percent(best.share),
            "worst_average": words.percent(worst.share),
            "step_n": words.number(best.n / max(1, len(steps))),
            "steps": words.number(len(steps)),
        },
        figure=intervals([step_line(run, row, step, words) for step in steps], Wording("report", words.language)),
        suites=(row.suite,),
    )


def enough_items(row: Row) -> bool:
    """Whether a step has items enough to speak of a share of them."""
    return any(score.groups and score.n >= LEAST_ITEMS * len(score.groups) for score in row.scores)


def step_name(step: str, words: Wording) -> str:
    """A step as people call it: "sums 3" of "arithmetic-3". One of no ladder that has words: as it stands."""
    ladder_name, dash, number = step.rpartition("-")
    return f"{words(f'step.{ladder_name}')} {number}" if dash and ladder_name in LADDERS else step


def step_line(run: Run, row: Row, step: str, words: Wording) -> Line:
    marks = tuple(
        Mark(run.place(score.contestant), group.share, group.interval)
        for score in row.scores
        for group in score.groups
        if group.group == step
    )
    return Line(step_name(step, words), marks, 0.0, primary=True)


def broken_at(score: RowScore, words: Wording) -> str:
    """Of each ladder the first step below one half; those that hold are not named."""
    broken: dict[str, str] = {}
    for group in sorted(score.groups, key=lambda group: group.group):
        if group.share < HALF:
            broken.setdefault(group.group.rpartition("-")[0], step_name(group.group, words))
    return ", ".join(broken.values()) or words("sheet.nowhere")


def local(run: Run, words: Wording) -> Filled:
    timed = [each for each in run.comparison.speeds if each.whole is not None]
    if not timed:
        raise MissingError("speed")
    by_time = sorted(timed, key=seconds)
    by_right = sorted((each for each in timed if each.per_right is not None), key=seconds_right)
    attempted = (run.comparison.connections or {}).get("attempted", 0)
    return Filled(
        values={
            "fastest": by_time[0].contestant,
            "fastest_time": words.number(seconds(by_time[0]), 1),
            "slowest": by_time[-1].contestant,
            "slowest_time": words.number(seconds(by_time[-1]), 1),
            "right": " · ".join(f"{each.contestant} {words.number(seconds_right(each), 1)} s" for each in by_right)
            or "–",
            "fastest_right": by_right[0].contestant if by_right else "–",
            "attempted": words.number(attempted),
            "joules": resources(run, words, "joules", " J"),
            "money": resources(run, words, "cost", ""),
        },
        figure=charts.right_answer_times([bar(run, each) for each in by_right or by_time], words),
        suites=primaries(run),
    )


def seconds(speed: Speed) -> float:
    return speed.whole or 0.0


def seconds_right(speed: Speed) -> float:
    return speed.per_right or 0.0


def bar(run: Run, speed: Speed) -> charts.Bar:
    value, spread = seconds_right(speed) or seconds(speed), speed.per_right_interval
    where = {facts["label"]: facts["where"] for facts in run.comparison.contestants}
    return charts.Bar(run.place(speed.contestant), speed.contestant, value, spread, where[speed.contestant] == "remote")


def resources(run: Run, words: Wording, name: str, unit: str) -> str:
    """What each contestant took of something, or that it is not measurable here."""
    known = {each.contestant: getattr(each, name) for each in run.comparison.resources}
    currency = next((f" {each.currency}" for each in run.comparison.resources if each.currency), "")
    told = [
        f"{label} {words.number(value, 1 if value >= 1 else 5)}{unit or currency}"
        for label, value in known.items()
        if value is not None
    ]
    return " · ".join(told) or words("sheet.not_measured")


# The lessons in their order: the key of their words, and what fills them.
LESSONS: Mapping[str, Callable[[Run, Wording], Filled]] = {
    "luck": luck,
    "letters": letters,
    "proof": proof,
    "bits": bits,
    "effort": effort,
    "ladder": ladder,
    "local": local,
}
