"""The check of an adapter: by itself after `ouvert tune`, and as `ouvert adapter test NAME`. docs/formats/tuning.md."""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ouvert.cli.adapter_inside import observations_of
from ouvert.cli.arguments import complete_adapters, model_of
from ouvert.cli.environment import guard_asked_for, open_store
from ouvert.cli.terminal import visible

if TYPE_CHECKING:
    from ouvert.assistant import Model
    from ouvert.evaluation import CheckReport, Entrant, HeldOut, Language, LoadedOnce, Prompted
    from ouvert.store import AdapterRecord, Store
    from ouvert.tuning import Example, Item

CHECKS = "checks"  # below the store's folder: the bases' answers, a folder each
CONTEXT = 4096  # tokens: the longest question has 800, and a model that thinks little 1,024 more
USUAL_EFFORT = "low"  # of models that think: the check is short
DATA = "data.safetensors"  # a run's copy of its data (tuning.kept_data)
MOST_HELD_OUT = 64  # examples whose loss is measured
LEAST_PROMPT = 4  # tokens of a prompt that is answered side by side: a text that is learnt whole has none
SHOWN = 3  # answers that are printed side by side; the report has ten
MOST_PRINTED = 300  # characters of each


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptApart:
    """Items of the data that no step has learnt from, and whether their likelihood is what was learnt (SFT)."""

    items: "Sequence[Item]" = ()
    learns_likelihood: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class HowToCheck:
    """`model`: as it is named here; left out, by the name in the adapter's record. `computing`: settings of
    `ouvert.load` (threads, exact, cache, precision, memory). `language`: of the page."""

    model: str = ""

    computing: Mapping[str, Any] = field(default_factory=dict)
    language: "Language" = "en"


def check_adapter(name: str, apart: KeptApart, how: HowToCheck) -> "CheckReport":
    """Check an adapter of the store, and write what was found into its record and its folder.

    Killed or interrupted, its state stays what it was, and the same call goes on there. Raises StoreError for an
    adapter that is not here or not of its base, EvaluationError for what cannot be asked or kept, and what loading the
    model raises.
    """
    from ouvert.evaluation import LoadedOnce, write_check

    store = open_store()
    record = store.adapters.record(name)
    with LoadedOnce(store, guard=guard_asked_for(), context=CONTEXT, clip_context=True, **how.computing) as loaded:
        report = checked(store, record, loaded, how.model or model_of(record), apart)
    folder = record.path / "run"
    folder.mkdir(mode=0o700, exist_ok=True)
    write_check(report, folder, how.language)
    store.adapters.note(name, record.digest, state=report.state, check=report.record)
    return report


def not_checked(name: str, why: str) -> None:
    """Note that an adapter was not checked, and why: "--no-check". Raises StoreError and OSError."""
    adapters = open_store().adapters
    adapters.note(name, adapters.record(name).digest, state="unchecked", check={"state": "unchecked", "why": [why]})


def checked(
    store: "Store", record: "AdapterRecord", loaded: "LoadedOnce", base_name: str, apart: KeptApart
) -> "CheckReport":
    """What is found, with a progress on stderr."""
    from ouvert.cli.comparison_progress import ComparisonProgress
    from ouvert.evaluation import Integrity, ToCheck, check
    from ouvert.store import StoreError

    base = entrant(loaded, base_name)
    binds = {"base": str(record.base["weights"]), "adapter": record.digest, "format": str(record.base.get("format"))}
    try:
        adapted = entrant(loaded, f"{base_name}+{record.name}")
    except StoreError as problem:  # it is refused when it is loaded, so that nothing can be asked
        return refused(base.facts.label, record, binds, str(problem))
    model = loaded.take(base_name)
    try:
        seen = observations_of(record.path, model, model.with_adapters(record.name), store)
        what = ToCheck(
            prompts=tuple(prompts_of(apart.items, model)),
            held_out=tuple(held_out_of(apart.items)),
            learns_likelihood=apart.learns_likelihood,
            integrity=Integrity(holds=True, note="its probe changes, and gives the numbers that it gave"),
            observations=tuple(seen),
            binds=binds,
        )
    finally:
        loaded.give_back(base_name)
    with ComparisonProgress(sys.stderr) as shown:
        try:
            return check(
                base, adapted, folder=record.path / "run" / "check", kept=store.home / CHECKS, what=what,
                progress=shown.show,
            )  # fmt: skip
        except KeyboardInterrupt:
            shown.close()
            print(f"{shown.interrupted()} `ouvert adapter test {record.name}` goes on from here.", file=sys.stderr)
            raise


def entrant(loaded: "LoadedOnce", name: str) -> "Entrant":
    """The model as a contestant: of those that think, at low effort. Raises what `LoadedOnce.entrant` raises."""
    from ouvert.chat import ChatError
    from ouvert.evaluation import entrants_of

    model = loaded.take(name)
    efforts: Sequence[str] = ()
    try:
        efforts = model.chat_format.abilities.efforts
    except ChatError:
        pass  # it only continues texts: what is asked in conversations is then not measured
    finally:
        loaded.give_back(name)
    [found] = entrants_of([f"{name}:{USUAL_EFFORT}" if USUAL_EFFORT in efforts else name], loaded)
    return found


def refused(base: str, record: "AdapterRecord", binds: Mapping[str, str], why: str) -> "CheckReport":
    """The report of an adapter that cannot be loaded."""
    from datetime import UTC, datetime
    from importlib.metadata import version

    from ouvert.evaluation import CheckReport, Integrity

    return CheckReport(
        state="regression", why=("integrity",), findings=(), integrity=Integrity(holds=False, note=why), binds=binds,
        contestants=(base, f"{base}+{record.name}"), made=datetime.now(UTC).isoformat(timespec="seconds"),
        ouvert=version("ouvert"),
    )  # fmt: skip


# --- what is looked at beside the questions ---------------------------------------------------------------------------


def kept_apart_of(store: "Store", record: "AdapterRecord") -> KeptApart:
    """The held-out examples of the run that made an adapter, where its copy of the data is still here. Raises
    nothing."""
    from ouvert.tuning import TuningError, read_data_again

    tuned = record.facts.get("source", {}).get("tuned", {})
    for place in (record.path / "run" / DATA, store.home / "tunings" / record.name / DATA):
        try:
            data = read_data_again(place) if place.exists() else None
        except TuningError:
            continue
        if data is not None and data.digest == tuned.get("data"):
            return KeptApart(items=data.held_out, learns_likelihood=tuned.get("method") == "sft")
    return KeptApart()


def computing_of(record: "AdapterRecord") -> dict[str, Any]:
    """How the model computed when the adapter was made, as its probe says: so it is checked as it was learnt. Raises
    nothing."""
    probe = record.facts.get("probe")
    numbers = probe.get("numbers", {}) if isinstance(probe, Mapping) else {}
    return {name: numbers[name] for name in ("exact", "cache", "precision") if numbers.get(name) is not None}


def held_out_of(items: "Sequence[Item]") -> "Iterator[HeldOut]":
    """The first of them as ids and what counts; of preferences the answer that is wanted. Raises nothing."""
    from ouvert.evaluation import HeldOut

    for example in [each for each in map(example_of, items) if each is not None and each.trained.any()][:MOST_HELD_OUT]:
        yield HeldOut(tuple(example.ids.tolist()), tuple(example.trained.tolist()))


def prompts_of(items: "Sequence[Item]", model: "Model") -> "Iterator[Prompted]":
    """Every prompt once: what stands before the last answer of an example. Raises nothing."""
    from ouvert.evaluation import Prompted
    from ouvert.tuning import Prompt

    seen = set()
    for item in items:
        example = example_of(item)
        if isinstance(item, Prompt):
            ids, wanted = tuple(item.ids.tolist()), str(item.columns.get("answer", ""))
        elif example is not None and example.trained.any():
            start = start_of_answer(example)
            ids, wanted = tuple(example.ids[:start].tolist()), model.detokenize(example.ids[start:].tolist())
        else:
            continue
        if len(ids) >= LEAST_PROMPT and ids not in seen:
            seen.add(ids)
            yield Prompted(ids, model.detokenize(ids), wanted)


def example_of(item: "Item") -> "Example | None":
    """The answer that is wanted; None of an item that has none. Raises nothing."""
    from ouvert.tuning import Example, Labelled, Preference

    match item:
        case Example():
            return item
        case Preference():
            return item.chosen
        case Labelled():
            return item.example if item.desirable else None
    return None


def start_of_answer(example: "Example") -> int:
    """Where the last run of trained tokens begins. Raises nothing for an example that has one."""
    place = len(example.ids) - 1
    while not example.trained[place]:
        place -= 1
    while place > 0 and example.trained[place - 1]:
        place -= 1
    return place


# --- what is said -----------------------------------------------------------------------------------------------------


def print_report(report: "CheckReport", page: Path) -> None:
    """The verdict, a line for each measure, a few answers side by side, and where the rest is."""
    from ouvert.evaluation import Wording, line_of_finding, said_of_state

    words = Wording("check", "en")
    print(f"{said_of_state(report, words)} The adapter is {report.state}, not gated.")
    if report.integrity is not None and not report.integrity.holds:
        print(visible(report.integrity.note))
    rows = [line_of_finding(each, words) for each in report.findings if each.verdict != "not_measured"]
    heads = ("", "WITHOUT", "WITH", "", "ON")
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    for row in (heads, *rows) if rows else ():
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for each in report.findings:
        if each.verdict == "not_measured" or each.note:
            print(f"{words(f'measure.{each.measure}')}: {visible(each.note)}")
    for example in report.examples[:SHOWN]:
        print(f"\n> {printed(example.prompt[-MOST_PRINTED:])}")
        for said, text in (("wanted", example.wanted), ("without", example.before), ("with", example.after)):
            print(f"  {said:8}{printed(text)}")
    print(f"\n{page}")


def printed(text: str) -> str:
    """One line of it, without anything that acts on a terminal."""
    line = " ".join(visible(text).split())
    return line if len(line) <= MOST_PRINTED else f"{line[:MOST_PRINTED]} …"


# --- ouvert adapter test ----------------------------------------------------------------------------------------------


def add_test_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `ouvert adapter test`."""
    named = parser.add_argument("name", metavar="NAME", help="of an adapter")
    named.completer = complete_adapters  # type: ignore[attr-defined]
    parser.add_argument("--lang", choices=("en", "fr"), default="en", help="the language that its page opens in")
    parser.add_argument("--threads", type=int, metavar="N", help="threads that compute (default: every core)")
    parser.add_argument("--json", action="store_true", help="print check.json: docs/formats/tuning.md")


def test(args: argparse.Namespace) -> int:
    """0: no regression was found. 1: one was, or it could not be told."""
    from ouvert.evaluation import page_of_check

    store = open_store()
    record = store.adapters.record(args.name)
    how = HowToCheck(computing=computing_of(record) | {"threads": args.threads}, language=args.lang)
    report = check_adapter(args.name, kept_apart_of(store, record), how)
    if args.json:
        print(json.dumps(report.mapping, ensure_ascii=False))
    else:
        print_report(report, page_of_check(record.path / "run"))
    return 0 if report.state == "checked" else 1
