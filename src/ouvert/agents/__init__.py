"""Agents: a model, its tools, a budget and bounds that stand outside the model. May import assistant, documents,
sandbox, chat and safety; opens connections for MCP servers alone.

An agent is a file (`read_agent`), a run is its record (`Run`), and `policy.decide` is what stands between a model that
was talked into something and the world.
"""

from ouvert.agents.agent_file import Agent, Budget, Header, agent_of, read_agent
from ouvert.agents.error import AgentError, ToolError
from ouvert.agents.evals import EVALS, Case, Tried, read_cases, result_of, tried, write_result
from ouvert.agents.here import Agents, RunFacts, said_at_the_end, shown_facts
from ouvert.agents.importing import Imported, import_agent
from ouvert.agents.log import Event, EventLog
from ouvert.agents.policy import MODES, Authority, Decision, decide
from ouvert.agents.quarantine import Quarantined, quarantine
from ouvert.agents.replay import Replayed, replay
from ouvert.agents.run import Asked, Inner, Run, agent_of_run, new_run_id
from ouvert.agents.state import State, state_of
from ouvert.agents.steps import ANSWER, next_step, shown_arguments
from ouvert.agents.subagents import tool_of_agent
from ouvert.agents.talking import Speaker
from ouvert.agents.tools import AgentTool, Outcome, tool_of, toolbox_of

__all__ = [
    "ANSWER",
    "EVALS",
    "MODES",
    "Agent",
    "AgentError",
    "AgentTool",
    "Agents",
    "Asked",
    "Authority",
    "Budget",
    "Case",
    "Decision",
    "Event",
    "EventLog",
    "Header",
    "Imported",
    "Inner",
    "Outcome",
    "Quarantined",
    "Replayed",
    "Run",
    "RunFacts",
    "Speaker",
    "State",
    "ToolError",
    "Tried",
    "agent_of",
    "agent_of_run",
    "decide",
    "import_agent",
    "new_run_id",
    "next_step",
    "quarantine",
    "read_agent",
    "read_cases",
    "replay",
    "result_of",
    "said_at_the_end",
    "shown_arguments",
    "shown_facts",
    "state_of",
    "tool_of",
    "tool_of_agent",
    "toolbox_of",
    "tried",
    "write_result",
]
