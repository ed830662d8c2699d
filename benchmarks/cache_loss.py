"""What 8-bit keys and values cost on a model: ours beside llama.cpp's q8_0, each against its own 16-bit caches.

    make .venv-references/installed
    .venv-references/bin/python benchmarks/cache_loss.py MODEL.gguf [--tokens 700] [--json]

Mean KL divergence of the next token's probabilities, how often the likeliest token stays the same, over a page of
English and the text of a licence (tests/references/agreement.py). Ours with float32 activations (`--exact`), where
nothing but the cache differs, and as every day, where rounded activations round otherwise at every difference,
as llama.cpp's do too. llama.cpp with its flash attention, without which it keeps no values in 8 bits.
"""

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "references"))

import agreement
from llama_cpp import LlamaCpp

from ouvert.engine.runners.open_runner import open_runner
from ouvert.packed import open_model


def ours(path: Path, cache: str, texts: list[list[int]], *, exact: bool) -> np.ndarray:
    """float32 logits (tokens, vocabulary) of all texts, one after the other."""
    found = []
    with open_model(path) as files:
        runner = open_runner(files, exact=exact, cache_type=cache).runner
        for ids in texts:
            sequence = runner.new_sequence(len(ids))
            found.append(runner.step([(sequence, np.asarray(ids, np.int32))], "all"))
            sequence.close()
        runner.close()
    return np.concatenate(found)


def theirs(path: Path, cache: str, texts: list[list[int]]) -> np.ndarray:
    with LlamaCpp(path, cache=cache, threads=2) as program:
        return np.concatenate([program.logits(ids) for ids in texts])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--tokens", type=int, default=agreement.TEXT_TOKENS, help="of each text")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with LlamaCpp(args.model) as program:
        texts = [program.tokenize(text)[: args.tokens] for text in agreement.TEXTS.values()]
    programs: dict[str, tuple[str, Callable[..., np.ndarray]]] = {
        "ouvert --exact": ("q8", partial(ours, exact=True)),
        "ouvert": ("q8", partial(ours, exact=False)),
        "llama.cpp": ("q8_0", theirs),
    }
    rows: dict[str, dict[str, float]] = {}
    for name, (eight, logits_of) in programs.items():
        plain, rounded = logits_of(args.model, "f16", texts), logits_of(args.model, eight, texts)
        each = agreement.divergence(plain, rounded)
        same = float((plain.argmax(-1) == rounded.argmax(-1)).mean())
        rows[name] = {"kl": float(each.mean()), "error": float(each.std() / len(each) ** 0.5), "same": same}
    if args.json:
        print(json.dumps({"model": args.model.name, "tokens": sum(map(len, texts)), **rows}, indent=2))
        return
    print(f"{args.model.name}, {sum(map(len, texts))} tokens: 8 bits against 16")
    for name, row in rows.items():
        print(f"{name:16} KL {row['kl']:.2e} ± {row['error']:.0e}   likeliest token the same {row['same']:.1%}")


if __name__ == "__main__":
    main()
