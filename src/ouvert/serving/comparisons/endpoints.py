"""The endpoints below /ouvert/comparison."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

from starlette.responses import Response

from ouvert.assistant import BASE, Continuation, TextDelta, TextRequest
from ouvert.serving.comparisons import rereading
from ouvert.serving.comparisons.answering import Answering
from ouvert.serving.comparisons.opened import MOST_COLUMNS, OpenComparison, Question
from ouvert.serving.comparisons.requests import Ballot, ContinuationRequest, RereadRequest, RoundRequest
from ouvert.serving.comparisons.rounds import Round, Rounds, Side
from ouvert.serving.endpoints import Call, Endpoint, Handler
from ouvert.serving.errors import Refusal
from ouvert.serving.giving_way import giving_way
from ouvert.serving.loaded_models import Lease
from ouvert.serving.streams import JSONAnswer, Streamed, sse

SHOWN_PROMPT = 300  # characters of each question in the list
MOST_LISTED = 2000


def comparison_of(call: Call) -> OpenComparison:
    """Raises Refusal where this server compares nothing."""
    opened: OpenComparison | None = call.request.app.state.comparison
    if opened is None:
        raise Refusal(
            404, "No comparison is open here. `ouvert compare open DIR` opens one, in a server of its own.",
            code="no_comparison",
        )  # fmt: skip
    return opened


def rounds_of(call: Call) -> Rounds:
    rounds: Rounds = call.request.app.state.rounds
    return rounds


def round_of(call: Call) -> Round:
    comparison_of(call)
    return rounds_of(call).of(call.request.path_params["round_id"], call.caller.whose)


async def overview(call: Call) -> Response:
    """What can be asked. Who is compared is not said: not even how many answers come from where."""
    opened = comparison_of(call)
    listed = [each for each in opened.questions if len(opened.able(each)) >= 2]
    shown = [
        {"id": each.id, "row": each.row, "item": each.item, "language": each.language,
         "prompt": each.prompt[:SHOWN_PROMPT]}
        for each in listed[:MOST_LISTED]
    ]  # fmt: skip
    return JSONAnswer(
        {
            "object": "comparison",
            "columns": min(MOST_COLUMNS, len(opened.competitors)),
            "takes_own_questions": len(opened.live) >= 2,
            "questions": shown,
            "left_out": len(opened.questions) - len(shown),
        }
    )


async def begin(call: Call) -> Response:
    opened, asked = comparison_of(call), call.body
    question = asked_question(opened, asked)
    made = rounds_of(call).begin(call.caller.whose, question, opened.able(question), asked.columns)
    answering = Answering(call.service, call.caller, made)

    async def pieces() -> AsyncIterator[bytes]:
        async for event in answering.events():
            yield sse(event)

    return Streamed(pieces(), answering.close, ping_seconds=call.service.settings.ping_seconds)


def asked_question(opened: OpenComparison, asked: RoundRequest) -> Question:
    """Raises Refusal for one that the comparison does not have."""
    if asked.prompt is not None:
        messages = ({"role": "user", "content": asked.prompt},)
        return Question(id=asked.digest, messages=messages)
    found = next((each for each in opened.questions if each.id == asked.question), None)
    if found is None:
        raise Refusal(404, f"The comparison has no question {asked.question!r:.100}.", code="not_found")
    return found


async def shown(call: Call) -> Response:
    return JSONAnswer(round_of(call).facts())


async def vote(call: Call) -> Response:
    """Keep the vote, then show the names."""
    opened, round_, ballot = comparison_of(call), round_of(call), call.body
    cast = round_.vote(ballot.verdict, ballot.voter, ballot.reason)
    round_.state = "voting"  # a second vote on this round is refused meanwhile
    try:
        counted = await asyncio.to_thread(opened.cast, cast)
    except BaseException:
        round_.state = "answered"
        raise
    round_.reveal("voted")
    return JSONAnswer({**round_.facts(), "counted": counted})


async def reveal(call: Call) -> Response:
    round_ = round_of(call)
    round_.reveal("revealed")
    return JSONAnswer(round_.facts())


async def standings(call: Call) -> Response:
    return JSONAnswer(dict(await asyncio.to_thread(comparison_of(call).standings)))


async def reread(call: Call) -> Response:
    """The answer of one side as the other reads it."""
    round_, asked = round_of(call), call.body
    side, by = round_.revealed_side(asked.side), round_.revealed_side(asked.by)
    async with AsyncExitStack() as held:
        writer = None if side.competitor.model is None else await reader_of(call, held, round_, side)
        reader = await reader_of(call, held, round_, by)
        found = await giving_way(reread_by, writer, reader, side)
    return JSONAnswer({"object": "comparison.reread", "side": asked.side, "by": asked.by, **found})


def reread_by(writer: rereading.Reader | None, reader: rereading.Reader, side: Side) -> dict[str, Any]:
    """Token by token where that can be. Takes its time; raises what `rereading` raises."""
    if not side.text:
        raise Refusal(409, "This answer is empty: there is nothing to reread.", code="not_comparable")
    if writer is not None and side.ids and rereading.share_ids(writer.model, reader.model):
        return rereading.by_tokens(writer, reader, side.ids)
    return rereading.by_words(writer, reader, side.text)


async def reader_of(call: Call, held: AsyncExitStack, round_: Round, side: Side) -> rereading.Reader:
    """A side as a reader; its model is held until `held` ends. Raises Refusal for one that cannot be asked here."""
    competitor = side.competitor
    if competitor.model is None:
        raise Refusal(
            409, f"{competitor.label} is not computed here, so it cannot read an answer again.",
            code="not_comparable",
        )  # fmt: skip
    lease: Lease = await call.service.borrow(competitor.model, call.caller)
    held.callback(lease.give_back)
    if side.prompt_ids:
        return rereading.Reader(lease.model, side.prompt_ids)
    request = round_.question.request_to(competitor, lease.model)
    prompt = await asyncio.to_thread(lease.prompt_ids, request)
    return rereading.Reader(lease.model, tuple(prompt))


class ContinuationTask:
    """A text that goes on as its reader would have written it."""

    choices, variant = 1, BASE

    def __init__(self, model: str, prompt_ids: tuple[int, ...], max_tokens: int) -> None:
        self.model = model
        self._prompt_ids, self._max_tokens = prompt_ids, max_tokens

    def start(self, lease: Lease, number: int) -> Continuation:
        model = lease.model
        ends = frozenset(model.tokenizer.end_ids) | frozenset(model.assistant.identity.end_ids)
        sampling = {"temperature": 0.0, "max_tokens": self._max_tokens, "stop_ids": ends}
        return model.continuation(TextRequest(prompt_ids=self._prompt_ids, sampling=sampling, owner=lease.owner))


async def go_on(call: Call) -> Response:
    """What the reader would have said from a place of the answer on."""
    round_, asked = round_of(call), call.body
    side, by = round_.revealed_side(asked.side), round_.revealed_side(asked.by)
    async with AsyncExitStack() as held:
        reader = await reader_of(call, held, round_, by)
        writer = await reader_of(call, held, round_, side)
        if not side.ids or not await giving_way(rereading.share_ids, writer.model, reader.model):
            raise Refusal(
                409, "These two models write different tokens, so one cannot go on inside the other's answer.",
                code="not_comparable",
            )  # fmt: skip
        if asked.position > len(side.ids):
            raise Refusal(400, f"The answer has {len(side.ids)} tokens.", param="position")
        prompt_ids = (*reader.prompt_ids, *side.ids[: asked.position])
        task = ContinuationTask(str(by.competitor.model), prompt_ids, asked.max_tokens)
        answer = await call.service.begin(task, call.caller, f"side-{secrets.token_hex(12)}")
        try:
            text = "".join([event.text async for _, event in answer if isinstance(event, TextDelta)])
        finally:
            await answer.close()
    return JSONAnswer(
        {"object": "comparison.continuation", "side": asked.side, "by": asked.by, "position": asked.position,
         "text": text}
    )  # fmt: skip


def endpoint(method: str, path: str, handler: Handler, summary: str, **more: Any) -> Endpoint:
    """For the owner and for keys: each their own rounds."""
    return Endpoint(
        method=method,
        path=f"/ouvert/comparison{path}",
        handler=handler,
        summary=summary,
        private=True,
        versioned=False,
        both_ways=False,
        **more,
    )


ROUND = "/rounds/{round_id}"
ENDPOINTS = (
    endpoint("GET", "", overview, "What can be asked in the comparison that is open here"),
    endpoint(
        "POST", "/rounds", begin, "Ask two to four of the compared models, without their names, as events",
        body=RoundRequest, answers="text/event-stream",
    ),
    endpoint("GET", ROUND, shown, "A round: its answers, and the names once they are shown"),
    endpoint("POST", f"{ROUND}/vote", vote, "Say which answer was the best; then the names are shown", body=Ballot),
    endpoint("POST", f"{ROUND}/reveal", reveal, "Show the names without a vote"),
    endpoint(
        "POST", f"{ROUND}/reread", reread, "One side's answer as another side's model reads it", body=RereadRequest
    ),
    endpoint(
        "POST", f"{ROUND}/continuation", go_on, "What another side's model would have said from a place on",
        body=ContinuationRequest,
    ),
    endpoint("GET", "/standings", standings, "What the votes show so far"),
)  # fmt: skip
