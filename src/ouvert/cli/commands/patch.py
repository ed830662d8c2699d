"""`ouvert patch MODEL CLEAN CORRUPTED`: which layer and token carries the difference between two prompts."""

import argparse
import json
import sys
from typing import TYPE_CHECKING

from ouvert.cli.arguments import add_model_argument
from ouvert.cli.inside import add_json, counted, loaded, shaded, subject_of
from ouvert.cli.terminal import visible

if TYPE_CHECKING:
    from ouvert.inspection import Patching, PatchPrice

SUMMARY = "Say which layer and token carries the difference between two prompts."
OVER = ("out", "attention.out", "mixer.out", "experts.out", "mlp.out", "heads")  # what is usual
CELL = 8  # columns of a cell


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        f"{SUMMARY} Values of one run are put into the other, one at a time, and the difference of two tokens' logits "
        "is read again. The prompts need as many tokens. The price is said first."
    )
    add_model_argument(parser, help="a short name, a name in the store, a folder or a file")
    parser.add_argument("clean", metavar="CLEAN", help='a prompt, e.g. "The capital of France is the city of"')
    parser.add_argument("corrupted", metavar="CORRUPTED", help="the same with another word")
    parser.add_argument("--for", dest="of", required=True, metavar="TEXT", help="the clean answer's token: ' Paris'")
    parser.add_argument("--against", dest="less", required=True, metavar="TEXT", help="the other one's: ' Rome'")
    over = parser.add_argument(
        "--over", default="out", metavar="VALUE", help="out (the residual stream), attention.out, mlp.out, heads, …"
    )
    over.completer = lambda **_: OVER  # type: ignore[attr-defined]
    parser.add_argument(
        "--noise",
        action="store_true",
        help="the other way: from the corrupted run into the clean one (what is necessary, not what suffices)",
    )
    parser.add_argument(
        "--donors", type=int, default=4, metavar="N", help="random donors for the noise band; 0: none (4)"
    )
    add_json(parser, "patch.md")


def run(args: argparse.Namespace) -> int:
    """0: measured."""
    from ouvert.inspection import LogitDifference, PatchRequest, patch

    request = PatchRequest(
        clean=args.clean,
        corrupted=args.corrupted,
        metric=LogitDifference(args.of, args.less),
        over=args.over,
        direction="noise" if args.noise else "denoise",
        donors=args.donors,
    )
    with loaded(args.model) as model:
        result = patch(subject_of(model), request, price=say_price, progress=counted("cells"))
    if args.json:
        print(json.dumps(result.json(), ensure_ascii=False))
    else:
        print_grid(result, colours=sys.stdout.isatty())
    return 0


def say_price(price: "PatchPrice") -> None:
    print(
        f"Patching {price.cells} cells: about {price.seconds:.1f} s, {price.bytes / 1e6:.1f} MB are kept.",
        file=sys.stderr,
    )


def print_grid(result: "Patching", colours: bool) -> None:
    """One row a layer, the last on top; one column a token, or a head. Effects within the noise stand in brackets."""
    one, two = (f"{prompt['metric']:+.2f}" for prompt in (result.clean, result.corrupted))
    print(f"metric {one} after the clean prompt, {two} after the corrupted one; {result.over}, {result.direction}\n")
    print("layer  " + "".join(visible(name.replace("\n", "⏎"))[:CELL].rjust(CELL) for name in result.columns))
    for i in reversed(range(len(result.layers))):
        cells = []
        for j, effect in enumerate(result.effects[i]):
            beyond = result.noise is None or bool(result.noise["beyond"][i, j])
            text = f"{effect:.2f}" if beyond else f"({effect:.2f})"
            cells.append(shaded(text.rjust(CELL), abs(float(effect)) if beyond else 0.0, colours))
        print(f"{int(result.layers[i]):>5}  " + "".join(cells))
    print(
        "(intervention) 0 is no effect, 1 the whole difference; in brackets: within what random donors do there.",
        file=sys.stderr,
    )
