"""What else was measured: time, memory, energy, money; what fewer bits cost; effort; calibration; bits per byte."""

from collections.abc import Sequence

from ouvert.evaluation.comparison import Damage, Interval, Resources, Speed
from ouvert.evaluation.report import charts, phrases
from ouvert.evaluation.report.document import Badge, Block, Bullets, Figure, Paragraph, Section, Table, TableRow, Text
from ouvert.evaluation.report.material import Material
from ouvert.evaluation.wording import Wording


def damage(material: Material, words: Wording) -> Section | None:
    """What fewer bits cost, by language, beside the reference of the same vocabulary."""
    found = material.comparison.damages
    if not found:
        return None
    references = list(dict.fromkeys(each.reference for each in found))
    named = phrases.joined(words, [(material.who(words, each),) if each in material.labels else (each,)
                                   for each in references])  # fmt: skip
    lines = tuple(TableRow(damage_cells(material, words, each)) for each in found)
    columns = ("contestant", "language", "tokens", "divergence", "flips", "change")
    head = [(words(f"damage.{each}"),) for each in columns]
    table = Table(words("damage.table"), tuple(head), lines, frozenset({2, 3, 4, 5}))
    how = Paragraph(phrases.rich(words, "damage.how", references=named))
    blocks: list[Block] = [how, *divergence_chart(material, words, found), table, *ratios(material, words)]
    return Section("damage", words("damage.title"), tuple(blocks))


def ratios(material: Material, words: Wording) -> list[Block]:
    """How many times more damage there is in one language than in another, in a sentence each."""
    said = tuple(
        phrases.rich(
            words, "damage.ratio", name=name_of(material, words, each.contestant),
            language=words(f"language.{each.language}"), beside=words(f"language.{each.beside}"),
            ratio=words.number(each.ratio, 2), interval=phrases.ranged(words, each.interval, 2),
        )
        for each in material.comparison.damage_ratios
    )  # fmt: skip
    return [Bullets(said)] if said else []


def name_of(material: Material, words: Wording, label: str) -> Text:
    return (material.who(words, label),) if label in material.labels else (label,)


def damage_cells(material: Material, words: Wording, each: Damage) -> tuple[Text, ...]:
    flips = Interval(100 * each.flips_interval.low, 100 * each.flips_interval.high)
    return (
        name_of(material, words, each.contestant),
        (words(f"language.{each.language}"),),
        (words.number(each.tokens),),
        (f"{phrases.figure(words, each.divergence)} {phrases.ranged(words, each.divergence_interval)}",),
        (f"{words.percent(each.flips, 1)} {phrases.ranged(words, flips, 1)}",),
        (f"{phrases.figure(words, each.change)} {phrases.ranged(words, each.change_interval)}",),
    )


def divergence_chart(material: Material, words: Wording, found: Sequence[Damage]) -> list[Block]:
    """One row a contestant, one mark a language."""
    languages = list(dict.fromkeys(each.language for each in found))
    contestants = list(dict.fromkeys(each.contestant for each in found))
    lines = [
        charts.Line(
            contestant,
            tuple(
                charts.Mark(languages.index(each.language), each.divergence, each.divergence_interval)
                for each in found if each.contestant == contestant
            ),
            0.0, primary=True,
        )
        for contestant in contestants
    ]  # fmt: skip
    shapes = ", ".join(f"{'●■▲◆'[place % 4]} {words(f'language.{each}')}" for place, each in enumerate(languages))
    said = "; ".join(
        f"{each.contestant}, {words(f'language.{each.language}')}: {phrases.figure(words, each.divergence)}"
        for each in found
    )
    caption = phrases.rich(words, "damage.caption", shapes=shapes)
    return [Figure("divergences", charts.divergences(lines, words), caption, words("damage.described", said=said))]


def efforts(material: Material, words: Wording) -> Section | None:
    """Share right against tokens written, by effort: what thinking longer brings."""
    found = material.comparison.efforts
    if not found:
        return None
    points = [
        charts.Point(material.labels.index(each.contestant), each.effort, each.output_tokens, each.share,
                     y_interval=each.interval)
        for each in found
    ]  # fmt: skip
    models = list(dict.fromkeys(each.model for each in found))
    together = [[place for place, each in enumerate(found) if each.model == model] for model in models]
    chart = charts.plane("efforts", points, words, words("chart.tokens"), together)
    said = "; ".join(f"{each.contestant}: {words.percent(each.share)}" for each in found)
    lines = tuple(
        TableRow((
            (each.model,), (each.effort,),
            (f"{words.percent(each.share)} {phrases.shares(words, each.interval)}",),
            (words.number(each.output_tokens),), (words.number(each.thought_tokens),),
            (phrases.seconds(words, each.seconds) if each.seconds is not None else words("word.unknown"),),
            (Badge(words("efforts.knee"), "shown"),) if each.knee else ("",),
        ))
        for each in found
    )  # fmt: skip
    columns = ("model", "effort", "share", "output", "thoughts", "seconds", "said")
    table = Table(words("efforts.table"), tuple((words(f"efforts.{each}"),) for each in columns), lines,
                  frozenset({2, 3, 4, 5}))  # fmt: skip
    figure = Figure("efforts", chart, phrases.rich(words, "efforts.caption"), words("efforts.described", said=said))
    return Section("efforts", words("efforts.title"), (Paragraph(phrases.rich(words, "efforts.how")), figure, table))


def cost(material: Material, words: Wording) -> Section:
    """Time to a right answer against share right; memory, joules, money. What is not known is said to be not known."""
    comparison = material.comparison
    blocks: list[Block] = [Paragraph(phrases.rich(words, "cost.how"))]
    if points := right_answers(material, words):
        blocks.append(time_chart(material, words, points))
    if comparison.speeds:
        blocks.append(speed_table(material, words))
    else:
        blocks.append(Paragraph(phrases.rich(words, "cost.no_speed"), "note"))
    blocks += [
        Paragraph((material.who(words, each.contestant), ": ", *withheld(words, each.withheld)), "note")
        for each in comparison.speeds
        if each.withheld
    ]
    if any(material.where(each) == "remote" for each in material.labels):
        blocks.append(Paragraph(phrases.rich(words, "cost.remote"), "note"))
    if comparison.resources:
        blocks.append(resource_table(material, words))
        blocks += reasons(material, words)
    return Section("cost", words("cost.title"), tuple(blocks))


def withheld(words: Wording, reason: str) -> Text:
    return phrases.rich(words, "cost.withheld", reason=why(words, reason))


def why(words: Wording, reason: str) -> str:
    """Why a figure is not given, in the language of the report."""
    return Wording("measures", words.language)(reason)


def right_answers(material: Material, words: Wording) -> list[charts.Point]:
    """Seconds for each right answer, and the share of primaries' questions answered right, pooled."""
    points = []
    for speed in material.comparison.speeds:
        right = asked = 0
        for row in material.comparison.rows:
            for score in row.scores if row.primary else ():
                if score.contestant == speed.contestant:
                    right, asked = right + score.right, asked + score.n
        if asked and speed.per_right is not None:
            place = material.labels.index(speed.contestant)
            leaves = material.who(words, speed.contestant).leaves
            label = f"{speed.contestant} ({leaves})" if leaves else speed.contestant
            points.append(charts.Point(place, label, speed.per_right, right / asked,
                                       x_interval=speed.per_right_interval))  # fmt: skip
    return points


def time_chart(material: Material, words: Wording, points: Sequence[charts.Point]) -> Figure:
    svg = charts.plane("time", points, words, words("chart.seconds_per_right"))
    said = "; ".join(f"{each.label}: {phrases.seconds(words, each.x)}, {words.percent(each.y)}" for each in points)
    return Figure("time", svg, phrases.rich(words, "cost.caption"), words("cost.described", said=said))


def speed_table(material: Material, words: Wording) -> Table:
    columns = ("contestant", "n", "per_right", "whole", "visible", "written", "reads", "writes")
    lines = tuple(TableRow(speed_cells(material, words, each)) for each in material.comparison.speeds)
    return Table(words("cost.speed_table"), tuple((words(f"cost.{each}"),) for each in columns), lines,
                 frozenset(range(1, 8)))  # fmt: skip


def speed_cells(material: Material, words: Wording, speed: Speed) -> tuple[Text, ...]:
    def known(value: float | None, interval: object = None) -> Text:
        if value is None:
            return ("–",)
        return (f"{phrases.figure(words, value)}{f' {interval}' if interval else ''}",)

    whole, per_right = (
        phrases.ranged(words, each) if each else None for each in (speed.whole_interval, speed.per_right_interval)
    )
    return (
        (material.who(words, speed.contestant),),
        (words.number(speed.n),),
        known(speed.per_right, per_right),
        known(speed.whole, whole),
        *(known(each) for each in (speed.visible, speed.output_tokens, speed.reads, speed.writes)),
    )


def resource_table(material: Material, words: Wording) -> Table:
    columns = ("contestant", "weights", "peak", "fits", "joules", "joules_right", "money", "money_right")
    lines = tuple(TableRow(resource_cells(material, words, each)) for each in material.comparison.resources)
    return Table(words("cost.resource_table"), tuple((words(f"cost.{each}"),) for each in columns), lines,
                 frozenset({1, 2, 4, 5, 6, 7}))  # fmt: skip


def resource_cells(material: Material, words: Wording, each: Resources) -> tuple[Text, ...]:
    missing = each.not_measured or {}

    def known(text: str | None, name: str) -> Text:
        if text is not None:
            return (text,)
        return (words("cost.not_measurable" if name.startswith("joules") else "word.unknown"),)

    def figure(value: float | None) -> str | None:
        return None if value is None else phrases.figure(words, value)

    fits = [words("cost.fits_in", gigabytes=name) for name, yes in (each.fits or {}).items() if yes]
    money = [None if value is None else f"{phrases.figure(words, value)} {each.currency}".strip()
             for value in (each.cost, each.cost_per_right)]  # fmt: skip
    return (
        (material.who(words, each.contestant),),
        known(phrases.size(words, each.weight_bytes) if each.weight_bytes else None, "weight_bytes"),
        known(phrases.size(words, each.peak_bytes) if each.peak_bytes else None, "peak_bytes"),
        (fits[0] if fits else words("cost.fits_nowhere") if each.fits else words("word.unknown"),),
        known(figure(each.joules), "joules"),
        known(figure(each.joules_per_right), "joules_per_right"),
        known(money[0], "cost" if "cost" in missing else ""),
        known(money[1], "cost_per_right"),
    )


def reasons(material: Material, words: Wording) -> list[Block]:
    """Why a figure is missing: once for each reason."""
    said: dict[tuple[str, str], list[str]] = {}
    for each in material.comparison.resources:
        for name, reason in (each.not_measured or {}).items():
            said.setdefault((name, reason), []).append(each.contestant)
    return [
        Paragraph(
            phrases.rich(
                words, "cost.reason", what=words(f"resource.{name}"), reason=why(words, reason),
                names=phrases.joined(words, [(material.who(words, label),) for label in labels]),
            ),
            "note",
        )
        for (name, reason), labels in said.items()
    ]  # fmt: skip


def calibration(material: Material, words: Wording) -> Section | None:
    """How far confidence can be believed: surer answers should be right more often."""
    found = material.comparison.calibrations
    if not found:
        return None
    curves = [(material.labels.index(each.contestant), each.bins) for each in found]
    lines = tuple(
        TableRow((
            (material.who(words, each.contestant),),
            (material.to_row(words, material.row(each.row)) if has_row(material, each.row) else each.row,),
            (words(f"calibration.of_{each.of}"),), (words.number(each.n),),
            (f"{words.number(100 * each.ece)} {phrases.shares(words, each.ece_interval)}",),
            (words.number(each.brier, 3),), (half(words, each.coverage),),
        ))
        for each in found
    )  # fmt: skip
    columns = ("contestant", "row", "of", "n", "ece", "brier", "half")
    table = Table(words("calibration.table"), tuple((words(f"calibration.{each}"),) for each in columns), lines,
                  frozenset({3, 4, 5, 6}))  # fmt: skip
    said = "; ".join(f"{each.contestant}: {words.number(100 * each.ece)}" for each in found)
    figure = Figure("reliability", charts.reliability(curves, words), phrases.rich(words, "calibration.caption"),
                    words("calibration.described", said=said))  # fmt: skip
    return Section("calibration", words("calibration.title"),
                   (Paragraph(phrases.rich(words, "calibration.how")), figure, table))  # fmt: skip


def has_row(material: Material, name: str) -> bool:
    return any(each.row == name for each in material.comparison.rows)


def half(words: Wording, coverage: Sequence[tuple[float, float]]) -> str:
    """Share right of the surer half of the answers."""
    near = [right for answered, right in coverage if answered <= 0.5]
    return words.percent(near[-1]) if near else "–"


def bits(material: Material, words: Wording) -> Section | None:
    """Bits per byte: the only likelihood that may be compared across tokenizers."""
    if not material.comparison.bits:
        return None
    lines = tuple(
        TableRow((
            (material.to_row(words, material.row(each.row)) if has_row(material, each.row) else each.row,),
            (material.who(words, each.contestant),),
            (words.number(each.text_bytes),),
            (words.number(each.tokens),),
            (f"{words.number(each.bits_per_byte, 3)} {phrases.ranged(words, each.interval, 3)}",),
            (words.number(each.perplexity, 1),),
        ))
        for each in material.comparison.bits
    )  # fmt: skip
    columns = ("row", "contestant", "bytes", "tokens", "bits", "perplexity")
    table = Table(words("bits.table"), tuple((words(f"bits.{each}"),) for each in columns), lines,
                  frozenset({2, 3, 4, 5}))  # fmt: skip
    return Section("bits", words("bits.title"), (Paragraph(phrases.rich(words, "bits.how")), table))


def votes(material: Material, words: Wording) -> Section | None:
    """Places by people's votes, each with its interval."""
    if not material.comparison.votes:
        return None
    lines = tuple(
        TableRow((
            (material.who(words, each.contestant),), (words.number(each.votes),),
            (phrases.figure(words, each.rating),), (phrases.ranged(words, each.interval),),
        ))
        for each in material.comparison.votes
    )  # fmt: skip
    head = tuple((words(f"votes.{each}"),) for each in ("contestant", "votes", "rating", "interval"))
    table = Table(words("votes.table"), head, lines, frozenset({1, 2, 3}))
    return Section("votes", words("votes.title"), (Paragraph(phrases.rich(words, "votes.how")), table))
