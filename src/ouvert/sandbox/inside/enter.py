"""The first program in a box: starts one process in it, under every bound, watches it, and ends all of it.

Run by its path with Python alone (`python -S -s -P enter.py FD FOLDER`): it imports nothing of ours, so that nothing of
ours has to be in the box. FOLDER is for whoever looks at a list of processes. FD is a socket to the process that asked:
settings come in (a length, then JSON), {"started"} or {"failed"} goes out, at the end {"code", "reason"}. When the
socket closes, whoever asked is gone, and everything in the box is killed.
"""

import base64
import ctypes
import gc
import json
import os
import resource
import select
import signal
import stat
import struct
import sys
import time
from typing import Any

TICK = 0.02  # seconds between two looks at memory and processes
DISK_TICKS = 15  # looks at memory for one at the folder's size
MOST_FILES = 20_000  # in the folder
DESCRIPTORS = 256
NICE = 10  # a model that answers goes first
REPLIES = 3  # the descriptor on which a cell answers
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, PR_SET_CHILD_SUBREAPER = 1, 4, 22, 38, 36
SECCOMP_MODE_FILTER = 2
LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT, PATH_BENEATH = 444, 445, 446, 1
PAGE = resource.getpagesize()
libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Settings in, one process, a watch over it, its end out."""
    control = int(sys.argv[1])
    (length,) = struct.unpack("<I", exactly(control, 4))
    settings = json.loads(exactly(control, length))
    prctl(PR_SET_DUMPABLE, 0)  # what runs in the box is no reader of this process's memory
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ready)
        begin(settings, told)
    os.close(told)
    still(0, 1, 2, *([settings["replies"]] if settings["cell"] else []))
    problem = b""
    while piece := os.read(ready, 65536):
        problem += piece
    os.close(ready)
    send(control, {"failed": problem.decode("utf-8", "replace")} if problem else {"started": True})
    code, reason = watch(control, child, settings)
    end_all()
    send(control, {"code": code, "reason": reason})


# --- the process in the box ---


def begin(settings: dict[str, Any], told: int) -> None:
    """Becomes what was asked for. Never returns; what goes wrong before is written to `told`."""
    try:
        restrict(settings, told)
        if settings["cell"]:
            code = compile(settings["cell"], "<the box's own cell>", "exec")
            os.close(told)
            exec(code, {"__name__": "__main__", "REPLIES": REPLIES})  # noqa: S102 - ours
        else:
            os.execvpe(settings["argv"][0], settings["argv"], settings["env"])  # noqa: S606 - what the box is for
    except OSError as problem:
        os.write(told, f"{problem.strerror or problem}: {problem.filename or settings['argv'][:1]}".encode())
    finally:
        os._exit(127)


def restrict(settings: dict[str, Any], told: int) -> None:
    """Every bound of the box, on this process and all that it starts."""
    if settings["cell"]:
        os.dup2(settings["replies"], REPLIES, inheritable=True)
        if told == REPLIES:
            raise OSError(9, "the pipe for problems is in the place of the replies")
    for descriptor in range(3, 1024):
        if descriptor != told and not (settings["cell"] and descriptor == REPLIES):
            still(descriptor, closed=True)
    limits = settings["limits"]
    prctl(PR_SET_DUMPABLE, 1)
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")  # where memory is short, the box goes first
    rules = landlock_rules(settings["landlock"]) if settings["landlock"] is not None else None
    if settings["user"] is not None:
        os.setgroups([])
        os.setresgid(*[settings["user"]] * 3)
        os.setresuid(*[settings["user"]] * 3)
        prctl(PR_SET_DUMPABLE, 1)
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    set_limit(resource.RLIMIT_CORE, 0)
    set_limit(resource.RLIMIT_NOFILE, DESCRIPTORS)
    set_limit(resource.RLIMIT_FSIZE, limits["disk"])
    set_limit(resource.RLIMIT_DATA, limits["memory"])
    set_limit(resource.RLIMIT_AS, limits["addresses"])
    set_limit(resource.RLIMIT_NPROC, limits["tasks"])
    os.umask(0o077)
    os.nice(NICE)
    if settings["cell"]:
        sys.path[:] = [settings["data"], *sys.path[1:], *settings["packages"]]
    if rules is not None:
        checked(libc.syscall(LANDLOCK_RESTRICT, rules, 0), "landlock")
        os.close(rules)
    filter_calls(base64.b64decode(settings["filter"]))


def set_limit(which: int, most: int) -> None:
    _, hard = resource.getrlimit(which)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(which, (most, most))


def landlock_rules(ruleset: dict[str, Any]) -> int:
    """The descriptor of a ruleset. Made before a box of root's becomes nobody's, who may not get to its folder."""
    words = ruleset["attributes"]
    attributes = (ctypes.c_uint64 * len(words))(*words)
    rules = checked(libc.syscall(LANDLOCK_CREATE, attributes, ctypes.c_size_t(8 * len(words)), 0), "landlock")
    for path, rights in ruleset["rules"]:
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue  # not on this machine, or not for this user: nothing is allowed there
        allowed = rights if stat.S_ISDIR(os.fstat(place).st_mode) else rights & ruleset["file_rights"]
        rule = ctypes.create_string_buffer(struct.pack("<Qi", allowed, place), 12)
        checked(libc.syscall(LANDLOCK_ADD, rules, PATH_BENEATH, rule, 0), "landlock")
        os.close(place)
    return rules


def filter_calls(program: bytes) -> None:
    code = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))  # struct sock_fprog
    checked(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.create_string_buffer(header), 0, 0), "seccomp")


# --- the watch over it ---


def watch(control: int, child: int, settings: dict[str, Any]) -> tuple[int | None, str]:
    """(exit status as subprocess has it, why it was ended: "" if it ended by itself)."""
    limits = settings["limits"]
    waiting = select.poll()
    waiting.register(control, select.POLLIN | select.POLLHUP)
    ended, ending = os.pipe()
    os.set_blocking(ending, False)
    signal.set_wakeup_fd(ending, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # an end is seen at once, and not with the next look
    waiting.register(ended, select.POLLIN)
    gc.freeze()
    ticks = 0
    while True:
        ready = [descriptor for descriptor, _ in waiting.poll(TICK * 1000)]
        if control in ready:
            return None, "asked"  # nothing is said after the settings: the other end has closed
        if ended in ready:
            os.read(ended, 4096)
        ticks += 1
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                pid, status = 0, 0
            if pid == child:
                return os.waitstatus_to_exitcode(status), ""
            if pid == 0:
                break
        here = descendants()
        if len(here) > limits["processes"]:
            return None, "processes"
        if sum(map(resident, here)) > limits["memory"] and sum(map(own_share, here)) > limits["memory"]:
            return None, "memory"
        if ticks % DISK_TICKS == 0 and too_much_on_disk(settings["data"], limits["disk"]):
            return None, "disk"


def descendants() -> list[int]:
    """The processes in the box: those that this one started, and theirs. Orphans come back to this one."""
    found: list[int] = []
    ahead = [os.getpid()]
    while ahead:
        pid = ahead.pop()
        try:
            threads = os.listdir(f"/proc/{pid}/task")
            children = [each for thread in threads for each in children_of(pid, thread)]
        except OSError:
            continue  # it has ended
        found += children
        ahead += children
    return found


def children_of(pid: int, thread: str) -> list[int]:
    with open(f"/proc/{pid}/task/{thread}/children") as listed:
        return [int(each) for each in listed.read().split()]


def resident(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * PAGE
    except (OSError, IndexError):
        return 0  # it has ended


def own_share(pid: int) -> int:
    """Its memory, where what it shares with others counts for each by its part."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("Pss:"))
    except (OSError, StopIteration):
        return resident(pid)


def too_much_on_disk(folder: str, most: int) -> bool:
    size = files = 0
    ahead = [folder]
    while ahead:
        try:
            with os.scandir(ahead.pop()) as entries:
                for entry in entries:
                    files += 1
                    if entry.is_dir(follow_symlinks=False):
                        ahead.append(entry.path)
                    else:
                        size += entry.stat(follow_symlinks=False).st_blocks * 512
                    if size > most or files > MOST_FILES:
                        return True
        except OSError:
            continue  # removed in the meantime
    return False


def end_all() -> None:
    """Stops every process of the box, so that none can start another, and kills them."""
    stopped: set[int] = set()
    while new := [pid for pid in descendants() if pid not in stopped]:
        for pid in new:
            signal_to(pid, signal.SIGSTOP)
        stopped.update(new)
    while here := descendants():
        for pid in here:
            signal_to(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.001)


def signal_to(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


# --- small things ---


def exactly(descriptor: int, size: int) -> bytes:
    got = b""
    while len(got) < size:
        piece = os.read(descriptor, size - len(got))
        if not piece:
            os._exit(0)
        got += piece
    return got


def send(control: int, facts: dict[str, Any]) -> None:
    body = json.dumps(facts).encode()
    try:
        os.write(control, struct.pack("<I", len(body)) + body)
    except OSError:
        return  # whoever asked is gone


def still(*descriptors: int, closed: bool = False) -> None:
    """Those descriptors lead nowhere any more."""
    for each in descriptors:
        try:
            os.close(each)
        except OSError:
            continue
        if not closed and each < 3:
            os.open(os.devnull, os.O_RDWR)


def prctl(option: int, value: int) -> None:
    checked(libc.prctl(option, value, 0, 0, 0), f"prctl {option}")


def checked(result: int, what: str) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


if __name__ == "__main__":
    main()
