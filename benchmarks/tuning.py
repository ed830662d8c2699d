"""Training on packed weights beside transformers and PEFT in float32: tokens a second and peak memory, in one run.

    python benchmarks/tuning.py [--case smollm2] [--rounds 3] [--examples 16]

Both train pairs of rank 16 on the same shape, 512 tokens an example of which half are trained, with two threads; a step
has 16 examples and the optimiser's part. Both take one example in a pass, which needs least memory, and four, as
`ouvert tune` does (2,048 tokens). PEFT cannot adapt a part of the experts, and all of them do not fit into 24 GB: there
both adapt attention alone, and Ouvert its busiest quarter of experts besides. Every program is a process of its own,
started anew in each round, in turns; medians are told. Writes docs/figures/tuning.md.
"""

import argparse
import json
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
WORKERS = ROOT / "benchmarks" / "workers"
REFERENCES = ROOT / ".venv-references" / "bin" / "python"
FIGURES = ROOT / "docs" / "figures" / "tuning.md"
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
DENSE = [*ATTENTION, "gate_proj", "up_proj", "down_proj"]


@dataclass(frozen=True)
class Case:
    """A shape: Ouvert's model, the layers of a random checkpoint to make of it (None: the shape's own; 0: none is
    made), and PEFT's configuration."""

    model: str
    layers: int | None
    peft: dict[str, Any]


CASES = {
    "smollm2": Case(
        "smollm2",
        0,
        {
            "config": "LlamaConfig",
            "targets": DENSE,
            "values": {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "vocab_size": 49152}
            | {"num_attention_heads": 9, "num_key_value_heads": 3, "tie_word_embeddings": True},
        },
    ),
    "llama-3.2-1b": Case(
        "llama-3.2-1b",
        None,
        {
            "config": "LlamaConfig",
            "targets": DENSE,
            "values": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "vocab_size": 128256}
            | {"num_attention_heads": 32, "num_key_value_heads": 8, "tie_word_embeddings": True},
        },
    ),
    "gpt-oss-20b, 4 layers": Case(
        "gpt-oss-20b",
        4,
        {
            "config": "GptOssConfig",
            "attention": "eager",
            "targets": ATTENTION,
            "values": {"hidden_size": 2880, "intermediate_size": 2880, "num_hidden_layers": 4, "vocab_size": 201088}
            | {"num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 64, "num_local_experts": 32}
            | {"num_experts_per_tok": 4, "sliding_window": 128},
        },
    ),
}  # fmt: skip


def checkpoint(case: Case) -> str:
    """The model's name, or the path of a checkpoint of its shape, made now if it is not there."""
    if case.layers == 0:
        return case.model
    command = [
        REFERENCES,
        ROOT / "benchmarks" / "random_checkpoints.py",
        case.model,
        "--into",
        ROOT / "build/checkpoints",
    ]
    command += ["--layers", str(case.layers)] if case.layers else []
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def programs(case: Case, given: argparse.Namespace) -> dict[str, list[Any]]:
    """The command of each program."""
    size = ["--threads", "2", "--tokens", "512", "--examples", str(given.examples), "--steps", str(given.steps)]
    ours = [sys.executable, WORKERS / "tune_ouvert.py", checkpoint(case), *size]
    theirs = [REFERENCES, WORKERS / "tune_peft.py", json.dumps(case.peft), *size]
    counts = {count: ["--together", str(count)] for count in given.together}
    attention = case.peft["targets"] == ATTENTION
    return {
        **{
            f"Ouvert, {n} at a time": [*ours, *words, *["--experts", "none"] * attention] for n, words in counts.items()
        },
        **(
            {f"Ouvert, {n} at a time, experts too": [*ours, *words] for n, words in counts.items()} if attention else {}
        ),
        **{f"PEFT, {n} at a time": [*theirs, *words] for n, words in counts.items()},
    }


def measured(command: list[Any]) -> dict[str, Any] | None:
    """What a program has told; None where it did not come to an end (no memory)."""
    done = subprocess.run([str(each) for each in command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None


def rows_of(name: str, rounds: dict[str, list[dict[str, Any] | None]]) -> list[str]:
    """Lines of the table."""
    lines = []
    for program, told in rounds.items():
        found = [each for each in told if each is not None]
        if not found:
            lines.append(f"| {name} | {program} | did not fit | |")
            continue
        speed = statistics.median(each["tokens_a_second"] for each in found)
        peak = statistics.median(each["peak_bytes"] for each in found)
        lines.append(f"| {name} | {program} | {speed:.0f} | {peak / 1e9:.2f} GB |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", choices=CASES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--examples", type=int, default=16)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--together", type=int, nargs="+", default=[1, 4])
    given = parser.parse_args()
    lines = ["| shape | program | tokens a second | peak memory |", "|---|---|--:|--:|"]
    for name in given.case or CASES:
        commands = programs(CASES[name], given)
        rounds: dict[str, list[dict[str, Any] | None]] = {program: [] for program in commands}
        for _ in range(given.rounds):
            for program, command in commands.items():
                rounds[program].append(measured(command))
                print(name, program, json.dumps(rounds[program][-1]), flush=True)
        lines += rows_of(name, rounds)
    heading = (__doc__ or "").split("\n\n")
    FIGURES.write_text(f"# {heading[0]}\n\n{heading[2]}\n\n" + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
