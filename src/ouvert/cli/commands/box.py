"""`ouvert box [show | run FILE.py | prepare]`: the box in which foreign code runs, and a try of it."""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ouvert.cli.arguments import within

if TYPE_CHECKING:
    from ouvert.sandbox import Box, Died, Found, Interrupted, Output

SUMMARY = "Say how code that is not yours is isolated on this machine, and run some."
MEGABYTE = 1 << 20
LONGEST = 16 * MEGABYTE  # of code


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        f"{SUMMARY} What a model writes, what documents are read with and what servers of tools are run in such a box: "
        "no network, no files but one folder, no other processes. Where this machine can make none, nothing of it runs."
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    show = actions.add_parser("show", help="how boxes are closed here, what else was tried, and what would be better")
    parser.set_defaults(level=None)
    levels = ("namespaces", "landlock", "wasm")
    show.add_argument("--level", choices=levels, help="as if this machine could make boxes of that level alone")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text (as `show` does)")
    show.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    run = actions.add_parser("run", help="run a Python file in a box, as a cell of a notebook")
    run.add_argument("file", metavar="FILE.py", help="- reads it from standard input")
    run.add_argument("--folder", type=Path, metavar="DIR", help="the box's folder, kept (default: one that is removed)")
    run.add_argument(
        "--show", type=Path, action="append", default=[], metavar="PATH", help="readable in it; repeatable"
    )
    run.add_argument(
        "--seconds", type=within(0, 86_400, float), default=120.0, metavar="S", help="until it is interrupted (120)"
    )
    run.add_argument(
        "--memory", type=within(16, 1_000_000), default=1024, metavar="MB", help="of all its processes together (1024)"
    )
    run.add_argument("--level", choices=levels, help="in a box of that level, or not (default: the best that holds)")
    run.add_argument("--keep", action="append", default=[], metavar="NAME", help="a file of its folder to copy here")
    prepare = actions.add_parser(
        "prepare", help="build Python for WebAssembly, for machines on which nothing better holds (level wasm)"
    )
    prepare.add_argument("--again", action="store_true", help="build it even where it is there")


def run(args: argparse.Namespace) -> int:
    """0: a box can be made, or the code ran to its end. 1: not; a sentence says why."""
    if args.json and args.action in ("run", "prepare"):
        from ouvert.cli.answering import complain

        complain(f"box {args.action}: --json is for `ouvert box` and `ouvert box show`. Leave it out.")
        return 1
    if args.action == "prepare":
        return prepare(again=args.again)
    return run_file(args) if args.action == "run" else show(args.level, as_json=args.json)


def found_at(level: str | None) -> "Found":
    from ouvert.sandbox import Level, probe, probe_level

    return probe_level(Level(level)) if level else probe()


def box_of_level(level: str | None) -> "Found":
    """Raises BoxRefusedError where the level that was asked for does not hold, whatever else would."""
    from ouvert.sandbox import BoxRefusedError

    found = found_at(level)
    if level is not None and found.level is None:
        tried = " ".join(f"{each.way}: {each.detail.rstrip('.')}." for each in found.findings)
        raise BoxRefusedError(
            f"opening a box of level {level}: it does not hold here. {tried} Leave --level out for the best that holds "
            "(`ouvert box`). Nothing was run."
        )
    return found


def show(level: str | None, *, as_json: bool) -> int:
    found = found_at(level)
    if as_json:
        print(json.dumps(found.facts(), ensure_ascii=False))
    else:
        print(f"level: {found.level.value if found.level else 'none: nothing foreign runs here'}")
        for each in found.findings:
            print(f"{' ' if each.works else '!'} {each.way}: {each.detail}")
        if found.remedy:
            print(f"-> {found.remedy}")
    return 0 if found.level else 1


def prepare(*, again: bool) -> int:
    """Build what level `wasm` needs. The guard lets that one program start, which opens no connection."""
    from ouvert.cli.answering import complain
    from ouvert.safety import admit_boxes
    from ouvert.sandbox import BoxError, build_command
    from ouvert.sandbox import prepare as build

    admit_boxes([build_command()])
    try:
        made = build(again=again)
    except BoxError as problem:
        complain(str(problem))
        return 1
    print(f"{made.path}: {made.size / 1e6:.0f} MB, sha256 {made.digest}")
    return show("wasm", as_json=False)


def run_file(args: argparse.Namespace) -> int:
    from ouvert.cli.answering import complain
    from ouvert.sandbox import Box, BoxError

    try:
        code = code_of(args.file)
    except (OSError, ValueError) as problem:
        complain(f"reading {args.file}: {problem}. Expected a Python file in UTF-8.")
        return 1
    with tempfile.TemporaryDirectory(prefix="ouvert-box-", ignore_cleanup_errors=True) as made:
        try:
            place, memory = args.folder or Path(made) / "data", args.memory * MEGABYTE
            with Box(place, read_only=args.show, memory=memory, found=box_of_level(args.level)) as box:
                status = told(box, box.cell().run(code, args.seconds))
                for name in args.keep:
                    print(f"kept: {box.keep(name, Path.cwd() / Path(name).name)}", file=sys.stderr)
        except BoxError as problem:
            complain(str(problem))
            return 1
    return status


def code_of(file: str) -> str:
    """Raises OSError, and ValueError for what is too long, as a device without end is, or not UTF-8."""
    if file == "-":
        content = sys.stdin.read(LONGEST + 1).encode()
    else:
        with open(file, "rb") as source:
            content = source.read(LONGEST + 1)
    if len(content) > LONGEST:
        raise ValueError(f"it is longer than {LONGEST // MEGABYTE} MB")
    return content.decode("utf-8")


def told(box: "Box", result: "Output | Interrupted | Died") -> int:
    """Print what code showed; figures become files of the box's folder, to be kept from there."""
    from ouvert.cli.terminal import visible
    from ouvert.sandbox import Died, Interrupted, Output

    print(visible(result.text), end="")
    for n, figure in enumerate(result.figures if not isinstance(result, Died) else (), 1):
        (box.folder / f"figure-{n}.png").write_bytes(figure)
        print(f"figure-{n}.png is in the box's folder (--keep figure-{n}.png copies it here)", file=sys.stderr)
    match result:
        case Died(reason=reason):
            said = reason
        case Interrupted():
            said = f"interrupted after {result.seconds:.1f} s"
        case _:
            said = f"{result.seconds:.2f} s"
    print(f"[{said}; level: {result.level.value}]", file=sys.stderr)
    return 0 if isinstance(result, Output) and not result.failed else 1
