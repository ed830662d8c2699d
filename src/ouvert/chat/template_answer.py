"""What a model would have to write for an answer behind a prompt of its template.

A template shows answers only as the past. Where it shows one as it would have been written, and most do in the last
turn, the answer is what stands behind the prompt. Where it leaves thoughts out, or the prompt begins a thought of which
the past shows nothing, the answer is put together as the model would write it.
"""

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ouvert.chat.answer import CLOSE_THINKING, OPEN_THINKING
from ouvert.chat.format import ChatError, WrittenAnswer
from ouvert.chat.own_control import OwnControl, Part
from ouvert.chat.owned_text import TEMPLATE, OwnedText, joined, plain, whole
from ouvert.chat.spans import Owner, Piece, token_spans

if TYPE_CHECKING:
    from ouvert.tokenization import Tokenizer

# At the beginning of an answer: a thought without words, or the end of one that the prompt began.
EMPTY_THOUGHT = re.compile(rf"\s*(?:{OPEN_THINKING}\s*)?{CLOSE_THINKING}\s*")
# What a prompt may supply of the answer's beginning: white space, an open thought, an empty one.
SUPPLIED = re.compile(rf"\s*(?:{OPEN_THINKING}\s*)?(?:{CLOSE_THINKING}\s*)?")
TAG = re.compile(f"{OPEN_THINKING}|{CLOSE_THINKING}")
END_OF_THOUGHT = f"\n{CLOSE_THINKING}\n\n"
SAID = 1  # the owner, in texts that are made here, of what the model says


@dataclass(frozen=True, slots=True)
class AnswerText:
    """An answer with its owners; the first `thought` characters are thinking, its end mark among them."""

    text: OwnedText
    thought: int


@dataclass(frozen=True, slots=True)
class Past:
    """A conversation as the template writes it with the answer in it. `thoughts` and `words` are the owners of what the
    answer thinks and says."""

    text: OwnedText
    thoughts: frozenset[int]
    words: frozenset[int]

    def first(self, owners: frozenset[int]) -> int | None:
        """Where the first text of one of these owners begins."""
        return next((start for start, _, owner in located(self.text) if owner in owners), None)

    def end(self, owners: frozenset[int]) -> int:
        """Where the last text of these owners ends."""
        return max((start + length for start, length, owner in located(self.text) if owner in owners), default=0)


def shown_answer(
    prompt: OwnedText, past: Past, reasoning: str | None, *, thinking: bool, blotted: Callable[[OwnedText], str]
) -> AnswerText | None:
    """The answer as the past shows it, with what follows it there. None where the past is not the prompt's, or leaves
    out what the answer says.

    `thinking`: the prompt ends inside a thought. `blotted` is `OwnControl.blotted`.
    """
    if past.first(past.words) is None:
        return None
    begins = past.first(past.thoughts | past.words)
    shared = shared_length(prompt, past.text, begins)
    supplied = plain(prompt)[shared:]
    if shared < supplied_end(prompt) or not SUPPLIED.fullmatch(supplied):
        return None
    rest = past.text.cut(shared, len(past.text))
    thought = past.first(past.thoughts)
    if reasoning and thought is not None:
        end = thought_end(past, blotted) - shared
        start = thought - shared if supplied else 0
        return AnswerText(rest.cut(start, len(rest)), end - start)
    empty = EMPTY_THOUGHT.match(blotted(rest))
    if not (supplied or reasoning):  # what there is of an empty thought, the model writes itself
        return AnswerText(rest, empty.end() if empty else 0)
    skipped = empty.end() if empty else len(rest) - len(blotted(rest).lstrip()) if supplied else 0
    body = rest.cut(skipped, len(rest))
    return with_thought(body, reasoning, thinking=thinking, shown=empty and empty.group())


def without_ids(text: OwnedText, ids: Collection[str]) -> OwnedText:
    """The text of calls without their ids: Mistral's past shows them, and its models write none."""
    kept: list[str] = []
    at = 0
    listed = "|".join(map(re.escape, ids))
    for found in re.finditer(rf', ?"id": ?"(?:{listed})"|\[CALL_ID\](?:{listed})', plain(text)):
        if owner_at(text, found.start()) == TEMPLATE:  # and no argument that looks alike
            kept.append(text.cut(at, found.start()))
            at = found.end()
    return joined([*kept, text.cut(at, len(text))])


def owner_at(text: OwnedText, place: int) -> int:
    return next(owner for start, length, owner in located(text) if start <= place < start + length)


def with_thought(body: OwnedText, reasoning: str | None, *, thinking: bool, shown: str | None = None) -> AnswerText:
    """The answer whose words are `body`. `shown`: an empty thought as the template writes it."""
    if not (reasoning or thinking):
        return AnswerText(body, 0)
    end = END_OF_THOUGHT
    if shown:
        end = ("\n" if OPEN_THINKING in shown else "") + shown[shown.index(CLOSE_THINKING) :]
    head = joined(
        [
            whole("" if thinking else f"{OPEN_THINKING}\n", TEMPLATE),
            whole(reasoning or "", SAID),
            whole(end, TEMPLATE),
        ]
    )
    return AnswerText(joined([head, body]), len(head))


def shared_length(prompt: OwnedText, past: OwnedText, most: int | None) -> int:
    """With how many characters both begin, up to the answer's own at `most`; no tag is cut in two."""
    one, other = plain(prompt), plain(past)[:most]
    length = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    for text in (one, other):
        for tag in TAG.finditer(text, max(0, length - len(CLOSE_THINKING)), length + len(CLOSE_THINKING)):
            if tag.start() < length < tag.end():
                length = tag.start()
    return length


def supplied_end(prompt: OwnedText) -> int:
    """Where the last text from outside ends: behind it stands what the template writes of the answer."""
    return max((start + length for start, length, owner in located(prompt) if owner != TEMPLATE), default=0)


def thought_end(past: Past, blotted: Callable[[OwnedText], str]) -> int:
    """Where the thought in the past is over, its mark and the white space behind that among it."""
    last = past.end(past.thoughts)
    mark = re.compile(rf"\s*{CLOSE_THINKING}\s*").match(blotted(past.text), last)
    return mark.end() if mark else last


@dataclass(frozen=True, slots=True)
class Place:
    """Where an answer stands: behind the ids of a `prompt`, whose parts are `before`."""

    prompt: Sequence[int]
    before: Sequence[Part]


def written_answer(
    shown: AnswerText, place: Place, control: OwnControl, tokenizer: "Tokenizer", closing: Callable[[], int | None]
) -> WrittenAnswer:
    """The tokens of an answer, to the first at which the engine stops. `closing` is asked for that where the template
    writes none behind an answer. Raises ChatError where the vocabulary has none."""
    parts = to_the_stop(list(control.parts(shown.text)), tokenizer.end_ids)
    ids = answer_ids([part.content for part in parts], place, tokenizer)
    length = parts[-1].stop if parts else 0
    thinks = min(shown.thought, length)
    owners = (Owner(0, "analysis", "chosen"), Owner(0, "final", "chosen"))
    borders = ((0, thinks), (thinks, length))
    pieces = [Piece(start, stop, owner) for (start, stop), owner in zip(borders, owners, strict=True) if start < stop]
    spans = token_spans(shown.text.cut(0, length), pieces, parts, ids, tokenizer.token_bytes) if parts else ()
    thought = next((span.stop for span in spans if span.channel == "analysis"), 0)
    if not ids or ids[-1] not in tokenizer.end_ids:
        following = closing()
        ids.append(usual_end(tokenizer) if following is None else following)
    return WrittenAnswer(tuple(ids), thought)


def to_the_stop(parts: Sequence[Part], stops: frozenset[int]) -> list[Part]:
    """The parts to the first that ends answers. Without one: all of them, without white space at the end."""
    for number, part in enumerate(parts):
        if part.content in stops:
            return list(parts[: number + 1])
    found = list(parts)
    while found and isinstance(content := found[-1].content, str):
        last = found.pop()
        if kept := content.rstrip():
            return [*found, Part(last.start, last.start + len(kept), kept)]
    return found


def following_stop(past: Past, control: OwnControl, stops: frozenset[int]) -> int | None:
    """The token that stands behind an answer where the conversation goes on, if the engine stops at it: some templates
    end an answer with the mark of who speaks next (GLM)."""
    end = past.end(past.words)
    length = next((length for start, length, owner in located(past.text) if start >= end and owner == TEMPLATE), 0)
    parts = control.parts(past.text.cut(end, end + length))
    return next((part.content for part in parts if isinstance(part.content, int) and part.content in stops), None)


def located(text: OwnedText) -> Iterator[tuple[int, int, int]]:
    """(start, length, owner) of each run."""
    at = 0
    for length, owner in text.runs:
        yield at, length, owner
        at += length


def answer_ids(answer: Sequence[str | int], place: Place, tokenizer: "Tokenizer") -> list[int]:
    """The ids of an answer's parts where they continue a prompt: as one text with it, unless the tokenizer would then
    make one token of the end of the prompt and the beginning of the answer."""
    together = tokenizer.encode_parts([*(part.content for part in place.before), *answer])
    if together[: len(place.prompt)] == list(place.prompt):
        return together[len(place.prompt) :]
    first = answer[0]
    if tokenizer.space_prefix == "every piece" and isinstance(first, str):
        answer = [first.removeprefix(" "), *answer[1:]]
    return tokenizer.encode_parts([0, *answer])[1:]  # behind something: no text's beginning


def usual_end(tokenizer: "Tokenizer") -> int:
    """The token that ends an answer whose template writes none."""
    if tokenizer.eos in tokenizer.end_ids and tokenizer.eos is not None:
        return tokenizer.eos
    if not tokenizer.end_ids:
        raise ChatError(
            "writing an answer: the model's vocabulary names no token at which an answer ends, expected one "
            "(eos_token_id, or an end-of-turn token), so no answer of it would ever stop."
        )
    return min(tokenizer.end_ids)
