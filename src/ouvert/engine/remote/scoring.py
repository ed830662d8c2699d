"""Texts that another program scores: as vLLM answers that, and as our own engine elsewhere does."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ouvert.engine.interface import EngineError, Token
from ouvert.engine.remote.connection import Connection

SCORE = "/inference/v1/score"
SCORING_WITHIN = 600.0  # seconds in which a request has to be read
AT_ONCE = 8  # requests to a program that batches them itself
PIECES_AT_ONCE = 2  # to our own engine: it is never without work, and a failure loses little
PIECE_TOKENS = 8192


def score_side_by_side(
    texts: Sequence[Sequence[int]], starts: Sequence[int], ask: Callable[[Sequence[int]], list[Token]]
) -> list[list[Token]]:
    """What `ask` gives for each text of two tokens or more, from its start on; a text that comes twice is asked for
    once. What it raises for one of them is raised here."""
    different = list(dict.fromkeys(tuple(ids) for ids in texts if len(ids) > 1))
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="ouvert-scoring") as pool:
        asked = {ids: pool.submit(ask, ids) for ids in different}
        try:
            found = {ids: each.result() for ids, each in asked.items()}
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return [found[tuple(ids)][start - 1 :] if len(ids) > 1 else [] for ids, start in zip(texts, starts, strict=True)]


def scores_of(answer: Mapping[str, Any], ids: Sequence[int], top: int) -> list[Token]:
    """`prompt_logprobs` as tokens. Raises EngineError for what is not understood."""
    try:
        stated = answer["prompt_logprobs"][1:]
        return [scored(token, place, top) for token, place in zip(ids[1:], stated, strict=True)]
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as problem:
        raise EngineError(
            f"scoring a text: the engine answered {answer!r:.200}, expected prompt_logprobs for {len(ids)} tokens. "
            "docs/formats/engine-http.md says what is expected of one."
        ) from problem


def scored(token: int, place: Mapping[str, Any], top: int) -> Token:
    logprobs = {int(each): float(stated["logprob"]) for each, stated in place.items()}
    if math.isnan(logprobs[token]):
        raise ValueError("a log-probability is no number")
    likeliest = sorted(logprobs.items(), key=lambda each: (-each[1], each[0]))
    return Token(token, logprobs[token], tuple(likeliest[:top]))


def score_at_member(
    connection: Connection,
    texts: Sequence[Sequence[int]],
    starts: Sequence[int],
    body: Mapping[str, Any],
) -> list[list[Token]]:
    """What our own engine over there gives; `body` has what is the same for all texts, `top` among it. Texts that begin
    alike go together. Raises EngineError, also for an answer that is not understood."""
    order = sorted(range(len(texts)), key=lambda n: list(texts[n]))
    found: list[list[Token]] = [[] for _ in texts]

    def ask(numbers: Sequence[int]) -> None:
        asked = {"token_ids": [list(texts[n]) for n in numbers], "starts": [starts[n] for n in numbers]}
        answer = connection.post(SCORE, {**body, **asked}, within=SCORING_WITHIN)
        for n, tokens in zip(numbers, tokens_of(answer, texts, starts, numbers, connection), strict=True):
            found[n] = tokens

    with ThreadPoolExecutor(PIECES_AT_ONCE, thread_name_prefix="ouvert-scoring") as pool:
        asked = [pool.submit(ask, piece) for piece in pieces(order, texts)]
        try:
            for each in asked:
                each.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return found


def pieces(order: Sequence[int], texts: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """The numbers of the texts of each request: PIECE_TOKENS at most, or one text that has more."""
    piece: list[int] = []
    tokens = 0
    for n in order:
        if piece and tokens + len(texts[n]) > PIECE_TOKENS:
            yield piece
            piece, tokens = [], 0
        piece.append(n)
        tokens += len(texts[n])
    if piece:
        yield piece


def tokens_of(
    answer: Any,
    texts: Sequence[Sequence[int]],
    starts: Sequence[int],
    numbers: Sequence[int],
    connection: Connection,
) -> list[list[Token]]:
    try:
        scored = []
        for n, places in zip(numbers, answer["scores"], strict=True):
            expected = list(texts[n][starts[n] :])
            tokens = [
                Token(int(token), float(logprob), tuple((int(each), float(its)) for each, its in top))
                for token, logprob, top in places
            ]
            if [token.id for token in tokens] != expected:
                raise ValueError(f"other tokens were scored than the {len(expected)} that were sent")
            scored.append(tokens)
        return scored
    except (KeyError, TypeError, ValueError) as problem:
        raise EngineError(
            f"asking {connection.address}{SCORE}: the answer is {answer!r:.200} ({problem}), expected scores. Is an "
            "engine of this version there?"
        ) from problem
