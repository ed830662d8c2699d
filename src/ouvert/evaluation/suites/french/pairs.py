"""A right sentence and one that differs from it by a single fault, made by rule from the words of fr.toml."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ouvert.evaluation.item import Likelihood
from ouvert.evaluation.suites.draw import Draw
from ouvert.evaluation.suites.generated import Draft, Turn
from ouvert.evaluation.suites.language_data import language_data
from ouvert.evaluation.suites.number_words import number_in_words

Pair = tuple[str, str, str]  # right, wrong, and what it is made from

MARKED = re.compile(r"\[([^|\]]+)(?:\|([^\]]+))?\]")
OTHER_ACCENT = {"é": "è", "è": "é", "ê": "é"}
IMPARFAIT = {
    "je": "ais", "tu": "ais", "il": "ait", "elle": "ait", "nous": "ions", "vous": "iez",
    "ils": "aient", "elles": "aient",
}  # fmt: skip
FUTUR = {"je": "ai", "tu": "as", "il": "a", "elle": "a", "nous": "ons", "vous": "ez", "ils": "ont", "elles": "ont"}


def lexicon() -> Mapping[str, Any]:
    return language_data(Path(__file__).parent, "fr")


def draft(turn: Turn) -> Draft:
    """A pair of the group. The right sentence stands first as often as the wrong one."""
    right, wrong, source = PAIRS[turn.group](turn.draw)
    place = turn.side
    sentences = (right, wrong) if place == 0 else (wrong, right)
    choices = tuple(f" {sentence}" for sentence in sentences)
    return Draft(
        about=f"{right} {wrong}",
        asks={"": Likelihood(context=lexicon()["contexts"][turn.wording], choices=choices)},
        expected={"right": place},
        cluster=f"{turn.group}: {source}",
    )


def adjective(draw: Draw) -> Pair:
    """« La maison de Paul est verte. » The wrong adjective has another gender or number."""
    singular, plural, gender = draw.one(lexicon()["things"])
    forms, several, name = draw.one(lexicon()["adjectives"]), draw.below(2) == 1, draw.one(lexicon()["names"])
    right = forms[2 * several + (gender == "f")]
    wrong = draw.one([form for form in forms if form != right])
    subject = with_article(plural if several else singular, gender, several).capitalize()
    begun = f"{subject} de {name} {'sont' if several else 'est'} {draw.one(lexicon()['adverbs'])}"
    return f"{begun} {right}.", f"{begun} {wrong}.", forms[0]


def with_article(noun: str, gender: str, several: bool) -> str:
    """With the definite article; the noun begins with a consonant that is heard."""
    return f"{'les' if several else 'la' if gender == 'f' else 'le'} {noun}"


def with_de(noun: str, gender: str, several: bool) -> str:
    """ "du voisin", "de la voisine", "des voisins"."""
    return f"{'des' if several else 'de la' if gender == 'f' else 'du'} {noun}"


def verb_number(draw: Draw) -> Pair:
    """« Le voisin des chanteuses attend le bus. » The noun beside the verb has the other number."""
    subject, beside = draw.some(lexicon()["people"], 2)
    singular, plural, rest = draw.one(lexicon()["present"])
    several = draw.below(2) == 1
    begun = with_article(subject[several], subject[2], several).capitalize()
    begun += " " + with_de(beside[not several], beside[2], not several)
    right, wrong = (plural, singular) if several else (singular, plural)
    return f"{begun} {right} {rest}.", f"{begun} {wrong} {rest}.", singular


def person(draw: Draw) -> Pair:
    """« Demain, nous partirons avant l'aube. » The wrong form is of another person."""
    past, future, rest = draw.one(lexicon()["verbs"])
    stem, endings, when = draw.one([(past, IMPARFAIT, "past"), (future, FUTUR, "future")])
    pronoun = draw.one(tuple(endings))
    other = draw.one([ending for ending in dict.fromkeys(endings.values()) if ending != endings[pronoun]])
    begun = draw.one(lexicon()[when])
    right, wrong = (f"{begun}, {conjugated(pronoun, stem + ending)} {rest}." for ending in (endings[pronoun], other))
    return right, wrong, future


def tense(draw: Draw) -> Pair:
    """« Autrefois, nous partions avant l'aube. » The wrong form is of the other tense."""
    past, future, rest = draw.one(lexicon()["verbs"])
    pronoun, when = draw.one(tuple(FUTUR)), draw.one(("past", "future"))
    begun = draw.one(lexicon()[when])
    then, later = conjugated(pronoun, past + IMPARFAIT[pronoun]), conjugated(pronoun, future + FUTUR[pronoun])
    right, wrong = (then, later) if when == "past" else (later, then)
    return f"{begun}, {right} {rest}.", f"{begun}, {wrong} {rest}.", future


def conjugated(pronoun: str, form: str) -> str:
    """With its pronoun: "je" loses its "e" before a vowel and before the "h" of these verbs, which is not heard."""
    return f"j'{form}" if pronoun == "je" and form[0] in "aeéiouh" else f"{pronoun} {form}"


def participle(draw: Draw) -> Pair:
    """« Mes sœurs sont arrivées à midi. » With "être" the participle agrees with the subject."""
    subject, gender, number = draw.one(lexicon()["subjects"])
    verb, rest = draw.one(lexicon()["with_etre"])
    right = agreement(gender, number)
    wrong = draw.one([ending for ending in ("", "e", "s", "es") if ending != right])
    begun = f"{subject} {'sont' if number == 'p' else 'est'} {verb}"
    return f"{begun}{right} {rest}.", f"{begun}{wrong} {rest}.", verb


def participle_with_avoir(draw: Draw) -> Pair:
    """« Mes sœurs ont mangé du pain. » With "avoir" it does not."""
    subject, gender, number = draw.one([each for each in lexicon()["subjects"] if agreement(each[1], each[2])])
    verb, rest = draw.one(lexicon()["with_avoir"])
    begun = f"{subject} {'ont' if number == 'p' else 'a'} {verb}"
    return f"{begun} {rest}.", f"{begun}{agreement(gender, number)} {rest}.", verb


def participle_of_object(draw: Draw) -> Pair:
    """« Les chemises que Paul a achetées sont encore là. » The participle agrees with an object before it."""
    singular, plural, gender = draw.one(lexicon()["things"])
    several, name, verb = draw.below(2) == 1, draw.one(lexicon()["names"]), draw.one(lexicon()["of_objects"])
    right = agreement(gender, "p" if several else "s")
    wrong = draw.one([ending for ending in ("", "e", "s", "es") if ending != right])
    begun = f"{with_article(plural if several else singular, gender, several).capitalize()} que {name} a {verb}"
    rest = f"{'sont' if several else 'est'} {draw.one(lexicon()['where'])}"
    return f"{begun}{right} {rest}.", f"{begun}{wrong} {rest}.", verb


def mood(draw: Draw) -> Pair:
    """« Il faut que tu viennes », « Paul sait que tu viens »: which of the two depends on how the sentence begins."""
    pronoun, subjunctive, indicative, rest = draw.one(lexicon()["moods"])
    wanted = draw.one(("subjunctive", "indicative"))
    begun = draw.one(lexicon()[wanted]).format(name=draw.one(lexicon()["names"]))
    begun += " " + ("qu'" if pronoun[0] in "ie" else "que ") + pronoun
    right, wrong = (subjunctive, indicative) if wanted == "subjunctive" else (indicative, subjunctive)
    return f"{begun} {right} {rest}.", f"{begun} {wrong} {rest}.", f"{pronoun} {subjunctive}"


def plural(draw: Draw) -> Pair:
    """« deux chevaux », « deux festivals »: plurals in -x and in -s."""
    things, others = draw.one(lexicon()["plurals"])
    sentence, name = draw.one(lexicon()["of_plurals"]), draw.one(lexicon()["names"])
    return sentence.format(name=name, things=things), sentence.format(name=name, things=others), things


def agreement(gender: str, number: str) -> str:
    return ("e" if gender == "f" else "") + ("s" if number == "p" else "")


# The kinds of numbers where people err; as many with an "s" as without. None ends in "un", which would have to agree
# with what is counted.
SPELLINGS: dict[str, Callable[[Draw], int]] = {
    "quatre-vingts": lambda draw: 80 + 100 * draw.between(0, 9),
    "cents": lambda draw: 100 * draw.between(2, 9) + 1000 * draw.between(0, 9),
    "quatre-vingt-trois": lambda draw: draw.between(82, 99),
    "cent trois": lambda draw: 100 * draw.between(2, 9) + draw.one((2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 15, 19)),
    "trois mille": lambda draw: 1000 * draw.between(2, 9),
    "deux cents": lambda draw: 100 * draw.between(2, 9),
}


def numbers_written(draw: Draw) -> Pair:
    """« deux cents maisons », « deux cent trois maisons », « deux mille maisons »: where there is an "s"."""
    kind = draw.one(tuple(SPELLINGS))
    number = SPELLINGS[kind](draw)
    right = number_in_words(number, "fr")
    match kind:
        case "quatre-vingts" | "cents" | "deux cents":
            wrong = right.removesuffix("s")
        case "quatre-vingt-trois":
            wrong = right.replace("quatre-vingt-", "quatre-vingts-")
        case "cent trois":
            wrong = right.replace(" cent ", " cents ")
        case _:
            wrong = right + "s"
    sentence, things = draw.one(lexicon()["counting"]), draw.one(lexicon()["counted"])
    return sentence.format(number=right, things=things), sentence.format(number=wrong, things=things), kind


def numbers_read(draw: Draw) -> Pair:
    """« 72 s'écrit soixante-douze »: the wrong words are those of a neighbouring number."""
    number = draw.between(17, 99)
    other = draw.one([each for each in (number - 10, number - 1, number + 1, number + 10) if 16 < each < 100])
    sentence = draw.one(lexicon()["values"])
    right, wrong = (sentence.format(digits=number, number=number_in_words(each, "fr")) for each in (number, other))
    return right, wrong, str(number // 10)


def two_words(table: str) -> Callable[[Draw], Pair]:
    """Pairs from sentences with the right and the wrong word in brackets."""

    def pair(draw: Draw) -> Pair:
        sentence = draw.one(lexicon()[table])
        named = sentence.format(name=draw.one(lexicon()["names"]))
        return MARKED.sub(r"\1", named), MARKED.sub(r"\2", named), sentence

    return pair


def accent(draw: Draw) -> Pair:
    """« Le frère de Paul » and « Le frére de Paul »: the first accent of the marked word is another."""
    sentence = draw.one(lexicon()["accents"])
    named = sentence.format(name=draw.one(lexicon()["names"]))
    return MARKED.sub(r"\1", named), MARKED.sub(lambda found: other_accent(found[1]), named), sentence


def other_accent(word: str) -> str:
    place = next(place for place, letter in enumerate(word) if letter in OTHER_ACCENT)
    return word[:place] + OTHER_ACCENT[word[place]] + word[place + 1 :]


PAIRS: dict[str, Callable[[Draw], Pair]] = {
    "adjective": adjective,
    "verb-number": verb_number,
    "person": person,
    "tense": tense,
    "participle": participle,
    "participle-avoir": participle_with_avoir,
    "participle-object": participle_of_object,
    "mood": mood,
    "plural": plural,
    "contractions": two_words("contractions"),
    "homophones": two_words("homophones"),
    "accents": accent,
    "numbers-written": numbers_written,
    "numbers-read": numbers_read,
}
