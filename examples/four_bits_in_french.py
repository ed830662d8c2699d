"""What few bits cost, in English and in French.

Run: python examples/four_bits_in_french.py MODEL [AGAINST], for example smollm2, or NAME@4 NAME@16 of a model that has
16 bits. Without AGAINST the model as it serves is compared with exact arithmetic on the same weights.
"""

import sys

import ouvert

if len(sys.argv) not in (2, 3) or sys.argv[1].startswith("-"):
    sys.exit(__doc__)
with ouvert.load(sys.argv[1], receipts=False, prefixes=False) as model:
    if len(sys.argv) == 3:
        with ouvert.load(sys.argv[2], receipts=False, prefixes=False) as other:
            seen = model.microscope(other, most=128)
    else:
        seen = model.microscope(most=128)
for text in seen.texts:
    divergence = f"KL {text['divergence']:.4f} ± {2 * text['divergence_error']:.4f}, flips {text['flips']:.1%}"
    layers = text["layers"]
    print(
        f"{text['name']:<8} {divergence}; stream off by {layers[0]:.3f} after layer 0, {layers[-1]:.3f} after the last"
    )
