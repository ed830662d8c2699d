"""Writes docs/formats/taps.md from the table in code, `ouvert.models.TAPS`. A test compares the two.

python docs/formats/write_taps.py
"""

from pathlib import Path

from ouvert.models import FAMILIES, TAPS, TOP, NamedValue

PAGE = Path(__file__).with_name("taps.md")

BEGINNING = f"""\
# Taps: the named values of a forward pass

*Written from `ouvert.models.TAPS` by `make reference`. Change the table, not this page.*

A graph shows each of these values to its `tap`. A tap may keep it (`arithmetic.Recorder`; of a native program, `watch=`
of `kernels.build`) or return another value in its place (a class like `arithmetic.Tap`). `tap.inside("layers.3")` puts
the layer before the names, so the full name of the queries of layer 3 is `layers.3.attention.q`. N counts from 0.

- **Rows** are `tokens`, all tokens of the step, sequence after sequence; or `wanted`, those whose logits are wanted.
- **Width** is the shape of a row, by the names of `config.sizes()`; `top` is {TOP}, and `positions` the tokens that the
  longest sequence of the step has after it. NumPy shows heads as an axis of their own: (tokens, q_heads, head_dim). A
  native program shows the same numbers in one axis: (tokens, q_heads · head_dim).
- Values are float32 (NumPy: of the type of the operations), but those marked int32.
- **Cost** is that of watching a value in a native program. *memory*: its place in memory is not used again before the
  step ends. *split*: besides, an instruction that would have hidden it is divided in two. *computed*: it is made for
  whoever watches, beside what the model goes on with. In the last layer, watching also computes the rows that nobody
  wants. No number depends on what is watched: a test compares the bits.
- `Program.seen` gives every row of a step, however long; rows of attention of tokens in the expanded form of latent
  attention are those of the absorbed form, equal but for rounding. `Program.keep_rows` says which rows are kept: all,
  the last of each sequence, or positions; `Program.seen_positions` says which they are. Whole rows of attention take
  4 · q_heads · positions bytes a token and layer; a step that would keep more than `Program.seen_limit` is refused.
- **May be replaced** is one rule for all operations. A replacement must be made by the same operations (NumPy: an
  array; native programs: what the tracer's operations gave), and have the value's shape and type. Anything else is a
  `TapError` that names the value. Adding values and exchanging them works alike in NumPy and in C++.

"""
END = """
## What one token of a state space model takes from the others

With x = `mixer.convolved`, δ = softplus of `mixer.dt` (`mamba2`: within `time_step_limit`), and A and D of the layer's
weights, the output of the scan is a sum over the tokens before, as attention is (Ali et al., arXiv:2403.01590):

    y_t = D · x_t + Σ_s α(t, s) · x_s        α(t, s) = C_t · (exp(A · Σ_{s < j <= t} δ_j) · δ_s · B_s)

for each channel of its own, over all its states; a test computes `mixer.scanned` so. In `mamba2` a head's channels
share δ, and B and C stand in `mixer.convolved` after x. `mixer.state_norm` is the length of the state after the token.

## Names that never come

A tap that was asked for a name that never came says so (`LookupError`), with the names that are like it and all that
the model does show: the name is misspelt, or of another family, or of a layer that the model does not have.
"""
HEADINGS = ("Name", "Rows", "Width", "Families", "Cost", "May be replaced", "What it is")


def families_of(value: NamedValue) -> str:
    """The embedding model shows what its family shows, so it is named where the two differ."""
    known = {family.name for family in FAMILIES}
    shown = set(value.families)
    names = "all" if known <= shown else ", ".join(f"`{name}`" for name in sorted(shown & known))
    if ("qwen3" in shown) != ("qwen3_embedding" in shown):
        names += " but `qwen3_embedding`"
    return names if value.place in ("model", "layer") else f"{names}: {value.place}"


def row_of(value: NamedValue) -> tuple[str, ...]:
    name = value.name if value.place == "model" else f"layers.N.{value.name}"
    width = value.dims.replace(" ", ", ") + (" (int32)" if value.integers else "")
    replaced = "yes" if value.editable else "no"
    return f"`{name}`", value.rows, width, families_of(value), value.cost, replaced, value.meaning


def page() -> str:
    """The whole text of docs/formats/taps.md."""
    rows = (HEADINGS, ("---",) * len(HEADINGS), *map(row_of, TAPS))
    return BEGINNING + "".join(f"| {' | '.join(row)} |\n" for row in rows) + END


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
