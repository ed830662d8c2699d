"""The tools that an agent's file names, opened for one run and closed behind it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ouvert.agents.agent_file import Agent
from ouvert.agents.builtin.browser import open_browser
from ouvert.agents.builtin.files import files_tools
from ouvert.agents.builtin.python import open_python
from ouvert.agents.error import AgentError
from ouvert.agents.mcp import open_mcp
from ouvert.agents.opening import Opening
from ouvert.agents.subagents import tool_of_agent
from ouvert.agents.tools import AgentTool, toolbox_of
from ouvert.documents import Collections


@dataclass(frozen=True, slots=True)
class Equipment:
    """`openings`: of each name that `tools` may have, and of `mcp`. `read`: an agent by its name. `own`: tools of the
    program that runs agents, for all of them."""

    openings: Mapping[str, Opening]
    read: Callable[[str], Agent]
    own: Sequence[AgentTool] = ()

    @contextmanager
    def opened(self, agent: Agent, files: Path) -> Iterator[dict[str, AgentTool]]:
        """The agent's tools. `files`: the folder of the run's files. Raises AgentError for what cannot be opened, and
        what an opening raises."""
        with ExitStack() as stack:
            found: list[AgentTool] = []
            for name in (*agent.header.tools, *(("mcp",) if agent.header.mcp else ())):
                if name not in self.openings:
                    raise AgentError(
                        f"running the agent {agent.name}: nothing here opens {name}, expected one of "
                        f"{', '.join(self.openings)}. Take it out of its file."
                    )
                found += self.openings[name](agent, files, stack)
            found += [tool_of_agent(self.read(name)) for name in agent.header.agents]
            yield toolbox_of([*found, *self.own])


def open_files(agent: Agent, files: Path, stack: ExitStack) -> Sequence[AgentTool]:
    """The tool `files`. Raises nothing."""
    return files_tools(files)


def openings_of(collections: Collections) -> dict[str, Opening]:
    """What opens each tool that an agent's file may name; `browser` those of these collections. Raises nothing."""
    return {"files": open_files, "python": open_python, "browser": open_browser(collections), "mcp": open_mcp}
