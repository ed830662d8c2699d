"""Questions about passages: one of each short one, five of each long one."""

from collections.abc import Mapping
from hashlib import sha256

from ouvert.evaluation.suites.draw import Draw
from ouvert.evaluation.suites.generated import Draft, Turn, question
from ouvert.evaluation.suites.read.passage import ATTRIBUTES, Passage, passage, said

GROUPS = ("simple", "direct", "reversed", "two-step", "compared", "unstated")
Asked = tuple[str, str, str]  # the question, of what kind its answer is, and the answer


def draft(turn: Turn) -> Draft:
    """The passages about five people are those of `shared`: the items of one number ask about one text."""
    simple = turn.group == "simple"
    about = passage(turn.draw, turn.language, 2) if simple else passage(turn.shared, turn.language)
    asked, kind, answer = ASKED[turn.group](about, turn.draw, turn.language)
    text = said(turn.language)["ask_simple" if simple else "ask"][turn.wording].format(text=about.text, question=asked)
    return Draft(
        about=f"{about.text} {asked}",
        asks={"": question(text, 48)},
        expected={"kind": kind, "answer": answer, "question": asked},
        cluster=sha256(about.text.encode()).hexdigest()[:12],
        labels={"kind": kind},
    )


def direct(about: Passage, draw: Draw, language: str) -> Asked:
    person, attribute = draw.one(
        [(each, kind) for each in about.people for kind in ATTRIBUTES if about.knows(each, kind)]
    )
    return said(language)["questions"][attribute].format(who=person["name"]), attribute, person[attribute]


def backwards(about: Passage, draw: Draw, language: str) -> Asked:
    person, attribute = draw.one(
        [(each, kind) for each in about.people for kind in ATTRIBUTES if about.knows(each, kind)]
    )
    return said(language)["reversed"][attribute].format_map(person), "name", person["name"]


def two_step(about: Passage, draw: Draw, language: str) -> Asked:
    known, wanted = draw.some(ATTRIBUTES, 2)
    person = draw.one([each for each in about.people if about.knows(each, known, wanted)])
    return said(language)["questions"][wanted].format(who=described(person, known, language)), wanted, person[wanted]


def described(person: Mapping[str, str], attribute: str, language: str) -> str:
    return str(said(language)["who"][attribute].format_map(person))


def compared(about: Passage, draw: Draw, language: str) -> Asked:
    which = draw.one(("oldest", "youngest"))
    people = sorted((each for each in about.people if about.knows(each, "age")), key=lambda each: int(each["age"]))
    return said(language)["compared"][which], "name", people[-1 if which == "oldest" else 0]["name"]


def unstated(about: Passage, draw: Draw, language: str) -> Asked:
    person, attribute = draw.one(
        [(each, kind) for each in about.people for kind in ATTRIBUTES if not about.knows(each, kind)]
    )
    asked = said(language)["questions"][attribute].format(who=person["name"])
    return asked, attribute, said(language)["unstated"][0]


ASKED = {
    "simple": direct,
    "direct": direct,
    "reversed": backwards,
    "two-step": two_step,
    "compared": compared,
    "unstated": unstated,
}
