"""IFEval: requests with instructions that a program can check. Ours check 22 of the 25 kinds, without any library.

Source: Zhou et al., Instruction-Following Evaluation for Large Language Models, arXiv 2311.07911. Prompts with an
instruction of one of the three other kinds are left out: sentences and words as a tokenizer of nltk parts them, and
which language a text is in. Capitals and small letters are checked as such, whatever the language.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ouvert.evaluation.item import Item
from ouvert.evaluation.outcome import Outcome, Score
from ouvert.evaluation.suites.folder_suite import Entry, FolderSuite, Source
from ouvert.evaluation.suites.generated import copies_the_question, question, says
from ouvert.evaluation.suites.suite import Card, Guess

ANSWER_TOKENS = 1024
# Number of prompts that hold each, of 541; together they take out 95.
LEFT_OUT = {
    "change_case:capital_word_frequency": 25,
    "language:response_language": 31,
    "length_constraints:number_sentences": 52,
}
FINAL_ANSWERS = ("my answer is yes.", "my answer is no.", "my answer is maybe.")
FENCE = re.compile(r"^```(?:json)?|```$", re.IGNORECASE)


def holds(count: int, relation: str, limit: int) -> bool:
    """ "at least" or "less than"."""
    return count >= limit if relation == "at least" else count < limit


def keyword_times(text: str, word: str) -> int:
    """How often it stands in a text, also within other words, in whatever case."""
    return text.casefold().count(word.casefold())


def highlighted(text: str) -> int:
    """Parts between single or double asterisks that are not empty."""
    found = re.findall(r"\*[^\n*]*\*", text) + re.findall(r"\*\*[^\n*]*\*\*", text)
    return sum(bool(part.strip("* ")) for part in found)


def bullets(text: str) -> int:
    """Lines that begin with one asterisk or a dash."""
    return len(re.findall(r"^\s*\*[^*\n].*$", text, re.MULTILINE)) + len(re.findall(r"^\s*-.*$", text, re.MULTILINE))


def parted(text: str) -> list[str]:
    """Paragraphs between ***; [] where one in the middle is empty."""
    parts = [part.strip() for part in re.split(r"\s?\*\*\*\s?", text)]
    while parts and not parts[0]:
        parts.pop(0)
    while parts and not parts[-1]:
        parts.pop()
    return parts if all(parts) else []


def two_answers(text: str) -> bool:
    """Two different answers, six asterisks between them."""
    parts = [part.strip() for part in text.split("******")]
    inner = [part for n, part in enumerate(parts) if part or 0 < n < len(parts) - 1]
    return len(inner) == 2 and all(inner) and inner[0] != inner[1]


def is_json(text: str) -> bool:
    """JSON, also as a block of code."""
    try:
        json.loads(FENCE.sub("", FENCE.sub("", text.strip()).strip()).strip())
    except (ValueError, RecursionError):
        return False
    return True


def begins_with(text: str, paragraphs: int, place: int, word: str) -> bool:
    """Whether there are so many paragraphs, and that one begins with the word."""
    found = [part.strip() for part in text.split("\n\n") if part.strip()]
    if len(found) != paragraphs or not 0 < place <= len(found):
        return False
    begins = re.match(r"['\"]*([^\s.,?!'\"]*)", found[place - 1])
    return begins is not None and begins[1].casefold() == word.casefold()


def postscript(text: str, marker: str) -> bool:
    """Whether a postscript begins with that marker."""
    spaced = r"\s?".join(re.escape(part) for part in re.split(r"(?<=\.)", marker.casefold()) if part)
    return re.search(spaced, text.casefold()) is not None


CHECKS: Mapping[str, Callable[..., bool]] = {
    "change_case:english_capital": lambda text: text.isupper(),
    "change_case:english_lowercase": lambda text: text.islower(),
    "combination:repeat_prompt": lambda text, prompt_to_repeat: (
        text.strip().casefold().startswith(prompt_to_repeat.strip().casefold())
    ),
    "combination:two_responses": two_answers,
    "detectable_content:number_placeholders": lambda text, num_placeholders: (
        len(re.findall(r"\[.*?\]", text)) >= num_placeholders
    ),
    "detectable_content:postscript": lambda text, postscript_marker: postscript(text, postscript_marker),
    "detectable_format:constrained_response": lambda text: any(each in text.casefold() for each in FINAL_ANSWERS),
    "detectable_format:json_format": is_json,
    "detectable_format:multiple_sections": lambda text, section_spliter, num_sections: (
        len(re.findall(rf"\s?{re.escape(section_spliter)}\s?\d+\s?", text)) >= num_sections
    ),
    "detectable_format:number_bullet_lists": lambda text, num_bullets: bullets(text) == num_bullets,
    "detectable_format:number_highlighted_sections": lambda text, num_highlights: highlighted(text) >= num_highlights,
    "detectable_format:title": lambda text: any(
        part.strip(" <>") for part in re.findall(r"<<[^\n]+>>", text)
    ),
    "keywords:existence": lambda text, keywords: all(keyword_times(text, word) for word in keywords),
    "keywords:forbidden_words": lambda text, forbidden_words: not any(
        re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE) for word in forbidden_words
    ),
    "keywords:frequency": lambda text, keyword, relation, frequency: holds(
        keyword_times(text, keyword), relation, frequency
    ),
    "keywords:letter_frequency": lambda text, letter, let_relation, let_frequency: holds(
        text.casefold().count(letter.casefold()), let_relation, let_frequency
    ),
    "length_constraints:nth_paragraph_first_word": lambda text, num_paragraphs, nth_paragraph, first_word: (
        begins_with(text, num_paragraphs, nth_paragraph, first_word)
    ),
    "length_constraints:number_paragraphs": lambda text, num_paragraphs: len(parted(text)) == num_paragraphs,
    "length_constraints:number_words": lambda text, relation, num_words: holds(
        len(re.findall(r"\w+", text)), relation, num_words
    ),
    "punctuation:no_comma": lambda text: "," not in text,
    "startend:end_checker": lambda text, end_phrase: (
        text.strip().strip('"').casefold().endswith(end_phrase.strip().casefold())
    ),
    "startend:quotation": lambda text: (
        len(text.strip()) > 1 and text.strip().startswith('"') and text.strip().endswith('"')
    ),
}  # fmt: skip


def read(name: str, content: bytes) -> list[Entry]:
    """A line a prompt; those with an instruction that we do not check are left out."""
    prompts = [json.loads(line) for line in content.decode("utf-8").splitlines() if line.strip()]
    unknown = {each for prompt in prompts for each in prompt["instruction_id_list"]} - CHECKS.keys() - LEFT_OUT.keys()
    if unknown:
        raise ValueError(f"unknown instructions {', '.join(sorted(unknown))}")
    return [_entry(prompt) for prompt in prompts if not LEFT_OUT.keys() & set(prompt["instruction_id_list"])]


def _entry(prompt: Mapping[str, Any]) -> Entry:
    instructions = [
        {"check": check, "with": {name: value for name, value in given.items() if value is not None}}
        for check, given in zip(prompt["instruction_id_list"], prompt["kwargs"], strict=True)
    ]
    kind = instructions[0]["check"].partition(":")[0]
    return Entry(f"ifeval-{prompt['key']}", kind, {"prompt": str(prompt["prompt"]), "instructions": instructions})


def make(card: Card, entry: Entry, wording: int) -> Item:
    """The prompt as it stands: there is one wording."""
    return Item(
        suite=card.name,
        id=entry.id,
        language="en",
        ask=question(entry.fields["prompt"], ANSWER_TOKENS),
        expected={"instructions": entry.fields["instructions"]},
        cluster=entry.id,
        group=entry.group,
    )


def score(item: Item, outcome: Outcome) -> Score:
    """Right where every instruction is kept. Raises nothing for items that `make` made."""
    if not outcome.text.strip():
        return Score(value=0.0, right=False, malformed=True, note="empty answer")
    instructions = item.expected["instructions"]
    broken = [each["check"] for each in instructions if not CHECKS[each["check"]](outcome.text, **each["with"])]
    return Score(value=float(not broken), right=not broken, note=f"not kept: {', '.join(broken)}" if broken else "")


def guesses(items: Sequence[Item]) -> Mapping[str, Guess]:
    """Answers that keep instructions by chance."""
    return {"one word in small letters": says("yes"), "copies the question": copies_the_question}


def suite(card: Card, *, path: str | Path) -> FolderSuite:
    """`path`: input_data.jsonl, or a folder that holds it. Raises nothing; `items` reads."""
    source = Source(
        folders=(".", "data", "instruction_following_eval/data"), pattern="input_data.jsonl", read=read, make=make,
        scorer=score, guess=guesses,
    )  # fmt: skip
    return FolderSuite(card, Path(path), source)
