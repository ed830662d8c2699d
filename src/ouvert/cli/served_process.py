"""A command in a process of its own, beside the server whose owner asked for it: a job's, which ends with either."""

import asyncio
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ouvert.cli.command_process import COMMAND, LEAVE_SECONDS
from ouvert.serving import Work
from ouvert.store import Job, OpenJob, Result, kept_until

WATCH_SECONDS = 0.25  # between looks at how far it is, and whether it is to end
STOP_SECONDS = LEAVE_SECONDS + 2
SAID = "said.txt"  # in a job's folder: what the process writes to stderr
LONGEST_SENTENCE = 2000


async def done(
    work: Work,
    name: str,
    words: Callable[[Work, Path], Sequence[str]],
    how_far: Callable[[], tuple[int, int | None]],
    what: str,
) -> tuple[str, str]:
    """Do a job by the command of that name, whose `words` are made of the work and the job's folder: the state in which
    it ended, and why where it failed. `how_far`: how much is done, of how much (None: not known yet). `what`: what the
    work is called. A process that is cancelled with it has ended when this returns. Raises OSError, and what `words`
    raises."""
    job, folder = work.job, work.service.jobs.folder / work.job.job.id
    if job.cancel_asked:
        return "cancelled", ""
    typed = await asyncio.to_thread(words, work, folder)
    job.save(state="running", times=job.job.at("started"))
    process = await started(work, name, typed, folder / SAID)

    def look() -> None:
        counted(job, *how_far())

    try:
        await watched(process, job, look)
    finally:
        await stopped(process)
    await asyncio.to_thread(look)
    if process.returncode == 0:
        return "finished", ""
    if job.cancel_asked:
        return "cancelled", ""
    return "failed", last_words(folder / SAID, process.returncode, what)


def counted(job: OpenJob, ready: int, every: int | None) -> None:
    """Note how much is done, of how much. One result each, so that other processes can count them too."""
    if every is None:
        return
    with suppress(OSError):
        for number in range(len(job.results), min(ready, every)):
            job.results.append(Result(item=str(number), ok=True, value={}))
        if job.job.items != every:
            job.save(items=every)
        job.counted({"answered": len(job.results)})


def ended(work: Work, state: str, outcome: Mapping[str, Any], code: str, fault: str) -> Job:
    """Record how a job ended. Raises OSError."""
    times = {**work.job.job.times, "ended": time.time()}
    errors = {"errors": [{"code": code, "message": fault}]} if fault else {}
    removal = kept_until(work.service.settings.job_keep)
    return work.job.save(state=state, times=times, outcome={**outcome, **errors}, removal=removal)


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
