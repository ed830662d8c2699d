"""`ouvert lesson DIR`: lessons about comparing models, filled from a comparison that was run here."""

import argparse
import json
import os
import sys
from pathlib import Path

SUMMARY = "Write lessons about comparing models, filled from your own comparison."
LEVELS = (
    "lycée", "lycee", "université", "universite", "équipe", "equipe", "school", "university", "team",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        f"{SUMMARY} Seven of 45 minutes: luck, the A-bias, how many questions make a proof, what few bits cost in two "
        "languages, thinking longer, ladders, local or cloud. Each is a page to read and to print, with nothing from "
        "elsewhere; a lesson that the comparison cannot fill is named, with the command that would."
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="the folder that `ouvert compare` wrote")
    parser.add_argument(
        "--lang",
        choices=("en", "fr"),
        default=own_language(),
        help="the language of the lessons (your system's, or en)",
    )
    parser.add_argument(
        "--level", choices=LEVELS, default="lycée", metavar="LEVEL", help="lycée (school), université, or équipe (team)"
    )
    parser.add_argument(
        "--lesson", type=int, action="append", default=[], metavar="N", help="only this one, 1 to 7; repeatable"
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where the pages are written (DIR/lessons)")
    parser.add_argument("--json", action="store_true", help="print JSON: the pages by number, and what is missing")


def own_language() -> str:
    """French where the system speaks it."""
    spoken = os.environ.get("LC_ALL") or os.environ.get("LC_MESSAGES") or os.environ.get("LANG") or ""
    return "fr" if spoken.lower().startswith("fr") else "en"


def run(args: argparse.Namespace) -> int:
    """0: at least one lesson was written; 1: none could be filled."""
    from ouvert.evaluation import write_lessons

    written = write_lessons(args.folder, language=args.lang, level=args.level, numbers=args.lesson, out=args.out)
    if args.json:
        pages = {str(number): str(path) for number, path in written.pages.items()}
        missing = {str(number): why for number, why in written.missing.items()}
        print(json.dumps({"pages": pages, "missing": missing}, ensure_ascii=False))
    else:
        for path in written.pages.values():
            print(path)
        for why in written.missing.values():
            print(why, file=sys.stderr)
    return 0 if written.pages else 1
