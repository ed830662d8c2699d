"""A command in a process of its own, beside the server whose owner asked for it: a job's, which ends with either."""

import asyncio
import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from ouvert.cli.command_process import COMMAND, LEAVE_SECONDS
from ouvert.serving import Work
from ouvert.store import OpenJob

WATCH_SECONDS = 0.25  # between looks at how far it is, and whether it is to end
STOP_SECONDS = LEAVE_SECONDS + 2
SAID = "said.txt"  # in a job's folder: what the process writes to stderr
LONGEST_SENTENCE = 2000


async def started(work: Work, name: str, words: Sequence[str], said: Path) -> asyncio.subprocess.Process:
    """The process of the command of that name, in a session of its own: a Ctrl-C for the server is the server's to pass
    on. `said`: where what it writes to stderr goes. Raises OSError."""
    command = (*COMMAND, name)
    guard = work.service.settings.load_options.get("guard")
    if guard is not None:
        guard.admit(command)
    with open(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=stream,
            env={**os.environ, "OUVERT_HOME": str(work.service.store.home)},
            start_new_session=True,
        )
    if process.stdin is not None:
        process.stdin.write(json.dumps(list(words)).encode() + b"\n")
    return process


async def watched(process: asyncio.subprocess.Process, job: OpenJob, look: Callable[[], None]) -> None:
    """Returns when it has ended, or is to. `look` is called now and then, in a thread. Raises what `look` raises."""
    waiting = asyncio.ensure_future(process.wait())
    try:
        while not (await asyncio.wait({waiting}, timeout=WATCH_SECONDS))[0] and not job.cancel_asked:
            await asyncio.to_thread(look)
    finally:
        waiting.cancel()


async def stopped(process: asyncio.subprocess.Process) -> None:
    """Returns when it has ended: asked to, by the end of its input, and killed where that takes too long. Raises
    nothing."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    except TimeoutError:
        pass
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
    await process.wait()


def last_words(said: Path, status: int | None, what: str) -> str:
    """Why the process of `what` failed, in a sentence. Raises nothing."""
    with suppress(OSError):
        lines = said.read_text(encoding="utf-8", errors="replace").splitlines()
        if sentences := [line for line in lines if line.startswith("ouvert: ")]:
            return sentences[-1].removeprefix("ouvert: ")[:LONGEST_SENTENCE]
    if status is not None and status < 0:
        return f"The process of {what} was ended by the signal {-status}; what it has done so far is kept."
    return f"The process of {what} ended with the status {status}; {SAID} in the job's folder has what it said."
