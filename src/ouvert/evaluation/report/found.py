"""What was found, in three sentences: what is better where, what could not be shown, what it costs.

Only primaries decide here, by their verdicts; the sentences say nothing that the tables below do not.
"""

from collections.abc import Sequence

from ouvert.evaluation.comparison import Pair, Row, Speed
from ouvert.evaluation.report import phrases
from ouvert.evaluation.report.document import Inline, Link, Paragraph, Section, Strong, Text
from ouvert.evaluation.report.material import Material, pair_anchor
from ouvert.evaluation.wording import Wording

MOST_NAMED = 3  # rows that a sentence names; the others are counted


def found(material: Material, words: Wording) -> Section:
    sentences = (
        ("found.label_better", better(material, words)),
        ("found.label_open", not_shown(material, words)),
        ("found.label_cost", costs(material, words)),
    )
    blocks = tuple(Paragraph((Strong(words(label)), " ", *text), "lead") for label, text in sentences)
    return Section("found", words("found.title"), blocks)


def deciding(material: Material) -> list[Pair]:
    primary = {row.row for row in material.comparison.rows if row.primary}
    return [pair for pair in material.comparison.pairs if pair.row in primary]


def better(material: Material, words: Wording) -> Text:
    """Which contestant is better where; or that nothing here shows a difference."""
    pairs = deciding(material)
    if not material.comparison.rows:
        return phrases.rich(words, "found.nothing_asked")
    if len(material.labels) < 2:
        return phrases.rich(words, "found.alone", name=material.who(words, material.labels[0]))
    if not pairs:
        return phrases.rich(words, "found.no_primaries", pairs=Link(words("found.table"), "pairs"))
    wins: dict[tuple[str, str], list[Pair]] = {}
    for pair in pairs:
        if pair.verdict in ("first_better", "second_better"):
            names = (pair.first, pair.second)
            wins.setdefault(names if pair.verdict == "first_better" else names[::-1], []).append(pair)
    if not wins:
        return phrases.rich(words, "found.no_difference", pairs=Link(words("found.no_difference_link"), "pairs"))
    clauses = [won(material, words, *names, won_rows) for names, won_rows in wins.items()]
    return sentence(words, clauses[:4] + ([phrases.rich(words, "found.more_pairs", pairs=Link(
        words("found.table"), "pairs"))] if len(clauses) > 4 else []))  # fmt: skip


def won(material: Material, words: Wording, winner: str, loser: str, pairs: Sequence[Pair]) -> Text:
    rows = [
        (linked(material, words, pair), " (", gain(words, pair, winner), ")")
        for pair in sorted(pairs, key=lambda each: -abs(each.difference))
    ]
    return phrases.rich(
        words, "found.better", winner=material.who(words, winner), loser=material.who(words, loser),
        rows=phrases.first_few(words, rows, MOST_NAMED),
    )  # fmt: skip


def gain(words: Wording, pair: Pair, winner: str) -> str:
    low, high = pair.interval.low, pair.interval.high
    difference, low, high = (
        (pair.difference, low, high) if winner == pair.first else (-pair.difference, -high, -low)
    )  # fmt: skip
    ends = f"[{phrases.points(words, low, low < 0)};\u00a0{phrases.points(words, high, high < 0)}]"
    return words("found.gain", points=phrases.points(words, difference), interval=ends)


def linked(material: Material, words: Wording, pair: Pair) -> Link:
    return Link(material.title(words, material.row(pair.row)), pair_anchor(pair))


def not_shown(material: Material, words: Wording) -> Text:
    """What this run leaves open: no difference shown, equal within the margin, or both at a floor."""
    pairs = deciding(material)
    by_verdict = {
        verdict: [pair for pair in pairs if pair.verdict == verdict] for verdict in ("not_shown", "equivalent", "floor")
    }
    clauses = []
    if left := by_verdict["not_shown"]:
        smallest = sorted(pair.visible for pair in left)
        ends = dict.fromkeys(phrases.points(words, each, False) for each in (smallest[0], smallest[-1]))
        visible = words("found.to").join(ends)
        clauses.append(phrases.rich(words, "found.open", rows=named(material, words, left), points=visible))
    if equal := by_verdict["equivalent"]:
        margins = dict.fromkeys(phrases.points(words, pair.margin, False) for pair in equal)
        rows = named(material, words, equal)
        clauses.append(phrases.rich(words, "found.equivalent", rows=rows, margin=words("found.to").join(margins)))
    if floors := by_verdict["floor"]:
        clauses.append(phrases.rich(words, "found.floors", rows=named(material, words, floors)))
    if unasked := not_compared(material):
        rest: list[Text] = [(material.to_row(words, row),) for row in unasked]
        clauses.append(phrases.rich(words, "found.unasked", rows=phrases.first_few(words, rest, MOST_NAMED)))
    if clauses:
        return sentence(words, clauses)
    return phrases.rich(words, "found.all_shown" if pairs else "found.exploratory", limits=Link(
        words("found.limits_link"), "limits"))  # fmt: skip


def not_compared(material: Material) -> list[Row]:
    """Primaries with scores and without a pair: somebody could not be asked any of their items."""
    paired = {pair.row for pair in material.comparison.pairs}
    several = len(material.labels) > 1
    return [
        row for row in material.comparison.rows if several and row.primary and row.scores and row.row not in paired
    ]  # fmt: skip


def named(material: Material, words: Wording, pairs: Sequence[Pair]) -> Text:
    """Rows of pairs; with more than two contestants, whose pair it is too."""
    several = len(material.labels) > 2
    rows: list[Text] = [
        (linked(material, words, pair), *([f" ({pair.first} / {pair.second})"] if several else []))
        for pair in pairs
    ]  # fmt: skip
    return phrases.first_few(words, rows, MOST_NAMED + 1)


def costs(material: Material, words: Wording) -> Text:
    """What a right answer takes of each, and what of that is not known."""
    clauses = [time(material, words), memory(material, words), energy(material, words)]
    return sentence(words, [each for each in clauses if each])


def time(material: Material, words: Wording) -> Text:
    link = Link(words("found.time_link"), "cost")
    known = [each for each in material.comparison.speeds if each.per_right is not None]
    if not known:
        return phrases.rich(words, "found.no_speed", link=link)
    each = [(of_speed(words, speed), " ", *words_with(material, words, speed.contestant)) for speed in known]
    return phrases.rich(words, "found.time", link=link, each=phrases.joined(words, each))


def of_speed(words: Wording, speed: Speed) -> str:
    return phrases.seconds(words, speed.per_right or 0.0)


def words_with(material: Material, words: Wording, label: str) -> tuple[Inline, ...]:
    return phrases.rich(words, "found.with", name=material.who(words, label))


def memory(material: Material, words: Wording) -> Text:
    known = [(each.contestant, each.peak_bytes) for each in material.comparison.resources if each.peak_bytes]
    if not known:
        return ()
    each = [(phrases.size(words, peak), " ", *words_with(material, words, contestant)) for contestant, peak in known]
    return phrases.rich(words, "found.memory", each=phrases.joined(words, each))


def energy(material: Material, words: Wording) -> Text:
    known = [each for each in material.comparison.resources if each.joules_per_right is not None]
    link = Link(words("found.energy_link"), "cost")
    if not known:
        return phrases.rich(words, "found.no_energy", link=link)
    each = [
        (words("unit.joules", n=phrases.figure(words, one.joules_per_right or 0.0)), " ",
         *words_with(material, words, one.contestant)) for one in known
    ]  # fmt: skip
    return phrases.rich(words, "found.energy", link=link, each=phrases.joined(words, each))


def sentence(words: Wording, clauses: Sequence[Text]) -> Text:
    """One sentence of several clauses: its first letter is large, a point ends it."""
    parts: list[Inline] = []
    for place, clause in enumerate(clauses):
        parts += ([words("word.semicolon")] if place else []) + list(clause)
    match parts[:1]:
        case [str(text)]:
            parts[0] = text[:1].upper() + text[1:]
        case [Link(text, to)]:
            parts[0] = Link(text[:1].upper() + text[1:], to)
    return (*parts, ".")
