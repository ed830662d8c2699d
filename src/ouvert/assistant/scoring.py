"""How likely a model finds texts, and each of several ways in which one may go on."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ouvert.assistant.error import AssistantError
from ouvert.chat import ChatFormat, Conversation, Message, Rendered
from ouvert.engine import Token
from ouvert.tokenization import Tokenizer


@dataclass(frozen=True, slots=True)
class ReadText:
    """A text as it was read: `ids` with the token before it, and what was found of each token but the first of them.

    `counted`: the bytes of the text, in UTF-8, that `tokens` are of: all, unless the model has no token that a text
    could begin behind. Its properties raise nothing.
    """

    ids: tuple[int, ...]
    tokens: tuple[Token, ...]
    counted: int

    @property
    def logprob(self) -> float:
        """Of the whole text: the sum over its tokens, in nats."""
        return math.fsum(token.logprob or 0.0 for token in self.tokens)

    @property
    def bits_per_byte(self) -> float | None:
        """What one byte of the text costs, which compares between tokenizers. None where nothing was counted."""
        return -self.logprob / math.log(2) / self.counted if self.counted else None


@dataclass(frozen=True, slots=True)
class ScoredChoice:
    """One way to go on: `logprob` is the sum over `tokens`, in nats. Those of one call compare with each other.
    `before`: how many tokens stand before them, the same of all.

    The tokens are those behind what all choices begin with: where the context's last token and the choice's first
    would be one token together, that one is among them.
    """

    text: str
    logprob: float
    tokens: tuple[Token, ...]
    before: int


# The ids of a text, the position of its first token whose log-probability is wanted, and where it ends.
Part = tuple[list[int], int, int]
ScoreAll = Callable[[Sequence[Sequence[int]], Sequence[int]], list[list[Token]]]


def beginning_of(tokenizer: Tokenizer) -> list[int]:
    """The token that a text stands behind, so that its first token is likely after something: the one that begins
    texts, or else the one that ends them; none where the model has neither."""
    start = tokenizer.eos if tokenizer.bos is None else tokenizer.bos
    return [] if start is None else [start]


def text_to_read(tokenizer: Tokenizer, text: str) -> tuple[list[int], int]:
    """The ids of a text behind `beginning_of`, and how many of its bytes are scored. Raises AssistantError for an empty
    one."""
    if not text:
        raise AssistantError("reading a text: it is empty, expected some words. Leave it out.")
    start, ids = beginning_of(tokenizer), tokenizer.encode(text)
    counted = len(text.encode("utf-8", "replace"))
    if not start:  # the first token has nothing to be likely after
        counted -= len(tokenizer.decode(ids[:1], control=True).encode("utf-8", "replace"))
    return [*start, *ids], counted


def choices_of_text(
    text_ids: Callable[[str], list[int]], start: list[int], context: str, choices: Sequence[str]
) -> list[Part]:
    """Context and choice are one text each time, and cut into tokens as such: a tokenizer may make one token of the end
    of the one and the beginning of the other. What is scored begins where the first of the texts leaves the context's
    own tokens, in all of them: so each sum is of the same thing, the rest of the text behind the same beginning.

    `start`: what is set before them all where they begin with no token in common: an empty context, or a single letter.
    """
    alone, wholes = text_ids(context), [text_ids(context + choice) for choice in choices]
    first = min(common_length(alone, ids) for ids in wholes)
    if first == 0:
        first, wholes = len(start), [[*start, *ids] for ids in wholes]
    if first == 0:
        raise AssistantError(
            f"scoring choices: the context is {context!r:.20}, and this model has no token that a text begins behind, "
            "so a choice's first token would count for nothing. Give a longer context."
        )
    return [(ids, first, len(ids)) for ids in wholes]


def choices_of_answer(chat: ChatFormat, conversation: Conversation, choices: Sequence[str]) -> list[Part]:
    """Each choice as the whole answer to a conversation, as the chat format writes it, with the token that ends an
    answer where the format writes one that does. The header of the answer counts where it is not the prompt's own."""
    prompt = chat.render(conversation)
    parts = []
    for choice in choices:
        answered = (*conversation.messages, Message(role="assistant", content=choice))
        whole = chat.render(replace(conversation, messages=answered))
        parts.append(answer_in(whole, prompt, len(conversation.messages), chat.stop_ids))
    first = min(start for _, start, _ in parts)
    return [(ids, first, stop) for ids, _, stop in parts]


def answer_in(whole: Rendered, prompt: Rendered, message: int, stop_ids: frozenset[int]) -> Part:
    """Where the answer stands in a conversation that was written with it. Raises AssistantError where it does not."""
    own = [span for span in whole.spans if span.message == message]
    said = [span for span in own if span.source == "chosen"]
    if not said:
        raise AssistantError(
            "scoring choices: this model's chat format leaves an answer out of the conversation that it ends. Ask "
            "with chat=False."
        )
    stop = said[-1].stop
    if stop < own[-1].stop and whole.ids[stop] in stop_ids:
        stop += 1
    start = max(own[0].start, common_length(prompt.ids, whole.ids))
    return list(whole.ids[:stop]), min(start, said[0].start), stop


def scored_choices(choices: Sequence[str], parts: Sequence[Part], score_all: ScoreAll) -> list[ScoredChoice]:
    """What is asked of the engine, and what it found, as choices. Raises what `score_all` raises."""
    found = score_all([ids[:stop] for ids, _, stop in parts], [start for _, start, _ in parts])
    return [
        ScoredChoice(choice, math.fsum(token.logprob or 0.0 for token in tokens), tuple(tokens), start)
        for choice, tokens, (_, start, _) in zip(choices, found, parts, strict=True)
    ]


def check_choices(choices: Sequence[str]) -> None:
    """Raises AssistantError for none, and for one that is empty."""
    if not choices or isinstance(choices, str) or not all(isinstance(each, str) and each for each in choices):
        raise AssistantError(
            f"scoring choices: choices={choices!r:.80}, expected a list of texts, each with a character at least."
        )


def common_length(one: Sequence[int], other: Sequence[int]) -> int:
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
