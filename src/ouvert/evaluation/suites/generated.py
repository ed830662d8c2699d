"""Suites whose items are made from a seed: which item comes when, and what holds for all of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count as from_zero
from typing import Any, cast

from ouvert.evaluation.error import EvaluationError
from ouvert.evaluation.item import Ask, Chat, Item, Languages
from ouvert.evaluation.outcome import Outcome, Score
from ouvert.evaluation.suites.draw import Draw
from ouvert.evaluation.suites.suite import Card, Guess

WORDINGS = 3  # paraphrases of every instruction
DRAWS = 60  # that find nothing new before a group counts as used up


@dataclass(frozen=True, slots=True)
class Turn:
    """What an item is made for: the `number`-th of its group, from 0, in one of three wordings. `draw` is this item's
    own; `shared` gives the same choices to the items of all groups that have this number. `side`: 0 or 1; of the first
    two items one has each, of the next two, and so on, so that no beginning favours a side."""

    language: str
    group: str
    number: int
    wording: int
    draw: Draw
    shared: Draw
    side: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """An item before it has an id. `about`: what it asks, without the wording: no two items of a group share it.

    `asks`: by form; one with the key "" where the suite has one form.
    """

    about: str
    asks: Mapping[str, Ask]
    expected: Mapping[str, Any]
    cluster: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedSuite:
    """A suite (`Suite`) of drafts. Groups take turns; an item depends on seed, language, group and its number only, so
    that settings which leave groups out leave the other items as they are.

    `version` counts changes of what is generated: the same seed gives other items under another one.
    """

    card: Card
    version: int
    groups: tuple[str, ...]
    draft: Callable[[Turn], Draft]
    scorer: Callable[[Item, Outcome], Score]
    guess: Callable[[Sequence[Item]], Mapping[str, Guess]]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def items(self, language: str, count: int, seed: int) -> tuple[Item, ...]:
        if language not in self.card.languages:
            raise EvaluationError(
                f"making items of {self.card.name}: got language {language!r}; it has {', '.join(self.card.languages)}."
            )
        return tuple(
            item for _, forms in zip(range(count), self._in_order(language, seed), strict=False) for item in forms
        )

    def score(self, item: Item, outcome: Outcome) -> Score:
        if outcome.refused:
            return Score(value=0.0, right=False, note=f"not asked: {outcome.refused}")
        if isinstance(item.ask, Chat) and not outcome.text.strip() and not outcome.calls:
            return Score(value=0.0, right=False, malformed=True, note="empty answer")
        return self.scorer(item, outcome)

    def guesses(self, items: Sequence[Item]) -> Mapping[str, Guess]:
        return self.guess(items)

    def describe(self) -> Mapping[str, Any]:
        return {"generated": self.version, "groups": list(self.groups), "settings": dict(self.settings)}

    def _in_order(self, language: str, seed: int) -> Iterator[list[Item]]:
        """Items without end, or until every group is used up; each in all its forms."""
        groups = list(self.groups)
        seen: set[tuple[str, str]] = set()
        for number in from_zero():
            for place, group in enumerate(self.groups):
                if group not in groups:
                    continue
                draft = self._new_draft(language, seed, group, number, (number + place) % WORDINGS, seen)
                if draft is None:
                    groups.remove(group)
                else:
                    yield self._as_items(draft, language, seed, group, number, (number + place) % WORDINGS)
            if not groups:
                return

    def _new_draft(
        self, language: str, seed: int, group: str, number: int, wording: int, seen: set[tuple[str, str]]
    ) -> Draft | None:
        """One that asks what none before it asked. None after many draws that did not find one."""
        for attempt in range(DRAWS):
            draw = Draw(self.card.name, self.version, language, seed, group, number, attempt)
            shared = Draw(self.card.name, self.version, language, seed, number)
            side = self._side(language, seed, group, number)
            draft = self.draft(Turn(language, group, number, wording, draw, shared, side))
            if (group, draft.about) not in seen:
                seen.add((group, draft.about))
                return draft
        return None

    def _side(self, language: str, seed: int, group: str, number: int) -> int:
        place = number * len(self.groups) + self.groups.index(group)
        first = Draw(self.card.name, self.version, language, seed, "side", place // 2).below(2)
        return first ^ place % 2

    def _as_items(self, draft: Draft, language: str, seed: int, group: str, number: int, wording: int) -> list[Item]:
        return [
            Item(
                suite=self.card.name, id=f"{group}:{seed}:{number}", language=cast("Languages", language), ask=ask,
                expected=draft.expected, form=form, cluster=draft.cluster, group=group, wording=wording,
                labels=draft.labels,
            )
            for form, ask in draft.asks.items()
        ]  # fmt: skip


def question(text: str, max_tokens: int, **more: Any) -> Chat:
    """A conversation of one message."""
    return Chat(messages=({"role": "user", "content": text},), max_tokens=max_tokens, **more)


def text_of(item: Item) -> str:
    """What a person would read of an item that is a conversation: its messages. "" for others."""
    return "\n\n".join(str(each["content"]) for each in item.ask.messages) if isinstance(item.ask, Chat) else ""


def says(answer: str) -> Guess:
    """The strategy that always gives this answer."""
    return lambda item: Outcome(text=answer, reason="stop")


def copies_the_question(item: Item) -> Outcome:
    """A strategy: what was asked, word for word."""
    return Outcome(text=text_of(item), reason="stop")


def commonest(items: Sequence[Item], answer: Callable[[Item], str]) -> Guess:
    """The strategy that always gives the answer which is right most often among the items of the same group."""
    by_group: dict[str, list[str]] = {}
    for item in items:
        by_group.setdefault(item.group, []).append(answer(item))
    best = {group: max(sorted(set(answers)), key=answers.count) for group, answers in by_group.items()}
    return lambda item: Outcome(text=best.get(item.group, ""), reason="stop")


def all_or_nothing(right: bool, note: str = "", *, malformed: bool = False) -> Score:
    """1 or 0."""
    return Score(value=float(right), right=right, malformed=malformed, note="" if right else note)
