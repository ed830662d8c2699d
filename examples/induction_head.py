"""An induction head, found and silenced: what lets a model repeat what it saw once.

Random tokens come twice. The second time a model knows what follows, if it looks for where the token stood before.
Run: python examples/induction_head.py MODEL, for example smollm2. Olsson et al., arXiv:2209.11895.
"""

import sys

import numpy as np

import ouvert

if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
    sys.exit(__doc__)
LENGTH, random = 12, np.random.default_rng(0)

with ouvert.load(sys.argv[1], receipts=False, prefixes=False) as model:
    once = random.integers(1000, 30000, LENGTH).tolist()
    others = [random.integers(1000, 30000, 2 * LENGTH).tolist() for _ in range(2)]
    second_time = ouvert.TextLogProbability(LENGTH + 1)  # of the tokens of the repetition, but its first
    found = model.ablate([*once, *once], second_time, replaced_by="mean", others=others)
    unrepeated = model.ablate(others[0], second_time, layers=[0])

before, after = unrepeated.prompt["metric"], found.prompt["metric"]
print(f"nats a token: {before:.2f} without a repetition, {after:.2f} the second time")
print("heads that cost most, when what they say is replaced by the mean of what they said elsewhere:")
for row in found.table()[:6]:
    print(f"  layer {row['layer']:>2} head {row['unit']}: {row['change']:+.2f}")
print(f"the median head of all {found.changes.size}: {np.median(found.changes):+.3f}")
