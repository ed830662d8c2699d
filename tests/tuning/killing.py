"""Code that is killed at a line of our choice: in a process of its own, as if the power went."""

import os
import signal
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
