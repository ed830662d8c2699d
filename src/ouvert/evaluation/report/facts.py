"""Facts around a comparison: its contestants, privacy, licences, published figures, limits, how to repeat it."""

from collections.abc import Mapping
from typing import Any

from ouvert.evaluation.report import phrases
from ouvert.evaluation.report.document import (
    Block,
    Bullets,
    Cards,
    Commands,
    ContestantCard,
    Data,
    Heading,
    Link,
    Paragraph,
    Section,
    Table,
    TableRow,
    Text,
)
from ouvert.evaluation.report.material import Material
from ouvert.evaluation.wording import Wording, catalogue

# Of `about`, in this order; what is not known of these is said to be not known.
ABOUT = ("parameters", "bytes", "context", "precision", "languages", "published", "fetched_at", "release")

ONLY_WHERE_KNOWN = ("precision", "published", "fetched_at")


def contestants(material: Material, words: Wording) -> Section:
    cards = tuple(card(material, words, facts) for facts in material.comparison.contestants)
    return Section("contestants", words("contestants.title"), (Cards(cards),))


def card(material: Material, words: Wording, facts: Mapping[str, Any]) -> ContestantCard:
    about, where = dict(facts.get("about", {})), str(facts["where"])
    lines: list[tuple[str, Text]] = []
    if facts.get("name") and facts["name"] != facts["label"]:
        lines.append((words("card.name"), (Data(str(facts["name"])),)))
    place: Text = (words(f"card.where_{where}"),)
    if facts.get("host"):
        place = (*place, " (", Data(str(facts["host"])), ")")
    lines.append((words("card.where"), place))
    lines.append((words("card.licence"), licence(words, about.get("licence"))))
    told = [name for name in ABOUT if name in about or name not in ONLY_WHERE_KNOWN]
    lines += [(words(f"card.{name}"), known(words, name, about.get(name))) for name in told]
    if not facts.get("replays", True):
        lines.append((words("card.replays"), (words("card.no_replay"),)))
    lines.append((words("card.digest"), (Data(str(facts.get("digest", ""))[:23] + "…"),)))
    warning = words("card.warning") if where == "remote" else ""
    return ContestantCard(material.who(words, str(facts["label"])), tuple(lines), warning)


def known(words: Wording, name: str, value: Any) -> Text:
    if value in (None, "", [], ()):
        return (words("word.unknown"),)
    match value:
        case int() if name == "bytes":
            return (phrases.size(words, value),)
        case int() if name == "parameters":
            return (phrases.parameters(words, value),)
        case int() if name == "context":
            return (words("unit.tokens", n=words.number(value)),)
        case str() if name == "fetched_at":
            return (value[:10],)  # the day
        case list() | tuple():
            return (", ".join(map(str, value)),)
    return (str(value),)


def licence(words: Wording, name: Any) -> Text:
    """Its name, and what it lets people do in plain words, where it is one that we know."""
    if not name:
        return (words("licence.unknown"),)
    key = f"licence.{str(name).lower()}"
    plain = catalogue("report", words.language).get(key, words("licence.other"))
    return (Data(str(name)), " — ", plain)


def privacy(material: Material, words: Wording) -> Section:
    """Connections from the receipts; licences; safety."""
    remote = [label for label in material.labels if material.where(label) == "remote"]
    blocks: list[Block] = [Paragraph(connections(material, words))]
    if remote:
        names = phrases.joined(words, [(material.who(words, label),) for label in remote])
        blocks.append(Paragraph(phrases.rich(words, "privacy.remote", names=names)))
    else:
        blocks.append(Paragraph(phrases.rich(words, "privacy.none_left")))
    blocks += [Heading((words("privacy.licences"),), "licences"), licence_table(material, words)]
    blocks.append(Paragraph(phrases.rich(words, "privacy.licence_file", file=Data("LICENCES.md")), "note"))
    blocks += [Heading((words("privacy.safety"),), "safety"), Paragraph(phrases.rich(words, "privacy.not_evaluated"))]
    return Section("privacy", words("privacy.title"), tuple(blocks))


def connections(material: Material, words: Wording) -> Text:
    found = material.comparison.connections
    if not found:
        return phrases.rich(words, "privacy.no_receipts")
    names = ("attempted", "allowed", "denied", "counted", "receipts")
    counts = {name: words.number(int(found.get(name, 0))) for name in names}
    return phrases.rich(words, "privacy.connections", **counts)


def licence_table(material: Material, words: Wording) -> Table:
    suites = list(dict.fromkeys(row.suite for row in material.comparison.rows))
    planned = {each["name"]: each for each in material.comparison.plan.get("suites", ())}
    lines = []
    for name in suites:
        made, about = material.cards.get(name), planned.get(name, {})
        title = made.title[words.language] if made else name
        source, terms = (str(getattr(made, each, "") or about.get(each, "")) for each in ("source", "licence"))
        lines.append(TableRow(((title,), (Data(terms or "–"),), (source or "–",))))
    head = tuple((words(f"privacy.{each}"),) for each in ("suite", "licence", "source"))
    return Table(words("privacy.licence_table"), head, tuple(lines))


def published(material: Material, words: Wording) -> Section | None:
    """Figures of others about these contestants, in a block of their own: another harness, no interval."""
    names = [letters_of(f"{each['label']} {each.get('name', '')}") for each in material.comparison.contestants]
    figures = [each for each in material.published if any(letters_of(each.model) in name for name in names)]
    if not figures:
        return None
    columns = ("model", "benchmark", "language", "effort", "percent", "place", "harness", "read")
    lines = tuple(
        TableRow((
            (each.model,), (f"{each.benchmark}, {each.metric}",),
            (words(f"language.{each.language}") if each.language else "–",), (each.effort or "–",),
            (words.number(each.percent, 1),), (f"{each.title}, {each.address}, {each.place}",), (each.harness,),
            (each.read,),
        ))
        for each in figures
    )  # fmt: skip
    head = tuple((words(f"published.{each}"),) for each in columns)
    table = Table(words("published.table"), head, lines, frozenset({4}))
    return Section("published", words("published.title"), (Paragraph(phrases.rich(words, "published.how")), table))


def letters_of(name: str) -> str:
    """A name as it is compared: gpt-oss:20b and gpt-oss-20b are one."""
    return "".join(each for each in name.lower() if each.isalnum())


def limits(material: Material, words: Wording) -> Section:
    """Which general limits hold here, with the rows that they concern."""
    found = dict(material.comparison.limits or {})
    items: list[Text] = []
    for key, concerned in found.items():
        names = [concern(material, words, name) for name in concerned]
        where: Text = (" (", *phrases.first_few(words, names, 6), ")") if names else ()
        items.append((words(f"limits.{key}"), *where))
    items.append(phrases.rich(words, "limits.always"))
    return Section("limits", words("limits.title"), (Bullets(tuple(items)),))


def concern(material: Material, words: Wording, name: str) -> Text:
    """A row or a contestant that a limit holds for."""
    if name in {row.row for row in material.comparison.rows}:
        return (material.to_row(words, material.row(name)),)
    return (material.who(words, name),) if name in material.labels else (name,)


def reproduce(material: Material, words: Wording) -> Section:
    """What it takes to get the same again."""
    plan = material.comparison.plan
    facts: list[tuple[str, Any]] = [
        (words("reproduce.plan"), material.plan_digest),
        (words("reproduce.chain"), material.chain),
        (words("reproduce.seed"), plan.get("seed")),
        (words("reproduce.written"), plan.get("written")),
        *((name, value) for part in ("versions", "machine") for name, value in sorted(plan.get(part, {}).items())),
        *((each["label"], each.get("digest", "")) for each in material.comparison.contestants),
    ]
    lines = [TableRow(((name,), (Data(str(value)),))) for name, value in facts if value not in (None, "")]
    table = Table(words("reproduce.table"), ((words("reproduce.what"),), (words("reproduce.value"),)), tuple(lines))
    commands = "ouvert compare rerun DIR\nouvert compare report DIR"
    return Section("reproduce", words("reproduce.title"), (
        Paragraph(phrases.rich(words, "reproduce.how", limits=Link(words("limits.title"), "limits"))),
        Commands(Data(commands)), row_table(material, words), table,
    ))  # fmt: skip


def row_table(material: Material, words: Wording) -> Table:
    """The plan's rows: how many items, which seed, which margin."""
    lines = []
    for planned in material.comparison.plan.get("rows", ()):
        margin = words("reproduce.points", n=phrases.points(words, float(planned.get("margin", 0)), False))
        purposes = ", ".join(planned.get("purposes", ())) if planned.get("primary") else "–"
        lines.append(TableRow((
            (Data(planned["row"]),), (words.number(planned.get("count", 0)),), (str(planned.get("seed", "")),),
            (margin,), (purposes or words("scores.primary"),), (Data(str(planned.get("items", ""))[:23]),),
        )))  # fmt: skip
    head = tuple((words(f"reproduce.{each}"),) for each in ("row", "items", "seed", "margin", "purposes", "digest"))
    return Table(words("reproduce.rows"), head, tuple(lines), frozenset({1, 2, 3}))
