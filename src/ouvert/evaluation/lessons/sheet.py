"""A lesson as a page to read, to work with and to print: one language, no script, nothing from elsewhere."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path

from ouvert.evaluation.lessons.filled import Filled
from ouvert.evaluation.lessons.fillings import LESSONS
from ouvert.evaluation.lessons.run import Run
from ouvert.evaluation.report.document import Who
from ouvert.evaluation.report.page import POLICY, plain, style, who
from ouvert.evaluation.suites.catalog import cards
from ouvert.evaluation.votes import VoteFile
from ouvert.evaluation.wording import Wording

STYLE = Path(__file__).with_name("sheet.css")
# As a person types a level, in either language -> the key of its words.
LEVELS: Mapping[str, str] = {
    "lycée": "school",
    "lycee": "school",
    "school": "school",
    "université": "university",
    "universite": "university",
    "university": "university",
    "équipe": "team",
    "equipe": "team",
    "team": "team",
}
MARKS = (2, 3, 5)  # of the three questions: ten in all


def sheet(run: Run, name: str, filled: Filled, level: str, words: Wording) -> str:
    """The page of lesson `name`, at "school", "university" or "team". The same bytes for the same run. Raises nothing
    for a lesson that was filled."""
    number = list(LESSONS).index(name) + 1
    title = f"{words('sheet.lesson', number=number)}: {words(f'{name}.title')}"
    if words.language == "fr":
        title = title.replace(":", "\u202f:", 1)
    body = "".join(sections(run, name, filled, level, words))
    return "".join([
        "<!DOCTYPE html>\n",
        f'<html lang="{words.language}"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark"><meta name="referrer" content="no-referrer">',
        f"<title>{plain(title)}</title>\n<style>\n{style()}{STYLE.read_text(encoding='utf-8')}</style></head>\n<body>\n",
        f"<main>\n<header><h1>{plain(title)}</h1>",
        f'<p class="under">{plain(made_from(run, words))}</p>',
        f'<p class="name">{plain(words("sheet.name_line"))}</p></header>\n',
        body,
        "</main>\n</body></html>\n",
    ])  # fmt: skip


def made_from(run: Run, words: Wording) -> str:
    told = words("sheet.made_from", folder=run.folder, contestants=", ".join(run.labels))
    return f"{told} {words('sheet.precision')}" if any("@" in label for label in run.labels) else told


def sections(run: Run, name: str, filled: Filled, level: str, words: Wording) -> Iterator[str]:
    said = {key: words(f"{name}.{key}", **filled.values) for key in ("aim", "idea", "figure", "not1", "not2")}
    yield section(words("sheet.aim"), f"<p>{plain(said['aim'])}</p>")
    yield section(words("sheet.plan"), f"<p>{plain(words('sheet.plan_text'))}</p>{line(words('sheet.your_guess'))}")
    deeper = words(f"{name}.deeper_{level}", **filled.values)
    idea = f"<p>{plain(said['idea'])}</p><h3>{plain(words(f'sheet.deeper_{level}'))}</h3><p>{plain(deeper)}</p>"
    yield section(words("sheet.idea"), idea)
    yield section(words("sheet.commands"), commands(run, words))
    picture = filled.figure.replace("<svg ", f'<svg aria-label="{escape(said["figure"])}" ', 1)
    named = " ".join(who(Who(label, place)) for place, label in enumerate(run.labels))
    key = f'<p class="key">{named}</p>' if filled.names_marks else ""
    found = f"<figure>{picture}{key}<figcaption>{plain(said['figure'])}</figcaption></figure>"
    yield section(words("sheet.figure"), found)
    yield section(words("sheet.questions"), questions(name, filled, level, words))
    votes = words.number(len(VoteFile(run.evidence.folder).votes()))
    yield section(
        words("sheet.vote"),
        f"<p>{with_code(words('sheet.vote_text', votes=votes))}</p><p>{plain(words('sheet.vote_task'))}</p>",
    )
    limits = (said["not1"], said["not2"], words("sheet.conclude_machine"))
    yield section(words("sheet.conclude"), bullets(limits))
    yield section(words("sheet.sources"), bullets(sources(run, filled, words)))


def section(title: str, inside: str) -> str:
    return f"<section><h2>{plain(title)}</h2>\n{inside}\n</section>\n"


def line(label: str) -> str:
    return f'<p>{plain(label)}<span class="fill"></span></p>'


def with_code(text: str) -> str:
    """Text for HTML, in which `so` is a command."""
    return "".join(
        f"<code>{plain(part)}</code>" if number % 2 else escape(part) for number, part in enumerate(text.split("`"))
    )


def bullets(texts: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{plain(text)}</li>" for text in texts) + "</ul>"


def commands(run: Run, words: Wording) -> str:
    typed = {
        "plan": f"ouvert compare {' '.join(run.labels)} {asked_for(run)} --plan",
        **{each: f"ouvert compare {each} {run.folder}" for each in ("resume", "rerun", "open", "votes")},
    }
    told = "".join(
        f"<li><code>{plain(command)}</code><br>{plain(words(f'command.{name}'))}</li>"
        for name, command in typed.items()
    )
    return f"<ol>{told}</ol><p>{plain(words('sheet.commands_note'))}</p>"


def asked_for(run: Run) -> str:
    """The options that ask for the same suites."""
    plan = run.evidence.plan
    languages = f" --lang {','.join(plan.languages)}" if tuple(plan.languages) != ("en",) else ""
    if plan.purposes:
        return f"--for {','.join(plan.purposes)}{languages}"
    return f"--suites {','.join(dict.fromkeys(row.suite for row in plan.rows))}{languages}"


def questions(name: str, filled: Filled, level: str, words: Wording) -> str:
    """Two that everybody gets and one of the level, each with its answer folded away; answers are not printed."""
    keys = (("q1", "a1"), ("q2", "a2"), (f"q_{level}", f"a_{level}"))
    told = []
    for (question, answer), marks in zip(keys, MARKS, strict=True):
        asked, solved = (plain(words(f"{name}.{key}", **filled.values)) for key in (question, answer))
        told.append(
            f'<li>{asked} <span class="marks">({plain(words("sheet.marks", marks=marks))})</span>'
            f"{line(words('sheet.your_answer'))}"
            f"<details><summary>{plain(words('sheet.answer'))}</summary><p>{solved}</p></details></li>"
        )
    return f'<ol class="questions">{"".join(told)}</ol>'


def sources(run: Run, filled: Filled, words: Wording) -> list[str]:
    """The suites whose questions were used, and the contestants, with their licences."""
    told = []
    for name in filled.suites:
        if (card := cards().get(name)) is not None:
            named = f"{card.title[words.language]} ({name})"
            told.append(words("sheet.explained", name=named, text=f"{card.licence}; {card.source}"))
    for facts in run.comparison.contestants:
        licence = facts.get("about", {}).get("licence") or "?"
        told.append(words("sheet.explained", name=facts["label"], text=licence))
    plan = words("sheet.plan_line", seed=run.evidence.plan.seed, plan=run.evidence.plan_digest[:19] + "…")
    return [*told, plan]
