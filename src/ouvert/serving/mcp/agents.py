"""`agents_list` and `agent_run`: tasks for the agents of this machine, within their bounds.

A task that comes this way may be a model's words, or words that a model read. Nothing of it counts as the owner's, and
the run begins tainted: where it wants to have an effect, a person is asked.
"""

import asyncio
from typing import Any

from pydantic import BaseModel, Field

from ouvert.assistant import ReasoningDelta
from ouvert.serving.errors import Refusal
from ouvert.serving.mcp.asking import Nothing
from ouvert.serving.mcp.use import Arguments, Tool, Use
from ouvert.serving.service import NotedTask, ServedAgents

SCOPE = "agents"
LONGEST_TASK = 1_000_000
LONGEST_ANSWER = 100_000
SHOWN = 200  # characters of a step, in a sign of life
DECIDE = "A person says yes or no: `ouvert agent resume {run} --allow {call}` (or --refuse), or the page of the server."


class Task(Arguments):
    agent: str = Field(max_length=64, description="as agents_list names it")
    task: str = Field(min_length=1, max_length=LONGEST_TASK, description="all that it needs to know")


class AgentFacts(BaseModel):
    """`tools`: what it may use. `approve`: when it asks a person before it does something."""

    name: str
    description: str
    model: str
    tools: list[str]
    approve: str


class AgentList(BaseModel):
    agents: list[AgentFacts]


class Ran(BaseModel):
    """`state`: done; waiting: a person has to decide on the call `waits_for`, and `decide` says how; budget, cancelled:
    it stopped before it was done. `spent`: of its `budget`."""

    run: str
    agent: str
    state: str
    answer: str | None
    citations: list[dict[str, Any]]
    waits_for: dict[str, Any] | None
    decide: str | None
    spent: dict[str, Any]
    budget: dict[str, Any]


def served(use: Use) -> ServedAgents:
    agents = use.service.agents
    if agents is None:
        raise Refusal(404, "This server has no agents.")
    return agents


async def agents_list(use: Use) -> AgentList:
    known = await asyncio.to_thread(served(use).known, use.caller)
    return AgentList(agents=[AgentFacts.model_validate(each) for each in known])


async def agent_run(use: Use) -> Ran:
    agents, wanted, verdict = served(use), use.arguments, use.verdict
    if verdict is None:
        run, task = await asyncio.to_thread(agents.asked_by_a_program, use.caller, wanted.agent, wanted.task)
        await go_through(use, run, task)
    else:
        run = verdict.run
        if verdict.allowed is not None:
            task = await asyncio.to_thread(agents.decided, use.caller, run, verdict.call, verdict.allowed)
            await go_through(use, run, task)
    return result_of(await asyncio.to_thread(agents.facts, use.caller, run))


async def go_through(use: Use, run: str, task: NotedTask) -> None:
    """Until it is over, or waits."""
    answer = await use.service.begin(task, use.caller, run)
    try:
        async for _, event in answer:
            if isinstance(event, ReasoningDelta) and event.text.strip():
                await use.say(event.text.strip()[:SHOWN])
    finally:
        await answer.close()


def result_of(facts: dict[str, Any]) -> Ran:
    waits, answer = facts["waits_for"], facts["answer"]
    return Ran(
        run=facts["id"],
        agent=facts["agent"],
        state=facts["state"],
        answer=None if answer is None else answer[:LONGEST_ANSWER],
        citations=list(facts["citations"] or ()),
        waits_for=waits,
        decide=None if waits is None else DECIDE.format(run=facts["id"], call=waits["call"]),
        spent=facts["spent"],
        budget=facts["budget"],
    )


TOOLS = (
    Tool(
        name="agents_list",
        description="The agents on this machine: models with instructions, tools and a budget of their own.",
        arguments=Nothing,
        gives=AgentList,
        carry_out=agents_list,
        scope=SCOPE,
    ),
    Tool(
        name="agent_run",
        description=(
            "Give an agent a task and wait for its end. It starts afresh, within its own budget. What its file "
            "does not allow outright a person is asked about; `state` is waiting until they have decided."
        ),
        arguments=Task,
        gives=Ran,
        carry_out=agent_run,
        scope=SCOPE,
        reads=False,
    ),
)
