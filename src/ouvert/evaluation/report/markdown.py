"""report.md: the same content shortened, in one language, to be pasted into a discussion.

Links lead into report.html, which lies beside it. What contestants say stands in fences that it cannot end.
"""

import re
from collections.abc import Callable

from ouvert.evaluation.report import document as d
from ouvert.evaluation.report.document import MARKS
from ouvert.evaluation.report.visible import one_line, visible
from ouvert.evaluation.wording import Wording

ACTIVE = re.compile(r"([\\`*_{}\[\]<>|~$#&])")
# Names that a reader of Markdown may turn into something else (addresses, people) stand as code.
PLAIN_NAME = re.compile(r"[\w .:/+-]+")
EXAMPLES = 3  # that a shortened report shows


def markdown(document: d.Document, words: Wording, page: str = "report.html") -> str:
    """Sections that are brief, without five answers under every score. `page`: the file that has everything, which lies
    beside it. Raises nothing."""
    parts = [f"# {text_of((document.title,))}", text_of(document.under)]
    shown = 0
    for section in document:
        if not section.brief:
            continue
        parts.append(f"## {text_of((section.title,))}")
        for block in section.blocks:
            if isinstance(block, d.Examples):
                shown += 1
                if shown > EXAMPLES:
                    continue
            parts.append(WRITERS[type(block)](block))
    parts.append(f"{escaped(words('page.short')).strip()} [{page}]({page}#found).")
    return "\n\n".join(part for part in parts if part) + "\n"


def text_of(text: d.Text) -> str:
    return "".join(map(inline, text)).strip()


def inline(part: d.Inline) -> str:
    match part:
        case str():
            return escaped(part)
        case d.Link(text, to):
            return f"[{escaped(text)}](report.html#{to})"
        case d.Strong(text):
            return f"**{escaped(text)}**"
        case d.Data(text):
            return code(text)
        case d.Badge(text, _):
            return f"*{escaped(text)}*" if text else ""
        case d.Who(label, place, leaves):
            away = f" (**{escaped(leaves)}**)" if leaves else ""
            return f"{MARKS[place % len(MARKS)]} {name(label)}{away}"


def escaped(text: str) -> str:
    return ACTIVE.sub(r"\\\1", one_line(text))


def name(label: str) -> str:
    is_plain = PLAIN_NAME.fullmatch(label) and "://" not in label and "www." not in label
    return escaped(label) if is_plain else code(label)


def code(text: str) -> str:
    """A code span that its text cannot end."""
    line = one_line(text).replace("|", "¦")  # a bar would end a cell of a table even here
    ticks = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    return f"{ticks} {line} {ticks}" if "`" in line else f"`{line}`" if line else ""


def fenced(text: str) -> str:
    shown = visible(text)
    ticks = "`" * max(3, 1 + max(map(len, re.findall("`+", shown)), default=0))
    return f"{ticks}text\n{shown}\n{ticks}"


def paragraph(block: d.Paragraph) -> str:
    return text_of(block.text)


def bullets(block: d.Bullets) -> str:
    return "\n".join(f"- {text_of(each)}" for each in block.items)


def table(block: d.Table) -> str:
    head = [text_of(each) for each in block.head]
    rule = ["--:" if column in block.numbers else "---" for column in range(len(head))]
    rows = [[text_of(cell) for cell in row.cells] for row in block.rows]
    lines = "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))
    return f"**{escaped(block.caption)}**\n\n{lines}"


def figure(block: d.Figure) -> str:
    """The chart in letters where there is one; else what it shows, in words."""
    if not block.plain:
        return escaped(block.description)
    return f"{fenced(block.plain)}\n\n{text_of(block.caption)}"


def cards(block: d.Cards) -> str:
    return "\n\n".join(map(card, block.cards))


def card(each: d.ContestantCard) -> str:
    warning = [f"- **{escaped(each.warning)}**"] if each.warning else []
    facts = [f"- {escaped(label)}: {text_of(text)}" for label, text in each.facts]
    return "\n".join([f"**{inline(each.who)}**", "", *warning, *facts])


def examples(block: d.Examples) -> str:
    return "\n\n".join([f"**{text_of(block.title)}**", *(example(block, each) for each in block.examples)])


def example(block: d.Examples, each: d.Example) -> str:
    expected = [f"{escaped(block.expected)}: {code(each.expected.text)}"] if each.expected.text else []
    answers = [f"{inline(said.who)} {inline(said.badge)}\n\n{fenced_data(said.text)}" for said in each.answers]
    asked = f"{escaped(block.question)} {code(each.name.text)}"
    return "\n\n".join([asked, fenced_data(each.question), *expected, *answers])


def fenced_data(data: d.Data) -> str:
    return fenced(data.text + data.left)


def commands(block: d.Commands) -> str:
    return fenced(block.text.text)


def heading(block: d.Heading) -> str:
    return f"### {text_of(block.text)}"


def boxes(block: d.Boxes) -> str:
    return "\n\n".join(
        f"**{escaped(box.title)}.** {escaped(box.text)}\n\n*{escaped(block.exercise)}* {escaped(box.exercise)}"
        for box in block.boxes
    )


WRITERS: dict[type, Callable[..., str]] = {
    d.Paragraph: paragraph,
    d.Bullets: bullets,
    d.Table: table,
    d.Figure: figure,
    d.Cards: cards,
    d.Boxes: boxes,
    d.Examples: examples,
    d.Commands: commands,
    d.Heading: heading,
}
