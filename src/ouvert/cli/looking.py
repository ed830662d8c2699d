"""The views of a trace as tables in a terminal."""

import sys
from math import exp
from typing import TYPE_CHECKING

from ouvert.cli.terminal import columns_of, visible

if TYPE_CHECKING:
    from ouvert.inspection import Attention, Attribution, Confidence, Lens, Trace, View

CELL, MARGIN = 11, 22  # columns of a layer's cell, and of what stands before the first
# Behind a token, by its probability: dark where the model is unsure, light where it is sure (cividis, 256 colours).
SHADES = ((0.9, 228, 16), (0.6, 185, 16), (0.3, 144, 16), (0.1, 102, 231), (0.0, 60, 231))
PLAIN = "\x1b[0m"


def print_view(trace: "Trace", name: str, view: "View", ranks: int) -> None:
    """A table, of the lens with so many `ranks` of tokens; how it is computed stands below it."""
    from ouvert.inspection import Attention, Attribution, Confidence, Lens, text_table

    colours = sys.stdout.isatty()
    match view:
        case Lens():
            print_lens(trace, view, ranks, colours)
        case Confidence():
            print_confidence(trace, view, colours)
        case Attention():
            print_attention(trace, view)
        case Attribution():
            print_attribution(trace, view)
        case _:
            print(visible(text_table(view.table())))
    places = sorted({f"{lines.file}:{lines.first}" for lines in view.how.lines})
    print(visible(f"({name}, {view.kind}) {view.how.says} {', '.join(places)}"), file=sys.stderr)


def print_lens(trace: "Trace", lens: "Lens", ranks: int, colours: bool) -> None:
    """One row a token, and below it one for each further rank; one column a layer, the last at the right: what it
    would say next."""
    print((" " * MARGIN + "".join(f"layer {layer}".ljust(CELL) for layer in lens.layers.tolist())).rstrip())
    for at, place in enumerate(lens.places.tolist()):
        for rank in range(min(ranks, lens.ids.shape[2])):
            cells = [" " * MARGIN if rank else label(place, trace.tokens[place].text)]
            for n in range(len(lens.layers)):
                text, chance = lens.pieces[str(lens.ids[n, at, rank])], exp(float(lens.logprobs[n, at, rank]))
                number = f"{chance:.0%}"
                cell = padded(f"{short(text, CELL - 2 - len(number))} {number}", CELL - 1)
                cells.append(shaded(cell, chance, colours) + " ")
            print("".join(cells).rstrip())


def print_confidence(trace: "Trace", confidence: "Confidence", colours: bool) -> None:
    """One row a token: its probability, its rank, and what else was likely."""
    print(" " * MARGIN + "chance   rank  likeliest")
    for n, place in enumerate(confidence.places.tolist()):
        chance = exp(float(confidence.logprobs[n]))
        others = zip(confidence.alternative_ids[n].tolist(), confidence.alternative_logprobs[n].tolist(), strict=True)
        said = "  ".join(f"{short(confidence.pieces[str(i)], 12)} {exp(p):.0%}" for i, p in others)
        cell = shaded(f"{chance:6.1%}", chance, colours)
        print(f"{label(place, trace.tokens[place].text)}{cell} {int(confidence.ranks[n]):>6}  {said}")


def print_attention(trace: "Trace", attention: "Attention") -> None:
    """One row a head: the sink's share where the family has one, and the three places it looks at most, with their
    words."""
    sinks = attention.sinks
    for n, query in enumerate(attention.queries.tolist()):
        window = "" if attention.window is None else f", which sees {attention.window} tokens"
        print(f"layer {attention.layer}{window}, from {named(trace, query)}")
        print("  head  " + ("" if sinks is None else "sink  ") + "looks most at")
        for h, head in enumerate(attention.heads.tolist()):
            shares, added = attention.weights[n, h], attention.added
            most = sorted(range(len(shares)), key=lambda at: -shares[at])[:3]
            looks = [
                f"{padded(named(trace, int(attention.places[at])), MARGIN - 5)} {shares[at]:>4.0%}"
                + ("" if added is None else f" adds {added[n, h, at]:<5.3g}")
                for at in most
            ]
            sink = "" if sinks is None else f"{sinks[n, h]:>4.0%}  "
            print(f"{head:>6}  {sink}{'   '.join(looks)}".rstrip())


def print_attribution(trace: "Trace", attribution: "Attribution") -> None:
    """The logit and what it is the sum of, the largest part first; of heads the largest too."""
    token = short(attribution.pieces[str(attribution.token)], MARGIN)
    print(f"the logit of {token} after {named(trace, attribution.place)}: {attribution.logit:+.4f}")
    widest = max(map(len, attribution.parts))
    for row in attribution.table():
        print(f"  {row['part']:<{widest}}  {row['logit']:+9.4f}")
    print(f"  {'their sum':<{widest}}  {attribution.sum:+9.4f}")
    print(f"  {'rounding':<{widest}}  {attribution.rounding:+9.4f}")
    if attribution.heads is not None and attribution.head_layers is not None:
        print("\nlayer" + "".join(f"head {head}".rjust(9) for head in range(attribution.heads.shape[1])))
        for layer, heads in zip(attribution.head_layers.tolist(), attribution.heads.tolist(), strict=True):
            print(f"{layer:>5}" + "".join(f"{value:+9.3f}" for value in heads))


def named(trace: "Trace", place: int) -> str:
    """A token's place and its text."""
    return f"{place} {short(trace.tokens[place].text, MARGIN - 10)}"


def label(place: int, text: str) -> str:
    return padded(f"{place:>5} {short(text, MARGIN - 8)}", MARGIN)


def short(text: str, width: int) -> str:
    """On one line, spaces to be seen, and not wider than this."""
    flat = visible(text.replace("\n", "⏎").replace("\t", "⇥").replace(" ", "·"))
    if columns(flat) <= width:
        return flat
    while columns(flat) > width - 1:
        flat = flat[:-1]
    return flat + "…"


def padded(text: str, width: int) -> str:
    return text + " " * (width - columns(text))


def columns(text: str) -> int:
    """How many columns of a terminal it takes: Chinese takes two a sign, a mark on another sign none."""
    return sum(map(columns_of, text))


def shaded(text: str, chance: float, colours: bool) -> str:
    if not colours:
        return text
    behind, ink = next((behind, ink) for least, behind, ink in SHADES if chance >= least)
    return f"\x1b[48;5;{behind};38;5;{ink}m{text}{PLAIN}"
