"""Code, and the command, that is killed at a line of our choice: in a process of its own, as if the power went."""

import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import ouvert

SOURCE = str(Path(ouvert.__file__).parent)
FILES = ("tuning/loop.py", "tuning/runs.py", "tuning/state.py", "tuning/metrics.py", "tuning/keeping.py",
         "tuning/kept_data.py", "weights/writing.py", "store/jobs/private_files.py", "store/adapters.py")  # fmt: skip
WATCHED = {f"{SOURCE}/{name}" for name in FILES}


def in_a_child(work: Callable[[], bytes], kill_at: int | None = None) -> tuple[bytes | None, int]:
    """(what `work` returned, how many lines of WATCHED it ran); killed before its line `kill_at`: (None, kill_at)."""
    out, into = os.pipe()
    child = os.fork()
    if not child:
        os.close(out)
        status = 1
        try:
            lines = 0

            def trace(frame, event, argument):
                nonlocal lines
                if frame.f_code.co_filename not in WATCHED:
                    return None
                if event == "line":
                    lines += 1
                    if lines == kill_at:
                        os.kill(os.getpid(), signal.SIGKILL)
                return trace

            sys.settrace(trace)
            answer = work()
            sys.settrace(None)
            os.write(into, lines.to_bytes(8, "little") + answer)
            status = 0
        except BaseException:
            sys.settrace(None)
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(into)
    with os.fdopen(out, "rb") as pipe:
        said = pipe.read()
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return None, kill_at or 0
    assert os.WEXITSTATUS(status) == 0
    return said[8:], int.from_bytes(said[:8], "little")


# The command with a kill before the n-th line of what writes and steps.
KILLED = """
import os, signal, sys
files = {{f"{source}/tuning/{{name}}.py" for name in ("loop", "runs", "state", "metrics")}}
left = int(sys.argv[1])
def trace(frame, event, argument):
    global left
    if frame.f_code.co_filename not in files:
        return None
    if event == "line":
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
    return trace
from ouvert.cli import main
sys.settrace(trace)
sys.exit(main(sys.argv[2:]))
"""


def command_killed(home, *words, kill_at=10**9):
    """`ouvert` with these words in a process of its own: what subprocess.run returns."""
    environment = {**os.environ, "OUVERT_HOME": str(home), "OUVERT_CONFIG": os.devnull}
    return subprocess.run(
        [sys.executable, "-c", KILLED.format(source=SOURCE), str(kill_at), *map(str, words)],
        env=environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def losses_of(record):
    """(step, loss, held-out loss) of every line of metrics that an adapter keeps."""
    rows = [json.loads(line) for line in (record.path / "run" / "metrics.jsonl").read_text().splitlines()]
    return [(row["step"], row.get("loss"), row.get("held_out")) for row in rows]
