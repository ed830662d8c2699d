"""What opens the tools of one name: for an agent, in the folder of a run's files, closed with the stack."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from ouvert.agents.agent_file import Agent
from ouvert.agents.tools import AgentTool

Opening = Callable[[Agent, Path, ExitStack], Sequence[AgentTool]]
