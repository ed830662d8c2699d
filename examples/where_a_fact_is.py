"""Where a fact is recalled: patch every layer and token, then the heads where the two meet.

Run: python examples/where_a_fact_is.py MODEL, for example smollm2. docs/guides/look-inside.md explains what it prints.
"""

import sys

import ouvert

if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
    sys.exit(__doc__)
CLEAN, CORRUPTED = "The capital of France is the city of", "The capital of Italy is the city of"
METRIC = ouvert.LogitDifference(" Paris", " Rome")

with ouvert.load(sys.argv[1], receipts=False, prefixes=False) as model:
    grid = model.patch(CLEAN, CORRUPTED, METRIC, donors=3)
    word, end = grid.columns.index(" Italy"), len(grid.columns) - 1
    leaves = max(n for n, row in enumerate(grid.effects) if row[word] > 0.5)
    nearby = range(leaves, min(leaves + 3, len(grid.layers)))
    heads = model.patch(CLEAN, CORRUPTED, METRIC, over="heads", layers=nearby, donors=3)
    silenced = model.ablate(CLEAN, METRIC, layers=nearby)

before = grid.clean["metric"], grid.corrupted["metric"]
print(f"logit of Paris less that of Rome: {before[0]:+.2f} after France, {before[1]:+.2f} after Italy")
print("effect of putting in what France left, at the word and at the last token:")
for n in range(leaves - 1, leaves + 3):
    print(f"  after layer {n}: {grid.effects[n, word]:5.2f} {grid.effects[n, end]:5.2f}")
print(f"heads of layers {nearby[0]} to {nearby[-1]} that bring it over:")
for row in heads.table()[:3]:
    noise = f"random donors {row['low']:5.2f} to {row['high']:5.2f}"
    print(f"  layer {row['layer']} {row['what']}: effect {row['effect']:5.2f} ({noise})")
worst = silenced.table()[0]
print(f"silenced, layer {worst['layer']} head {worst['unit']} costs most: {worst['change']:+.2f}")
