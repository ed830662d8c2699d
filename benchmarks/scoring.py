"""Tokens a second of scoring: a likelihood suite and plain texts, beside llama.cpp, in one run.

    python benchmarks/scoring.py MODEL.gguf [--questions 24] [--texts 4] [--rounds 3]

The suite is MMLU-like: each question a context of about a hundred tokens and four choices of a few. Both programs are
given the same ids and read a question's context once. Ours is `Model.score_all`, whole, with its log-probabilities.
llama-cpp-python brings no perplexity tool, so its C API does what that tool does (workers/score_llama_cpp.py): of it
only llama_decode is counted. `make peers` builds it for this machine. Rounds alternate; medians are told, and how far
apart the rounds lay.
"""

import argparse
import json
import subprocess
import time
from pathlib import Path
from statistics import median

import ouvert
from ouvert.evaluation import Text, open_suite

ROOT = Path(__file__).parents[1]
NATIVE = ROOT / "build" / "peers" / "native" / "bin" / "python"
WORKER = ROOT / "benchmarks" / "workers" / "score_llama_cpp.py"
CONTEXT, TEXT = 100, 512  # tokens
CHOICES = (3, 6, 8, 5)  # tokens

Question = tuple[list[int], list[list[int]]]


def page_ids(model: ouvert.Model) -> list[int]:
    """Real words: the pages of the suite `reading`, in both languages."""
    suite = open_suite("reading")
    items = [item for language in ("en", "fr") for item in suite.items(language, 1000, 0)]
    return [token for item in items if isinstance(item.ask, Text) for token in model.tokenize(item.ask.text)]


def questions_of(ids: list[int], count: int) -> list[Question]:
    made, at = [], 0
    for n in range(count):
        context = [ids[(at + k) % len(ids)] for k in range(CONTEXT + 7 * (n % 5) - 14)]
        at += len(context)
        choices = [[ids[(at + 31 * k + j) % len(ids)] for j in range(size)] for k, size in enumerate(CHOICES)]
        made.append((context, choices))
        at += 11
    return made


def ours(model: ouvert.Model, texts: list[list[int]], starts: list[int], of_first: int) -> tuple[float, float]:
    """Seconds, and the sum over the first `of_first` texts."""
    model.engine.forget_all()
    began = time.perf_counter()
    found = model.score_all(texts, starts=starts)
    seconds = time.perf_counter() - began
    return seconds, sum(token.logprob or 0.0 for text in found[:of_first] for token in text)


def told(name: str, seconds: list[float], tokens: int) -> str:
    spread = (max(seconds) - min(seconds)) / median(seconds)
    return f"{name:24} {tokens / median(seconds):8.0f} tokens/s   (rounds {100 * spread:.0f} % apart)"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("--questions", type=int, default=24)
    parser.add_argument("--texts", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    with ouvert.load(args.model, receipts=False, prefixes=False, threads=args.threads) as model:
        ids = page_ids(model)
        questions = questions_of(ids, args.questions)
        texts = [ids[n * TEXT : (n + 1) * TEXT] for n in range(args.texts)]
        joined = [[*context, *choice] for context, choices in questions for choice in choices]
        starts = [len(context) for context, choices in questions for _ in choices]
        work = {
            "likelihood suite": (
                {"questions": questions},
                (joined, starts, len(CHOICES)),
                sum(len(context) + sum(map(len, choices)) for context, choices in questions),
            ),
            "plain texts": ({"texts": texts}, (texts, [1] * len(texts), 1), sum(map(len, texts))),
        }
        command = [NATIVE, WORKER, args.model, str(args.threads)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:
            assert worker.stdin
            assert worker.stdout
            version = json.loads(worker.stdout.readline())["version"]
            print(f"{args.model.name}, {args.threads} threads; llama-cpp-python {version}")
            for name, (job, mine, tokens) in work.items():
                here, there = [], []
                for _ in range(args.rounds):
                    seconds, own = ours(model, *mine)
                    here.append(seconds)
                    worker.stdin.write(json.dumps(job) + "\n")
                    worker.stdin.flush()
                    answer = json.loads(worker.stdout.readline())
                    there.append(answer["seconds"])
                print(f"\n{name}: {tokens} tokens; sum of the first: {own:.2f} here, {answer['logprob']:.2f} there")
                print(told("Ouvert, score_all", here, tokens))
                print(told("llama.cpp, decode only", there, tokens))
                print(f"ratio {median(there) / median(here):.2f}", flush=True)
            worker.stdin.close()


if __name__ == "__main__":
    main()
