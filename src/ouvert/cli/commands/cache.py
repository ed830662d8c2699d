"""`ouvert cache show|clear`: the beginnings of prompts that are kept on disk."""

import argparse
import json
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING

from ouvert.cli.arguments import add_prefix_arguments
from ouvert.cli.environment import UNENCRYPTED, open_store, prefixes_asked_for

if TYPE_CHECKING:
    from ouvert.engine import PageFiles

SUMMARY = "Show or clear the kept beginnings of prompts."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("do", choices=["show", "clear"], help="show: how much is kept, and where; clear: remove it all")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    parser.add_argument("--history", action="store_true", help="clear: also what was typed in conversations here")
    add_prefix_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """0: shown, or cleared. 1: nothing is kept on disk, because the owner said so."""
    from ouvert.cli.answering import complain
    from ouvert.store import bytes_in_words

    # No page is read, so no key is made for that; one that is named is looked at, to say what is wrong with it.
    key = UNENCRYPTED if args.do == "clear" else args.prefix_cache_key or UNENCRYPTED
    files = prefixes_asked_for(open_store(), args.prefix_cache, args.prefix_cache_quota, key)
    if files is None:
        complain("beginnings of prompts are kept in memory only: --prefix-cache or OUVERT_PREFIX_CACHE is `off`.")
        return 1
    if args.do == "clear":
        freed = files.clear()
        if args.history:
            from ouvert.cli.line_editor import history_path

            history_path().unlink(missing_ok=True)
        print(json.dumps({"freed": freed}) if args.json else f"{bytes_in_words(freed)} freed")
        return 0
    print(json.dumps(facts(files)) if args.json else in_words(files))
    return 0


def facts(files: "PageFiles") -> dict[str, object]:
    usage = asdict(files.usage())
    of_process = ("hits", "misses", "damaged", "unwritten")
    return {"folder": str(files.folder)} | {name: value for name, value in usage.items() if name not in of_process}


def in_words(files: "PageFiles") -> str:
    from ouvert.store import bytes_in_words

    usage = files.usage()
    lines = [
        f"folder     {files.folder}",
        f"kept       {bytes_in_words(usage.bytes)} in {usage.files} pages, of at most {bytes_in_words(usage.quota)}",
    ]
    if usage.files:
        lines.append(f"encrypted  {'all' if usage.encrypted == usage.files else usage.encrypted or 'none'}")
    if usage.oldest is not None and usage.newest is not None:
        day = "%Y-%m-%d %H:%M"
        used = [datetime.fromtimestamp(each).strftime(day) for each in (usage.oldest, usage.newest)]
        lines.append(f"last used  {used[0]} to {used[1]}")
    return "\n".join(lines)
