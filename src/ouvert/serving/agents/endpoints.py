"""The endpoints below /ouvert/agents: for the owner, and for keys with the scope `agents`, each their own runs."""

import asyncio
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from ouvert.agents import AgentError, Agents, Asked, Event, EventLog, shown_facts
from ouvert.serving.agents.runs import SCOPE, Runs
from ouvert.serving.callers import refuse_without_scope
from ouvert.serving.endpoints import Call, Endpoint, Handler
from ouvert.serving.errors import Refusal
from ouvert.serving.sentences import sentence_of
from ouvert.serving.streams import JSONAnswer


class Said(BaseModel):
    """A message of the conversation before the task."""

    model_config = ConfigDict(extra="forbid")

    role: Literal["user", "assistant"]
    content: Annotated[str, Field(max_length=1_000_000)]


class RunRequest(BaseModel):
    """`agent`: its name, without `agent/`. `task`: the caller's own words, which count as such. `history`: what was
    said before it; a run that is told what a model said begins tainted."""

    model_config = ConfigDict(extra="forbid")

    agent: Annotated[str, Field(max_length=64)]
    task: Annotated[str, Field(min_length=1, max_length=1_000_000)]
    history: Annotated[list[Said], Field(max_length=1000)] = Field(default_factory=list)


class VerdictRequest(BaseModel):
    """`call`: the one that waits."""

    model_config = ConfigDict(extra="forbid")

    call: Annotated[str, Field(max_length=200)]
    allowed: Annotated[bool, Field(strict=True)]


def runs_of(call: Call) -> Runs:
    runs: Runs = call.request.app.state.agent_runs
    return runs


async def listed(call: Call) -> Response:
    known = await asyncio.to_thread(runs_of(call).known, call.caller)
    return JSONAnswer({"object": "list", "data": [{"id": f"agent/{each['name']}", **each} for each in known]})


async def create(call: Call) -> Response:
    asked = Asked(text=call.body.task, history=[each.model_dump() for each in call.body.history])
    run = await runs_of(call).begin(call.caller, call.body.agent, asked)
    return JSONAnswer(await asyncio.to_thread(facts_of, call, run), 202)


async def every(call: Call) -> Response:
    agents = runs_of(call).agents_of(call.caller)
    shown = await asyncio.to_thread(lambda: [shown_facts(each) for each in agents.runs()])
    return JSONAnswer({"object": "list", "data": shown})


def found(call: Call) -> tuple[Agents, str]:
    """Raises Refusal 404 where the caller has no such run."""
    run = str(call.request.path_params["run_id"])
    agents = runs_of(call).agents_of(call.caller)
    try:
        agents.place(run)
    except AgentError as problem:
        raise Refusal(404, sentence_of(problem), code="not_found") from problem
    return agents, run


def facts_of(call: Call, run: str) -> dict[str, Any]:
    return {**runs_of(call).facts(call.caller, run), "going_on": runs_of(call).is_going(run)}


async def one(call: Call) -> Response:
    _, run = found(call)
    return JSONAnswer(await asyncio.to_thread(facts_of, call, run))


async def events(call: Call) -> Response:
    """Its record, from the event `after` on."""
    agents, run = found(call)
    after = call.request.query_params.get("after", "-1")
    if not after.lstrip("-").isascii() or not after.lstrip("-").isdigit() or len(after) > 9:
        raise Refusal(400, f"after is {after!r:.40}, expected an event's number.", code="invalid_value", param="after")
    log = await asyncio.to_thread(lambda: EventLog(agents.place(run) / "events.jsonl"))
    data = [as_json(each) for each in log if each.n > int(after)]
    return JSONAnswer({"object": "list", "data": data, "head": log.head})


def as_json(event: Event) -> dict[str, Any]:
    return {"n": event.n, "event": event.kind, "at": event.at, **event.facts}


async def decide(call: Call) -> Response:
    _, run = found(call)
    runs, body = runs_of(call), call.body
    await runs.go_on(run, await asyncio.to_thread(runs.decided, call.caller, run, body.call, body.allowed), call.caller)
    return JSONAnswer(await asyncio.to_thread(facts_of, call, run), 202)


async def resume(call: Call) -> Response:
    """A run that was interrupted: the server was stopped, or the model failed."""
    _, run = found(call)
    runs = runs_of(call)
    await runs.go_on(run, await asyncio.to_thread(runs.resumed, call.caller, run), call.caller)
    return JSONAnswer(await asyncio.to_thread(facts_of, call, run), 202)


async def cancel(call: Call) -> Response:
    agents, run = found(call)
    if not runs_of(call).cancel(run):
        await asyncio.to_thread(agents.end, run, f"Ended by {call.caller.whose or 'owner'}.")
    return JSONAnswer(await asyncio.to_thread(facts_of, call, run))


async def remove(call: Call) -> Response:
    agents, run = found(call)
    if runs_of(call).is_going(run):
        raise Refusal(409, f"{run} goes on. Cancel it first.", code="run_not_over")
    await asyncio.to_thread(agents.remove_run, run)
    return JSONAnswer({"id": run, "object": "agent.run", "deleted": True})


def endpoint(method: str, path: str, handler: Handler, summary: str, **more: Any) -> Endpoint:
    async def scoped(call: Call) -> Response:
        refuse_without_scope(call.caller, SCOPE)
        try:
            return await handler(call)
        except AgentError as problem:
            raise Refusal(409, sentence_of(problem), code="agent_error") from problem

    return Endpoint(
        method=method, path=f"/ouvert/agents{path}", handler=scoped, summary=summary, private=True, versioned=False,
        both_ways=False, **more,
    )  # fmt: skip


ONE = "/runs/{run_id}"
ENDPOINTS = (
    endpoint("GET", "", listed, "The agents that may be asked, each a model name"),
    endpoint("POST", "/runs", create, "Give an agent a task, in the background", body=RunRequest),
    endpoint("GET", "/runs", every, "Your runs, the newest first"),
    endpoint("GET", ONE, one, "Where a run stands, and what it waits for"),
    endpoint("GET", f"{ONE}/events", events, "Its record, from ?after=N on"),
    endpoint("POST", f"{ONE}/verdicts", decide, "Say yes or no to the call that waits, and go on", body=VerdictRequest),
    endpoint("POST", f"{ONE}/resume", resume, "Go on with a run that was interrupted"),
    endpoint("POST", f"{ONE}/cancel", cancel, "End a run"),
    endpoint("DELETE", ONE, remove, "Delete a run that is over, with its files"),
)
