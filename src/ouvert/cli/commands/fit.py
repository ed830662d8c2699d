"""`ouvert fit [MODEL]`: will it run here, in how much memory, and about how fast? Before any download."""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from ouvert.cli.arguments import add_cache_argument, add_model_argument, add_settings
from ouvert.cli.environment import open_store

if TYPE_CHECKING:
    from ouvert.engine import Demand, Machine, Precision
    from ouvert.store import Alias

SUMMARY = "Say whether a model will run here, in how much memory, and about how fast."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        f"{SUMMARY} Nothing is downloaded: sizes come from a table of shapes, or from the files if they are here. "
        "Speeds are ranges, from this machine's read bandwidth and integer peak, measured now."
    )
    add_model_argument(parser, nargs="?", default=None, help="a short name, a stored model or a file (default: all)")
    parser.add_argument("--context", type=int, default=8192, metavar="N", help="tokens of a conversation (8192)")
    parser.add_argument("--threads", type=int, metavar="N", help="threads that compute (default: all processors)")
    add_cache_argument(parser)
    add_settings(parser, "precision")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """0: said. 1: no such model (a StoreError says what there is)."""
    from ouvert.engine import EngineError, measure_machine, memory_bytes

    memory = memory_bytes()
    if memory is None:
        raise EngineError("fit: this system does not say how much memory it has, so nothing can be compared with it.")
    if args.context < 1:
        raise EngineError(f"fit: --context is {args.context}, expected 1 or more tokens.")
    if sys.stderr.isatty() and not args.json:
        print("measuring this machine ...", end="\r", file=sys.stderr, flush=True)
    machine = measure_machine(memory, args.threads)
    rows = list(candidates(args.model, args.cache or "f16", args.precision))
    answers = [answer(candidate, machine, args.context) for candidate in rows]
    if args.json:
        facts = {
            "memory_bytes": machine.memory,
            "read_bytes_per_second": round(machine.bandwidth),
            "multiply_adds_per_second": round(machine.multiply_adds),
            "threads": machine.threads,
        }
        print(
            json.dumps(
                {"machine": facts, "context": args.context, "cache_type": args.cache or "f16", "models": answers},
                indent=2,
            )
        )
    else:
        print_answers(answers, machine, args.context)
    return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A model in one form. `built`: whether this version runs its family; `fetch` and `store`: bytes of a model that is
    not here."""

    name: str
    form: str
    demand: "Demand"
    built: bool = True
    fetch: int | None = None
    store: int | None = None


def candidates(wanted: str | None, cache: str, precision: "Precision | None") -> Iterator[Candidate]:
    """What was asked for, or every short name, in the forms it can be had in."""
    from ouvert.assistant import precision_of
    from ouvert.engine import demand_of_files
    from ouvert.store import StoreError, aliases, find_alias, split_precision

    if wanted is None:
        for each in aliases():
            yield from forms_of(each, cache, precision)
        return
    name, named = split_precision(wanted)
    alias = find_alias(name)
    try:
        installed = open_store().resolve(wanted)
    except StoreError:
        if alias is None:
            raise
        yield from forms_of(alias, cache, precision if named is None else cast("Precision", named))
        return
    demand = demand_of_files(installed.path, cache, precision_of(installed, precision))
    yield Candidate(name=installed.called, form="as it is here", demand=demand)


def forms_of(alias: "Alias", cache: str, precision: "Precision | None") -> Iterator[Candidate]:
    """A model that can be fetched: at the precision asked for, else as it usually is and, of those that are rounded for
    that, at 8 bits as well."""
    from ouvert.assistant import demand_of_alias, form_of, sizes_of
    from ouvert.engine import USUAL, is_rounded_here

    usual: tuple[Precision | None, ...] = (USUAL, "8") if is_rounded_here(alias.name) else (None,)
    for chosen in usual if precision is None else (precision,):
        sizes = sizes_of(alias, chosen)
        yield Candidate(
            name=alias.name,
            form=form_of(alias, chosen),
            demand=demand_of_alias(alias, chosen, cache),
            built=alias.built,
            fetch=sizes.fetch,
            store=sizes.store,
        )


def answer(candidate: Candidate, machine: "Machine", context: int) -> dict[str, Any]:
    from ouvert.engine import forecast

    seen = forecast(candidate.demand, machine, context)
    return {
        "name": candidate.name,
        "form": candidate.form,
        "built": candidate.built,
        "fetch_bytes": candidate.fetch,
        "store_bytes": candidate.store,
        "weight_bytes": candidate.demand.weights,
        "cache_bytes": seen.cache,
        "memory_bytes": seen.memory,
        "fits": seen.fits,
        "longest_context": seen.longest,
        "decode_tokens_per_second": list(seen.decode) if seen.fits else None,
        "prefill_tokens_per_second": list(seen.prefill) if seen.fits else None,
    }


def print_answers(answers: list[dict[str, Any]], machine: "Machine", context: int) -> None:
    from ouvert.cli.commands.list import print_columns
    from ouvert.store import bytes_in_words

    print(
        f"This machine: {bytes_in_words(machine.memory)} of memory, reads {machine.bandwidth / 1e9:.0f} GB/s and does "
        f"{machine.multiply_adds / 1e9:.0f} billion 8-bit multiply-adds a second with {machine.threads} threads."
    )
    print(f"For conversations of {context} tokens:\n")
    rows = []
    for each in answers:
        speed = each["decode_tokens_per_second"], each["prefill_tokens_per_second"]
        rows.append(
            (
                each["name"] + ("" if each["built"] else " (not yet built)"),
                each["form"],
                *("-" if each[size] is None else bytes_in_words(each[size]) for size in ("fetch_bytes", "store_bytes")),
                bytes_in_words(each["weight_bytes"]),
                bytes_in_words(each["cache_bytes"]),
                bytes_in_words(each["memory_bytes"]),
                f"yes, to {tokens_in_words(each['longest_context'])}" if each["fits"] else "no",
                *(
                    "-" if pair is None else f"{pair[0]:.{digits(pair[0])}f} to {pair[1]:.{digits(pair[0])}f}"
                    for pair in speed
                ),
            )
        )
    titles = ("MODEL", "FORM", "TO FETCH", "TO STORE", "WEIGHTS", "CACHE", "TO RUN", "FITS", "WRITES tokens/s")
    print_columns((*titles, "READS tokens/s"), rows)


def digits(value: float) -> int:
    return 0 if value >= 10 else 1


def tokens_in_words(tokens: int) -> str:
    if tokens >= 1 << 20:
        return "any length"
    return f"{tokens // 1024}k tokens" if tokens >= 1024 else f"{tokens} tokens"
