"""Which tokens are trained: those that the model itself would have to write, and of them those that count.

The prompt of every answer is what `ChatFormat.render` gives the server for the same messages; the answer is what
`ChatFormat.answer` says the model writes behind it, to the token at which the engine stops. What the prompt supplies is
in the prompt, so it is never trained, and the token that stops is the answer's last, so it always is.
"""

import datetime
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ouvert.chat import (
    ChatError,
    ChatFormat,
    Conversation,
    Message,
    ReasoningDelta,
    Rendered,
    TextDelta,
    WrittenAnswer,
)
from ouvert.tokenization import TokenizerError
from ouvert.tuning.example import Example
from ouvert.tuning.talk import RowError, Talk


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What of the data is trained: the recipe's `[data]`, with the day on which conversations take place."""

    trained: Literal["assistant", "last", "all"]
    reasoning: Literal["keep", "none", "as given"]
    length: int
    cuts: bool
    date: datetime.date | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One answer behind its prompt. `message` is its place in the talk.

    `weight` is what it counts, `thought_weight` what its thoughts count. `unthought`: the model would think first, and
    nobody has asked it yet. `lost`: what of the message the format does not write in an answer.
    """

    message: int
    prompt: Rendered
    answer: WrittenAnswer
    weight: float
    thought_weight: float
    unthought: bool = False
    lost: str | None = None

    @property
    def length(self) -> int:
        return len(self.prompt.ids) + len(self.answer.ids)


Thoughts = Mapping[int, str]  # of a talk's messages, by place: what the model thought before it, "" for nothing
NO_THOUGHTS: Thoughts = {}


# --- one answer ---


def conversation_before(talk: Talk, place: int, rules: Rules, thoughts: Thoughts) -> Conversation:
    """What the server is asked before the message at `place`."""
    messages = list(talk.messages[:place])
    for n, message in enumerate(messages):
        if rules.reasoning == "none":
            messages[n] = replace(message, reasoning=None)
        elif thought := thoughts.get(n):
            messages[n] = replace(message, reasoning=thought)
    return Conversation(
        messages=tuple(messages), tools=talk.tools, effort=talk.effort, thinking=talk.thinking, date=rules.date
    )


def asked(talk: Talk, place: int, chat: ChatFormat, rules: Rules, thoughts: Thoughts) -> tuple[Conversation, Rendered]:
    """The conversation and the prompt of the message at `place`; where the message has thoughts and a prompt is
    without them until somebody asks, it asks."""
    conversation = conversation_before(talk, place, rules, thoughts)
    can_choose = chat.for_conversation(conversation).abilities.optional and conversation.thinking is None
    if can_choose and rules.reasoning == "none":
        conversation = replace(conversation, thinking=False)
    prompt = chat.render(conversation)
    if can_choose and prompt.thoughtless and rules.reasoning != "none" and talk.messages[place].reasoning:
        conversation = replace(conversation, thinking=True)
        prompt = chat.render(conversation)
    return conversation, prompt


def thinks_first(talk: Talk, place: int, chat: ChatFormat, prompt: Rendered, rules: Rules) -> bool:
    """Whether the model would think before this answer, and the data does not say what."""
    given = talk.messages[place].reasoning is not None
    return rules.reasoning == "keep" and not given and chat.abilities.thinks and not prompt.thoughtless


def turn_at(talk: Talk, place: int, chat: ChatFormat, rules: Rules, thoughts: Thoughts = NO_THOUGHTS) -> Turn:
    """Raises RowError for a message that the format cannot write."""
    try:
        conversation, prompt = asked(talk, place, chat, rules, thoughts)
        message = talk.messages[place]
        own = thinks_first(talk, place, chat, prompt, rules)
        if rules.reasoning == "none":
            message = replace(message, reasoning=None)
        elif own:
            message = replace(message, reasoning=thoughts.get(place) or None)
        answer = chat.answer(conversation, prompt, message)
    except (ChatError, TokenizerError) as problem:
        remedy = " reasoning = 'none' in the recipe leaves thoughts out." if talk.messages[place].reasoning else ""
        raise RowError(f"messages[{place}]: {problem}{remedy}") from problem
    weight = counts(talk, place, rules)
    return Turn(
        message=place,
        prompt=prompt,
        answer=answer,
        weight=weight,
        thought_weight=0.0 if own else weight,
        unthought=own and place not in thoughts,
        lost=what_is_lost(chat, prompt, answer, message),
    )


def counts(talk: Talk, place: int, rules: Rules) -> float:
    """What a message counts: as the data says, else as the rules do. Raises RowError for what cannot be learnt."""
    stated, role = talk.weights[place], talk.messages[place].role
    if role != "assistant":
        if stated and rules.trained != "all":
            raise RowError(
                f"messages[{place}] is the {role}'s and has the weight {stated:g}, expected 0: the model does not "
                "write it. trained = 'all' in the recipe learns what others say as well"
            )
        return (1.0 if stated is None else stated) if rules.trained == "all" else 0.0
    if stated is not None:
        return stated
    last = max(n for n, message in enumerate(talk.messages) if message.role == "assistant")
    return float(rules.trained != "last" or place == last)


def what_is_lost(chat: ChatFormat, prompt: Rendered, answer: WrittenAnswer, message: Message) -> str | None:
    """What of a message is not read back from its answer, or None."""
    parser = chat.parser(prompt)
    deltas = [delta for token in answer.ids for delta in parser.push(token)] + parser.finish("stop")
    said = "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))
    thought = "".join(delta.text for delta in deltas if isinstance(delta, ReasoningDelta))
    calls = [(call.name, plain(call.arguments)) for call in parser.tool_calls]
    wanted = [(call.name, plain(call.arguments)) for call in message.tool_calls]
    if calls != wanted:
        return "calls behind the first" if calls and calls == wanted[: len(calls)] else "calls"
    if said.strip() != message.content.strip():
        return "words beside calls" if message.tool_calls and not said.strip() else "words"
    return "thoughts" if thought.strip() != (message.reasoning or "").strip() else None


def plain(arguments: str) -> str:
    return json.dumps(json.loads(arguments), sort_keys=True) if arguments else "{}"


# --- one conversation ---


def next_thought(talk: Talk, chat: ChatFormat, rules: Rules, thoughts: Thoughts) -> tuple[int, Conversation] | None:
    """The next message before which the model is to be asked what it thinks: its place, and what to ask. Raises
    RowError as `turn_at` does."""
    for place in places(talk, rules):
        if place not in thoughts:
            try:
                conversation, prompt = asked(talk, place, chat, rules, thoughts)
            except (ChatError, TokenizerError) as problem:
                raise RowError(f"messages[{place}]: {problem}") from problem
            if thinks_first(talk, place, chat, prompt, rules):
                return place, conversation
    return None


def places(talk: Talk, rules: Rules) -> list[int]:
    """Of the assistant's messages that count, and where everything does, of the last one."""
    found = [n for n, message in enumerate(talk.messages) if message.role == "assistant"]
    return [n for n in found if counts(talk, n, rules) > 0 or (rules.trained == "all" and n == found[-1])]


@dataclass(frozen=True, slots=True, kw_only=True)
class Masked:
    """What became of a talk. `cut`: answers that were left out because they do not fit; `apart`: how many of its
    answers are examples of their own, because later prompts write them in another way."""

    examples: tuple[Example, ...]
    turns: tuple[Turn, ...]
    cut: int = 0
    apart: int = 0


def masked(talk: Talk, line: int, chat: ChatFormat, rules: Rules, thoughts: Thoughts = NO_THOUGHTS) -> Masked:
    """The examples of a talk. Raises RowError where nothing of it is trained, and for what is too long."""
    for place in range(len(talk.messages)):
        counts(talk, place, rules)
    turns = [turn_at(talk, place, chat, rules, thoughts) for place in places(talk, rules)]
    if not turns:
        raise RowError("nothing of it is trained (every weight is 0), expected a message that counts. Leave it out")
    fitting = [turn for turn in turns if turn.length <= rules.length]
    if len(fitting) < len(turns) and not rules.cuts:
        raise too_long(max(turn.length for turn in turns), rules)
    rows = chains(fitting)
    examples = [example_of(row, talk, line, rules, last=row is rows[-1]) for row in rows]
    return Masked(
        examples=tuple(examples), turns=tuple(fitting), cut=len(turns) - len(fitting), apart=max(0, len(rows) - 1)
    )


def too_long(tokens: int, rules: Rules) -> RowError:
    return RowError(
        f"{tokens} tokens, more than length = {rules.length}. Raise the length, shorten the conversation, or leave "
        "answers out that do not fit: too_long = 'cut at message'"
    )


def chains(turns: Sequence[Turn]) -> list[list[Turn]]:
    """Answers that stand in one sequence: where the next prompt begins with this prompt and answer, to the token."""
    rows: list[list[Turn]] = []
    for turn in turns:
        before = rows[-1][-1] if rows else None
        if before is not None and turn.prompt.ids[: before.length] == before.prompt.ids + before.answer.ids:
            rows[-1].append(turn)
        else:
            rows.append([turn])
    return rows


def example_of(row: Sequence[Turn], talk: Talk, line: int, rules: Rules, *, last: bool) -> Example:
    end = row[-1]
    ids = np.array(end.prompt.ids + end.answer.ids, np.int32)
    trained = np.zeros(len(ids), np.float32)
    if rules.trained == "all" and last:
        for span in end.prompt.spans:
            counted = 1.0 if span.message is None else counts(talk, span.message, rules)
            trained[span.start : span.stop] = counted
        trained[0] = 0
    for turn in row:
        start = len(turn.prompt.ids)
        words = start + turn.answer.thought
        trained[start:words] = turn.thought_weight
        trained[words : turn.length] = turn.weight
    return Example(ids, trained, line)


def answered(
    prompt: Talk,
    answers: Sequence[Message],
    line: int,
    chat: ChatFormat,
    rules: Rules,
    thoughts: Thoughts = NO_THOUGHTS,
) -> Iterator[tuple[Example, Turn]]:
    """Each answer to the prompt, as an example of its own. `thoughts`: what the model thinks before any of them.

    Raises RowError for what is too long, in both meanings of `too_long`: a pair without one of its answers is none.
    """
    place = len(prompt.messages)
    for message in answers:
        talk = prompt.followed_by(message, 1.0)
        turn = turn_at(talk, place, chat, rules, thoughts)
        if turn.length > rules.length:
            raise too_long(turn.length, rules)
        yield example_of([turn], talk, line, replace(rules, trained="last"), last=True), turn
