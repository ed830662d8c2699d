"""A grammar compiled by way of trial, in a process of its own that can be ended.

llguidance bounds most of what it does, but not all: to see whether patterns that must all match have any text in
common it may take hours, and a thread that is within it cannot be stopped. So whatever may be much work is tried first
where it does no harm. This file is run as it is, and imports nothing of ours.
"""

import json
import subprocess
import sys
import threading

SECONDS = 6  # of one processor
PATIENCE = 20.0  # seconds of any kind, on a machine that does other things too
MEMORY = 4 << 30
STACK = 512 << 20
MOST_AT_ONCE = 2
TOO_MUCH = "it takes too long to compile"
BUSY = "others are being compiled"

# How the process is started that tries a large grammar first: a guard may admit it.
COMMAND = (sys.executable, "-I", __file__)
TURNS = threading.BoundedSemaphore(MOST_AT_ONCE)


def tried(source: str, limits: dict[str, int]) -> str | None:
    """None if the grammar compiles in time, TOO_MUCH if it does not, BUSY where it got no turn. What is wrong with it
    otherwise is for the compilation itself to say. `limits` are LLParserLimits."""
    if not TURNS.acquire(timeout=PATIENCE):
        return BUSY
    try:
        return run(COMMAND, json.dumps([source, limits]))
    finally:
        TURNS.release()


def run(command: tuple[str, ...], given: str) -> str | None:
    try:
        ended = subprocess.run(  # noqa: S603 - our own interpreter and file
            list(command),
            input=given.encode("utf-8", "surrogatepass"),
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return TOO_MUCH
    except OSError:  # no process to be had now
        return BUSY
    return None if ended.returncode == 0 else TOO_MUCH


def main() -> None:
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from llguidance import LLMatcher, LLParserLimits, LLTokenizer

    source, limits = json.loads(sys.stdin.buffer.read().decode("utf-8", "surrogatepass"))

    def compile_it() -> None:
        # Bytes are vocabulary enough: what takes long takes as long with them.
        matcher = LLMatcher(LLTokenizer("byte"), source, log_level=0, limits=LLParserLimits(**limits))
        first = matcher.deep_copy()
        if not matcher.is_error() and not first.is_accepting():
            first.compute_bitmask()

    threading.stack_size(STACK)
    worker = threading.Thread(target=compile_it)
    worker.start()
    worker.join()


if __name__ == "__main__":
    main()
