"""`python`: a stateful cell in a box, as gpt-oss was trained on it. Files in /mnt/data stay with the run."""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from pydantic import Field

from ouvert.agents.agent_file import Agent
from ouvert.agents.error import AgentError
from ouvert.agents.tools import AgentTool, Outcome, tool_of
from ouvert.sandbox import Box, BoxError, Died, Interrupted, Level

SECONDS = 120.0  # as the models were told when they were trained
GONE = "[The Python process was started anew: variables are gone, files in {data} are kept.]"
NOTHING = "[It showed nothing.]"
IN_WASM = (  # said where it is so, and where nothing better holds
    " Only Python's standard library is there: no numpy, pandas or matplotlib, no figures, no threads, no other "
    "programs. Code that takes too long is ended, and variables are then gone."
)


class PythonTool:
    """Cells of one run. `again`: the run is gone on with, and an earlier process of it had variables."""

    def __init__(self, box: Box, folder: Path, *, again: bool) -> None:
        self._box, self._cell, self._folder = box, box.cell(), folder
        self._gone = again
        self._figures = 0

    def python(self, code: Annotated[str, Field(description="Python; its last expression is shown")]) -> Outcome:
        """Execute Python in a stateful notebook without Internet access, for at most 120 seconds."""
        gone = self._cell.forgot or self._gone
        before = f"{GONE.format(data=self._box.data)}\n" if gone else ""
        self._gone = False
        try:
            result = self._cell.run(code, SECONDS)
        except BoxError as problem:
            return Outcome(text=f"Error: {problem}", ok=False)
        text, failed = result.text, getattr(result, "failed", True)
        if isinstance(result, Interrupted):
            text += f"\n[Interrupted after {SECONDS:.1f} seconds; variables are kept.]"
        elif isinstance(result, Died):
            text += f"\n[The process ended: {result.reason}. Variables are gone, files are kept.]"
        else:
            text += "".join(f"\n[Figure: {self._kept(each)}]" for each in result.figures)
        return Outcome(text=before + (text.strip("\n") or NOTHING), ok=not failed, beside={"box": result.level.value})

    def _kept(self, figure: bytes) -> str:
        """A figure as a file of the run, where its owner finds it. A link that stands there is not followed."""
        while (place := self._folder / f"figure-{self._figures}.png").is_symlink() or place.exists():
            self._figures += 1
        with open(place, "xb") as file:
            file.write(figure)
        return f"{self._box.data}/{place.name}"


def open_python(agent: Agent, files: Path, stack: ExitStack) -> list[AgentTool]:
    """Raises AgentError where this machine has no way to isolate a program, with what to do."""
    again = files.is_dir()
    try:
        box = stack.enter_context(Box(files))
    except BoxError as problem:
        raise AgentError(f"opening the tool python of {agent.name}: {problem}") from problem
    # Nothing outside the box changes, so it is no effect; what it shows may be of files that others wrote.
    tool = tool_of(PythonTool(box, files, again=again).python, effect="read", foreign=True)
    return [replace(tool, description=tool.description + IN_WASM) if box.level is Level.WASM else tool]
