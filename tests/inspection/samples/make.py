"""Writes the samples beside this file: a short answer of SmolLM2; experts, sinks and states of tiny checkpoints.

python tests/inspection/samples/make.py
"""

import json
from pathlib import Path

import ouvert

HERE = Path(__file__).parent
GOLDENS = HERE.parents[1] / "goldens" / "models"


def write(view, name=None):
    facts = view.json()
    name = name or facts.get("view", "trace")
    (HERE / f"{name}.json").write_text(json.dumps(facts, ensure_ascii=False, separators=(",", ":")) + "\n", "utf-8")


def write_causes(model):
    metric, clean = ouvert.LogitDifference(" Paris", " Rome"), "The capital of France is the city of"
    write(model.patch(clean, "The capital of Italy is the city of", metric))
    write(model.ablate(clean, metric))
    write(model.microscope(most=64))


def main():
    with ouvert.load("smollm2", receipts=False, prefixes=False) as model:
        trace = model.trace("Complete: The capital of France is", max_tokens=12, temperature=0)
        write(trace.confidence())
        write(trace.lens(top=3, layers="every 3", positions="answer"))
        write(trace.focus([" Paris", " London"], positions="answer"))
        write(trace.attribution(heads=True))
        write(trace.attention(12, query=-2, values=True))
        write(trace)
        write_causes(model)
    with ouvert.load(GOLDENS / "gpt_oss", receipts=False, prefixes=False) as model:
        trace = model.trace(ids=range(1, 13))
        write(trace.experts(norms=True))
        write(trace.attention(0, query="all"), "attention-with-sinks")
    with ouvert.load(GOLDENS / "mamba", receipts=False, prefixes=False) as model:
        trace = model.trace(ids=range(1, 13))
        write(trace.states())
        write(trace.hidden_attention(1))


if __name__ == "__main__":
    main()
