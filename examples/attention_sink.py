"""An attention sink, observed: where heads look when they have nothing to do is the first token, whatever it is.

Run: python examples/attention_sink.py MODEL, for example smollm2. Xiao et al., arXiv:2309.17453.
"""

import sys

import numpy as np

import ouvert

if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
    sys.exit(__doc__)
TEXTS = ("Paris is the capital of a country in Europe.", "Cheese is the capital of a country in Europe.")

with ouvert.load(sys.argv[1], receipts=False, prefixes=False) as model:
    for text in TEXTS:
        trace = model.trace(text=text, record="embedding")
        layers = range(trace.facts["layers"])
        # (layers, heads): what the last token's attention gives to the first token
        first = np.stack([trace.attention(layer).weights[0, :, 0] for layer in layers])
        print(f"{trace.tokens[0].text!r} gets {first.mean():.0%} of the last token's attention; ", end="")
        print(f"alike for all {len(trace.tokens)} tokens were {1 / len(trace.tokens):.0%}. ", end="")
        print(f"{(first > 0.5).mean():.0%} of the heads give it more than half.")
