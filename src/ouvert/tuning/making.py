"""Values of a file as items: sequences with masks, asked for the thoughts that the data leaves out."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ouvert.chat import ChatError, Conversation, Message
from ouvert.tokenization import TokenizerError
from ouvert.tuning.example import Example, Item, Labelled, Preference, Prompt
from ouvert.tuning.recipe import Method
from ouvert.tuning.shapes import Asked, Converted, Judged, Pair, PlainText
from ouvert.tuning.spans import (
    NO_THOUGHTS,
    Masked,
    Rules,
    Thoughts,
    Turn,
    answered,
    asked,
    masked,
    next_thought,
    too_long,
)
from ouvert.tuning.talk import RowError, Talk
from ouvert.tuning.texts import completion_example, text_examples

if TYPE_CHECKING:
    from ouvert.chat import ChatFormat
    from ouvert.tokenization import Tokenizer

# What the model itself thinks before it answers each of these conversations, in their order; "" where it does not.
Think = Callable[[Sequence[Conversation]], Sequence[str]]


@dataclass(slots=True)
class Tally:
    """What is worth saying about what was made: how many answers were cut, are apart, are unthought, and what was lost,
    with the first line of each kind."""

    cut: int = 0
    apart: int = 0
    unthought: int = 0
    own_thoughts: int = 0
    as_chat: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    first_lost: dict[str, int] = field(default_factory=dict)

    def turns(self, turns: Sequence[Turn], line: int) -> None:
        for turn in turns:
            self.unthought += turn.unthought
            self.own_thoughts += turn.answer.thought > 0 and turn.thought_weight == 0 and not turn.unthought
            if turn.lost is not None:
                self.lost[turn.lost] += 1
                self.first_lost.setdefault(turn.lost, line)


@dataclass(frozen=True, slots=True)
class Maker:
    """Makes items for one method, as the model whose format and tokenizer these are reads them."""

    method: Method
    chat: "ChatFormat | None"
    tokenizer: "Tokenizer"
    rules: Rules
    unit: str = "line"  # what is counted where a prompt is said to stand

    def items(self, value: Converted, line: int, tally: Tally, thoughts: Thoughts = NO_THOUGHTS) -> tuple[Item, ...]:
        """Raises RowError for a value that cannot be trained."""
        match value:
            case PlainText(text):
                return self._counted(text_examples(text, line, self.tokenizer, self.rules), line, tally)
            case Asked():
                return (self._prompt(value, line),)
            case Talk():
                return self._talk(value, line, tally, thoughts)
            case Judged(prompt, answer, desirable):
                [example] = self._answers(prompt, [answer], line, tally, thoughts)
                return (Labelled(example, desirable),)
        chosen, rejected = value.chosen, value.rejected
        if self.method == "sft":
            return self._talk(value.prompt.followed_by(chosen), line, tally, thoughts)
        first, second = self._answers(value.prompt, [chosen, rejected], line, tally, thoughts)
        if self.method == "kto":
            return Labelled(first, True), Labelled(second, False)
        return (Preference(first, second),)

    def _talk(self, talk: Talk, line: int, tally: Tally, thoughts: Thoughts) -> tuple[Item, ...]:
        if self.chat is None:
            made = completion_example(plain_pair(talk), line, self.tokenizer, self.rules)
        else:
            tally.as_chat += talk.plain
            made = masked(talk, line, self.chat, self.rules, thoughts)
        return self._counted(made, line, tally)

    def _answers(
        self, prompt: Talk, answers: Sequence[Message], line: int, tally: Tally, thoughts: Thoughts
    ) -> list[Example]:
        if self.chat is None:
            talks = [plain_pair(prompt.followed_by(answer)) for answer in answers]
            return [completion_example(talk, line, self.tokenizer, self.rules).examples[0] for talk in talks]
        tally.as_chat += prompt.plain
        found = list(answered(prompt, answers, line, self.chat, self.rules, thoughts))
        tally.turns([turn for _, turn in found], line)
        return [example for example, _ in found]

    def _counted(self, made: Masked, line: int, tally: Tally) -> tuple[Example, ...]:
        tally.cut += made.cut
        tally.apart += made.apart
        tally.turns(made.turns, line)
        if untrained := [each for each in made.examples if not each.trained.any()]:
            raise RowError(
                f"none of its {len(untrained[0].ids)} tokens is trained. Give a message a weight, or leave it out"
            )
        return made.examples

    def _prompt(self, value: Asked, line: int) -> Prompt:
        if self.chat is None:
            raise RowError("the model has no chat format, and prompts to be answered need one. Choose another model")
        talk = value.prompt
        # Nothing is known of the answer: the prompt is the one of an answer without thoughts of its own.
        unknown = talk.followed_by(Message(role="assistant", content="-"))
        try:
            _, prompt = asked(unknown, len(talk.messages), self.chat, self.rules, NO_THOUGHTS)
        except (ChatError, TokenizerError) as problem:
            raise RowError(str(problem)) from problem
        if len(prompt.ids) > self.rules.length:
            raise too_long(len(prompt.ids), self.rules)
        return Prompt(np.array(prompt.ids, np.int32), value.columns, line, self.unit)

    # --- thoughts ---

    def thoughts(self, values: Sequence[Converted], think: Think | None) -> list[dict[int, str]]:
        """What the model thinks where the data leaves it out, for each value. It is asked in rounds: what it thinks
        before a later answer depends on what it thought before earlier ones."""
        found: list[dict[int, str]] = [{} for _ in values]
        chat = self.chat
        if chat is None or think is None or self.rules.reasoning != "keep" or not chat.abilities.thinks:
            return found
        open_talks = {n: talk for n, value in enumerate(values) if (talk := self._thoughtful(value)) is not None}
        while open_talks:
            wanted = list(self._asks(open_talks, found))
            if not wanted:
                break
            said = think([conversation for _, _, conversation in wanted])
            for (n, place, _), thought in zip(wanted, said, strict=True):
                found[n][place] = thought
            open_talks = {n: open_talks[n] for n, _, _ in wanted}
        return found

    def _asks(self, talks: dict[int, Talk], found: Sequence[Thoughts]) -> Iterator[tuple[int, int, Conversation]]:
        for n, talk in talks.items():
            try:
                following = next_thought(talk, self.chat, self.rules, found[n]) if self.chat is not None else None
            except RowError:
                continue  # said with the row, when its items are made
            if following is not None:
                yield n, *following

    def _thoughtful(self, value: Converted) -> Talk | None:
        match value:
            case Talk():
                return value
            case Judged(prompt, answer):
                return prompt.followed_by(answer, 1.0)
            case Pair(prompt, chosen, rejected):
                return prompt.followed_by(chosen if chosen.reasoning is None else rejected, 1.0)
        return None


def plain_pair(talk: Talk) -> Talk:
    """Raises RowError for what is no prompt with a completion."""
    if talk.plain and len(talk.messages) == 2 and not talk.tools:
        return talk
    raise RowError(
        "a conversation, and the model has no chat format: it continues texts. Give text, or prompt and completion as "
        "texts; or choose a model that chats"
    )
