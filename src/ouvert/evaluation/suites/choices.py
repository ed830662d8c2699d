"""Multiple choice, asked in two ways: for a letter, and by how likely each choice is. Both scorers are strict."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from string import ascii_uppercase

from ouvert.evaluation.item import Ask, Chat, Item, Likelihood
from ouvert.evaluation.outcome import Outcome, Score

INSTRUCTIONS = {
    "en": (
        "Answer with the letter of the correct choice, and nothing else.",
        "Which choice is correct? Reply with its letter only.",
        "Write one letter only: that of the right answer.",
    ),
    "fr": (
        "Réponds par la lettre du bon choix, et rien d'autre.",
        "Quel choix est correct ? Donne seulement sa lettre.",
        "Écris une seule lettre : celle de la bonne réponse.",
    ),
}
CONTEXTS = {
    "en": ("Question: {question}\nAnswer:", "Q: {question}\nA:", "{question}\nThe correct answer is:"),
    "fr": ("Question : {question}\nRéponse :", "Q : {question}\nR :", "{question}\nLa bonne réponse est :"),
}
LETTER_TOKENS = 32  # "The correct answer is C." and some talk; a letter alone needs two
# What may stand around a letter: quotes, brackets, marks of Markdown.
AROUND = " \t\n\r*_`\"'“”«»()[]{}<>$"
# "The correct answer is (C)", "Answer: C", "La réponse est C".
STATED = re.compile(
    r"\b(?:answer|choice|option|réponse|choix)(?:\s+(?:is|est))?\s*:?[\s*_`\"'(\[]*([A-Z])(?![\w'’])", re.IGNORECASE
)
# "C. the text of the choice", "(C) …", "C: …", "C - …".
LEADING = re.compile(r"^\W{0,3}([A-Z])(?:\s*[.):\]]|\*\*|\s+[-–—]\s)")


def lettered(choices: Sequence[str]) -> str:
    """The choices, a line each, as `A. text`. Raises IndexError for more than 26."""
    return "\n".join(f"{ascii_uppercase[n]}. {choice.strip()}" for n, choice in enumerate(choices))


def choice_forms(question: str, choices: Sequence[str], language: str, wording: int) -> dict[str, Ask]:
    """The question in both forms, "letter" and "likelihood", its choices (26 at most) in the order given.

    Raises IndexError for more.
    """
    said = f"{question}\n\n{lettered(choices)}\n\n{INSTRUCTIONS[language][wording]}"
    return {
        "letter": Chat(messages=({"role": "user", "content": said},), max_tokens=LETTER_TOKENS),
        "likelihood": Likelihood(
            context=CONTEXTS[language][wording].replace("{question}", question),
            choices=tuple(f" {choice.strip()}" for choice in choices),
        ),
    }


def letter_in(text: str, choices: int) -> str:
    """The one letter that an answer says; "" if it says none, or several. Raises nothing.

    An answer says a letter if it is nothing else, begins with one as a list does, or states "the answer is C". A letter
    inside a sentence is none: "A" is an English word.
    """
    letters = ascii_uppercase[:choices]
    bare = text.strip(AROUND + ".:,;")
    if len(bare) == 1:
        return bare.upper() if bare.upper() in letters else ""
    said = {found.upper() for found in STATED.findall(text) if found.isupper()}
    lines = [line for line in text.splitlines() if line.strip()]
    if lines and (leading := LEADING.match(lines[0])):
        said.add(leading[1])
    if len(lines) > 1 and len(first := lines[0].strip(AROUND + ".:,;")) == 1:
        said.add(first)
    # A list of several choices is no choice.
    said |= {again[1] for line in lines[1:] if (again := LEADING.match(line)) and said}
    return said.pop() if len(said) == 1 and said <= set(letters) else ""


def score_letter(item: Item, outcome: Outcome) -> Score:
    """Right if the answer says the letter of the right choice, and no other. Raises nothing."""
    if outcome.refused:
        return Score(value=0.0, right=False, note="could not be asked")
    chosen = letter_in(outcome.text, len(item.expected["choices"]))
    if not chosen:
        return Score(value=0.0, right=False, malformed=True, note="says no letter, or several")
    right = chosen == item.expected["letter"]
    return Score(value=float(right), right=right, note=f"chose {chosen}", chosen=chosen)


def score_likelihood(item: Item, outcome: Outcome) -> Score:
    """Right if the right choice has the largest log-probability, summed over its tokens, and no other has as much.

    Raises nothing.
    """
    if outcome.refused:
        return Score(value=0.0, right=False, note="could not be asked")
    sums = outcome.logprobs
    if len(sums) != len(item.expected["choices"]) or any(math.isnan(each) for each in sums):
        return Score(value=0.0, right=False, malformed=True, note="not one log-probability for each choice")
    likeliest = [n for n, each in enumerate(sums) if each == max(sums)]
    if len(likeliest) > 1:
        return Score(value=0.0, right=False, note="several are the likeliest")
    chosen = ascii_uppercase[likeliest[0]]
    right = chosen == item.expected["letter"]
    return Score(value=float(right), right=right, note=f"{chosen} is the likeliest", chosen=chosen)


def score_choice(item: Item, outcome: Outcome) -> Score:
    """By the form of the item. Raises nothing."""
    return (score_likelihood if isinstance(item.ask, Likelihood) else score_letter)(item, outcome)


def choice_guesses(most: int) -> Mapping[str, Callable[[Item], Outcome]]:
    """Strategies for items of up to that many choices: the same letter always, the longest and the shortest text."""
    always = {f"always {letter}": _always(n) for n, letter in enumerate(ascii_uppercase[:most])}
    return {**always, "the longest choice": _by_length(max), "the shortest choice": _by_length(min)}


def _always(place: int) -> Callable[[Item], Outcome]:
    return lambda item: take(item, place)


def _by_length(best: Callable[..., int]) -> Callable[[Item], Outcome]:
    def guess(item: Item) -> Outcome:
        if not (choices := item.expected.get("choices")):
            return Outcome(reason="stop")
        return take(item, best(range(len(choices)), key=lambda n: len(choices[n])))

    return guess


def take(item: Item, place: int) -> Outcome:
    """The outcome that takes the choice at that place, in the form that the item asks for. Raises nothing."""
    if isinstance(item.ask, Likelihood):
        return Outcome(logprobs=tuple(-1.0 - (n != place) for n in range(len(item.ask.choices))), reason="stop")
    return Outcome(text=ascii_uppercase[place], reason="stop")
