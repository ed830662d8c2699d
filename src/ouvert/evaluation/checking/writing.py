"""The report of a check as a page in two languages and as Markdown: from the values of a CheckReport alone."""

import json
from collections.abc import Iterator
from pathlib import Path

from ouvert.evaluation.checking.check_report import CheckReport, Finding, Observation
from ouvert.evaluation.checking.measures import BENIGN, LEVEL, LOSS_LIMIT, PAIRED, REFUSALS, TEXTS
from ouvert.evaluation.comparison import Interval
from ouvert.evaluation.report import document as d
from ouvert.evaluation.report.markdown import markdown
from ouvert.evaluation.report.page import page
from ouvert.evaluation.report.phrases import points, ranged, span
from ouvert.evaluation.report.visible import shortened
from ouvert.evaluation.report.write import write
from ouvert.evaluation.suites.refusals.classes import CLASSES
from ouvert.evaluation.wording import Language, Wording

LITTLE = 0.2  # of the harmful requests: a base that refuses fewer has little to lose
MOST_SHOWN = 600  # characters of an answer
KINDS = {"worse": "wrong", "kept": "right", "better": "shown", "not_measured": "quiet"}
STATE_KINDS = {"checked": "right", "regression": "wrong", "unchecked": "quiet"}
CHECK, PAGE, TEXT = "check.json", "check.html", "check.md"
SHARES = frozenset(each.name for each in PAIRED)
RELATIVE = frozenset(each.name for each in TEXTS)


def write_check(report: CheckReport, folder: Path, language: Language = "en") -> Path:
    """Write check.json, check.html and check.md into `folder`; where the page is. From the same report the same bytes.

    Raises EvaluationError where a file cannot be written.
    """
    write(folder / CHECK, json.dumps(report.mapping, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
    write(folder / PAGE, page(document_of(report, "en"), document_of(report, "fr"), language))
    write(folder / TEXT, markdown(document_of(report, language), Wording("check", language), PAGE))
    return folder / PAGE


def document_of(report: CheckReport, language: Language) -> d.Document:
    """The report in one language. Raises nothing."""
    words = Wording("check", language)
    sections = (
        d.Section("found", words("measures.title"), tuple(found(report, words))),
        classes(report, words),
        examples(report, words),
        inside(report, words),
        limits(report, words),
    )
    under = words("page.under", date=report.made[:10], questions=report.questions, known=report.known)
    return d.Document(
        words("page.title", name=report.contestants[1]), (under,), language, words("page.contents"),
        tuple(each for each in sections if each is not None),
    )  # fmt: skip


def said_of_state(report: CheckReport, words: Wording) -> str:
    """The verdict in one sentence. Raises nothing."""
    if report.state != "regression":
        return words(f"state.{report.state}")
    return words("state.regression", what=", ".join(words(f"measure.{each}") for each in report.why))


def found(report: CheckReport, words: Wording) -> Iterator[d.Block]:
    """The verdict, and the table that it stands on."""
    badge = d.Badge(said_of_state(report, words), STATE_KINDS[report.state])  # type: ignore[arg-type]
    measured = sum(each.verdict != "not_measured" for each in report.findings)
    more = words(
        f"state.{report.state}_more", measures=measured, level=words.percent(LEVEL), why=" ".join(report.why)
    )  # fmt: skip
    yield d.Paragraph((badge, " ", more), "lead")
    if report.integrity is not None:
        key = "state.integrity_holds" if report.integrity.holds else "state.integrity_fails"
        yield d.Paragraph((words(key, note=report.integrity.note),))
    head = tuple(
        (words(f"measures.{each}"),) for each in ("measure", "before", "after", "change", "n", "noticed", "verdict")
    )
    rows = tuple(d.TableRow(cells_of(each, words), quiet=each.verdict == "not_measured") for each in report.findings)
    yield d.Table(words("measures.caption"), head, rows, frozenset({1, 2, 3, 4, 5}))
    yield d.Paragraph((words("measures.note", limit=words.percent(LOSS_LIMIT)),), "note")
    for each in report.findings:
        if each.note and each.verdict != "not_measured":
            yield d.Paragraph((d.Strong(words(f"measure.{each.measure}")), ": ", d.Data(each.note)), "note")


def page_of_check(folder: Path) -> Path:
    """Where `write_check` writes the page. Raises nothing."""
    return folder / PAGE


def line_of_finding(finding: Finding, words: Wording) -> tuple[str, ...]:
    """A measured finding in a line: measure, before, after, verdict, and on how many questions or tokens. Raises
    nothing."""
    before, after = (value_of(finding, each or 0.0, words) for each in (finding.before, finding.after))
    return (words(f"measure.{finding.measure}"), before, after, words(f"verdict.{finding.verdict}"),
            count_of(finding, words))  # fmt: skip


def count_of(finding: Finding, words: Wording) -> str:
    unit = "questions" if finding.measure in SHARES else "tokens"
    return words(f"measures.{unit}", n=words.number(finding.n))


def cells_of(finding: Finding, words: Wording) -> tuple[d.Text, ...]:
    """One row of the table."""
    verdict = d.Badge(words(f"verdict.{finding.verdict}"), KINDS[finding.verdict])  # type: ignore[arg-type]
    name: d.Text = (words(f"measure.{finding.measure}"),)
    if finding.before is None or finding.after is None or finding.change is None:
        return (name, ("–",), ("–",), ("–",), ("–",), ("–",), (verdict, " ", d.Data(finding.note)))
    return (
        name,
        (value_of(finding, finding.before, words),),
        (value_of(finding, finding.after, words),),
        (change_of(finding, words),),
        (count_of(finding, words),),
        ("–" if finding.noticed is None else noticed_of(finding, words),),
        (verdict,),
    )


def value_of(finding: Finding, value: float, words: Wording) -> str:
    return words.percent(value) if finding.measure in SHARES else words.number(value, 3)


def change_of(finding: Finding, words: Wording) -> str:
    """With its interval."""
    change, interval = finding.change or 0.0, finding.interval
    if finding.measure in SHARES:
        said, edges = words("measures.points", n=points(words, change)), interval and span(words, interval)
    elif finding.measure in RELATIVE:
        percent = interval and Interval(100 * interval.low, 100 * interval.high)
        said, edges = words.percent(change, 1), percent and ranged(words, percent, 1)
    else:
        said, edges = words.number(change, 3), interval and ranged(words, interval, 3)
    return f"{said} {edges or ''}".strip().replace("-", "−")


def noticed_of(finding: Finding, words: Wording) -> str:
    if finding.measure in RELATIVE:
        return words.percent(finding.noticed or 0.0)
    return words("measures.points", n=points(words, finding.noticed or 0.0, signed=False))


def classes(report: CheckReport, words: Wording) -> d.Section | None:
    """What became of harmful and of harmless requests."""
    blocks: list[d.Block] = []
    for row, name in ((REFUSALS, "harmful"), (BENIGN, "harmless")):
        if row in report.classes:
            head = tuple((words(key),) for key in ("classes.class", "measures.before", "measures.after"))
            counts = report.classes[row]
            rows = tuple(
                d.TableRow(((words(f"classes.{kind}"),), *((words.number(each),) for each in counts[kind])))
                for kind in CLASSES
            )
            blocks.append(
                d.Table(f"{words('classes.caption')}: {words(f'classes.{name}')}", head, rows, frozenset({1, 2}))
            )
    if not blocks:
        return None
    counts = report.classes.get(REFUSALS, {})
    asked, refused = sum(each[0] for each in counts.values()), counts.get("refused", (0, 0))[0]
    if counts and refused < LITTLE * asked:
        blocks.append(d.Paragraph((words("classes.little", n=words.number(refused)),), "lead"))
    blocks.append(d.Paragraph((words("classes.note"),), "note"))
    return d.Section("refusals", words("classes.title"), tuple(blocks))


def examples(report: CheckReport, words: Wording) -> d.Section | None:
    """Ten answers, without and with."""
    if not report.examples:
        return None
    shown = tuple(
        d.Example(
            data(str(number)),
            data(each.prompt),
            data(each.wanted),
            tuple(
                d.Said(
                    d.Who(label, place),
                    d.Badge(words("examples.ended" if each.ended[place] else "examples.cut"), "quiet"),
                    data(text),
                    verdict="right" if each.ended[place] else "malformed",
                )
                for place, (label, text) in enumerate(zip(report.contestants, (each.before, each.after), strict=True))
            ),
        )
        for number, each in enumerate(report.examples, 1)
    )
    block = d.Examples((words("examples.prompts"),), words("examples.question"), words("examples.expected"), shown)
    return d.Section("examples", words("examples.title"), (d.Paragraph((words("examples.lead"),)), block))


def data(text: str) -> d.Data:
    kept, left = shortened(text, MOST_SHOWN)
    return d.Data(kept, f" … (+{left})" if left else "")


def inside(report: CheckReport, words: Wording) -> d.Section | None:
    """What was seen inside, which decides nothing."""
    if not report.observations:
        return None
    head = tuple((words(f"inside.{each}"),) for each in ("what", "where", "value"))
    rows = tuple(observation(each, words) for each in report.observations)
    table = d.Table(words("inside.caption"), head, rows, frozenset({2}))
    return d.Section(
        "inside", words("inside.title"), (d.Paragraph((words("inside.lead"),), "note"), table), brief=False
    )


def observation(each: Observation, words: Wording) -> d.TableRow:
    return d.TableRow(((words(f"inside.{each.what}"),), (d.Data(each.where),), (words.number(each.value, 4),)))


def limits(report: CheckReport, words: Wording) -> d.Section:
    """What a reader must not conclude."""
    tasks = next((each.n for each in report.findings if each.measure == "capability"), 0)
    binds = ", ".join(f"{name} {digest[:19]}" for name, digest in report.binds.items()) or report.plan[:19]
    items = (
        words("limits.one"),
        words("limits.two"),
        words("limits.three", n=words.number(tasks)),
        words("limits.four"),
        words("limits.five", binds=binds),
    )
    return d.Section("limits", words("limits.title"), (d.Bullets(tuple((each,) for each in items)),))
