"""The stateful Python cell, as it runs in the box: code in, what it shows out, its variables kept.

Executed by enter.py in a process that is under every bound already. It answers on the descriptor REPLIES; what code
prints goes to the process's own output, which the other end reads. All that this says is said from inside the box: the
other end believes none of it.
"""

import ast
import base64
import io
import json
import linecache
import os
import signal
import struct
import sys
import traceback
import types
import warnings
from typing import Any

OWN = "<the box's own cell>"  # the name of this file's code in a traceback
commands = replies = -1  # descriptors that nothing which the code starts inherits
module = types.ModuleType("__main__")
running = False


def interrupted(number: int, frame: object) -> None:
    if running:
        raise KeyboardInterrupt


def main(answers_on: int) -> None:
    """Answer until the input ends."""
    global commands, replies
    commands, replies = os.dup(0), os.dup(answers_on)
    os.close(answers_on)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    signal.signal(signal.SIGALRM, interrupted)
    signal.signal(signal.SIGINT, interrupted)
    sys.modules["__main__"] = module
    sys.argv = [""]
    sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb", closefd=False), "utf-8", "backslashreplace", line_buffering=True)
    sys.stderr = io.TextIOWrapper(os.fdopen(2, "wb", closefd=False), "utf-8", "backslashreplace", line_buffering=True)
    warnings.filterwarnings("ignore", message=".*is non-interactive.*")
    reply({"status": "ready", "number": 0})
    number, own = 0, os.getpid()
    while True:
        request = next_request()
        number += 1
        try:
            status = execute(request["code"], f"<cell {number}>", request["seconds"])
        except KeyboardInterrupt:  # the time was up in the moment in which the code ended
            status = "interrupted"
        if os.getpid() != own:  # the code forked, and this is the child
            os._exit(0)
        answer: dict[str, Any] = {"status": status, "number": request["number"]}
        try:
            answer["figures"] = figures()
            sys.stdout.flush()
            sys.stderr.flush()
        except BaseException as problem:  # what code left behind may fail in any way
            answer["figures"] = []
            os.write(2, f"the figures cannot be shown: {problem!r:.300}\n".encode("utf-8", "replace"))
        reply(answer)


def execute(code: str, name: str, seconds: float) -> str:
    """Run the code; its last expression is shown, as in a notebook. What it raises is printed."""
    global running
    linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
    try:
        running = True
        signal.setitimer(signal.ITIMER_REAL, seconds)
        tree = ast.parse(code, name)
        last = tree.body[-1] if tree.body else None
        if isinstance(last, ast.Expr):
            tree.body.pop()
        exec(compile(tree, name, "exec"), module.__dict__)  # noqa: S102 - what the box is for
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), name, "eval"), module.__dict__)  # noqa: S307
            if value is not None:
                module.__dict__["_"] = value
                print(repr(value))
        status = "done"
    except KeyboardInterrupt:
        running = False
        print_exception()
        status = "interrupted"
    except BaseException:  # code may raise anything; it is shown, and the cell goes on
        running = False
        print_exception()
        status = "failed"
    finally:
        running = False
        signal.setitimer(signal.ITIMER_REAL, 0)
    return status


def print_exception() -> None:
    """The exception with the frames of the code, without ours."""
    kind, value, trace = sys.exc_info()
    while trace is not None and not trace.tb_frame.f_code.co_filename.startswith("<cell "):
        trace = trace.tb_next
    sys.stdout.flush()
    shown = traceback.TracebackException(kind, value, trace) if kind is not None and value is not None else None
    if shown is not None:
        shown.stack[:] = [each for each in shown.stack if each.filename != OWN]
        sys.stderr.write("".join(shown.format()))


def figures() -> list[str]:
    """Every figure that matplotlib has open, as PNG; closes them."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is None:
        return []
    drawn = []
    for number in pyplot.get_fignums():
        target = io.BytesIO()
        pyplot.figure(number).savefig(target, format="png")
        drawn.append(base64.b64encode(target.getvalue()).decode())
    pyplot.close("all")
    return drawn


def next_request() -> dict[str, Any]:
    (length,) = struct.unpack("<I", exactly(4))
    request: dict[str, Any] = json.loads(exactly(length))
    return request


def exactly(size: int) -> bytes:
    got = b""
    while len(got) < size:
        piece = os.read(commands, size - len(got))
        if not piece:
            os._exit(0)
        got += piece
    return got


def reply(facts: dict[str, Any]) -> None:
    body = json.dumps(facts).encode()
    left = struct.pack("<I", len(body)) + body
    while left:
        left = left[os.write(replies, left) :]


if __name__ == "__main__":
    main(globals()["REPLIES"])  # given by enter.py
