"""`ouvert box [show | run FILE.py]`: the box in which foreign code runs, and a try of it."""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ouvert.sandbox import Box, Died, Interrupted, Output

SUMMARY = "Say how code that is not yours is isolated on this machine, and run some."
MEGABYTE = 1 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        f"{SUMMARY} What a model writes, what documents are read with and what servers of tools are run in such a box: "
        "no network, no files but one folder, no other processes. Where this machine can make none, nothing of it runs."
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    show = actions.add_parser("show", help="how boxes are closed here, what else was tried, and what would be better")
    parser.set_defaults(json=False)
    show.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    run = actions.add_parser("run", help="run a Python file in a box, as a cell of a notebook")
    run.add_argument("file", metavar="FILE.py", help="- reads it from standard input")
    run.add_argument("--folder", type=Path, metavar="DIR", help="the box's folder, kept (default: one that is removed)")
    run.add_argument(
        "--show", type=Path, action="append", default=[], metavar="PATH", help="readable in it; repeatable"
    )
    run.add_argument("--seconds", type=float, default=120.0, metavar="S", help="until it is interrupted (120)")
    run.add_argument("--memory", type=int, default=1024, metavar="MB", help="of all its processes together (1024)")
    run.add_argument("--keep", action="append", default=[], metavar="NAME", help="a file of its folder to copy here")


def run(args: argparse.Namespace) -> int:
    """0: a box can be made, or the code ran to its end. 1: not; a sentence says why."""
    return run_file(args) if args.action == "run" else show(as_json=args.json)


def show(*, as_json: bool) -> int:
    from ouvert.sandbox import probe

    found = probe()
    if as_json:
        print(json.dumps(found.facts(), ensure_ascii=False))
    else:
        print(f"level: {found.level.value if found.level else 'none: nothing foreign runs here'}")
        for each in found.findings:
            print(f"{' ' if each.works else '!'} {each.way}: {each.detail}")
        if found.remedy:
            print(f"-> {found.remedy}")
    return 0 if found.level else 1


def run_file(args: argparse.Namespace) -> int:
    from ouvert.cli.answering import complain
    from ouvert.sandbox import Box, BoxError

    try:
        code = sys.stdin.read() if args.file == "-" else Path(args.file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        complain(f"reading {args.file}: {problem}. Expected a Python file in UTF-8.")
        return 1
    with tempfile.TemporaryDirectory(prefix="ouvert-box-", ignore_cleanup_errors=True) as made:
        try:
            with Box(args.folder or Path(made) / "data", read_only=args.show, memory=args.memory * MEGABYTE) as box:
                status = told(box, box.cell().run(code, args.seconds))
                for name in args.keep:
                    print(f"kept: {box.keep(name, Path.cwd() / Path(name).name)}", file=sys.stderr)
        except BoxError as problem:
            complain(str(problem))
            return 1
    return status


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
