"""report.html: one page in two languages, without a script and without anything from elsewhere.

English and French are two trees of one shape (`document`). What is equal in both is written once; what differs is
written twice, each with its `lang`, and two radio buttons decide through CSS which of them is seen.
"""

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

from ouvert.evaluation.report import document as d
from ouvert.evaluation.report.document import MARKS
from ouvert.evaluation.report.visible import one_line, visible
from ouvert.evaluation.wording import Language

STYLE = Path(__file__).with_name("page.css")
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
LONG_LABEL = 28  # characters of a contestant's name: a longer one may be broken
NAMES = {"en": "English", "fr": "Français"}
LANGUAGES: tuple[Language, Language] = ("en", "fr")


def page(english: d.Document, french: d.Document, first: Language) -> str:
    """The whole page; `first` is the language that it opens in. Raises ValueError for trees of two shapes."""
    both = (english, french)
    shown = english if first == "en" else french
    return "".join([
        "<!DOCTYPE html>\n",
        f'<html lang="{first}"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark"><meta name="referrer" content="no-referrer">',
        f"<title>{plain(shown.title)}</title>\n<style>\n{style()}</style></head>\n<body>\n",
        f"<main>\n{switch(first)}",
        f'<div class="both">\n<header><h1>{twice(*(plain(each.title) for each in both))}</h1>',
        f'<p class="under">{texts(english.under, french.under)}</p></header>\n',
        contents(both),
        *(section(*each) for each in zip(english, french, strict=True)),
        "</div>\n</main>\n</body></html>\n",
    ])  # fmt: skip


def style() -> str:
    """The page's CSS, without its comments and indentation."""
    lines = STYLE.read_text(encoding="utf-8").splitlines()
    return "".join(line.strip() + "\n" for line in lines if line.strip() and not line.startswith("/*"))


def switch(first: Language) -> str:
    """The two radio buttons; they stand before everything that they show or hide."""
    buttons = (
        f'<input type="radio" name="language" id="in-{each}"{" checked" if each == first else ""}>'
        f'<label for="in-{each}" lang="{each}">{NAMES[each]}</label>'
        for each in LANGUAGES
    )
    return f"{''.join(buttons)}\n"


def contents(both: Sequence[d.Document]) -> str:
    label = plain(" / ".join(each.contents for each in both))
    links = (
        f'<li><a href="#{plain(english.anchor)}">{twice(plain(english.title), plain(french.title))}</a></li>'
        for english, french in zip(*both, strict=True)
    )
    return f'<nav aria-label="{label}"><ol>{"".join(links)}</ol></nav>\n'


def section(english: d.Section, french: d.Section) -> str:
    title = twice(plain(english.title), plain(french.title))
    name = plain(english.anchor)
    blocks = "".join(block(*each) for each in zip(english.blocks, french.blocks, strict=True))
    head = f'<section id="{name}" aria-labelledby="{name}-title"><h2 id="{name}-title">{title}</h2>'
    return f"{head}\n{blocks}</section>\n"


def block(english: d.Block, french: d.Block) -> str:
    """One block in both languages."""
    if type(english) is not type(french):
        raise ValueError(f"writing a report: {english!r:.80} stands where the French one has {french!r:.80}.")
    return WRITERS[type(english)](english, french)


def plain(text: str) -> str:
    """Text for HTML, in an element or a quoted attribute."""
    return escape(one_line(text))


def twice(english: str, french: str) -> str:
    """HTML of both languages: once where it is the same."""
    if english == french:
        return english
    return f'<span lang="en">{english}</span><span lang="fr">{french}</span>'


def texts(english: d.Text, french: d.Text) -> str:
    """Part by part where both have the same parts, so that what is equal (names, figures, marks) stands once."""
    if [shape(each) for each in english] == [shape(each) for each in french]:
        return "".join(map(part_of_both, english, french))
    return twice(*("".join(map(inline, each)) for each in (english, french)))


def shape(part: d.Inline) -> tuple[object, ...]:
    """What a part is, apart from its words."""
    match part:
        case d.Link(_, to):
            return (d.Link, to)
        case d.Badge(_, kind):
            return (d.Badge, kind)
    return (type(part),)


def part_of_both(english: d.Inline, french: d.Inline) -> str:
    match english, french:
        case d.Link(text, to), d.Link(other, _):
            return f'<a href="#{plain(to)}">{twice(plain(text), plain(other))}</a>'
        case d.Badge(text, kind), d.Badge(other, _):
            return f'<span class="badge {kind}">{twice(plain(text), plain(other))}</span>'
        case d.Who(), d.Who():
            return who(english, twice(plain(english.leaves), plain(french.leaves)))
    return twice(inline(english), inline(french))


def inline(part: d.Inline) -> str:
    match part:
        case str():
            return plain(part)
        case d.Link(text, to):
            return f'<a href="#{plain(to)}">{plain(text)}</a>'
        case d.Strong(text):
            return f"<strong>{plain(text)}</strong>"
        case d.Data(text):
            return f"<code>{plain(text)}</code>"
        case d.Badge(text, kind):
            return f'<span class="badge {kind}">{plain(text)}</span>'
        case d.Who():
            return who(part, plain(part.leaves))


def who(part: d.Who, leaves: str = "") -> str:
    """A contestant: its mark, its name, and `leaves`, HTML that says that it leaves the machine where it does."""
    away = f' <span class="badge leaves">{leaves}</span>' if leaves else ""
    kind = "who long" if len(part.label) > LONG_LABEL else "who"
    return f'<span class="{kind}">{mark(part.place)}&nbsp;<bdi>{plain(part.label)}</bdi>{away}</span>'


def mark(place: int) -> str:
    return f'<b class="mark c{place % len(MARKS)}" aria-hidden="true">{MARKS[place % len(MARKS)]}</b>'


def paragraph(english: d.Paragraph, french: d.Paragraph) -> str:
    return f"<p{of_kind(english.kind)}>{texts(english.text, french.text)}</p>\n"


def of_kind(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def bullets(english: d.Bullets, french: d.Bullets) -> str:
    items = (f"<li>{texts(*each)}</li>" for each in zip(english.items, french.items, strict=True))
    return f"<ul>{''.join(items)}</ul>\n"


def table(english: d.Table, french: d.Table) -> str:
    head = (
        f'<th scope="col"{of_kind("n" if column in english.numbers else "")}>{texts(en, fr)}</th>'
        for column, (en, fr) in enumerate(zip(english.head, french.head, strict=True))
    )
    rows = (table_row(en, fr, english.numbers) for en, fr in zip(english.rows, french.rows, strict=True))
    caption = twice(plain(english.caption), plain(french.caption))
    return (
        f'<div class="wide" tabindex="0"><table><caption>{caption}</caption>'
        f"<thead><tr>{''.join(head)}</tr></thead><tbody>\n{''.join(rows)}</tbody></table></div>\n"
    )


def table_row(english: d.TableRow, french: d.TableRow, numbers: frozenset[int]) -> str:
    cells, span = [], english.span
    heads = f' rowspan="{span}"' if span > 1 else ""
    for column, pair in enumerate(zip(english.cells, french.cells, strict=True)):
        if column == 0 and span == 0:
            continue
        tag = f'th scope="{"rowgroup" if span > 1 else "row"}"{heads}' if column == 0 else "td"
        cells.append(f"<{tag}{of_kind('n' if column in numbers else '')}>{texts(*pair)}</{tag.split()[0]}>")
    name = f' id="{plain(english.anchor)}"' if english.anchor else ""
    kinds = " ".join(kind for kind, holds in (("quiet", english.quiet), ("on", not span)) if holds)
    return f"<tr{name}{of_kind(kinds)}>{''.join(cells)}</tr>\n"


def figure(english: d.Figure, french: d.Figure) -> str:
    from ouvert.evaluation.report.svg import merge  # what charts are made of is needed only where there are some

    picture = merge(english.svg, french.svg, english.name, (english.description, french.description))
    caption = texts(english.caption, french.caption)
    return f'<figure><div class="chart" tabindex="0">{picture}</div><figcaption>{caption}</figcaption></figure>\n'


def cards(english: d.Cards, french: d.Cards) -> str:
    return f'<div class="cards">{"".join(map(card, english.cards, french.cards))}</div>\n'


def card(english: d.ContestantCard, french: d.ContestantCard) -> str:
    facts = (
        f"<div><dt>{twice(plain(en[0]), plain(fr[0]))}</dt><dd>{texts(en[1], fr[1])}</dd></div>"
        for en, fr in zip(english.facts, french.facts, strict=True)
    )
    warning = twice(plain(english.warning), plain(french.warning))
    said = f'<p class="leaving">{warning}</p>' if english.warning else ""
    kind = "card elsewhere" if english.warning else "card"
    name = part_of_both(english.who, french.who)
    return f'<article class="{kind}"><h3>{name}</h3>{said}<dl>{"".join(facts)}</dl></article>\n'


def boxes(english: d.Boxes, french: d.Boxes) -> str:
    pairs = zip(english.boxes, french.boxes, strict=True)
    labels = [twice(plain(getattr(english, each)), plain(getattr(french, each))) for each in ("exercise", "answer")]
    return f'<div class="boxes">{"".join(box(en, fr, *labels) for en, fr in pairs)}</div>\n'


def box(english: d.Box, french: d.Box, exercise: str, answer: str) -> str:
    title, text, task, solution = (
        twice(plain(getattr(english, each)), plain(getattr(french, each)))
        for each in ("title", "text", "exercise", "answer")
    )
    return (
        f'<article class="box"><h3>{title}</h3><p>{text}</p><p class="exercise"><b>{exercise}</b> {task}</p>'
        f"<details><summary>{answer}</summary><p>{solution}</p></details></article>\n"
    )


def examples(english: d.Examples, french: d.Examples) -> str:
    """Items with their answers. What contestants and suites say has no language and stands here once."""
    title = texts(english.title, french.title)
    if english.folded:
        inside = "".join(map(short_example, english.examples, french.examples))
        return f'<details class="examples"><summary>{title}</summary>{inside}</details>\n'
    labels = [twice(plain(getattr(english, each)), plain(getattr(french, each))) for each in ("question", "expected")]
    inside = "".join(example(en, fr, *labels) for en, fr in zip(english.examples, french.examples, strict=True))
    return f'<div class="examples"><p class="of">{title}</p>{inside}</div>\n'


def example(english: d.Example, french: d.Example, question: str, expected: str) -> str:
    answers = "".join(map(said, english.answers, french.answers))
    rest = left(english.expected, french.expected)
    wanted = f'<p class="expected"><b>{expected}</b> <bdi>{plain(english.expected.text)}</bdi>{rest}</p>'
    return (
        f'<div class="example"><p class="item"><code>{plain(english.name.text)}</code></p>'
        f'<div class="question"><b>{question}</b>{raw(english.question, french.question)}</div>'
        f'{wanted if english.expected.text else ""}<div class="answers">{answers}</div></div>\n'
    )


SIGNS = {"right": "✓", "wrong": "✗", "malformed": "∅", "refused": "⊘"}  # of answers, explained above them


def short_example(english: d.Example, french: d.Example) -> str:
    """The same with few elements, since there are five of them under every score: signs in place of words."""
    answers = "".join(map(short_answer, english.answers, french.answers))
    wanted = f" <bdi>{plain(english.expected.text)}</bdi>{left(english.expected, french.expected)}"
    asked = f"<p><code>{plain(english.name.text)}</code>{wanted}</p>{raw(english.question, french.question)}"
    return f'<div class="short"><div>{asked}</div>{answers}</div>'


def short_answer(english: d.Said, french: d.Said) -> str:
    place = english.who.place % len(MARKS)
    signs = f'<b class="c{place}">{MARKS[place]}</b> <b class="{english.badge.kind}">{SIGNS[english.verdict]}</b>'
    return f"<div>{signs}{raw(english.text, french.text)}</div>"


def said(english: d.Said, french: d.Said) -> str:
    badge = part_of_both(english.badge, french.badge)
    note = f'<p class="note">{texts(english.note, french.note)}</p>' if english.note else ""
    shown = marked(english, french) if english.differs >= 0 else raw(english.text, french.text)
    return f'<div class="said"><p>{part_of_both(english.who, french.who)} {badge}</p>{shown}{note}</div>'


def raw(english: d.Data, french: d.Data) -> str:
    """Text as it was written, character by character, inside a border that it cannot leave."""
    text = twice(*(escape(visible(each.text)) for each in (english, french)))
    return f'<pre dir="auto">{text}{left(english, french)}</pre>'


def left(english: d.Data, french: d.Data) -> str:
    """Our words behind somebody else's: how much is not shown."""
    return f"<i>{twice(plain(english.left), plain(french.left))}</i>" if english.left else ""


def marked(part: d.Said, french: d.Said) -> str:
    text = part.text.text
    before, here, after = text[: part.differs], text[part.differs : part.until], text[part.until :]
    inside = f"{escape(visible(before))}<mark>{escape(visible(here)) or '∎'}</mark>{escape(visible(after))}"
    return f'<pre dir="auto">{inside}{left(part.text, french.text)}</pre>'


def commands(english: d.Commands, french: d.Commands) -> str:
    return f'<pre class="commands">{twice(*(escape(visible(each.text.text)) for each in (english, french)))}</pre>\n'


def heading(english: d.Heading, french: d.Heading) -> str:
    return f'<h3 id="{plain(english.anchor)}">{texts(english.text, french.text)}</h3>\n'


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
