"""Which tokens of a prompt came from which message.

A template is a program, so nobody can say beforehand where it will put a message's text. It is run twice: once with
the text, once with a mark in the place of each piece of text. Where the two agree on everything but the marks, each
mark shows what the text became; where they do not, the whole prompt counts as supplied from outside.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ouvert.chat.format import Source, Span

MARK = "\ufde0"
MARKED = re.compile(f"{MARK}(\\d+){MARK}")


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose text it is."""

    message: int | None
    channel: str | None
    source: Source


@dataclass(frozen=True, slots=True)
class Piece:
    """Characters `start` to `stop` of a rendered text."""

    start: int
    stop: int
    owner: Owner


class Leaves:
    """The pieces of text a conversation supplies, in the order a template's variables hold them."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.owners: list[Owner] = []

    def mark(self, text: str, owner: Owner) -> str:
        """What stands for `text` in the second run. White space stays: templates ask whether there is any text."""
        if not text.strip():
            return text
        self.texts.append(text)
        self.owners.append(owner)
        return f"{MARK}{len(self.texts) - 1}{MARK}"


def written_forms(text: str) -> Iterator[str]:
    """What templates make of a piece of text: as it is, without the space around it, inside JSON."""
    for form in (text, text.strip(), text.strip("\n"), text.rstrip(), text.lstrip()):
        yield form
        yield json.dumps(form, ensure_ascii=False)[1:-1]


def pieces_of(text: str, skeleton: str, leaves: Leaves, turn_ends: Sequence[str]) -> list[Piece]:
    """The rendered `text` cut into pieces; `skeleton` is the same prompt with marks in it."""
    literals = MARKED.split(skeleton)[::2]
    indices = [int(index) for index in MARKED.findall(skeleton)]
    cuts: list[tuple[int, int, int]] = []  # start, stop, index of the leaf
    at = len(literals[0])
    fits = text.startswith(literals[0])
    for index, literal in zip(indices, literals[1:], strict=True):
        if not fits:
            break
        for form in written_forms(leaves.texts[index]):
            stop = at + len(form)
            if text.startswith(form, at) and text.startswith(literal, stop):
                cuts.append((at, stop, index))
                at = stop + len(literal)
                break
        else:
            fits = False
    if not fits or at != len(text):
        return [Piece(0, len(text), Owner(None, None, "supplied"))]

    end = re.compile("|".join(map(re.escape, turn_ends)) or r"(?!)")
    pieces: list[Piece] = []
    before: int | None = None
    at = 0
    for start, stop, index in [*cuts, (len(text), len(text), -1)]:
        after = leaves.owners[index].message if index >= 0 else None
        pieces += between(text, at, start, before, after, end)
        if index >= 0:
            pieces.append(Piece(start, stop, leaves.owners[index]))
        before, at = after, stop
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
    text: str,
    pieces: Sequence[Piece],
    parts: Sequence[str | int],
    ids: Sequence[int],
    token_bytes: Callable[[int], bytes],
    mended: Callable[[str], str],
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

    at, taken, first_piece = 0, 0, 0
    for number, part in enumerate(parts):
        if isinstance(part, int):
            spelled = token_bytes(part).decode(errors="replace")
            at = text.index(spelled, at) + len(spelled)
            while pieces[first_piece].stop < at:
                first_piece += 1
            give(pieces[first_piece].owner)
            taken += 1
            continue
        at = text.index(part, at)
        stop = at + len(part)
        following = next((p for p in parts[number + 1 :] if isinstance(p, int)), None)
        upto = ids.index(following, taken) if following is not None else len(ids)
        while first_piece < len(pieces) and pieces[first_piece].stop <= at:
            first_piece += 1
        inside = []  # (bytes, owner) of each piece's share in this part
        for piece in pieces[first_piece:]:
            if piece.start >= stop:
                break
            share = mended(text[max(piece.start, at) : min(piece.stop, stop)])
            inside.append((len(share.encode(errors="replace")), piece.owner))
        for owner in owners_of(ids[taken:upto], inside, token_bytes):
            give(owner)
        at, taken = stop, upto
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
