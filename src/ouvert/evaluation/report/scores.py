"""Scores with their intervals, and pairs: what may be said of two contestants."""

from collections.abc import Sequence

from ouvert.evaluation.comparison import Pair, Row, RowScore
from ouvert.evaluation.report import charts, phrases
from ouvert.evaluation.report.document import (
    MARKS,
    Badge,
    Block,
    Data,
    Figure,
    Heading,
    Paragraph,
    Section,
    Table,
    TableRow,
    Text,
)
from ouvert.evaluation.report.material import Material, pair_anchor
from ouvert.evaluation.report.visible import one_line
from ouvert.evaluation.wording import Wording, catalogue

SHORT_NAME = 16  # characters: such a name stays on one line
DESCRIBED = 8  # rows that the description of the plot names; the table has them all
MOST_EXPLORATORY = 40  # pairs that a page shows
FEWEST = 5  # items of a step that is shown
PLOT = 50  # columns of a plot in letters


def scores(material: Material, words: Wording) -> Section:
    """The interval plot, the table that it is drawn from, and what floors mean here."""
    rows = [row for row in material.ordered_rows() if row.scores]
    if not rows:
        return Section("scores", words("scores.title"), (Paragraph(phrases.rich(words, "scores.none")),))
    blocks: list[Block] = [plot(material, words, rows), score_table(material, words, rows)]
    if any(is_floor(score) for row in rows for score in row.scores):
        blocks.append(Paragraph(floors(material, words, rows), "note"))
    if others := other_troubles(material, words, rows):
        blocks.append(others)
    return Section("scores", words("scores.title"), tuple(blocks))


def plot(material: Material, words: Wording, rows: Sequence[Row]) -> Figure:
    lines = [
        charts.Line(
            material.title(words, row),
            tuple(
                charts.Mark(material.labels.index(each.contestant), each.share, each.interval, each.floor)
                for each in row.scores
            ),
            max(each.baseline for each in row.scores),
            row.primary,
            words("scores.floor_word") if all(each.floor for each in row.scores) else "",
        )
        for row in rows
    ]
    legend = tuple(phrases.joined(words, [(material.who(words, label),) for label in material.labels], "word.comma"))
    caption = (*legend, " — ", *phrases.rich(words, "scores.caption"))
    said = "; ".join(f"{row.row}: {in_words(words, row)}" for row in rows[:DESCRIBED])
    described = words("scores.described", said=said)
    return Figure("intervals", charts.intervals(lines, words), caption, described, in_letters(material, rows))


def in_letters(material: Material, rows: Sequence[Row]) -> str:
    """The plot where only letters can be shown: 0 to 100 % over PLOT columns, guessing as a bar."""
    lines = []
    for row in rows:
        lines.append(row.row)
        for score in row.scores:
            columns = ["·"] * (PLOT + 1)
            low, at, high, guess = (
                round(PLOT * each)
                for each in (score.interval.low, score.share, score.interval.high, score.baseline)
            )  # fmt: skip
            columns[low : high + 1] = "─" * (high + 1 - low)
            columns[guess] = "┆" if columns[guess] == "·" else "┼"
            place = material.labels.index(score.contestant)
            columns[at] = MARKS[place % len(MARKS)]
            lines.append(f"  {''.join(columns)} {100 * score.share:3.0f} % {one_line(score.contestant)}")
    return "\n".join(lines)


def in_words(words: Wording, row: Row) -> str:
    return ", ".join(f"{each.contestant} {words.percent(each.share)}" for each in row.scores)


def score_table(material: Material, words: Wording, rows: Sequence[Row]) -> Table:
    head = [(words(f"scores.{each}"),) for each in ("row", "contestant", "right", "share", "interval", "guess", "said")]
    lines = [
        TableRow(
            score_cells(material, words, row, score), "", score.floor,
            0 if place else len(row.scores),
        )
        for row in rows
        for place, score in enumerate(row.scores)
    ]  # fmt: skip
    return Table(words("scores.table"), tuple(head), tuple(lines), frozenset({2, 3, 4}))


def score_cells(material: Material, words: Wording, row: Row, score: RowScore) -> tuple[Text, ...]:
    primary: Text = (" ", Badge(words("scores.primary"), "shown")) if row.primary else ()
    return (
        (material.to_row(words, row), *primary),
        (material.who(words, score.contestant),),
        (right_of(words, row, score),),
        (words.percent(score.share),),
        (phrases.shares(words, score.interval),),
        (f"{words.percent(score.baseline)} {guess_name(words, score.guess)}",),
        said_of(words, score),
    )


def right_of(words: Wording, row: Row, score: RowScore) -> str:
    if row.graded:
        return words("scores.graded", n=words.number(score.n))
    return words("scores.of", right=words.number(score.right), n=words.number(score.n))


def guess_name(words: Wording, guess: str) -> str:
    """The strategy that gets the baseline, in our words where its suite's English name has some."""
    texts, always = catalogue("report", words.language), guess.removeprefix("always ")
    if always != guess and f"guess.{guess}" not in texts:
        return f"({words('guess.always', what=always)})"
    named = texts.get(f"guess.{guess or 'chance'}", guess)
    return f"({named})" if len(named) > SHORT_NAME else f"({named})".replace(" ", "\u00a0")


def said_of(words: Wording, score: RowScore) -> Text:
    parts: list[Text] = []
    if score.refused == score.n:
        parts.append((Badge(words("answers.refused"), "wrong"),))
    elif is_floor(score):
        parts.append((Badge(words("scores.floor"), "wrong"),))
    if score.biased:
        parts.append((Badge(words("scores.biased", letter=score.biased), "wrong"),))
    return tuple(part for text in parts for part in (*text, " "))[:-1]


def is_floor(score: RowScore) -> bool:
    """Whether it was asked, and is at what guessing gets."""
    return score.floor and score.refused < score.n


def floors(material: Material, words: Wording, rows: Sequence[Row]) -> Text:
    """Floors have a sentence of their own: a score there says nothing of the contestant."""
    at_floor = {
        label: [row for row in rows for score in row.scores if score.contestant == label and is_floor(score)]
        for label in material.labels
    }
    each = [
        phrases.rich(
            words, "scores.floor_of", name=material.who(words, label),
            rows=phrases.first_few(words, [(material.to_row(words, row),) for row in of], 6),
        )
        for label, of in at_floor.items() if of
    ]  # fmt: skip
    return phrases.rich(words, "scores.floors", each=phrases.joined(words, each, "word.semicolon"))


def other_troubles(material: Material, words: Wording, rows: Sequence[Row]) -> Table | None:
    """Where answers could not be read, could not be asked or were cut, and how far wording moved a score."""
    lines: list[TableRow] = []
    for row in rows:
        troubled = [each for each in row.scores if each.malformed or each.refused or each.cut or each.wordings]
        for place, score in enumerate(troubled):
            cells: list[Text] = [(material.to_row(words, row),), (material.who(words, score.contestant),)]
            cells += [(words.number(getattr(score, each)),) for each in ("malformed", "refused", "cut")]
            cells.append((phrases.shares(words, score.wordings) if score.wordings else words("word.one_wording"),))
            lines.append(TableRow(tuple(cells), span=0 if place else len(troubled)))
    if not lines:
        return None
    head = [(words(f"scores.{each}"),) for each in ("row", "contestant", "malformed", "refused", "cut", "wordings")]
    return Table(words("scores.troubles"), tuple(head), tuple(lines), frozenset({2, 3, 4, 5}))


def pairs(material: Material, words: Wording) -> Section:
    """Two contestants on the same items: who alone was right, the difference, and what may be said of it."""
    if not material.comparison.pairs:
        return Section("pairs", words("pairs.title"), (Paragraph(phrases.rich(words, "pairs.none")),))
    rows = {row.row: row for row in material.ordered_rows()}
    ordered = [pair for name in rows for pair in material.comparison.pairs if pair.row == name]
    primary = [pair for pair in ordered if rows[pair.row].primary]
    other = [pair for pair in ordered if not rows[pair.row].primary]
    shown = largest(other, MOST_EXPLORATORY)
    blocks: list[Block] = [Paragraph(phrases.rich(words, "pairs.how"))]
    for name, of, count in (("primary", primary, len(primary)), ("exploratory", shown, len(other))):
        if of:
            blocks += [
                Heading((words(f"pairs.{name}"),), f"pairs-{name}"),
                Paragraph(phrases.rich(words, f"pairs.{name}_how", n=words.number(count)), "note"),
                pair_table(material, words, of, name),
            ]
    if left := len(other) - len(shown):
        said = phrases.rich(words, "pairs.left_out", n=words.number(left), file=Data("report.ipynb"))
        blocks.append(Paragraph(said, "note"))
    return Section("pairs", words("pairs.title"), tuple(blocks))


def largest(pairs: Sequence[Pair], most: int) -> list[Pair]:
    """Those with the largest differences, in the order given."""
    kept = sorted(range(len(pairs)), key=lambda place: -abs(pairs[place].difference))[:most]
    return [pairs[place] for place in sorted(kept)]


def pair_table(material: Material, words: Wording, of: Sequence[Pair], name: str) -> Table:
    """Of two contestants the columns carry their names; of more, each row says whose it is."""
    two = len({(pair.first, pair.second) for pair in of}) == 1
    first, second = (material.who(words, of[0].first), material.who(words, of[0].second)) if two else (
        words("pairs.first"), words("pairs.second"))  # fmt: skip
    names: list[Text] = [
        (words("pairs.row"),), (words("pairs.pair"),), (words("pairs.n"),),
        phrases.rich(words, "pairs.only", name=first), phrases.rich(words, "pairs.only", name=second),
        phrases.rich(words, "pairs.difference", first=first, second=second),
        (words("pairs.p"),), (words("pairs.said"),),
    ]  # fmt: skip
    keep = [place for place in range(len(names)) if not (two and place == PAIR_COLUMN)]
    lines = []
    for pair in of:
        cells = pair_cells(material, words, pair)
        kept = tuple(cells[place] for place in keep)
        lines.append(TableRow(kept, pair_anchor(pair), pair.verdict in ("not_shown", "floor")))
    numbers = frozenset(keep.index(place) for place in (2, 3, 4, 5, 6))
    return Table(words(f"pairs.{name}_table"), tuple(names[place] for place in keep), tuple(lines), numbers)


PAIR_COLUMN = 1  # who is compared


def pair_cells(material: Material, words: Wording, pair: Pair) -> tuple[Text, ...]:
    first, second = (material.who(words, label) for label in (pair.first, pair.second))
    row = material.row(pair.row)
    difference = f"{phrases.points(words, pair.difference)} {phrases.span(words, pair.interval)}"
    graded = row.graded and pair.p is None
    return (
        (material.to_row(words, row),),
        (first, words("pairs.against"), second),
        (words.number(pair.n),),
        ("–" if graded else words.number(pair.only_first),),
        ("–" if graded else words.number(pair.only_second),),
        (difference,),
        p_of(words, pair),
        verdict(material, words, pair, primary=row.primary),
    )


def p_of(words: Wording, pair: Pair) -> Text:
    if pair.p is None and pair.p_adjusted is None:
        return ("–",)
    if pair.p is None:
        return (words("pairs.adjusted", p="", holm=phrases.chance(words, pair.p_adjusted or 0.0)).strip(),)
    if pair.p_adjusted is None:
        return (phrases.chance(words, pair.p),)
    return (words("pairs.adjusted", p=phrases.chance(words, pair.p), holm=phrases.chance(words, pair.p_adjusted)),)


def verdict(material: Material, words: Wording, pair: Pair, *, primary: bool) -> Text:
    """What may be said: of an exploratory row never that one is better."""
    margin, visible = (phrases.points(words, each, False) for each in (pair.margin, pair.visible))
    match pair.verdict:
        case "first_better" | "second_better" if primary:
            winner = pair.first if pair.verdict == "first_better" else pair.second
            return (Badge(words("verdict.better"), "shown"), " ", material.who(words, winner))
        case "equivalent":
            return (Badge(words("verdict.equivalent", margin=margin), "shown"),)
        case "floor":
            return (Badge(words("verdict.floor"), "wrong"),)
        case _ if primary:
            return (Badge(words("verdict.not_shown")), " ", words("verdict.visible", points=visible))
        case _:
            return (Badge(words("verdict.exploratory")), " ", words("verdict.visible", points=visible))


def letters(material: Material, words: Wording) -> Section | None:
    """Which letters were chosen: a model that says A whatever is asked is seen here."""
    scored = [(row, score) for row in material.ordered_rows() for score in row.scores if score.chosen]
    if not scored:
        return None
    names = sorted({letter for _, score in scored for letter in score.chosen or ()})
    lines = []
    for row, score in scored:
        chosen = score.chosen or {}
        cells: list[Text] = [(material.to_row(words, row),), (material.who(words, score.contestant),)]
        cells += [(words.number(chosen.get(letter, 0)),) for letter in names]
        bias = (Badge(words("letters.biased", letter=score.biased), "wrong"),) if score.biased else ("–",)
        lines.append(TableRow((*cells, bias)))
    head = tuple((each,) for each in (words("scores.row"), words("scores.contestant"), *names, words("letters.said")))
    table = Table(words("letters.table"), head, tuple(lines), frozenset(range(2, 2 + len(names))))
    return Section("letters", words("letters.title"), (Paragraph(phrases.rich(words, "letters.how")), table))


def groups(material: Material, words: Wording) -> Section | None:
    """Steps of ladders, subjects, cells of grids: where each contestant breaks. Exploratory."""
    divided = [row for row in material.ordered_rows() if len(groups_of(row)) > 1]
    if not divided:
        return None
    blocks: list[Block] = [Paragraph(phrases.rich(words, "groups.how", n=words.number(FEWEST)))]
    blocks += [group_table(material, words, row) for row in divided]
    return Section("groups", words("groups.title"), tuple(blocks), brief=False)


def groups_of(row: Row) -> list[str]:
    """Groups with at least FEWEST items, in their order."""
    return list(dict.fromkeys(each.group for score in row.scores for each in score.groups if each.n >= FEWEST))


def group_table(material: Material, words: Wording, row: Row) -> Table:
    by_group = {score.contestant: {each.group: each for each in score.groups} for score in row.scores}
    lines = []
    for name in groups_of(row):
        found = [by_group[score.contestant].get(name) for score in row.scores]
        count = max(each.n for each in found if each)
        cells: list[Text] = [(name,), (words.number(count),)]
        for each in found:
            share = f"{words.percent(each.share)} {phrases.shares(words, each.interval)}" if each else "–"
            cells.append((share,))
        lines.append(TableRow(tuple(cells)))
    contestants: list[Text] = [(material.who(words, score.contestant),) for score in row.scores]
    head: tuple[Text, ...] = ((words("groups.group"),), (words("groups.n"),), *contestants)
    return Table(material.title(words, row), head, tuple(lines), frozenset(range(1, 2 + len(row.scores))))


def passes(material: Material, words: Wording) -> Section | None:
    """pass@k, where several answers were given to each item."""
    if not material.comparison.passes:
        return None
    lines = tuple(
        TableRow((
            (material.to_row(words, material.row(each.row)),),
            (material.who(words, each.contestant),),
            (words.number(each.k),),
            (words.number(each.samples),),
            (f"{words.percent(each.value)} {phrases.shares(words, each.interval)}",),
        ))
        for each in material.comparison.passes
    )  # fmt: skip
    head = tuple((words(f"passes.{each}"),) for each in ("row", "contestant", "k", "samples", "value"))
    table = Table(words("passes.table"), head, lines, frozenset({2, 3, 4}))
    return Section("passes", words("passes.title"), (Paragraph(phrases.rich(words, "passes.how")), table))
