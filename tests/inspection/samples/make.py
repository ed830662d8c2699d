"""Writes the samples beside this file: a short answer of SmolLM2, and experts of a tiny gpt-oss checkpoint.

python tests/inspection/samples/make.py
"""

import json
from pathlib import Path

import ouvert

HERE = Path(__file__).parent
GOLDENS = HERE.parents[1] / "goldens" / "models"


def write(view):
    facts = view.json()
    name = facts.get("view", "trace")
    (HERE / f"{name}.json").write_text(json.dumps(facts, ensure_ascii=False, separators=(",", ":")) + "\n", "utf-8")


def main():
    with ouvert.load("smollm2", receipts=False, prefixes=False) as model:
        trace = model.trace("Complete: The capital of France is", max_tokens=12, temperature=0)
        write(trace.confidence())
        write(trace.lens(top=3, layers="every 3", positions="answer"))
        write(trace.focus([" Paris", " London"], positions="answer"))
        write(trace.attribution(heads=True))
        write(trace)
    with ouvert.load(GOLDENS / "gpt_oss", receipts=False, prefixes=False) as model:
        write(model.trace(ids=range(1, 13)).experts())


if __name__ == "__main__":
    main()
