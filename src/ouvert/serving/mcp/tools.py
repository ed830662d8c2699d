"""Every tool, in the order in which clients are told of them, and how one is carried out."""

import logging
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from ouvert.serving.callers import Caller
from ouvert.serving.errors import Refusal, refusal_of
from ouvert.serving.mcp import agents, asking, documents
from ouvert.serving.mcp.use import Say, Tool, Use, Verdict
from ouvert.serving.service import Service
from ouvert.serving.validation import refusal_of_validation

LOG = logging.getLogger("ouvert.serving")
TOOLS = (*asking.TOOLS, *documents.TOOLS, *agents.TOOLS)
BY_NAME: Mapping[str, Tool] = {each.name: each for each in TOOLS}


def tools_for(caller: Caller) -> list[Tool]:
    """Those that this caller may use. Raises nothing."""
    return [each for each in TOOLS if each.is_for(caller)]


def tool_named(name: str, caller: Caller) -> Tool | None:
    """None also where there is one that this caller may not use. Raises nothing."""
    tool = BY_NAME.get(name)
    return tool if tool is not None and tool.is_for(caller) else None


async def carried_out(
    tool: Tool, given: Mapping[str, Any], service: Service, caller: Caller, say: Say, verdict: Verdict | None = None
) -> BaseModel:
    """What the tool gives. Raises Refusal, without a path of this machine in it."""
    try:
        arguments = tool.arguments.model_validate(given)
    except ValidationError as problem:
        raise refusal_of_validation(problem, given) from None
    try:
        return await tool.carry_out(Use(service=service, caller=caller, arguments=arguments, say=say, verdict=verdict))
    except Exception as problem:
        refusal = refusal_of(problem)
        if refusal is None:
            LOG.exception("the tool %s", tool.name)
            refusal = Refusal(500, "Something went wrong here, and the log of Ouvert says what.", code="internal")
        raise refusal from problem
