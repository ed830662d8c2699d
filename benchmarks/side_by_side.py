"""Ouvert beside its peers: one script, one run, interleaved repeats, medians and spread.

    make bench                                   # everything, about an hour
    python benchmarks/side_by_side.py --case smollm2 --repeats 3

Every program loads the same file and keeps it; a program that is not being timed is stopped (SIGSTOP), so that
its threads cannot spin. Each repeat asks every program in turn, so that a slow minute of the machine slows all.
A ratio is Ouvert's median over the peer's. Limits (read bandwidth, integer peak) are measured in the same run.

Writes docs/figures/side_by_side.{md,png,json}.
"""

import argparse
import contextlib
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PEERS = ROOT / "build" / "peers"
WORKERS = ROOT / "benchmarks" / "workers"


@dataclass(frozen=True)
class Program:
    """A peer: the environment it lives in and the worker that times it."""

    name: str
    python: Path
    worker: tuple[str, ...]
    only: frozenset[str] = frozenset()  # cases it can run; empty: all

    def command(self, model: Path, threads: int, context: int) -> list[str]:
        return [
            str(self.python),
            str(WORKERS / self.worker[0]),
            *self.worker[1:],
            str(model),
            str(threads),
            str(context),
        ]


PROGRAMS = (
    Program("ouvert", ROOT / ".venv/bin/python", ("time_ouvert.py",)),
    Program("llama.cpp (native)", PEERS / "native/bin/python", ("time_llama_cpp.py", "llama_cpp")),
    Program("ik_llama.cpp (wheel)", PEERS / "ik/bin/python", ("time_llama_cpp.py", "ik_llama_cpp")),
    # Its server refuses a file without a vocabulary, which the random checkpoints are.
    Program("llama.cpp (xllamacpp wheel)", PEERS / "wheel/bin/python", ("time_xllamacpp.py",), frozenset({"smollm2"})),
    # It has no 4-bit CPU kernels: weights become bfloat16, and the larger cases do not fit.
    Program(
        "transformers (bfloat16)",
        ROOT / ".venv-references/bin/python",
        ("time_transformers.py",),
        frozenset({"smollm2", "llama-3.2-1b"}),
    ),
)


@dataclass(frozen=True)
class Case:
    """A model and what is asked of it. `goals` are the ratios over llama.cpp that we want to reach."""

    name: str
    checkpoint: str | None  # a shape of random_checkpoints.py; None: the default model
    layers: int | None
    goals: dict[str, float]

    def model(self) -> Path:
        if self.checkpoint is None:
            code = "import ouvert.store as s; print(s.Store(s.default_home()).resolve('smollm2').path)"
            found = subprocess.run([PROGRAMS[0].python, "-c", code], check=True, capture_output=True, text=True)
            return Path(found.stdout.strip())
        command = [PEERS / "native/bin/python", ROOT / "benchmarks/random_checkpoints.py", self.checkpoint]
        if self.layers:
            command += ["--layers", str(self.layers)]
        made = subprocess.run(
            [*command, "--into", ROOT / "build/checkpoints"], check=True, stdout=subprocess.PIPE, text=True
        )
        return Path(made.stdout.strip())


CASES = {
    "smollm2": Case("SmolLM2-135M, Q4_1", None, None, {"prefill": 4.0, "decode": 1.8}),
    "llama-3.2-1b": Case("Llama-3.2-1B shape, Q4_K", "llama-3.2-1b", None, {"prefill": 2.0, "decode": 1.15}),
    "llama-3.1-8b": Case("Llama-3.1-8B shape, Q4_0", "llama-3.1-8b", None, {"prefill": 2.0, "decode": 1.15}),
    "gpt-oss-20b-cut": Case("gpt-oss-20b shape, MXFP4, 4 layers", "gpt-oss-20b", 4, {"prefill": 3.0, "decode": 1.2}),
    "gpt-oss-20b": Case("gpt-oss-20b shape, MXFP4, 24 layers", "gpt-oss-20b", None, {"prefill": 3.0, "decode": 1.2}),
}


@dataclass
class Worker:
    """A program with a model loaded, stopped except while it answers."""

    program: Program
    process: subprocess.Popen[str]
    facts: dict[str, object] = field(default_factory=dict)

    def ask(self, **request: object) -> float:
        os.kill(self.process.pid, signal.SIGCONT)
        assert self.process.stdin
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = self.read()
        os.kill(self.process.pid, signal.SIGSTOP)
        return float(answer["seconds"])

    def read(self) -> dict[str, object]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.program.name} ended unexpectedly (exit {self.process.wait()}).")
        return json.loads(line)


@contextlib.contextmanager
def workers(programs: list[Program], model: Path, threads: int, context: int) -> Iterator[list[Worker]]:
    """The programs, each with the model loaded, one after the other."""
    running: list[Worker] = []
    try:
        for program in programs:
            process = subprocess.Popen(
                program.command(model, threads, context),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            running.append(Worker(program, process))
            running[-1].facts = running[-1].read()
            os.kill(process.pid, signal.SIGSTOP)
        yield running
    finally:
        for worker in running:
            worker.process.kill()
            worker.process.wait()


@contextlib.contextmanager
def busy_core(wanted: bool) -> Iterator[None]:
    """Another process that keeps one core busy, as people's machines are."""
    if not wanted:
        yield
        return
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def measurements(prompts: list[int], depths: list[int], generate: int) -> list[dict[str, object]]:
    prefills = [{"do": "prefill", "tokens": tokens} for tokens in prompts]
    return prefills + [{"do": "decode", "tokens": generate, "depth": depth} for depth in depths]


def label(request: dict[str, object]) -> str:
    if request["do"] == "prefill":
        return f"prefill {request['tokens']}"
    return f"decode at {request['depth']}"


def time_case(name: str, arguments: argparse.Namespace, threads: int, busy: bool) -> list[dict[str, object]]:
    """One row per measurement: medians and spread of every program."""
    case = CASES[name]
    model = case.model()
    programs = [
        each
        for each in PROGRAMS
        if (not each.only or name in each.only)
        and each.python.exists()
        and (not arguments.peer or each.name in arguments.peer or each.name == "ouvert")
    ]
    seconds: dict[tuple[str, str], list[float]] = {}
    requests = measurements(arguments.prompts, arguments.depths, arguments.generate)
    with workers(programs, model, threads, max(arguments.prompts + arguments.depths) + 128) as running, busy_core(busy):
        for worker in running:  # warm-up: pages read, threads started
            worker.ask(do="prefill", tokens=32)
            worker.ask(do="decode", tokens=4, depth=0)
        for request in requests:
            for _ in range(arguments.repeats):
                for worker in running:
                    seconds.setdefault((label(request), worker.program.name), []).append(worker.ask(**request))
            medians = {w.program.name: statistics.median(seconds[label(request), w.program.name]) for w in running}
            told = ", ".join(f"{name} {request['tokens'] / taken:.1f}" for name, taken in medians.items())
            print(f"  {label(request)}: {told}", file=sys.stderr)
        systems = {worker.program.name: worker.facts for worker in running}
    rows = []
    for request in requests:
        tokens = float(request["tokens"])
        rates = {
            program: {
                "median": tokens / statistics.median(taken),
                "low": tokens / max(taken),
                "high": tokens / min(taken),
            }
            for (what, program), taken in seconds.items()
            if what == label(request)
        }
        rows.append(
            {
                "case": name,
                "title": case.name,
                "bytes": model.stat().st_size,
                "threads": threads,
                "busy": busy,
                "what": label(request),
                "goal": case.goals[str(request["do"])],
                "tokens_per_second": rates,
                "systems": systems,
            }
        )
    return rows


def limits(threads: int) -> dict[str, float]:
    """Read bandwidth (GB/s) and integer multiply-adds (GMAC/s) of this machine, now."""
    code = f"import json; from ouvert.kernels import limits; print(json.dumps(limits.measure({threads})))"
    found = subprocess.run([PROGRAMS[0].python, "-c", code], check=True, capture_output=True, text=True)
    return json.loads(found.stdout)


def as_markdown(rows: list[dict], measured: dict[int, dict[str, float]]) -> str:
    peers = [program.name for program in PROGRAMS if any(program.name in row["tokens_per_second"] for row in rows)]
    lines = [
        "| model | threads | measured | "
        + " | ".join(f"{peer}, tokens/s" for peer in peers)
        + " | over llama.cpp | goal |",
        "|---|---|---|" + "---|" * (len(peers) + 2),
    ]
    for row in rows:
        rates = row["tokens_per_second"]
        cells = [
            f"{rates[peer]['median']:.1f} ({rates[peer]['low']:.0f} to {rates[peer]['high']:.0f})"
            if peer in rates
            else ""
            for peer in peers
        ]
        ratio = (
            rates["ouvert"]["median"] / rates["llama.cpp (native)"]["median"]
            if "llama.cpp (native)" in rates
            else float("nan")
        )
        threads = f"{row['threads']}, one core busy" if row["busy"] else str(row["threads"])
        goal = "1.0" if row["busy"] else f"{row['goal']:g}"
        lines.append(
            f"| {row['title']} | {threads} | {row['what']} | " + " | ".join(cells) + f" | {ratio:.2f} | {goal} |"
        )
    for threads, found in measured.items():
        lines.append("")
        lines.append(
            f"Limits with {threads} thread(s): "
            + ", ".join(f"{key.replace('_', ' ')} {value:.0f}" for key, value in found.items())
            + "."
        )
    return "\n".join(lines) + "\n"


def draw(rows: list[dict], path: Path) -> None:
    """Bars: Ouvert's rate over each peer's, two threads, quiet machine."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = [row for row in rows if not row["busy"] and row["threads"] == max(each["threads"] for each in rows)]
    peers = [
        p.name for p in PROGRAMS if p.name != "ouvert" and any(p.name in row["tokens_per_second"] for row in shown)
    ]
    figure, axes = pyplot.subplots(figsize=(11, 0.5 * len(shown) + 1.5), constrained_layout=True)
    height = 0.8 / max(1, len(peers))
    for i, peer in enumerate(peers):
        at, ratios = [], []
        for n, row in enumerate(shown):
            rates = row["tokens_per_second"]
            if peer in rates:
                at.append(n + i * height)
                ratios.append(rates["ouvert"]["median"] / rates[peer]["median"])
        axes.barh(at, ratios, height=height * 0.9, label=peer)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_yticks(
        [n + 0.4 - height / 2 for n in range(len(shown))], [f"{row['title']}: {row['what']}" for row in shown]
    )
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xticks([0.5, 1, 2, 4, 8], ["0.5", "1", "2", "4", "8"])
    axes.set_xlabel("tokens a second: Ouvert over the peer (right of 1: Ouvert is faster)")
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", action="append", choices=CASES, help="default: all but the 24-layer gpt-oss")
    parser.add_argument("--full", action="store_true", help="gpt-oss with all its 24 layers")
    parser.add_argument("--peer", action="append", help="only these peers")
    parser.add_argument("--threads", type=int, nargs="+", default=[2, 1])
    parser.add_argument("--prompts", type=int, nargs="+", default=[32, 512, 4096])
    parser.add_argument("--depths", type=int, nargs="+", default=[0, 4096])
    parser.add_argument("--generate", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quiet-only", action="store_true", help="leave out the runs with one core busy")
    parser.add_argument("--into", type=Path, default=ROOT / "docs" / "figures")
    arguments = parser.parse_args()
    names = arguments.case or [
        name for name in CASES if name != ("gpt-oss-20b-cut" if arguments.full else "gpt-oss-20b")
    ]

    rows: list[dict] = []
    measured = {threads: limits(threads) for threads in arguments.threads}
    for name in names:
        for threads in arguments.threads:
            print(f"{CASES[name].name}, {threads} threads", file=sys.stderr)
            rows += time_case(name, arguments, threads, busy=False)
        if not arguments.quiet_only:
            print(f"{CASES[name].name}, {max(arguments.threads)} threads, one core busy", file=sys.stderr)
            rows += time_case(name, arguments, max(arguments.threads), busy=True)
    arguments.into.mkdir(parents=True, exist_ok=True)
    text = as_markdown(rows, measured)
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    command = "python " + " ".join(["benchmarks/side_by_side.py", *sys.argv[1:]])
    (arguments.into / "side_by_side.md").write_text(f"Measured on {machine} with `{command}`.\n\n{text}")
    (arguments.into / "side_by_side.json").write_text(json.dumps({"limits": measured, "rows": rows}, indent=1))
    draw(rows, arguments.into / "side_by_side.png")
    print(text)


if __name__ == "__main__":
    main()
