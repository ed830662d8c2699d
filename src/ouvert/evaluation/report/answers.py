"""Questions and answers themselves: where contestants differ, and five answers under every score.

A score of zero may be one of form, and only the raw answers show it. Everything shown is bounded; what is left out is
said, with the file that has it.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

from ouvert.evaluation.comparison import Pair, Row
from ouvert.evaluation.item import Chat, Item, Likelihood
from ouvert.evaluation.outcome import Outcome
from ouvert.evaluation.report import phrases
from ouvert.evaluation.report.document import (
    Badge,
    Block,
    Data,
    Example,
    Examples,
    Heading,
    Inline,
    Paragraph,
    Said,
    Section,
    Text,
)
from ouvert.evaluation.report.material import Given, Material, anchor
from ouvert.evaluation.report.scores import is_floor
from ouvert.evaluation.report.visible import shortened
from ouvert.evaluation.wording import Wording

UNDER_EVERY_SCORE = 5
MOST_DIFFERENCES, FROM_ONE_PAIR = 12, 2  # examples in all; of one pair, of each kind
# Characters that all shown answers and questions may have together: with the rest, a page under 300 KB.
ROOM_FOR_DIFFERENCES, ROOM_FOR_ANSWERS = 20_000, 50_000
LEAST, MOST = 60, 600  # of one answer or question
WORD = re.compile(r"\s*\w+|\s*[^\w\s]|\s+$")


def differences(material: Material, words: Wording) -> Section:
    """Items that one contestant got and the other missed, text beside text."""
    chosen = list(differing(material))
    title = words("differ.title")
    if not chosen:
        return Section("differ", title, (Paragraph(phrases.rich(words, "differ.none")), *withheld(material, words)))
    shown = chosen[:MOST_DIFFERENCES]
    texts = sum(1 + len(labels) for _, _, labels in shown)
    room = max(LEAST, min(MOST, ROOM_FOR_DIFFERENCES // texts))
    blocks: list[Block] = [Paragraph(phrases.rich(words, "differ.how"))]
    for row, item, labels in shown:
        example = marked(example_of(material, words, item, labels, room))
        blocks.append(Examples((material.title(words, row),), *captions(words), (example,)))
    total = sum(pair.only_first + pair.only_second for pair in material.comparison.pairs)
    left = phrases.rich(words, "differ.left", shown=words.number(len(shown)), total=words.number(total),
                        file=Data("answers.jsonl"))  # fmt: skip
    return Section("differ", title, (*blocks, Paragraph(left, "note"), *withheld(material, words)))


def differing(material: Material) -> Iterator[tuple[Row, Item, tuple[str, str]]]:
    """By lot of the seed, the pairs taking turns: first those of primaries."""
    ordered = [
        (row, pair) for row in material.ordered_rows() for pair in material.comparison.pairs if pair.row == row.row
    ]  # fmt: skip
    turns = [list(of_pair(material, row, pair)) for row, pair in ordered]
    for place in range(max(map(len, turns), default=0)):
        for each in turns:
            yield from each[place : place + 1]


def of_pair(material: Material, row: Row, pair: Pair) -> Iterator[tuple[Row, Item, tuple[str, str]]]:
    """Items that one of the two got and the other missed; the two kinds take turns."""
    if row.suite in material.withheld:
        return
    kinds: tuple[list[Item], list[Item]] = ([], [])
    for item in material.drawn(row.row, len(material.items.get(row.row, ()))):
        first, second = (material.given.get((label, row.row, item.id)) for label in (pair.first, pair.second))
        if first and second and first.score.right != second.score.right:
            kinds[0 if first.score.right else 1].append(item)
    for place in range(FROM_ONE_PAIR):
        for kind in kinds:
            for item in kind[place : place + 1]:
                yield row, item, (pair.first, pair.second)


def rows(material: Material, words: Wording) -> Section:
    """Every row by itself: what it asks, and five answers of every contestant to the same five questions."""
    shown = [row for row in material.ordered_rows() if row.scores and row.suite not in material.withheld]
    texts = sum(UNDER_EVERY_SCORE * (1 + len(row.scores)) for row in shown) or 1
    room = max(LEAST, min(MOST, ROOM_FOR_ANSWERS // texts))
    blocks: list[Block] = [
        Paragraph(phrases.rich(words, "answers.how", n=words.number(UNDER_EVERY_SCORE), most=words.number(room)))
    ]
    for row in material.ordered_rows():
        blocks += one_row(material, words, row, room)
    return Section("answers", words("answers.title"), tuple(blocks), brief=False)


def one_row(material: Material, words: Wording, row: Row, room: int) -> Iterator[Block]:
    yield Heading((material.title(words, row),), anchor("score", row.row))
    if card := material.cards.get(row.suite):
        what, contamination = card.what[words.language], card.contamination[words.language]
        yield Paragraph((what, " ", *phrases.rich(words, "answers.contamination", note=contamination)), "note")
    if not row.scores:  # of texts that are read there are no answers
        return
    yield Paragraph(share_line(material, words, row))
    if row.suite in material.withheld:
        yield Paragraph(phrases.rich(words, "answers.withheld"), "note")
        return
    drawn = material.drawn(row.row, UNDER_EVERY_SCORE)
    if not drawn:
        yield Paragraph(phrases.rich(words, "answers.none"), "note")
        return
    labels = tuple(score.contestant for score in row.scores)
    examples = tuple(example_of(material, words, item, labels, room) for item in drawn)
    title = phrases.rich(words, "answers.five", n=words.number(len(examples)))
    yield Examples(title, *captions(words), examples, folded=True)


def share_line(material: Material, words: Wording, row: Row) -> Text:
    each: list[Text] = []
    for score in row.scores:
        share = f" {words.percent(score.share)} {phrases.shares(words, score.interval)}"
        floor: Text = (" ", Badge(words("scores.floor"), "wrong")) if is_floor(score) else ()
        each.append((material.who(words, score.contestant), share, *floor))
    return phrases.joined(words, each, "word.comma")


def captions(words: Wording) -> tuple[str, str]:
    return words("answers.question"), words("answers.expected")


def withheld(material: Material, words: Wording) -> list[Block]:
    """A sentence where the words of a suite stay with their owner."""
    if not material.withheld:
        return []
    names = ", ".join(sorted(material.withheld))
    return [Paragraph(phrases.rich(words, "differ.withheld", suites=names), "note")]


def example_of(material: Material, words: Wording, item: Item, labels: Sequence[str], room: int) -> Example:
    answers = [
        said(material, words, label, given, item, room)
        for label in labels
        if (given := material.given.get((label, item.row, item.id))) is not None
    ]
    expected = json.dumps(dict(item.expected), ensure_ascii=False, sort_keys=True) if item.expected else ""
    return Example(
        Data(item.id), cut(words, question(item), room), cut(words, expected, min(room, 200)), tuple(answers)
    )  # fmt: skip


def said(material: Material, words: Wording, label: str, given: Given, item: Item, room: int) -> Said:
    verdict = verdict_of(given)
    badge = Badge(words(f"answers.{verdict}"), "right" if verdict == "right" else "wrong")
    notes: list[Inline] = []
    if given.outcome.thoughts:
        notes.append(words("answers.thoughts", n=words.number(len(given.outcome.thoughts))))
    if given.outcome.reason == "length":
        notes.append(words("answers.cut"))
    text = answer(given.outcome, item)
    shown = cut(words, text, room) if text else Data("", words("answers.empty"))
    return Said(material.who(words, label), badge, shown, tuple(notes), verdict)


def verdict_of(given: Given) -> Literal["right", "wrong", "malformed", "refused"]:
    if given.outcome.refused:
        return "refused"
    if given.score.right:
        return "right"
    return "malformed" if given.score.malformed else "wrong"


def cut(words: Wording, text: str, room: int) -> Data:
    short, left = shortened(text, room)
    return Data(short, words("answers.more", n=left) if left else "")


def question(item: Item) -> str:
    """What was asked, as text."""
    match item.ask:
        case Chat(messages=messages, tools=tools):
            told = "\n".join(f"{each.get('role', '')}: {content(each)}" for each in messages)
            only_user = len(messages) == 1 and messages[0].get("role") == "user"
            offered = ", ".join(str(each.get("function", each).get("name", "")) for each in tools)
            return (content(messages[0]) if only_user else told) + (f"\n[tools: {offered}]" if tools else "")
        case Likelihood(context=context, choices=choices):
            return context + "".join(f"\n[{place}] {choice.strip()}" for place, choice in enumerate(choices, 1))
        case text:
            return text.text


def content(message: object) -> str:
    inside = message.get("content") if isinstance(message, dict) else None
    return inside if isinstance(inside, str) else json.dumps(inside, ensure_ascii=False)


def answer(outcome: Outcome, item: Item) -> str:
    """What was answered, as text: words, calls, or how likely each choice is."""
    if outcome.refused:
        return outcome.refused
    if isinstance(item.ask, Likelihood) and outcome.logprobs:
        best = max(range(len(outcome.logprobs)), key=lambda place: outcome.logprobs[place])
        return "\n".join(
            f"[{place + 1}] {value:.2f}{' ←' if place == best else ''}" for place, value in enumerate(outcome.logprobs)
        )
    calls = "\n".join(f"{call.name}({call.arguments})" for call in outcome.calls)
    return "\n".join(each for each in (outcome.text, calls) if each)


def marked(example: Example) -> Example:
    """The same with the first word marked where two answers part."""
    if len(example.answers) != 2:
        return example
    texts = [each.text.text for each in example.answers]
    differs = parting(*texts)
    answers = tuple(replace(each, differs=differs, until=word_end(each.text.text, differs)) for each in example.answers)
    return Example(example.name, example.question, example.expected, answers)


def parting(first: str, second: str) -> int:
    """Where the first word stands that the two do not share, in characters."""
    place = 0
    for mine, other in zip(WORD.finditer(first), WORD.finditer(second), strict=False):
        if mine[0] != other[0]:
            break
        place = mine.end()
    return place


def word_end(text: str, start: int) -> int:
    found = WORD.match(text, start)
    return found.end() if found else len(text)
