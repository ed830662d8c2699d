"""Work that has to end, in a process whose time of computing the system bounds, task by task.

No test reads a clock: what would go on for ever is killed by the system and named. Bounds are some hundred times what a
task takes, so a slow or busy machine changes nothing.
"""

import pickle
import signal
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

CHILD = """
import pickle, resource, sys
tasks, seconds, script = pickle.load(sys.stdin.buffer)
names = {"__name__": "bounded"}
exec(script, names)
for name, value in tasks.items():
    print(name, flush=True)
    used = resource.getrusage(resource.RUSAGE_SELF)
    bound = int(used.ru_utime + used.ru_stime) + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (bound, resource.getrlimit(resource.RLIMIT_CPU)[1]))
    names["task"](value)
"""


def unfinished(script: str, tasks: Mapping[str, Any], seconds: int) -> tuple[str, str] | None:
    """Run `task`, which `script` defines, with each value. None, or the name of the task that failed and why."""
    sent = pickle.dumps((dict(tasks), seconds, script))
    ran = subprocess.run([sys.executable, "-c", CHILD], input=sent, capture_output=True, check=False)
    if ran.returncode == 0:
        return None
    begun = ran.stdout.decode().splitlines()
    why = f"it did not end in {seconds} s of computing" if ran.returncode == -signal.SIGXCPU else ran.stderr.decode()
    return (begun[-1] if begun else "the first", why)
