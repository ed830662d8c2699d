"""Ouvert beside its peers: one script, one run, interleaved repeats, medians and spread.

    make bench                                   # everything, about an hour
    python benchmarks/side_by_side.py --case smollm2 --repeats 5

Every program loads the same file and keeps it; a program that is not being timed is stopped (SIGSTOP), so that
its threads cannot spin. Each repeat asks every program in turn, so that a slow minute of the machine slows all.
A ratio is Ouvert's median over the peer's. Each repeat also measures what the machine can do at that moment, read
bandwidth for decoding and integer peak for prompts; the median share of it that Ouvert reached stands beside.

With two threads on a quiet machine everything is measured; with one thread, and with one core kept busy by another
process, a prompt of 512 tokens and decoding from nothing. Writes docs/figures/side_by_side.{md,png,json}.
"""

import argparse
import contextlib
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from held_process import HeldProcess

ROOT = Path(__file__).resolve().parents[1]
PEERS = ROOT / "build" / "peers"
WORKERS = ROOT / "benchmarks" / "workers"


@dataclass(frozen=True)
class Program:
    """Something to time: the environment it lives in and the worker that times it."""

    name: str
    python: Path
    worker: tuple[str, ...]
    only: frozenset[str] = frozenset()  # cases it can run; empty: all

    def runs(self, case: str) -> bool:
        return self.python.exists() and (not self.only or case in self.only)


OURS = Program("ouvert", ROOT / ".venv/bin/python", ("time_ouvert.py",))
LLAMA = Program("llama.cpp (native)", PEERS / "native/bin/python", ("time_llama_cpp.py", "llama_cpp"))
STATE_SPACES = frozenset({"codestral-mamba-7b", "mamba-2.8b"})
WHEEL = Program(
    "llama.cpp (wheel)", PEERS / "wheel/bin/python", ("time_xllamacpp.py",), frozenset({"smollm2"}) | STATE_SPACES
)
PROGRAMS = (
    OURS,
    LLAMA,
    Program("ik_llama.cpp (wheel)", PEERS / "ik/bin/python", ("time_llama_cpp.py", "ik_llama_cpp")),
    WHEEL,
    # It has no 4-bit CPU kernels: weights become bfloat16, and the larger cases do not fit.
    Program(
        "transformers (bfloat16)",
        ROOT / ".venv-references/bin/python",
        ("time_transformers.py",),
        frozenset({"smollm2", "llama-3.2-1b"}),
    ),
)
COMMAND = shlex.join(["python", "benchmarks/side_by_side.py", *sys.argv[1:]])
LIMITS = Program("limits", ROOT / ".venv/bin/python", ("time_limits.py",))


@dataclass(frozen=True)
class Case:
    """A model, and the ratios over llama.cpp that we want to reach."""

    title: str
    checkpoint: str | None  # a shape of random_checkpoints.py; None: the default model
    layers: int | None  # fewer than the model has, to save time and disk
    prefill: float
    decode: float


CASES = {
    "smollm2": Case("SmolLM2-135M, Q4_1", None, None, 4.0, 1.8),
    "llama-3.2-1b": Case("Llama-3.2-1B shape, Q4_K", "llama-3.2-1b", None, 2.0, 1.15),
    "llama-3.1-8b": Case("Llama-3.1-8B shape, Q4_0, 8 layers", "llama-3.1-8b", 8, 2.0, 1.15),
    "gpt-oss-20b": Case("gpt-oss-20b shape, MXFP4, 4 layers", "gpt-oss-20b", 4, 3.0, 1.2),
    "mixtral-8x7b": Case("Mixtral-8x7B shape, Q4_K, 3 layers", "mixtral-8x7b", 3, 1.0, 1.0),
    "qwen3-30b-a3b": Case("Qwen3-30B-A3B shape, Q4_K, 8 layers", "qwen3-30b-a3b", 8, 1.0, 1.0),
    "codestral-mamba-7b": Case("Codestral Mamba 7B shape, Q4_K, 8 layers", "codestral-mamba-7b", 8, 1.0, 1.0),
    "mamba-2.8b": Case("Mamba-2.8B shape, Q4_K, 16 layers", "mamba-2.8b", 16, 1.0, 1.0),
    "deepseek-v3": Case("DeepSeek-V3 shape, Q4_K, 3 layers, 32 experts", "deepseek-v3", 3, 1.0, 1.0),
    "kimi-k2": Case("Kimi K2 shape, Q4_K, 3 layers, 32 experts", "kimi-k2", 3, 1.0, 1.0),
}
FULL = {
    "llama-3.1-8b-full": Case("Llama-3.1-8B shape, Q4_0", "llama-3.1-8b", None, 2.0, 1.15),
    "gpt-oss-20b-full": Case("gpt-oss-20b shape, MXFP4", "gpt-oss-20b", None, 3.0, 1.2),
}


@dataclass(frozen=True)
class Request:
    """`tokens` of a prompt read from nothing ("prefill"), or generated after `depth` tokens ("decode")."""

    do: str
    tokens: int
    depth: int = 0

    @property
    def label(self) -> str:
        return f"prefill {self.tokens}" if self.do == "prefill" else f"decode at {self.depth}"


# Prompts of more tokens than this take a minute each with some peers, and are repeated less often.
LONG = 1024


@dataclass(frozen=True)
class Setting:
    threads: int
    busy: bool
    requests: tuple[Request, ...]

    @property
    def label(self) -> str:
        return f"{self.threads}" + (", one core busy" if self.busy else "")


@dataclass
class Row:
    """One line of the table. Rates are tokens a second: (median, lowest, highest) by program."""

    title: str
    setting: str
    what: str
    goal: float
    rates: dict[str, tuple[float, float, float]]
    share_of_limit: float
    limit: str
    command: str

    def over(self, peer: str) -> float | None:
        return self.rates[OURS.name][0] / self.rates[peer][0] if peer in self.rates else None


def model_file(case: Case) -> Path:
    """The file that all programs load; random ones are written now if they are not there."""
    if case.checkpoint is None:
        code = "from ouvert.store import Store, default_home; print(Store(default_home()).resolve('smollm2').path)"
        found = subprocess.run([OURS.python, "-c", code], check=True, stdout=subprocess.PIPE, text=True)
        return Path(found.stdout.strip())
    with_gguf = LLAMA if LLAMA.python.exists() else WHEEL
    command: list[Any] = [with_gguf.python, ROOT / "benchmarks/random_checkpoints.py", case.checkpoint]
    command += ["--layers", str(case.layers)] if case.layers else []
    command += ["--into", ROOT / "build/checkpoints"]
    made = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    return Path(made.stdout.strip())


def demand(model: Path) -> dict[str, float]:
    """What one token needs: billions of bytes of weights read ("decode") and of multiply-adds ("prefill")."""
    code = (
        "import json, sys; from pathlib import Path; from ouvert.engine import demand_of_files; "
        "d = demand_of_files(Path(sys.argv[1])); "
        "print(json.dumps({'decode': d.read_per_token / 1e9, 'prefill': d.active / 1e9}))"
    )
    found = subprocess.run([OURS.python, "-c", code, model], check=True, stdout=subprocess.PIPE, text=True)
    needs: dict[str, float] = json.loads(found.stdout)
    return needs


@dataclass(frozen=True)
class Worker:
    """A program with a model loaded."""

    program: Program
    process: HeldProcess

    def ask(self, request: Request) -> float:
        """Seconds."""
        return float(self.process.ask(asdict(request))["seconds"])


@contextlib.contextmanager
def started(programs: list[Program], model: Path, threads: int, context: int) -> Iterator[list[Worker]]:
    """The programs, each with the model loaded, one after the other."""
    running: list[Worker] = []
    try:
        for program in programs:
            command = [str(program.python), str(WORKERS / program.worker[0]), *program.worker[1:]]
            command += [str(threads)] if program is LIMITS else [str(model), str(threads), str(context)]
            running.append(Worker(program, HeldProcess(program.name, command)))
        yield running
    finally:
        for worker in running:
            worker.process.close()


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


def time_case(
    name: str, case: Case, setting: Setting, repeats: int, long_repeats: int, peers: list[str] | None
) -> list[Row]:
    """One row per request."""
    model = model_file(case)
    programs = [each for each in PROGRAMS if each.runs(name) and (not peers or each is OURS or each.name in peers)]
    context = max(request.tokens + request.depth for request in setting.requests) + 128
    rows = []
    with (
        started([*programs, LIMITS], model, setting.threads, context) as (*running, limits),
        busy_core(setting.busy),
    ):
        for worker in running:  # pages read, threads started
            worker.ask(Request("prefill", 32))
            worker.ask(Request("decode", 4))
        for request in setting.requests:
            times = repeats if request.tokens <= LONG else long_repeats
            rows.append(row_of(case, setting, request, running, limits, times))
            rates = rows[-1].rates
            told = ", ".join(f"{each} {rate[0]:.1f}" for each, rate in rates.items())
            print(f"  {request.label}: {told} (limit {rows[-1].limit})", file=sys.stderr, flush=True)
    return rows


def row_of(case: Case, setting: Setting, request: Request, running: list[Worker], limits: Worker, repeats: int) -> Row:
    """One request, asked of every program in turn, as often as `repeats` says."""
    needed = demand(model_file(case))[request.do] * request.tokens
    seconds: dict[str, list[float]] = {worker.program.name: [] for worker in running}
    shares, found = [], []
    for _ in range(repeats):
        unit = limits.ask(request)  # seconds of a billion bytes read, or of a billion multiply-adds
        found.append(1 / unit)
        for worker in running:
            seconds[worker.program.name].append(worker.ask(request))
        shares.append(needed * unit / seconds[OURS.name][-1])
    rates = {
        each: tuple(request.tokens / pick(taken) for pick in (statistics.median, max, min))
        for each, taken in seconds.items()
    }
    unit_name = "GB/s" if request.do == "decode" else "GMAC/s"
    return Row(
        title=case.title,
        setting=setting.label,
        what=request.label,
        goal=1.0 if setting.busy else getattr(case, request.do),
        rates=rates,  # type: ignore[arg-type]
        share_of_limit=statistics.median(shares),
        limit=f"{statistics.median(found):.0f} {unit_name}",
        command=COMMAND,
    )


def as_markdown(rows: list[Row]) -> str:
    peers = [each.name for each in PROGRAMS if any(each.name in row.rates for row in rows)]
    titles = ["model", "threads", "measured", *peers, "over llama.cpp", "goal", "of the limit"]
    lines = ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    for row in rows:
        cells = [row.title, row.setting, row.what]
        for peer in peers:
            median, low, high = row.rates.get(peer, (0.0, 0.0, 0.0))
            cells.append(f"{median:.1f} ({low:.0f} to {high:.0f})" if median else "")
        ratio = row.over(LLAMA.name) or row.over(WHEEL.name)  # the build for this machine, where it was measured
        cells += ["" if ratio is None else f"**{ratio:.2f}**", f"{row.goal:g}"]
        lines.append("| " + " | ".join([*cells, f"{row.share_of_limit:.0%} of {row.limit}"]) + " |")
    return "\n".join(lines) + "\n"


def draw(rows: list[Row], path: Path) -> None:
    """Bars: Ouvert's rate over each peer's, by row."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    peers = [each.name for each in PROGRAMS if each is not OURS and any(each.name in row.rates for row in rows)]
    figure, axes = pyplot.subplots(figsize=(11, 0.45 * len(rows) + 1.5), constrained_layout=True)
    height = 0.8 / max(1, len(peers))
    for i, peer in enumerate(peers):
        ratios = [(n, row.over(peer)) for n, row in enumerate(rows)]
        shown = [(n + i * height, ratio) for n, ratio in ratios if ratio is not None]
        axes.barh([at for at, _ in shown], [ratio for _, ratio in shown], height=height * 0.9, label=peer)
    axes.axvline(1, color="black", linewidth=1)
    names = [f"{row.title}: {row.what}, {row.setting} thr." for row in rows]
    axes.set_yticks([n + 0.4 - height / 2 for n in range(len(rows))], names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xticks([0.5, 1, 2, 4, 8, 16], ["0.5", "1", "2", "4", "8", "16"])
    axes.set_xlabel("tokens a second: Ouvert over the peer (right of 1: Ouvert is faster)")
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=100)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", action="append", choices=CASES | FULL, help="default: those that are cut in depth")
    parser.add_argument("--full", action="store_true", help="8B and 20b shapes with all their layers")
    parser.add_argument("--peer", action="append", help="only these peers")
    parser.add_argument("--prompts", type=int, nargs="+", default=[32, 512, 4096])
    parser.add_argument("--depths", type=int, nargs="+", default=[0, 4096])
    parser.add_argument("--generate", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--long-repeats", type=int, default=2, help="of prompts of more than 1024 tokens")
    parser.add_argument("--settings", nargs="+", choices=["two", "one", "busy"], default=["two", "one", "busy"])
    parser.add_argument(
        "--add", action="store_true", help="keep the rows of earlier runs that this one does not measure"
    )
    parser.add_argument("--into", type=Path, default=ROOT / "docs" / "figures")
    return parser.parse_args()


def main() -> None:
    arguments = parsed()
    cases = CASES | FULL
    # With --full, a shape that is there whole is not measured cut.
    cut = [name for name in CASES if not (arguments.full and f"{name}-full" in FULL)]
    names = arguments.case or [*cut, *([*FULL] if arguments.full else [])]

    everything = tuple(
        [Request("prefill", tokens) for tokens in arguments.prompts]
        + [Request("decode", arguments.generate, depth) for depth in arguments.depths]
    )
    few = (Request("prefill", 512), Request("decode", arguments.generate))
    settings = {"two": Setting(2, False, everything), "one": Setting(1, False, few), "busy": Setting(2, True, few)}
    arguments.into.mkdir(parents=True, exist_ok=True)
    rows = read_rows(arguments.into / "side_by_side.json") if arguments.add else []
    for name in names:
        for setting in arguments.settings:
            print(f"{cases[name].title}, threads: {settings[setting].label}", file=sys.stderr, flush=True)
            new = time_case(
                name, cases[name], settings[setting], arguments.repeats, arguments.long_repeats, arguments.peer
            )
            measured = {(row.title, row.setting, row.what) for row in new}
            rows = [row for row in rows if (row.title, row.setting, row.what) not in measured] + new
            write(sorted(rows, key=place), arguments.into)
    print((arguments.into / "side_by_side.md").read_text())


def read_rows(path: Path) -> list[Row]:
    return [Row(**row) for row in json.loads(path.read_text())] if path.exists() else []


def place(row: Row) -> tuple[int, str, str, int]:
    """Cases in their own order; two threads, one, one core busy; prompts before decoding; short before long."""
    titles = [case.title for case in (*CASES.values(), *FULL.values())]
    setting = {"2": "a", "1": "b"}.get(row.setting, "c")
    what, number = row.what.split()[0], int(row.what.split()[-1])
    return titles.index(row.title), setting, {"prefill": "a", "decode": "b"}[what], number


def processor() -> str:
    """What it is, with the widest instruction set that our kernels use on it."""
    code = "from ouvert.kernels import instruction_set; print(instruction_set())"
    found = subprocess.run([OURS.python, "-c", code], check=True, stdout=subprocess.PIPE, text=True)
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.exists() else []
    named = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    model = [
        named.get("model name", ""),
        f"family {named['cpu family']} model {named['model']}" if "model" in named else "",
    ]
    return ", ".join(filter(None, [platform.machine(), *model, found.stdout.strip()]))


def write(rows: list[Row], folder: Path) -> None:
    """After every setting, so that nothing is lost when a run is cut short."""
    heading = (
        f"{processor()}, {os.cpu_count()} cores, quiet but for other users of the host. Tokens a second: median "
        "(lowest to highest) of interleaved repeats. Compare programs in one row, not rows: those of different "
        "commands were taken in different hours, in which the host gave different bandwidth (last column). "
        "Measured with:\n\n"
    )
    commands = "".join(f"    {command}\n" for command in dict.fromkeys(row.command for row in rows))
    (folder / "side_by_side.md").write_text(f"{heading}{commands}\n{as_markdown(rows)}")
    (folder / "side_by_side.json").write_text(json.dumps([asdict(row) for row in rows], indent=1))
    if find_spec("matplotlib") is None:
        print("No picture is drawn: `pip install matplotlib`, which `make bench` does.", file=sys.stderr)
    else:
        draw(rows, folder / "side_by_side.png")


if __name__ == "__main__":
    main()
