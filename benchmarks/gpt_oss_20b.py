"""gpt-oss-20b's shape, all of it, beside llama.cpp on the same GGUF file: memory, start, prompts, answers.

    python benchmarks/gpt_oss_20b.py                      # ten minutes, once the checkpoint is there
    python benchmarks/gpt_oss_20b.py --depths 0 4096

Both programs at once do not fit into 24 GB, so they run one after the other, in turns. Long pasts are not computed, but
stretched (workers/time_ouvert.py, workers/llama_cpp_cache.py); `--computed` reads every token instead, to see what
that changes. Before a program starts, its file is read once, so that it is in page cache.

Prints JSON lines as they are measured, and in the end the table of docs/figures/gpt_oss_20b.md.
"""

import argparse
import json
import os
import statistics
import subprocess
import time
from pathlib import Path

from side_by_side import LLAMA, OURS, PEERS, ROOT, WORKERS, Program

from ouvert.assistant import pack_installed
from ouvert.packed import LAYOUT_VERSION
from ouvert.store import Store

START_PROMPT = 8  # tokens
FACTS = ("RssAnon", "RssFile")


def made_checkpoint(layers: int | None) -> Path:
    """The GGUF file. The package that writes it is in the peers' environment."""
    command = [PEERS / "native/bin/python", ROOT / "benchmarks/random_checkpoints.py", "gpt-oss-20b"]
    command += ["--layers", str(layers)] if layers else []
    made = subprocess.run(
        [*command, "--into", ROOT / "build/checkpoints"], check=True, stdout=subprocess.PIPE, text=True
    )
    return Path(made.stdout.strip())


def packed_file(model: Path) -> Path:
    """Where workers/time_ouvert.py finds the packed form; written now if it is not there."""
    store = Store(ROOT / "build" / "store")
    installed = store.resolve(str(model))
    pack_installed(store, installed)
    folder = store.packed_path(store.weights_digest(installed), LAYOUT_VERSION).parent
    return max(folder.glob(f"{LAYOUT_VERSION}-*"), key=lambda path: path.stat().st_mtime_ns)


def read_into_page_cache(path: Path) -> None:
    with open(path, "rb", buffering=0) as file:
        piece = bytearray(1 << 24)
        while file.readinto(piece):
            pass


def memory(process: int) -> dict[str, int]:
    """Bytes that the process holds: its own (RssAnon) and of mapped files (RssFile)."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    named = dict(line.split(":", 1) for line in lines)
    return {name: int(named[name].split()[0]) * 1024 for name in FACTS}


class Session:
    """A program that was started for one round."""

    def __init__(self, program: Program, model: Path, threads: int, context: int) -> None:
        self.name = program.name
        self.began = time.perf_counter()
        worker = [WORKERS / program.worker[0], *program.worker[1:]]
        self.process = subprocess.Popen(
            [program.python, *worker, model, str(threads), str(context)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.read()
        self.load = time.perf_counter() - self.began

    def read(self) -> dict[str, object]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended unexpectedly (exit {self.process.wait()}).")
        return dict(json.loads(line))

    def seconds(self, **request: object) -> float:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return float(str(self.read()["seconds"]))

    def ask(self, what: str, **request: object) -> dict[str, object]:
        load = os.getloadavg()[0]
        seconds = self.seconds(**request)
        row: dict[str, object] = {"program": self.name, "what": what, "seconds": round(seconds, 4), "load": load}
        if "tokens" in request:
            row["tokens_per_second"] = round(float(str(request["tokens"])) / seconds, 2)
        return told(row)

    def holds(self, when: str) -> dict[str, object]:
        return told({"program": self.name, "what": f"memory {when}"} | memory(self.process.pid))

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


def told(row: dict[str, object]) -> dict[str, object]:
    print(json.dumps(row), flush=True)
    return row


def one_round(program: Program, model: Path, file: Path, arguments: argparse.Namespace) -> list[dict[str, object]]:
    read_into_page_cache(file)
    session = Session(program, model, arguments.threads, max(arguments.depths) + 1024)
    load = os.getloadavg()[0]
    session.seconds(do="prefill", tokens=START_PROMPT)
    start = time.perf_counter() - session.began
    row = {"program": program.name, "what": "start to first token", "seconds": start, "load": load}
    rows = [told(row | {"loaded": session.load})]
    session.ask("warm", do="prefill", tokens=64)
    rows += [session.ask("prefill 512", do="prefill", tokens=512) for _ in range(arguments.prefills)]
    rows.append(session.holds("after 512 tokens"))
    for depth in arguments.depths:
        if depth and not arguments.computed:
            session.seconds(do="stretch", depth=depth)
        session.seconds(do="decode", tokens=4, depth=depth)
        rows += [
            session.ask(f"decode at {depth}", do="decode", tokens=arguments.generate, depth=depth)
            for _ in range(arguments.decodes)
        ]
    session.end()
    return rows


def as_table(rows: list[dict[str, object]]) -> str:
    programs = (OURS.name, LLAMA.name)
    lines = ["| | " + " | ".join(programs) + " | Ouvert over llama.cpp |", "|---|---|---|---|"]
    for what in dict.fromkeys(str(row["what"]) for row in rows):
        cells, middles = [], []
        for program in programs:
            mine = [row for row in rows if row["program"] == program and row["what"] == what]
            if not mine:
                cells.append("")
            elif "RssAnon" in mine[0]:
                anonymous, mapped = (max(int(str(row[name])) for row in mine) / 1e9 for name in FACTS)
                cells.append(f"{anonymous:.2f} GB its own + {mapped:.1f} GB of the file")
            else:
                unit = "tokens_per_second" if "tokens_per_second" in mine[0] else "seconds"
                values = [float(str(row[unit])) for row in mine]
                middles.append(statistics.median(values))
                ending = "tokens/s" if unit == "tokens_per_second" else "s"
                cells.append(f"{middles[-1]:.2f} {ending} ({min(values):.2f} to {max(values):.2f})")
        ratio = f"{middles[0] / middles[1]:.2f}" if len(middles) == 2 else ""
        lines.append(f"| {what} | " + " | ".join(cells) + f" | {ratio} |")
    loads = [float(str(row["load"])) for row in rows if "load" in row]
    lines += ["", f"Load of the machine before each measurement: {min(loads):.1f} to {max(loads):.1f}."]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, help="fewer than the model has")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--depths", type=int, nargs="+", default=[0, 4096, 32768])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--prefills", type=int, default=2, help="of 512 tokens, in each round")
    parser.add_argument("--decodes", type=int, default=2, help="at each depth, in each round")
    parser.add_argument("--generate", type=int, default=16)
    parser.add_argument("--computed", action="store_true", help="read every token of a past")
    arguments = parser.parse_args()
    model = made_checkpoint(arguments.layers)
    packed = packed_file(model)
    told({"model": model.name, "bytes": model.stat().st_size, "packed_bytes": packed.stat().st_size})
    rows = []
    for _ in range(arguments.rounds):
        rows += one_round(OURS, model, packed, arguments)
        rows += one_round(LLAMA, model, model, arguments)
    print(as_table(rows))


if __name__ == "__main__":
    main()
