"""A direction that changes tone, beside random directions of the same length.

Run: python examples/change_tone.py MODEL, for example smollm2. Prompts and continuations are a few lines below: change
them. docs/guides/look-inside.md explains what it prints.
"""

import sys

import ouvert

if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
    sys.exit(__doc__)
THINGS = [
    "food",
    "room",
    "service",
    "film",
    "book",
    "weather",
    "train",
    "garden",
    "music",
    "coffee",
    "hotel",
    "city",
    "party",
    "walk",
    "game",
    "soup",
]
GLAD = [f"The {each} was wonderful and I felt very happy." for each in THINGS]
GLAD += [f"I loved the {each}, it made me smile." for each in THINGS]
SAD = [f"The {each} was terrible and I felt very sad." for each in THINGS]
SAD += [f"I hated the {each}, it made me cry." for each in THINGS]
PROMPTS = [
    "My day at the office was",
    "I think that this restaurant is",
    "Overall the trip was",
    "The new neighbour seems",
]

with ouvert.load(sys.argv[1], receipts=False, prefixes=False) as model:
    direction = model.direction(GLAD, SAD)
    tested = model.test_direction(direction, PROMPTS, of=" great", less=" bad", randoms=5)

auc = direction.facts["auc"]
print(
    f"layer {direction.layer}: AUC {auc['held_out']:.2f} held out, {auc['shuffled']['mean']:.2f} with shuffled labels"
)
print(f"ln p(great) - ln p(bad) without an edit: {tested.before:+.2f}")
for edit in tested.edits:
    band = f"{edit['random_low']:+.2f} to {edit['random_high']:+.2f}"
    print(
        f"{edit['edit']:<12} {edit['effect']:+.2f}, random directions {band}; "
        f"damage {edit['damage']:.2f}, of random ones {edit['damage_random']:.2f}"
    )
