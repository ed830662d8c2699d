"""`ouvert doctor`: what this machine is, what Ouvert found on it, and what is wrong with that."""

import argparse
import json
import os
import platform
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from pathlib import Path

from ouvert.cli.arguments import complete_stored
from ouvert.cli.configuration import Configuration, ConfigurationError, strange_variables
from ouvert.cli.environment import hosts_allowed, open_store, receipts_folder
from ouvert.cli.settings import SETTINGS, VARIABLES
from ouvert.cli.terminal import one_line, visible

SUMMARY = "Say what this machine is, what Ouvert found on it, and what is wrong."
DEFAULT_MODEL = "smollm2"
LITTLE_MEMORY = 1_000_000_000
LITTLE_DISK = 1_000_000_000
LARGE_PACKED = 2_000_000_000  # bytes, which are read in a second or two


@dataclass(frozen=True, slots=True)
class Finding:
    """`remedy` is what to do; where there is one, something is wrong."""

    about: str
    found: str
    remedy: str | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = f"{SUMMARY} Exit status 1 if something is."
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    parser.add_argument("--verify", action="store_true", help="read every file of every model and compare its digest")
    parser.add_argument(
        "--egress",
        action="store_true",
        help="run a real session without a network and under the guard, and state what it tried to reach",
    )
    model = parser.add_argument("--model", default=DEFAULT_MODEL, help=f"for --egress ({DEFAULT_MODEL})")
    model.completer = complete_stored  # type: ignore[attr-defined]


def run(args: argparse.Namespace) -> int:
    """0: nothing is wrong. 1: something is, and what to do stands beside it."""
    if args.egress:
        return egress(args)
    try:
        findings = [finding for check in CHECKS for finding in check(args)]
    except ConfigurationError as problem:  # a file that is none: nothing else can be known
        findings = [*program(args), Finding("configuration", "cannot be read", str(problem))]
    wrong = [finding for finding in findings if finding.remedy is not None]
    if args.json:
        print(json.dumps({"findings": [asdict(each) for each in findings], "wrong": len(wrong)}, ensure_ascii=False))
    else:
        print(visible("\n".join(in_words(findings))))
        print(f"\n{len(wrong)} of this needs you." if wrong else "\nNothing is wrong.")
    return 1 if wrong else 0


def egress(args: argparse.Namespace) -> int:
    from ouvert.cli.answering import complain
    from ouvert.cli.egress import EgressError, observe, statement

    try:
        facts = observe(open_store(), args.model, lambda line: print(line, file=sys.stderr, flush=True))
    except EgressError as problem:
        complain(str(problem))
        return 1
    print(json.dumps(facts, ensure_ascii=False) if args.json else statement(facts))
    return 1 if facts["problems"] else 0


def in_words(findings: list[Finding]) -> Iterator[str]:
    width = max(len(each.about) for each in findings)
    for each in findings:
        yield f"{'!' if each.remedy else ' '} {each.about:<{width}}  {each.found}"
        if each.remedy:
            yield f"  {'':<{width}}  -> {each.remedy}"


# --- the checks: each looks, and changes nothing ---


def program(args: argparse.Namespace) -> Iterator[Finding]:
    from ouvert import __version__

    yield Finding("ouvert", f"{__version__}, in {Path(__file__).parents[2]}")
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    yield Finding("machine", f"{system}, {os.cpu_count()} processors, Python {platform.python_version()}")


def kernels(args: argparse.Namespace) -> Iterator[Finding]:
    from ouvert.engine import native_instruction_set

    instructions = native_instruction_set()
    if instructions is None:
        yield Finding(
            "kernels",
            "none: NumPy computes, some 30 times slower",
            "install a C++20 compiler (apt-get install g++, dnf install gcc-c++, xcode-select --install), then run "
            "`make run` once more in Ouvert's folder, which builds them.",
        )
    else:
        yield Finding("kernels", f"native, instruction set {instructions}")


def memory(args: argparse.Namespace) -> Iterator[Finding]:
    from ouvert.engine import memory_bytes
    from ouvert.store import bytes_in_words

    size = memory_bytes()
    if size is None:
        yield Finding("memory", "this system does not say")
        return
    remedy = (
        "only very small models will run: use a machine, or a container's limit, with more."
        if (size < LITTLE_MEMORY)
        else None
    )
    yield Finding("memory", f"{bytes_in_words(size)} for this process at most", remedy)


def store(args: argparse.Namespace) -> Iterator[Finding]:
    from ouvert.store import bytes_in_words

    home = open_store().home
    there = nearest(home)
    free = shutil.disk_usage(there).free
    found = f"{home}{'' if home.exists() else ' (not made yet)'}, {bytes_in_words(free)} free"
    if not os.access(there, os.W_OK):
        yield Finding("store", found, f"this user may not write into {there}: make it yours, or set OUVERT_HOME.")
    elif free < LITTLE_DISK:
        yield Finding("store", found, "hardly a model fits: free space, `ouvert remove`, or set OUVERT_HOME.")
    else:
        yield Finding("store", found)


def left_behind(args: argparse.Namespace) -> Iterator[Finding]:
    from ouvert.store import strays

    for path in strays(open_store().home):
        yield Finding(
            "left behind", str(path), "a writer that was ended left it: `ouvert serve` removes it, or you do."
        )


def models(args: argparse.Namespace) -> Iterator[Finding]:
    from ouvert.cli.progress import show_progress
    from ouvert.store import StoreError, bytes_in_words

    here = open_store()
    names = here.names()
    if not names:
        yield Finding("models", "none yet: `ouvert pull smollm2` brings one")
    for name in names:
        try:
            installed = here.verify(name, show_progress(sys.stderr)) if args.verify else here.resolve(name)
        except StoreError as problem:
            yield Finding(f"model {name}", "damaged", str(problem))
            continue
        how = "every digest is right" if args.verify else "all files are there (--verify reads them)"
        yield Finding(f"model {name}", f"{bytes_in_words(installed.size)}, {how}")


def adapters(args: argparse.Namespace) -> Iterator[Finding]:
    """Findings about adapters: their records, and with --verify their numbers."""
    from ouvert.cli.adapter_diff import numbers_of
    from ouvert.store import CheckpointError, StoreError, shown_state

    here = open_store()
    for name in here.adapters.names():
        try:
            record = here.adapters.record(name)
            found = numbers_of(here, record).digest if args.verify else record.digest
        except (StoreError, CheckpointError) as problem:
            yield Finding(f"adapter {name}", "not usable", str(problem))
            continue
        if found != record.digest:
            advice = f"its record says {record.digest}: make or import it again."
            yield Finding(f"adapter {name}", f"its numbers have the digest {found}", advice)
        else:
            how = "its numbers are right" if args.verify else "its record is there (--verify reads its numbers)"
            yield Finding(f"adapter {name}", f"of {one_line(record.base_name)}, {shown_state(record.state)}, {how}")


def packed_weights(args: argparse.Namespace) -> Iterator[Finding]:
    """Findings about packed files. Files of up to LARGE_PACKED bytes are read whole, larger ones with --verify."""
    from ouvert.cli.commands.show import require_whole
    from ouvert.store import StoreError, bytes_in_words

    every = open_store().packed()
    small = [each for each in every if args.verify or each.size <= LARGE_PACKED]
    damaged = False
    for each in small:
        try:
            require_whole((each,))
        except StoreError as problem:
            damaged = True
            yield Finding(f"packed {each.digest[:19]}", f"{bytes_in_words(each.size)}, damaged", str(problem))
    if every and not damaged:
        from ouvert.cli.commands.list import counted

        left = len(every) - len(small)
        unread = f", of which {left} were not read (--verify reads them)" if left else ""
        size = bytes_in_words(sum(each.size for each in every))
        yield Finding(
            "packed weights", f"{size} in {counted(len(every), 'file')}{unread}; every digest that was read is right"
        )


def prefix_cache(args: argparse.Namespace) -> Iterator[Finding]:
    from ouvert.assistant import EngineError
    from ouvert.cli.environment import kept_on_disk
    from ouvert.store import bytes_in_words

    try:
        files = kept_on_disk()
    except (ConfigurationError, EngineError) as problem:
        yield Finding("kept prompts", "cannot be kept", str(problem))
        return
    if files is None:
        yield Finding("kept prompts", "in memory only (prefix_cache is off)")
        return
    usage = files.usage()
    found = f"{bytes_in_words(usage.bytes)} of at most {bytes_in_words(usage.quota)} in {files.folder}"
    yield Finding("kept prompts", found, open_to_others(files.folder))


def private_folders(args: argparse.Namespace) -> Iterator[Finding]:
    from ouvert.serving import KeyFileError, Keys, users_can_be_told

    receipts = receipts_folder(open_store())
    yield Finding("receipts", f"{receipts}{'' if receipts.exists() else ' (none yet)'}", open_to_others(receipts))
    folder = open_store().home / "server"
    keys = Keys(folder)
    try:
        clients, closed = sum(not key.owner for key in keys.every()), keys.closed
    except KeyFileError as problem:
        yield Finding("keys", "cannot be read", str(problem))
        return
    needed = "every request needs one" if closed else "programs of this machine need none"
    yield Finding("keys", f"{clients} for clients of the server; {needed}", open_to_others(folder / "keys.json"))
    if not closed and not users_can_be_told():
        remedy = "the page shows conversations to a key alone: `ouvert key owner` makes yours."
        yield Finding("keys", "this system does not say whose a connection is", remedy)


def box(args: argparse.Namespace) -> Iterator[Finding]:
    """Findings about the box for foreign code: what was tried, the level, what to do where there is none."""
    from ouvert.sandbox import probe

    found = probe()
    for each in found.findings:
        if not each.works:
            yield Finding("box", f"not {each.way}: {each.detail}")
    if found.level is None:
        yield Finding("box", "none: code of a model, documents and servers of tools do not run here", found.remedy)
    else:
        better = f". Better could be had: {found.remedy}" if found.remedy else ""
        [works] = [each for each in found.findings if each.works]
        yield Finding("box", f"level {found.level.value}: {works.way}, {works.detail}{better}")


def configuration(args: argparse.Namespace) -> Iterator[Finding]:
    for name in strange_variables():
        near = get_close_matches(name, VARIABLES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(VARIABLES)}."
        yield Finding("environment", f"{name} is set, and nothing reads it", f"take it away; {hint}")
    stated = Configuration()
    set_here = []
    for key in SETTINGS:
        try:
            if stated.stated(key).source != "default":
                set_here.append(key)
        except ConfigurationError as problem:
            yield Finding("configuration", f"{key} makes no sense", str(problem))
    there = stated.path if stated.path.exists() else f"{stated.path} (none yet)"
    yield Finding("configuration", f"{there}; set: {', '.join(set_here) or 'nothing'}")
    try:
        allowed = hosts_allowed()
    except ConfigurationError as problem:
        yield Finding("guard", "it cannot be put up", str(problem))
        return
    if allowed is None:
        yield Finding("guard", "off, because its owner says so: connections are neither denied nor counted")
    else:
        yield Finding("guard", f"on; hosts allowed: {', '.join(allowed) or 'none'}")


CHECKS: tuple[Callable[[argparse.Namespace], Iterator[Finding]], ...] = (
    program,
    kernels,
    memory,
    store,
    left_behind,
    models,
    adapters,
    packed_weights,
    prefix_cache,
    private_folders,
    box,
    configuration,
)


def nearest(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    return next(each for each in (path, *path.parents) if each.exists())


def open_to_others(path: Path) -> str | None:
    """What to do about a path that others may read or write; None if they may not, or it is not there."""
    if os.name != "posix" or not path.exists():
        return None
    mode = path.stat().st_mode
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        return f"others on this machine may get at it (mode {stat.S_IMODE(mode):o}): `chmod go-rwx {path}`."
    return None
