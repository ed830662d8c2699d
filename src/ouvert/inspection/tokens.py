"""The tokens of a trace: which they are, what they say, and whose they are."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

from ouvert.tokenization import Tokenizer

Part = Literal["prompt", "answer", "text"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedToken:
    """One token. `place`: its position in the sequence, from 0. `text`: the characters that it completes; the texts of
    all tokens, joined, are what was read and written, control tokens included.

    `message` is the index of its message in the conversation, or None; `channel` is "analysis", "commentary" or "final"
    in what the model said, where its format has channels; `source` is "format" for what the chat format wrote,
    "supplied" for text from outside, "chosen" for what a model wrote.
    """

    place: int
    id: int
    text: str
    part: Part
    message: int | None = None
    channel: str | None = None
    source: str = "supplied"


class Span(Protocol):
    """chat.Span."""

    @property
    def start(self) -> int: ...
    @property
    def stop(self) -> int: ...
    @property
    def message(self) -> int | None: ...
    @property
    def channel(self) -> str | None: ...
    @property
    def source(self) -> str: ...


def traced_tokens(
    ids: Sequence[int],
    tokenizer: Tokenizer | None,
    *,
    prompt: int,
    spans: Iterable[Span] = (),
    channels: Sequence[str | None] = (),
    message: int | None = None,
) -> tuple[TracedToken, ...]:
    """The first `prompt` ids are a prompt whose tokens `spans` give to messages; the rest is an answer, as `message`,
    written in `channels`. Without an answer and spans all of it is a text. Raises nothing."""
    owners: dict[int, Span] = {place: span for span in spans for place in range(span.start, span.stop)}
    texts = texts_of(ids, tokenizer)
    tokens = []
    for place, (token, text) in enumerate(zip(ids, texts, strict=True)):
        if place >= prompt:
            channel = channels[place - prompt] if channels else None
            mine: dict[str, Any] = {"part": "answer", "message": message, "channel": channel, "source": "chosen"}
        elif (span := owners.get(place)) is not None:
            mine = {"part": "prompt", "message": span.message, "channel": span.channel, "source": span.source}
        else:
            mine = {"part": "prompt" if prompt < len(ids) else "text"}
        tokens.append(TracedToken(place=place, id=int(token), text=text, **mine))
    return tuple(tokens)


def texts_of(ids: Sequence[int], tokenizer: Tokenizer | None) -> list[str]:
    """The characters that each token completes. A character of several tokens belongs to the last of them."""
    if tokenizer is None:
        return [""] * len(ids)
    decoder = tokenizer.decoder(control=True)
    texts = [decoder.push(int(token)) for token in ids]
    if texts:
        texts[-1] += decoder.flush()
    return texts


def pieces_of(ids: Iterable[int], tokenizer: Tokenizer | None) -> dict[str, str]:
    """What each of these tokens says by itself, by its id as a string, for JSON. Bytes that are no whole character are
    written as \\\\xNN."""
    chosen = sorted({int(token) for token in ids})
    if tokenizer is None:
        return {str(token): f"#{token}" for token in chosen}
    return {str(token): tokenizer.token_bytes(token).decode("utf-8", "backslashreplace") for token in chosen}


def token_facts(token: TracedToken) -> dict[str, Any]:
    """The token as JSON. Raises nothing."""
    return asdict(token)


def token_from(facts: Mapping[str, Any]) -> TracedToken:
    """The token of its JSON. Raises TypeError for an object of another form."""
    return TracedToken(**facts)
