"""`ouvert microscope MODEL`: what few bits and quick arithmetic cost, layer by layer and at the end."""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ouvert.cli.arguments import add_model_argument, complete_installed
from ouvert.cli.inside import add_json, counted, loaded, profile, said, subject_of

if TYPE_CHECKING:
    from ouvert.inspection import Microscope

SUMMARY = "Say what four bits cost: layer by layer, and at the end."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        f"{SUMMARY} The model as it serves is compared with exact arithmetic: of its own weights, or of another "
        "precision of it, or of another model with the same vocabulary (--against). Texts: a page of English and one "
        "of French, which no model has seen, or your own."
    )
    add_model_argument(parser, help="a short name, a name in the store, a folder or a file; @4, @8 or @16 behind it")
    other = parser.add_argument(
        "--against", metavar="MODEL", help="what it is compared with, e.g. NAME@16 (its own weights)"
    )
    other.completer = complete_installed  # type: ignore[attr-defined]
    parser.add_argument(
        "--text", type=Path, action="append", metavar="FILE", help="a text instead of the two pages; repeatable"
    )
    parser.add_argument("--tokens", type=int, metavar="N", help="tokens of each text at most (all)")
    add_json(parser, "microscope.md")


def run(args: argparse.Namespace) -> int:
    """0: measured."""
    from ouvert.inspection import InspectionError, exact, magnify

    if args.tokens is not None and args.tokens < 2:
        raise InspectionError(f"microscope: --tokens {args.tokens}, expected 2 or more.")
    texts = None if args.text is None else {path.name: read_text(path) for path in args.text}
    with loaded(args.model) as model:
        seen = subject_of(model)
        if args.against is None:
            result = magnify(seen, None, texts, most=args.tokens, price=said(" with both"), progress=counted("tokens"))
        else:
            with loaded(args.against) as other:
                reference = exact(subject_of(other))
                result = magnify(
                    seen, reference, texts, most=args.tokens, price=said(" with both"), progress=counted("tokens")
                )
    if args.json:
        print(json.dumps(result.json(), ensure_ascii=False))
    else:
        print_result(result)
    return 0


def read_text(path: Path) -> str:
    """Raises InspectionError for a file that is no text."""
    from ouvert.inspection import InspectionError

    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise InspectionError(f"microscope: --text {path}: {problem}. Give a text file in UTF-8.") from None


def print_result(result: "Microscope") -> None:
    """A line of facts, then for each text its end and a picture of its layers."""
    one, two = (f"{each['name']} ({described(each)})" for each in (result.model, result.reference))
    print(f"{one}, seen against {two}\n")
    for text in result.texts:
        print(f"{text['name']}, {text['tokens']} tokens")
        print(f"  answer   KL {text['divergence']:.4f} ± {2 * text['divergence_error']:.4f} nats a token", end="")
        print(f", another likeliest token {text['flips']:.1%} ± {2 * text['flips_error']:.1%}")
        for label, numbers, unit in (("stream", text["layers"], "off"), ("lens", text["lens"], "nats")):
            if numbers:
                at = max(range(len(numbers)), key=numbers.__getitem__)
                print(f"  {label:<8} {profile(numbers)}  first {numbers[0]:.4f}, ", end="")
                print(f"most {numbers[at]:.4f} in layer {at}, last {numbers[-1]:.4f} {unit}")
        if not text["layers"]:
            print("  layers   not compared: the two models have other layers")
    print(
        "(observation) ± is two standard errors. stream: ‖h - h_reference‖ / ‖h_reference‖ after each layer. lens: KL "
        "of what the head makes of it. docs/formats/microscope.md",
        file=sys.stderr,
    )


def described(facts: Mapping[str, Any]) -> str:
    """How a model computes, in a few words."""
    bits = "weights as stored" if facts["precision"] == "stored" else f"{facts['precision']} bits"
    return f"{bits}, {'exact arithmetic' if facts['exact'] else 'as it serves'}"
