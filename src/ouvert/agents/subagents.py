"""An agent as a tool of another one."""

from collections.abc import Mapping
from typing import Any

from ouvert.agents.agent_file import Agent
from ouvert.agents.tools import AgentTool, Outcome

PREFIX = "ask_"


def tool_of_agent(agent: Agent) -> AgentTool:
    """The loop does its work: another run, with a budget out of this one's. Its own effects are decided on there, so
    asking it is none. Raises nothing."""

    def call(arguments: Mapping[str, Any]) -> Outcome:
        raise AssertionError("the loop runs agents itself")

    return AgentTool(
        name=PREFIX + agent.name.replace("-", "_"),
        description=f"Ask another agent, which starts afresh and knows only the task. {agent.header.description}",
        parameters={
            "type": "object",
            "properties": {"task": {"type": "string", "description": "all that it needs to know"}},
            "required": ["task"],
            "additionalProperties": False,
        },
        effect="read",
        foreign=True,
        agent=agent.name,
        call=call,
    )
