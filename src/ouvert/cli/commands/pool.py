"""`ouvert pool FILE`: who is in a pool, and how each member is."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ouvert.engine import MemberAddress, PoolSettings

SUMMARY = "Show the members of a pool of engines, and how each is."
SHOWN = 12  # letters of a digest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = f"{SUMMARY} Each is asked now, on the hosts that the file names."
    parser.add_argument("file", type=Path, metavar="FILE", help="the pool's file: docs/formats/pool.md")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")


def run(args: argparse.Namespace) -> int:
    """0: every member is there, all with the same weights. 1: not."""
    from ouvert.cli.environment import guard_asked_for
    from ouvert.cli.pool_file import host_of, read_pool_file

    pool = read_pool_file(args.file)
    guard = guard_asked_for()
    if guard is not None:
        guard.allow(pool.hosts)
    found = [{"member": each.name, "at": host_of(each), **looked_at(each, pool.settings)} for each in pool.members]
    there = [each for each in found if each["state"] == "there"]
    alike = len({each["weights_digest"] for each in there}) == 1
    if args.json:
        print(json.dumps({"members": found, "same_weights": alike}))
    else:
        print("\n".join(line(each) for each in found))
        if there and not alike:
            print("They compute with different weights: a pool refuses that unless allow_other_weights = true.")
    return 0 if len(there) == len(found) and alike else 1


def looked_at(member: "MemberAddress", settings: "PoolSettings") -> dict[str, Any]:
    from ouvert.engine import Connection, EngineError, EngineTimeouts, MemberEngine

    try:
        timeouts = EngineTimeouts(connect=5.0, reply=10.0)
        engine = MemberEngine(Connection(member.address, key=member.key, timeouts=timeouts))
    except EngineError as problem:
        return {"state": "not there", "why": str(problem)}
    said = engine.statement
    return {
        "state": "there",
        "model": said.model,
        "weights_digest": said.facts.identity.weights,
        "identity_digest": said.facts.identity.digest,
        "version": said.facts.version,
        "instruction_set": said.facts.instruction_set,
        "context": said.context,
        "running": said.load["running"],
        "waiting": said.load["waiting"],
    }


def line(found: dict[str, Any]) -> str:
    start = f"{found['member']:<16} {found['at']:<24} "
    if found["state"] != "there":
        return f"{start}not there: {found['why']}"
    weights = found["weights_digest"].removeprefix("sha256:")[:SHOWN]
    return (
        f"{start}there  {found['model']}, weights {weights}…, {found['version']} on {found['instruction_set']}, "
        f"{found['running']} running, {found['waiting']} waiting"
    )
