"""`ouvert fit [MODEL]`: will it run here, in how much memory, and about how fast? Before any download."""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from ouvert.cli.arguments import add_cache_argument, add_model_argument, add_settings
from ouvert.cli.environment import open_store

if TYPE_CHECKING:
    from ouvert.engine import AskedPrecision, Demand, DiskForecast, DiskSpeed, Machine, Precision
    from ouvert.store import Alias

SUMMARY = "Say whether a model will run here, in how much memory, and about how fast."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        f"{SUMMARY} Nothing is downloaded: sizes come from a table of shapes, or from the files if they are here. "
        "Speeds are ranges, from this machine's read bandwidth and integer peak, measured now. A mixture of experts "
        "that is larger than memory can read experts from the store's disk, whose speed is then measured too."
    )
    add_model_argument(parser, nargs="?", default=None, help="a short name, a stored model or a file (default: all)")
    parser.add_argument("--context", type=int, default=8192, metavar="N", help="tokens of a conversation (8192)")
    parser.add_argument("--threads", type=int, metavar="N", help="threads that compute (default: all processors)")
    add_cache_argument(parser)
    add_settings(parser, "precision", "memory")
    parser.add_argument(
        "--hit-rate",
        type=share,
        metavar="X",
        help="for experts on disk: the part found in memory, 0 to 1, as a receipt says (default: as if a router chose "
        "all of them alike)",
    )
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
    machine = replace(measure_machine(memory, args.threads), allowed=args.memory)
    rows = list(candidates(args.model, args.cache or "f16", args.precision))
    disk = disk_where_needed(rows, machine, args.context)
    answers = [answer(candidate, machine, args.context, disk, args.hit_rate) for candidate in rows]
    if args.json:
        stated = {"context": args.context, "cache_type": args.cache or "f16", "hit_rate": args.hit_rate}
        print(json.dumps({"machine": machine_facts(machine, disk), **stated, "models": answers}, indent=2))
    else:
        print_answers(answers, machine, args.context)
        print_from_disk(answers, disk)
    if args.model is not None:
        for row in rows:
            if row.keeps is not None:
                print(row.keeps, file=sys.stderr)
    return 0


def share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text}: expected 0 to 1")
    return value


def disk_where_needed(rows: "list[Candidate]", machine: "Machine", context: int) -> "DiskSpeed | None":
    """The speed of the store's disk, if some model would have its experts there."""
    from ouvert.engine import measure_disk, plan_memory

    if all(plan_memory(each.demand, machine.room, context) is None for each in rows):
        return None
    return measure_disk(open_store().home)


def machine_facts(machine: "Machine", disk: "DiskSpeed | None") -> dict[str, Any]:
    """What was measured of this machine."""
    return {
        "memory_bytes": machine.memory,
        "allowed_bytes": machine.allowed,
        "read_bytes_per_second": round(machine.bandwidth),
        "multiply_adds_per_second": round(machine.multiply_adds),
        "threads": machine.threads,
        "disk_read_bytes_per_second": None if disk is None else round(disk.bytes_per_second),
    }


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
    keeps: str | None = None  # a sentence, where the precision that was asked for is not that of this form


def candidates(wanted: str | None, cache: str, precision: "AskedPrecision | None") -> Iterator[Candidate]:
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


def forms_of(alias: "Alias", cache: str, precision: "AskedPrecision | None") -> Iterator[Candidate]:
    """A model that can be fetched: at the precision asked for, else as it usually is and, of those that are rounded for
    that, at 8 bits as well."""
    from ouvert.assistant import demand_of_alias, form_of, sizes_of
    from ouvert.engine import USUAL, is_rounded_here, precision_itself

    rounded, bits = is_rounded_here(alias.name), precision_itself(precision)
    usual: tuple[Precision | None, ...] = (USUAL, "8") if rounded else (None,)
    asked_of_this = isinstance(precision, str) and precision != "stored"
    for chosen in usual if bits is None else (bits,):
        sizes = sizes_of(alias, chosen)
        yield Candidate(
            name=alias.name,
            form=form_of(alias, chosen),
            demand=demand_of_alias(alias, chosen, cache),
            built=alias.built,
            fetch=sizes.fetch,
            store=sizes.store,
            keeps=kept_as_published(alias, precision) if asked_of_this and not rounded else None,
        )


def kept_as_published(alias: "Alias", asked: "AskedPrecision | None") -> str:
    from ouvert.assistant import form_of

    return (
        f"{alias.name} is published as {form_of(alias)}, and the forecast is for that. The precision {asked} can be "
        "forecast when the model is here; more bits than its files have are refused."
    )


def answer(
    candidate: Candidate, machine: "Machine", context: int, disk: "DiskSpeed | None", hit_rate: float | None
) -> dict[str, Any]:
    from ouvert.engine import forecast, forecast_from_disk

    seen = forecast(candidate.demand, machine, context)
    from_disk = (
        None
        if disk is None
        else forecast_from_disk(candidate.demand, machine, disk.bytes_per_second, context, hit_rate)
    )
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
        "from_disk": None if from_disk is None else disk_facts(from_disk),
    }


def disk_facts(seen: "DiskForecast") -> dict[str, Any]:
    """What reading experts from disk would take and give."""
    return {
        "memory_bytes": seen.plan.memory,
        "resident_bytes": seen.plan.resident,
        "experts_kept_bytes": seen.plan.experts,
        "experts_bytes": seen.plan.all_experts,
        "hit_rate": seen.hit_rate,
        "read_bytes_per_token": seen.read_per_token,
        "decode_tokens_per_second": list(seen.decode),
        "prefill_tokens_per_second": list(seen.prefill),
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
                fits_in_words(each),
                *map(range_in_words, speed),
            )
        )
    titles = ("MODEL", "FORM", "TO FETCH", "TO STORE", "WEIGHTS", "CACHE", "TO RUN", "FITS", "WRITES tokens/s")
    print_columns((*titles, "READS tokens/s"), rows)


def fits_in_words(answer: dict[str, Any]) -> str:
    if answer["fits"]:
        return f"yes, to {tokens_in_words(answer['longest_context'])}"
    return "no" if answer["from_disk"] is None else "with experts on disk"


def print_from_disk(answers: list[dict[str, Any]], disk: "DiskSpeed | None") -> None:
    """A second table: models whose experts would be read from disk."""
    from ouvert.cli.commands.list import print_columns
    from ouvert.store import bytes_in_words

    if disk is None:
        return
    print(
        f"\nLarger than memory, with experts read from disk when they are chosen. Measured now: the store's disk reads "
        f"{disk.bytes_per_second / 1e9:.2f} GB/s. The rest is a forecast.\n"
    )
    rows = []
    for each in answers:
        if (seen := each["from_disk"]) is not None:
            rows.append(
                (
                    each["name"] + ("" if each["built"] else " (not yet built)"),
                    each["form"],
                    bytes_in_words(seen["resident_bytes"] + each["cache_bytes"]),
                    f"{bytes_in_words(seen['experts_kept_bytes'])} of {bytes_in_words(seen['experts_bytes'])}",
                    f"{seen['hit_rate']:.0%}",
                    bytes_in_words(seen["read_bytes_per_token"]),
                    range_in_words(seen["decode_tokens_per_second"]),
                    range_in_words(seen["prefill_tokens_per_second"]),
                )
            )
    print_columns(
        (
            "MODEL",
            "FORM",
            "ALWAYS IN MEMORY",
            "EXPERTS KEPT",
            "HIT RATE",
            "READ A TOKEN",
            "WRITES tokens/s",
            "READS tokens/s",
        ),
        rows,
    )


def range_in_words(pair: list[float] | None) -> str:
    return "-" if pair is None else f"{pair[0]:.{digits(pair[0])}f} to {pair[1]:.{digits(pair[0])}f}"


def digits(value: float) -> int:
    return 0 if value >= 10 else 1 if value >= 1 else 2


def tokens_in_words(tokens: int) -> str:
    if tokens >= 1 << 20:
        return "any length"
    return f"{tokens // 1024}k tokens" if tokens >= 1024 else f"{tokens} tokens"
