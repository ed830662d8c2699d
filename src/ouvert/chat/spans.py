"""Which tokens of a prompt came from which message."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ouvert.chat.format import Source, Span
from ouvert.chat.own_control import Part
from ouvert.chat.owned_text import TEMPLATE, OwnedText, plain


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose text a span is."""

    message: int | None
    channel: str | None
    source: Source


@dataclass(frozen=True, slots=True)
class Piece:
    """Characters `start` to `stop` of a rendered text."""

    start: int
    stop: int
    owner: Owner


OUTSIDE = Owner(None, None, "supplied")  # of text whose owner is not known


def pieces_of(text: OwnedText, owners: Sequence[Owner], turn_ends: Sequence[str]) -> list[Piece]:
    """The rendered `text` cut into pieces. `owners` are those of runs, from 1 on."""
    end = re.compile("|".join(map(re.escape, turn_ends)) or r"(?!)")
    pieces: list[Piece] = []
    before: int | None = None
    at = 0  # where the last piece that is not the template's ended
    place = 0
    whole = plain(text)
    for length, number in text.runs:
        if number != TEMPLATE:
            owner = owners[number - 1] if TEMPLATE < number <= len(owners) else OUTSIDE
            pieces += between(whole, at, place, before, owner.message, end)
            pieces.append(Piece(place, place + length, owner))
            before, at = owner.message, place + length
        place += length
    pieces += between(whole, at, place, before, None, end)
    return [piece for piece in pieces if piece.start < piece.stop]


def between(
    text: str, start: int, stop: int, before: int | None, after: int | None, end: re.Pattern[str]
) -> Iterator[Piece]:
    """What a template wrote between two pieces of text: the end of one turn, perhaps whole turns, the next's header."""
    if before == after and before is not None:
        yield Piece(start, stop, Owner(before, None, "format"))
        return
    ends = [match.end() for match in end.finditer(text, start, stop)]
    first, last = (ends[0], ends[-1]) if ends else (start, start)
    if before is None:
        first = start
    yield Piece(start, first, Owner(before, None, "format"))
    yield Piece(first, last, Owner(None, None, "format"))
    yield Piece(last, stop, Owner(after, None, "format"))


def token_spans(
    text: OwnedText,
    pieces: Sequence[Piece],
    parts: Sequence[Part],
    ids: Sequence[int],
    token_bytes: Callable[[int], bytes],
) -> tuple[Span, ...]:
    """Spans of `ids`, which are the tokens of `parts`, into which `text` was split."""
    spans: list[Span] = []

    def give(owner: Owner) -> None:
        last = spans[-1] if spans else None
        if last and (last.message, last.channel, last.source) == (owner.message, owner.channel, owner.source):
            spans[-1] = Span(last.start, last.stop + 1, owner.message, owner.channel, owner.source)
        else:
            start = last.stop if last else 0
            spans.append(Span(start, start + 1, owner.message, owner.channel, owner.source))

    taken = first_piece = 0
    whole = plain(text)
    for number, part in enumerate(parts):
        while pieces[first_piece].stop <= part.start:
            first_piece += 1
        if isinstance(part.content, int):
            give(pieces[first_piece].owner)
            taken += 1
            continue
        following = parts[number + 1].content if number + 1 < len(parts) else None  # behind text stands a control token
        upto = ids.index(following, taken) if isinstance(following, int) else len(ids)
        inside = []  # (bytes, owner) of each piece's share in this part
        place = first_piece
        while place < len(pieces) and pieces[place].start < part.stop:
            piece = pieces[place]
            place += 1
            share = whole[max(piece.start, part.start) : min(piece.stop, part.stop)]
            inside.append((len(share.encode(errors="replace")), piece.owner))
        for owner in owners_of(ids[taken:upto], inside, token_bytes):
            give(owner)
        taken = upto
    return tuple(spans)


def owners_of(
    ids: Sequence[int], inside: Sequence[tuple[int, Owner]], token_bytes: Callable[[int], bytes]
) -> Iterator[Owner]:
    """The owner of each token of a stretch of text; a token across a border belongs to the text from outside."""
    lengths = [len(token_bytes(token)) for token in ids]
    surplus = sum(lengths) - sum(size for size, _ in inside)
    rank = {"format": 0, "chosen": 1, "supplied": 2}
    foremost = max((owner for _, owner in inside), key=lambda owner: rank[owner.source])
    if surplus not in (0, 1):  # a tokenizer that rewrites text: no token can be traced to a place in it
        yield from (foremost for _ in ids)
        return
    if lengths:
        lengths[0] -= surplus  # the space that SentencePiece puts in front
    borders = []  # where each share ends
    position = 0
    for size, owner in inside:
        position += size
        borders.append((position, owner))
    at = share = 0
    for length in lengths:
        while share + 1 < len(borders) and borders[share][0] <= at:
            share += 1
        best, ahead = borders[share][1], share
        while ahead + 1 < len(borders) and borders[ahead][0] < at + length:
            ahead += 1
            if rank[borders[ahead][1].source] > rank[best.source]:
                best = borders[ahead][1]
        yield best
        at += length
