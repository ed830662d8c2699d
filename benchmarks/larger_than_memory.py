"""A mixture of experts larger than the memory it may take: forecast before, measured after, memory over time.

    python benchmarks/larger_than_memory.py MODEL --memory 3GB
    python benchmarks/larger_than_memory.py MODEL --memory 3GB --cgroup /sys/fs/cgroup/memory --mapped

MODEL is a file of the real shape (random_checkpoints.py gpt-oss-20b --layers 10) or any other model here; it is packed
first if it is not. Random routers choose nearly alike, so the hit rate is about the part of the experts kept: of
real routing this says nothing. Tokens are drawn at temperature 1, because greedy answers of random weights go in
circles, and circles meet the same experts.

`--cgroup` names a folder of control groups for memory that may be written to (version 1 or 2): the model then runs in a
group that may have so much memory and no more, page cache included. `--mapped` runs it there once more with all weights
mapped, which is what happens without experts on disk; with `--rounds 0` only a first answer of ours goes before. Prints
one JSON object, and the rows of docs/figures.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FACTS = ("RssAnon", "RssFile", "VmSwap")
EVERY = 0.25  # seconds between two looks at the memory


def bytes_of(text: str) -> int:
    """3GB."""
    return int(float(text.removesuffix("GB")) * 1e9)


def forecast(model: Path, memory: int, hit_rate: float | None = None) -> dict[str, object]:
    """What `ouvert fit` says now."""
    stated = [] if hit_rate is None else ["--hit-rate", str(hit_rate)]
    command = [sys.executable, "-c", "import sys; from ouvert.cli import main; sys.exit(main(sys.argv[1:]))"]
    said = subprocess.run(
        [*command, "fit", model, "--memory", f"{memory}", *stated, "--json"],
        check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    return json.loads(said.stdout)


@contextmanager
def group_of(folder: Path | None, memory: int) -> Iterator[Path | None]:
    """A control group of its own that may have so much memory; None without a folder."""
    if folder is None:
        yield None
        return
    group = folder / f"ouvert-{os.getpid()}"
    group.mkdir()
    try:
        limit = "memory.limit_in_bytes" if (group / "memory.limit_in_bytes").exists() else "memory.max"
        (group / limit).write_text(str(memory))
        yield group
    finally:
        group.rmdir()


def run_in(group: Path | None, words: list[str]) -> dict[str, object]:
    """The worker's JSON, run in that group."""

    def enter() -> None:
        if group is not None:
            (group / "cgroup.procs").write_text(str(os.getpid()))

    done = subprocess.run(
        [sys.executable, __file__, "--worker", *words],
        check=True, stdout=subprocess.PIPE, text=True, preexec_fn=enter,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


class MemoryOverTime:
    """Looks at this process until it is told to stop: the most of each fact, and the whole over time."""

    def __init__(self) -> None:
        self.seen: list[dict[str, int]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._over.wait(EVERY):
            lines = Path("/proc/self/status").read_text().splitlines()
            named = dict(line.split(":", 1) for line in lines)
            self.seen.append({name: int(named[name].split()[0]) * 1024 for name in FACTS})

    def facts(self) -> dict[str, object]:
        self._over.set()
        self._thread.join()
        whole = [each["RssAnon"] + each["RssFile"] for each in self.seen]
        return {f"most_{name}": max(each[name] for each in self.seen) for name in FACTS} | {
            "resident_over_time": whole[:: max(1, len(whole) // 20)]
        }


def worker(model: Path, memory: int | None, prompt: int, tokens: int, repeat: int) -> dict[str, object]:
    """Loads, reads prompts and writes answers, one after the other."""
    import numpy as np

    from ouvert.assistant import open_installed
    from ouvert.cli.environment import open_store
    from ouvert.engine import Sampling

    store = open_store()
    over_time, began = MemoryOverTime(), time.perf_counter()
    opened = open_installed(store, store.resolve(str(model)), memory=memory)
    loaded, random = time.perf_counter() - began, np.random.default_rng(13)
    rows = []
    for n in range(repeat + 1):  # the first one fills the cache and is not counted
        ids = random.integers(0, opened.engine.vocabulary_size, prompt).tolist()
        generation = opened.engine.generate(ids, Sampling(temperature=1.0, seed=n, max_tokens=1))
        list(generation)
        read = generation.stopped
        short = random.integers(0, opened.engine.vocabulary_size, 2).tolist()
        before, faults = opened.engine.load.experts, resource.getrusage(resource.RUSAGE_SELF).ru_majflt
        generation = opened.engine.generate(short, Sampling(temperature=1.0, seed=n, max_tokens=tokens))
        list(generation)
        written, after = generation.stopped, opened.engine.load.experts
        row = {
            "prefill_tokens_per_second": round(prompt / read.seconds_prefill, 2),
            "decode_tokens_per_second": round((written.output_tokens - 1) / written.seconds_decode, 3),
            "major_faults_per_token": round(
                (resource.getrusage(resource.RUSAGE_SELF).ru_majflt - faults) / written.output_tokens, 1
            ),
        }
        if before is not None and after is not None:
            lookups, hits = after.lookups - before.lookups, after.hits - before.hits
            row |= {
                "hit_rate": round(hits / lookups, 4),
                "read_bytes_per_token": round((after.read_bytes - before.read_bytes) / (written.output_tokens + 1)),
            }
        rows.append(row)
    plan = opened.memory_plan
    opened.engine.close()
    return {
        "load_seconds": round(loaded, 2),
        "experts_kept_bytes": None if plan is None else plan.experts,
        "answers": rows[1:],
        **over_time.facts(),
    }


def measured(model: Path, memory: int, args: argparse.Namespace) -> dict[str, object]:
    """A first answer tells the hit rate; then, --rounds times: forecast, answers, forecast."""
    words = [str(model), "--memory", args.memory, "--prompt", str(args.prompt)]
    with group_of(args.cgroup, memory) as group:
        first = run_in(group, [*words, "--tokens", "24", "--repeat", "1"])
        hit_rate = first["answers"][0]["hit_rate"]
        rounds = []
        for _ in range(args.rounds):
            plain, stated = forecast(model, memory), forecast(model, memory, hit_rate)
            run = run_in(group, [*words, "--tokens", str(args.tokens), "--repeat", str(args.repeat)])
            rounds.append(
                {"forecast": plain, "forecast_at_hit_rate": stated, "run": run, "after": forecast(model, memory)}
            )
        found = {"first": first, "rounds": rounds}
        if args.mapped:
            found["mapped"] = run_in(group, [str(model), "--prompt", "16", "--tokens", "8", "--repeat", "1"])
    return found


def rows_of(found: dict[str, object]) -> Iterator[str]:
    yield f"| first | {found['first']['answers']} | {memory_of(found['first'])}"
    for each in found["rounds"]:
        speeds = sorted(answer["decode_tokens_per_second"] for answer in each["run"]["answers"])
        median = speeds[len(speeds) // 2]
        disks = [each[name]["machine"]["disk_read_bytes_per_second"] / 1e9 for name in each if name != "run"]
        told = []
        for name in ("forecast", "forecast_at_hit_rate"):
            low, high = each[name]["models"][0]["from_disk"]["decode_tokens_per_second"]
            told.append(f"{low:.2f} to {high:.2f} (measured {2 * median / (low + high) - 1:+.0%} of its middle)")
        yield (
            f"| {' | '.join(told)} | {median:.2f} ({speeds[0]:.2f} to {speeds[-1]:.2f}) | "
            + ", ".join(f"{disk:.2f}" for disk in disks)
            + f" GB/s | {each['run']['answers']} | "
            + memory_of(each["run"])
        )
    if "mapped" in found:
        yield f"| mapped | {found['mapped']['answers']} | {memory_of(found['mapped'])}"


def memory_of(run: dict[str, object]) -> str:
    """Own memory, mapped, swap: the most of each."""
    return ", ".join(f"{run[f'most_{fact}'] / 1e9:.2f} GB" for fact in FACTS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--memory", default=None, metavar="SIZE", help="such as 3GB")
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--cgroup", type=Path)
    parser.add_argument("--mapped", action="store_true")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    memory = None if args.memory is None else bytes_of(args.memory)
    if args.worker:
        print(json.dumps(worker(args.model, memory, args.prompt, args.tokens, args.repeat)))
        return
    if memory is None:
        parser.error("--memory is missing")
    found = measured(args.model, memory, args)
    print(json.dumps(found))
    print("\n".join(rows_of(found)))


if __name__ == "__main__":
    main()
