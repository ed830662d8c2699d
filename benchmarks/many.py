"""Many requests at once, beside llama.cpp: tokens a second in all, waiting, evenness.

    python benchmarks/many.py --case smollm2          # also: gpt-oss-20b, the shape cut to 4 layers
    python benchmarks/many.py --soak 20               # minutes of random requests and cancels; memory is printed

All programs hold the same file and take turns within every repeat; the one that is not asked is stopped. Requests of
mixed lengths arrive together. Writes docs/figures/many.{md,json}; `make peers` installs what it compares with.
"""

import argparse
import itertools
import json
import random
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from held_process import HeldProcess
from side_by_side import CASES, PEERS, ROOT, model_file, processor

WORKER = ROOT / "benchmarks/workers/many_requests.py"
PROGRAMS = {
    "ouvert": (ROOT / ".venv/bin/python", "ouvert"),
    "llama.cpp (native)": (PEERS / "native/bin/python", "llama_cpp"),
    "llama.cpp's server (wheel)": (PEERS / "wheel/bin/python", "server"),
}
AT_ONCE = (1, 2, 4, 8, 16, 32)
CACHES, KEPT = 256 << 20, 200 << 20
FLAT = 1.03
# (tokens of the prompt, tokens of the answer), taken round: short questions, documents, short and long answers.
LENGTHS = ((32, 64), (200, 48), (64, 96), (400, 32), (16, 80), (120, 64), (300, 40), (48, 72))


def started(name: str, model: Path, threads: int) -> HeldProcess:
    python, kind = PROGRAMS[name]
    return HeldProcess(name, [str(python), str(WORKER), kind, str(model), str(threads), str(max(AT_ONCE))])


def figures(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Medians over the repeats. Tokens a second count answers; waiting is for first tokens and between tokens."""
    rates, firsts, gaps, evenness = [], [], [], []
    for run in runs:
        rates.append(sum(map(len, run["times"])) / run["seconds"])
        firsts += [times[0] for times in run["times"]]
        gaps += [b - a for times in run["times"] for a, b in itertools.pairwise(times)]
        speeds = [(len(times) - 1) / (times[-1] - times[0]) for times in run["times"]]
        evenness.append(sum(speeds) ** 2 / (len(speeds) * sum(speed**2 for speed in speeds)))  # Jain's index
    return {
        "tokens_per_s": statistics.median(rates),
        "first_s": statistics.median(firsts),
        "first_95_s": percentile(firsts),
        "between_s": statistics.median(gaps),
        "between_95_s": percentile(gaps),
        "fairness": statistics.median(evenness),
    }


def percentile(values: list[float], share: float = 0.95) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def compare(case: str, repeats: int, threads: int, at_once: list[int]) -> None:
    """Every row is written as soon as it is measured."""
    model = model_file(CASES[case])
    names = [name for name in PROGRAMS if PROGRAMS[name][0].exists()]
    programs = [started(name, model, threads) for name in names]
    for program in programs:  # weights that are mapped into memory are read from the disk once
        program.ask({"requests": [(400, 8)], "salt": 0})
    for count in at_once:
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
        requests = [LENGTHS[n % len(LENGTHS)] for n in range(count)]
        for repeat in range(repeats):
            for program in programs:
                runs[program.name].append(program.ask({"requests": requests, "salt": 10 * count + repeat}))
        row = {"case": case, "at_once": count} | {name: figures(found) for name, found in runs.items()}
        print(table([row]), file=sys.stderr)
        write([row], repeats)
    for program in programs:
        program.close()


HEAD = (
    "| model | at once | program | tokens/s | over llama.cpp | first token s (95 %) | between tokens ms (95 %) | "
    "fairness |\n"
    "|---|---|---|---|---|---|---|---|"
)


def table(rows: list[dict[str, Any]]) -> str:
    lines = []
    for row in rows:
        ours = row["ouvert"]["tokens_per_s"]
        for name in (name for name in PROGRAMS if name in row):
            found = row[name]
            over = "" if name == "ouvert" else f"**{ours / found['tokens_per_s']:.2f}**"
            lines.append(
                f"| {CASES[row['case']].title} | {row['at_once']} | {name} | {found['tokens_per_s']:.1f} | {over} | "
                f"{found['first_s']:.2f} ({found['first_95_s']:.2f}) | "
                f"{1e3 * found['between_s']:.1f} ({1e3 * found['between_95_s']:.1f}) | {found['fairness']:.2f} |"
            )
    return "\n".join(lines)


def write(rows: list[dict[str, Any]], repeats: int) -> None:
    kept = ROOT / "docs/figures/many.json"
    before = json.loads(kept.read_text()) if kept.exists() else []
    new = {(row["case"], row["at_once"]) for row in rows}
    rows = [row for row in before if (row["case"], row["at_once"]) not in new] + rows
    rows.sort(key=lambda row: (list(CASES).index(row["case"]), row["at_once"]))
    kept.write_text(json.dumps(rows, indent=1) + "\n")
    lengths = ", ".join(f"{prompt}+{answer}" for prompt, answer in LENGTHS)
    (ROOT / "docs/figures/many.md").write_text(
        f"# Many requests at once\n\n`python benchmarks/many.py`, {processor()}, 2 threads, {repeats} repeats, "
        "programs "
        f'in turn. Requests arrive together, of so many tokens (prompt+answer), taken round: {lengths}. "llama.cpp '
        "(native)\" is its library, compiled on the machine, with its server's loop but without its HTTP and sampler; "
        "ours is the engine with its sampler and a thread for each reader. Fairness is Jain's index of the answers' "
        f"speeds.\n\n{HEAD}\n{table(rows)}\n"
    )


def read_or_cancel(generation: Any, chance: random.Random) -> None:
    """Read it to its end or, three times of ten, up to eight tokens of it."""
    if chance.random() < 0.3:
        for _, _token in zip(range(chance.randrange(9)), generation, strict=False):
            pass
        generation.cancel()
    else:
        for _ in generation:
            pass


def soak(minutes: float) -> None:
    """Random requests and cancels on SmolLM2, and what memory does meanwhile. Exits with 1 unless it stays flat.

    All caches may take CACHES bytes, of them KEPT for prefixes that nobody uses: both are reached in the first minutes,
    and from then on the youngest yield. Flat: the highest reading of the last quarter is at most FLAT times the highest
    of the second.
    """
    import ouvert
    from ouvert.cli.machine import resident_bytes
    from ouvert.engine import Limits

    chance = random.Random(1)
    with ouvert.load("smollm2") as model:
        engine, until, asked, ended = model.engine, time.monotonic() + 60 * minutes, [], 0
        engine._loop.limits = engine._loop.kept.limits = Limits(cache_bytes=CACHES, kept_bytes=KEPT)
        next_word, readings = time.monotonic(), []
        while time.monotonic() < until:
            while len(asked) < 24:
                tokens, answer = chance.choice(LENGTHS)
                ids = [chance.randrange(40000) for _ in range(tokens)]
                sampling = ouvert.Sampling(seed=chance.randrange(99), max_tokens=answer)
                asked.append(engine.generate(ids, sampling, timeout=chance.choice([None, None, 2.0])))
            chosen = asked.pop(chance.randrange(len(asked)))
            read_or_cancel(chosen, chance)
            ended += 1
            if time.monotonic() >= next_word:
                next_word += 15
                load = engine.load
                readings.append((resident_bytes() or 0) / 1e6)
                print(f"{ended} requests, {load.output_tokens} tokens, {readings[-1]:.0f} MB, {load}", flush=True)
    require_flat(readings)


def require_flat(readings: list[float]) -> None:
    """Exit with 1 if the last quarter's highest reading is far above the second quarter's."""
    quarter = len(readings) // 4
    before, after = max(readings[quarter : 2 * quarter]), max(readings[-quarter:])
    print(f"most in the second quarter {before:.0f} MB, in the last {after:.0f} MB: {after / before:.3f}")
    if after > FLAT * before:
        raise SystemExit("Memory grew: see the readings above.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", choices=["smollm2", "gpt-oss-20b"])
    parser.add_argument("--at-once", type=int, action="append")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--soak", type=float, metavar="MINUTES")
    args = parser.parse_args()
    if args.soak:
        soak(args.soak)
        return
    for case in args.case or ["smollm2", "gpt-oss-20b"]:
        compare(case, args.repeats, args.threads, args.at_once or list(AT_ONCE))


if __name__ == "__main__":
    main()
