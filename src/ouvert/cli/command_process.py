"""The process in which a job of a server is computed: a command, below the server's answers and never without it.

Its first line of input is the command's words as JSON. The server holds the input open: when it ends, however it ends,
so does this process, as if somebody had typed Ctrl-C.
"""

import json
import os
import signal
import sys
import threading
import time
from contextlib import suppress

# How it is started, with the command's name behind: a guard may admit it. -P: what lies in the folder where the server
# was started is not imported.
COMMAND = (sys.executable, "-P", "-m", "ouvert.cli.command_process")
COMMANDS = ("compare", "tune")
NICE = 10  # answers that somebody waits for go first
LEAVE_SECONDS = 8  # after which it ends in the middle of whatever it does; every answer is on disk before
INTERRUPTED = 130


def main() -> int:
    """The exit status of the command. Raises ValueError for one that no job does."""
    [name] = sys.argv[1:]
    if name not in COMMANDS:
        raise ValueError(f"starting the process of a job: the command is {name!r:.40}, expected {', '.join(COMMANDS)}.")
    words = json.loads(first_line())
    with suppress(AttributeError, OSError):
        os.nice(NICE)
    threading.Thread(target=end_with_the_server, daemon=True).start()
    from ouvert.cli import main as command

    return command([name, *words])


def first_line() -> bytes:
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(0, 1)):
        line += byte
    return line or b"[]\n"


def end_with_the_server() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(LEAVE_SECONDS)
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    sys.exit(main())
