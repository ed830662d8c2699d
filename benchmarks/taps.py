"""What watching costs while text is written: tokens a second of the live panel beside those of the plain program.

    python benchmarks/taps.py MODEL [--threads 2] [--depths 64,512,2048] [--repeats 60]
    python benchmarks/taps.py MODEL --answers [--repeats 60]

MODEL is a GGUF file or a folder of safetensors. The live panel is `models.live_names`; the others watch a value of all
layers. The plain program and its siblings write the same token of the same sequence in turn, so that what the machine
does besides meets both; the ratio is that of the best steps, and of the medians. A step is the program's and the
reading of what was watched.

`--answers` measures whole answers instead, through the engine and with what `watch` of a request makes of each token
(docs/formats/watch.md): unwatched ones and watched ones in turn, tokens a second of the writing alone.
"""

import argparse
import time
from pathlib import Path
from statistics import median

import numpy as np

from ouvert import kernels, models, packed, weights
from ouvert.assistant.watching import Probe, Watcher
from ouvert.engine import LocalEngine, Sampling
from ouvert.engine.runners.native_runner import NativeRunner

# Values of all layers, watched by themselves.
PANELS = {
    "attention.top": ("attention.top", "attention.top_weights", "attention.sink"),
    "routers": ("experts.scores", "experts.chosen", "experts.weights"),
    "residual stream": ("out",),
    "whole rows": ("attention.weights",),
}


def names_of(model: models.Model, parts: tuple[str, ...]) -> list[str]:
    shown = models.shown_by(model.family.name, model.config)
    return [name for name, value in shown if value.place != "model" and value.name in parts]


def seconds_of(program: kernels.Program, sequence: kernels.Sequence, ids: np.ndarray, names: list[str]) -> float:
    """Of one step that reads what it watched. The sequence is as long as before afterwards."""
    length = sequence.length
    began = time.perf_counter()
    program.step([(sequence, ids)], "last")
    for name in names:
        program.seen(name)
    seconds = time.perf_counter() - began
    sequence.truncate(length)
    return seconds


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--depths", default="64,512,2048", help="tokens before the one that is written")
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--answers", action="store_true", help="whole answers, watched as requests ask for it")
    parser.add_argument("--instruction-set", choices=("plain", "avx2", "avx512"))
    return parser.parse_args()


def main() -> None:
    options = arguments()
    with weights.open_checkpoint(options.model) as checkpoint:
        model = models.load(checkpoint, packed.InMemory())
        programs = kernels.Programs(model, threads=options.threads, instruction_set=options.instruction_set)
    if options.answers:
        report_answers(NativeRunner(model, programs), model, options.model.name, options.repeats)
        return
    watching = {"live panel": models.live_names(model.family.name, model.config)}
    watching |= {panel: names for panel, parts in PANELS.items() if (names := names_of(model, parts))}
    random = np.random.default_rng(0)
    print(f"{options.model.name}, {options.threads} threads, {programs.plain.instruction_set}")
    print("| depth | watched | names | ms a token, best | median | ratio of the best | of the medians |")
    print("|---|---|---|---|---|---|---|")
    sequence = programs.plain.new_sequence(10**6)
    for depth in map(int, options.depths.split(",")):
        ids = random.integers(0, programs.plain.vocabulary_size, depth - sequence.length).astype(np.int32)
        programs.plain.step([(sequence, ids)], "none")
        report(programs, sequence, watching, options.repeats)


def report(
    programs: kernels.Programs, sequence: kernels.Sequence, watching: dict[str, list[str]], repeats: int
) -> None:
    one = np.asarray([1], np.int32)
    runs = {"nothing": (programs.plain, [])} | {
        panel: (programs.sibling(watch=names), names) for panel, names in watching.items()
    }
    times: dict[str, list[float]] = {panel: [] for panel in runs}
    for repeat in range(repeats + 2):
        for panel, (program, names) in runs.items():
            seconds = seconds_of(program, sequence, one, names)
            if repeat >= 2:  # the first ones touch new memory
                times[panel].append(seconds)
    plain = times["nothing"]
    for panel, each in times.items():
        ratios = min(each) / min(plain), median(each) / median(plain)
        figures = f"{min(each) * 1e3:.2f} | {median(each) * 1e3:.2f} | {ratios[0]:.3f} | {ratios[1]:.3f}"
        print(f"| {sequence.length} | {panel} | {len(runs[panel][1])} | {figures} |")


class Spelled:
    """Stands for a vocabulary."""

    def bytes_of(self, token: int) -> bytes:
        return b"token"


def panels_of(engine: LocalEngine, layers: int) -> dict[str, list[str | Probe]]:
    """What is watched, by its name in the report."""
    layer = layers // 2
    vector = np.random.default_rng(1).standard_normal(engine.shown[f"layers.{layer}.out"])
    probe = Probe(name="x", layer=layer, vector=tuple(vector / np.linalg.norm(vector)), threshold=0.0)
    mixture: list[str | Probe] = ["experts"] if "layers.1.experts.chosen" in engine.shown else []
    return {"nothing": [], "nothing, again": [], "confidence": ["confidence"], "probe": [probe]} | {
        "live panel": ["confidence", *mixture, probe]
    }


def seconds_of_tokens(engine: LocalEngine, watch: list[str | Probe], prompt: list[int], tokens: int) -> float:
    """Of the tokens behind the first, each with what its request makes of it."""
    watcher = Watcher(watch, engine.shown, "model") if watch else None
    sampling = Sampling(seed=1, max_tokens=tokens, watch=None if watcher is None else watcher.asked)
    began = 0.0
    for n, token in enumerate(engine.generate(prompt, sampling)):
        if n == 0:
            began = time.perf_counter()
        if watcher is not None:
            watcher.saw(n, token, Spelled())  # type: ignore[arg-type]
    return time.perf_counter() - began


def report_answers(runner: NativeRunner, model: models.Model, name: str, repeats: int, tokens: int = 33) -> None:
    engine = LocalEngine(runner, 4096, lambda: None)  # type: ignore[arg-type,return-value]
    prompt = np.random.default_rng(0).integers(0, engine.vocabulary_size, 64).tolist()
    panels = panels_of(engine, len(model.memories))
    times: dict[str, list[float]] = {panel: [] for panel in panels}
    for repeat in range(repeats + 1):
        order = list(panels) if repeat % 2 else list(panels)[::-1]
        for panel in order:
            seconds = seconds_of_tokens(engine, panels[panel], prompt, tokens)
            if repeat:  # the first one makes the sibling
                times[panel].append(seconds / (tokens - 1))
    engine.close()
    print(f"{name}: answers of {tokens} tokens, {runner.threads} threads, {runner.instruction_set}")
    print("| watched | tokens a second, best | median | cost by the best | by the medians |")
    print("|---|---|---|---|---|")
    plain = times["nothing"]
    for panel, each in times.items():
        cost = min(each) / min(plain) - 1, median(each) / median(plain) - 1
        print(f"| {panel} | {1 / min(each):.1f} | {1 / median(each):.1f} | {cost[0]:.1%} | {cost[1]:.1%} |")


if __name__ == "__main__":
    main()
