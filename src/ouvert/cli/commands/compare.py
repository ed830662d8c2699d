"""`ouvert compare A B`: the same questions to several models, what can be shown, and what is done with the folder."""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ouvert.cli.arguments import ChoicesCompleter, add_settings, complete_installed
from ouvert.cli.other_contestants import add_remote_arguments
from ouvert.cli.setting_values import UNITS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ouvert.evaluation import Again, Entrant, Evidence, Item, Language, LoadedOnce, Plan, Wanted

SUMMARY = "Ask models the same questions, and say what can be shown."
LANGUAGES = ("en", "fr")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        f"{SUMMARY} The plan is locked before the first answer; killed, the comparison goes on where it was. "
        "`ouvert compare A B` compares; `ouvert compare resume DIR` goes on, `rerun DIR` asks everything again and "
        "compares bit for bit, `score DIR` scores anew without asking, `open DIR` shows answers side by side in the "
        "page and takes votes, `votes DIR` says what these show."
    )
    words = parser.add_argument(
        "named",
        nargs="+",
        metavar="MODEL",
        help="models, with a precision (@8) or an effort (:low) behind where wanted; other servers of this machine, "
        "ollama:http://127.0.0.1:11434/NAME or openai:http://127.0.0.1:8080/NAME; or one of "
        f"{', '.join(ACTIONS)}, and the folder of a comparison",
    )
    words.completer = complete_words  # type: ignore[attr-defined]
    wanted = parser.add_argument_group("what is asked")
    purposes = wanted.add_argument("--for", dest="purposes", type=listed, default=(), metavar="PURPOSES",
                                   help="what they are wanted for, such as chat,tools,french")  # fmt: skip
    purposes.completer = complete_purposes  # type: ignore[attr-defined]
    wanted.add_argument("--suites", type=listed, default=(), metavar="SUITES", help="suites by name, such as mmlu")
    wanted.add_argument("--prompts", type=Path, metavar="FILE", help="your own prompts; they stay on this machine")
    wanted.add_argument("--suite-data", type=place_of_data, action="append", default=[], metavar="SUITE=PATH",
                        help="where the data of a suite without its own is, e.g. bbh=FOLDER; repeatable")  # fmt: skip
    wanted.add_argument("--lang", type=languages, default=("en",), metavar="LANGUAGES", help="en, fr or en,fr (en)")
    wanted.add_argument("--effort", type=listed, default=(), metavar="EFFORTS", help="each model once with each")
    wanted.add_argument("--time", type=seconds, default=600.0, metavar="TIME", help="how long it may take (10m)")
    wanted.add_argument("--samples", type=positive, default=1, metavar="N", help="answers to each question (1)")
    wanted.add_argument("--temperature", type=float, default=0.0, metavar="T", help="of all answers (0)")
    wanted.add_argument("--seed", type=int, default=1, metavar="N", help="which questions, and which draws (1)")
    wanted.add_argument("--damage", action="store_true",
                        help="also what fewer bits cost: probabilities beside the model of the most bits")  # fmt: skip
    shown = parser.add_argument_group("what is done with it")
    shown.add_argument("--out", type=Path, metavar="DIR", help="a new folder (default: comparison-DATE)")
    shown.add_argument("--plan", action="store_true", help="say what would be asked, and ask nothing")
    shown.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    shown.add_argument("--watts-measured", type=float, metavar="W", help="what a meter at the plug shows")
    add_settings(shown, "compare.tariff", "compare.machine_price")
    page = parser.add_argument_group("where the page is (open)")
    page.add_argument("--host", default="127.0.0.1", metavar="ADDRESS",
                      help="address to listen at (127.0.0.1); any but this machine's own needs a key")  # fmt: skip
    page.add_argument("--port", type=port, default=0, metavar="N", help="port to listen at (any free one)")
    page.add_argument("--name", dest="names", action="append", default=[], metavar="NAME",
                      help="a host name by which others call it; repeatable")  # fmt: skip
    page.add_argument("--no-browser", action="store_true", help="say the address, and open no browser")
    add_remote_arguments(parser)
    computed = parser.add_argument_group("how it is computed")
    add_settings(computed, "threads", "context", "exact", "cache", "memory")
    parser.set_defaults(unstated={name: parser.get_default(name) for name in OPTIONS})


def run(args: argparse.Namespace) -> int:
    """0: done (rerun: and the same bit for bit). 1: not; a sentence on stderr says why. 130: interrupted."""
    action = args.named[0]
    if idle := without_effect(args, action):
        what = f"compare {action}" if action in ACTIONS else "compare, of models,"
        print(f"ouvert: {what} does nothing with {', '.join(idle)}. Leave that out.", file=sys.stderr)
        return 2
    if action not in ACTIONS:
        return compare(args)
    if len(args.named) != 2:
        print(f"ouvert: compare {action} takes one folder: `ouvert compare {action} DIR`.", file=sys.stderr)
        return 2
    return int(ACTIONS[action](args, Path(args.named[1])))


def compare(args: argparse.Namespace) -> int:
    from dataclasses import replace

    from ouvert.cli.other_contestants import agreed, other_servers, remotes_asked_for, say_what_would_leave
    from ouvert.evaluation import (
        Evidence,
        damage_to_measure,
        entrants_of,
        free_folder,
        make_plan,
        said_of_reference,
    )

    asked = wanted(args)  # what makes no sense is said before a model is loaded
    remotes, others = remotes_asked_for(args.remote), other_servers()
    beyond = [others.entrant(each, args.send) for each in remotes]
    folder = Path() if args.plan else free_folder(args.out)
    with loaded(args) as models:
        entrants = entrants_of([*args.named, *beyond], models, args.effort, args.temperature, others)
        if args.damage:
            asked = replace(asked, damage=damage_to_measure(entrants))
            print(f"ouvert: {said_of_reference(asked.damage)}", file=sys.stderr)
        planned = make_plan(entrants, asked, ask=not args.plan)
        for note in planned.notes:
            print(f"ouvert: {note}", file=sys.stderr)
        if args.plan:
            print(json.dumps(planned.plan.mapping) if args.json else in_words(planned.plan))
            say_what_would_leave(remotes, items_of(planned.items), args.samples)
            return 0
        print(in_words(planned.plan), file=sys.stderr)
        say_whether_charts_can_be_drawn()
        if not agreed(remotes, items_of(planned.items), args.samples, yes=args.yes):
            return 1
        with Evidence.create(folder, planned.plan) as evidence:
            ask(evidence, entrants)
    return finished(args, folder)


def say_whether_charts_can_be_drawn() -> None:
    """Before the answers are asked for, and not behind them, that their report needs one thing more."""
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        print(
            "ouvert: the report at the end has charts that matplotlib draws, and it is not installed. The answers are "
            f"kept without it. For the report, now or later: {sys.executable} -m pip install matplotlib",
            file=sys.stderr,
        )


def resume(args: argparse.Namespace, folder: Path) -> int:
    from ouvert.cli.other_contestants import other_servers
    from ouvert.evaluation import Evidence, entrants_again

    with Evidence.open(folder, writing=True) as evidence, loaded(args, evidence.plan) as models:
        ask(evidence, entrants_again(evidence.plan, models, other_servers()))
    return finished(args, folder)


def rerun(args: argparse.Namespace, folder: Path) -> int:
    """1 where anything that is promised came out otherwise."""
    from dataclasses import asdict

    from ouvert.cli.other_contestants import agreed, other_servers, remotes_asked_for
    from ouvert.evaluation import Evidence, compare_outcomes, entrants_again, new_folder

    before = Evidence.open(folder)
    remotes = remotes_asked_for([facts.label for facts in before.plan.contestants if facts.where == "remote"])
    items = {row.row: before.items(row.row) * row.samples for row in before.plan.rows} if remotes else {}
    if not agreed(remotes, items_of(items), 1, yes=args.yes):
        return 1
    again = args.out or new_folder(folder.parent)
    with Evidence.create(again, (folder / "plan.toml").read_bytes()) as evidence, loaded(args, evidence.plan) as models:
        ask(evidence, entrants_again(evidence.plan, models, other_servers()))
    found = compare_outcomes(before, Evidence.open(again))
    if args.json:
        print(json.dumps(asdict(found) | {"holds": found.holds, "folder": str(again)}))
    else:
        print(f"{said_of(found)}: {again}")
        if (first := found.first) is not None:
            print(f"the first: {first.contestant}, {first.row}, item {first.item}: {first.where}")
        for count, what in (
            (found.missing, "are in one of the folders only"),
            (found.drifted, "came out otherwise, of contestants that do not promise the same again"),
            (found.unread, "could not be compared: their words are withheld"),
        ):
            if count:
                print(f"{count} {what}")
    return 0 if found.holds else 1


def said_of(found: "Again") -> str:
    """What was held together."""
    if found.unpromised and not found.same + found.apart:
        return (
            f"{found.unpromised} answers were held together, {found.drifted} of them differ. No contestant of this "
            "comparison promises the same answers again, since other programs compute them; what differs is drift"
        )
    return f"{found.same} answers are the same, bit for bit; {found.apart} are not"


def write_report(args: argparse.Namespace, folder: Path) -> int:
    from ouvert.evaluation import Evidence, report

    page = report(Evidence.open(folder), language=language_of(args))
    print(json.dumps({"page": str(page)}) if args.json else page)
    return 0


def score(args: argparse.Namespace, folder: Path) -> int:
    from ouvert.evaluation import Evidence
    from ouvert.evaluation import score as score_answers

    with Evidence.open(folder, writing=True) as evidence:
        count = score_answers(evidence)
        evidence.seal()
    print(json.dumps({"scored": count}) if args.json else f"{count} answers were scored anew, and nothing was asked.")
    return 0


def show(args: argparse.Namespace, folder: Path) -> int:
    """In the page, until it is told to stop."""
    from ouvert.cli.comparing_live import Live, open_in_page

    computing = {name: getattr(args, name) for name in ("threads", "context", "exact", "cache")}
    live = Live(
        host=args.host, port=args.port, names=tuple(args.names), browser=not args.no_browser, memory=args.memory,
        computing=computing,
    )  # fmt: skip
    return open_in_page(folder, live)


def votes(args: argparse.Namespace, folder: Path) -> int:
    from ouvert.cli.comparing_live import show_votes

    return show_votes(folder, as_json=args.json)


# Words that are no models: what is done with the folder of a comparison.
ACTIONS = {"resume": resume, "rerun": rerun, "score": score, "open": show, "votes": votes, "report": write_report}

# Every option of its own, by the name of its value.
OPTIONS = {
    "purposes": "--for", "suites": "--suites", "prompts": "--prompts", "suite_data": "--suite-data", "lang": "--lang",
    "effort": "--effort", "time": "--time", "samples": "--samples", "temperature": "--temperature", "seed": "--seed",
    "damage": "--damage", "out": "--out", "plan": "--plan", "json": "--json", "watts_measured": "--watts-measured",
    "host": "--host", "port": "--port", "names": "--name", "no_browser": "--no-browser", "remote": "--remote",
    "send": "--send", "yes": "--yes",
}  # fmt: skip
OF_THE_PAGE = frozenset({"host", "port", "names", "no_browser"})
# Which of them have an effect on what is done with a folder; on a comparison of models, all but those of the page.
EFFECTIVE = {
    "resume": {"json", "lang"},
    "rerun": {"json", "out", "yes"},
    "score": {"json"},
    "open": OF_THE_PAGE,
    "votes": {"json"},
    "report": {"json", "lang"},
}


# --- what they share ---


def without_effect(args: argparse.Namespace, action: str) -> list[str]:
    """Options that were given and that this does nothing with."""
    effective = EFFECTIVE.get(action, OPTIONS.keys() - OF_THE_PAGE)
    given = [name for name, default in args.unstated.items() if getattr(args, name) != default]
    return [OPTIONS[name] for name in given if name not in effective]


def items_of(rows: "Mapping[str, tuple[Item, ...]]") -> "list[Item]":
    return [item for items in rows.values() for item in items]


def loaded(args: argparse.Namespace, plan: "Plan | None" = None) -> "LoadedOnce":
    """The models, as the command line says; where a plan is given, with the settings that it was made with."""
    from ouvert.cli.environment import guard_asked_for, open_store
    from ouvert.cli.progress import show_progress
    from ouvert.evaluation import LoadedOnce, settings_of

    stated = {"context": args.context, "exact": args.exact, "cache": args.cache}
    return LoadedOnce(
        open_store(), show_progress(sys.stderr), threads=args.threads, memory=args.memory, guard=guard_asked_for(),
        **(stated if plan is None else settings_of(plan)),
    )  # fmt: skip


def wanted(args: argparse.Namespace) -> "Wanted":
    from ouvert.evaluation import EvaluationError, Wanted, prices

    if unknown := [language for language in args.lang if language not in LANGUAGES]:
        raise EvaluationError(f"planning a comparison: --lang has {unknown[0]!r:.40}, expected en, fr or both.")
    own: dict[str, Any] = {suite: {"path": path} for suite, path in args.suite_data}
    suites = args.suites
    if args.prompts is not None:
        own, suites = {**own, "mine": {"path": str(args.prompts.absolute())}}, (*suites, "mine")
    if args.damage and not (args.purposes or suites):
        suites = ("reading",)
    return Wanted(
        purposes=args.purposes, suites=suites, settings=own, languages=args.lang, seconds=args.time, seed=args.seed,
        samples=args.samples, temperature=args.temperature,
        prices=prices(args.tariff, args.machine_price, args.watts_measured),
    )  # fmt: skip


def ask(evidence: "Evidence", entrants: "Sequence[Entrant]") -> None:
    """Run what is left, with a progress that shows; Ctrl-C says how to go on."""
    from ouvert.cli.comparison_progress import ComparisonProgress
    from ouvert.evaluation import measure
    from ouvert.evaluation import run as run_evaluation

    for step in (run_evaluation, measure):
        with ComparisonProgress(sys.stderr) as shown:
            try:
                step(evidence, entrants, progress=shown.show)
            except KeyboardInterrupt:
                shown.close()
                print(
                    f"{shown.interrupted()} `ouvert compare resume {evidence.folder}` goes on from here.",
                    file=sys.stderr,
                )
                raise


def finished(args: argparse.Namespace, folder: Path) -> int:
    """Say what was found and where it is. A report that cannot be written says why, with status 1: the answers are
    there all the same."""
    from ouvert.evaluation import EvaluationError, Evidence, analyse, as_json, report

    evidence = Evidence.open(folder)
    found = analyse(evidence)
    page = None
    try:
        page = report(evidence, language=language_of(args), comparison=found)
    except EvaluationError as problem:
        print(f"ouvert: {problem}", file=sys.stderr)
    if args.json:
        print(json.dumps({"folder": str(folder), "page": page and str(page), "comparison": as_json(found)}))
    else:
        print(page or folder)
    return 0 if page else 1


def language_of(args: argparse.Namespace) -> "Language":
    return "fr" if args.lang[0] == "fr" else "en"


def in_words(plan: "Plan") -> str:
    """A plan as a table: what is asked, how much of it, what it can show."""
    lines = ["  ".join(plan.labels), ""]
    heads = ("ROW", "ITEMS", "DECIDES ABOUT", "SHOWS FROM", "TAKES")
    rows = [
        (row.row, str(row.count), ", ".join(row.purposes) or "-", f"{100 * row.visible:.0f} points", takes(row.seconds))
        for row in plan.rows
    ]
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    for row in (heads, *rows):
        lines.append("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    licences = ", ".join(f"{suite.name}: {suite.licence}" for suite in plan.suites)
    lines += ["", f"about {takes(plan.foreseen_seconds)} in all ({plan.measured_by}); licences: {licences}"]
    return "\n".join(lines)


def takes(seconds: float) -> str:
    from ouvert.cli.progress import seconds_in_words

    return seconds_in_words(seconds)


def listed(text: str) -> tuple[str, ...]:
    words = tuple(word.strip() for word in text.split(",") if word.strip())
    if not words or len(set(words)) < len(words):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of different words, such as chat,tools")
    return words


def languages(text: str) -> tuple[str, ...]:
    return LANGUAGES if text.strip() == "both" else listed(text)


def place_of_data(text: str) -> tuple[str, str]:
    """Raises ArgumentTypeError for what is not SUITE=PATH."""
    suite, equals, path = text.partition("=")
    if not suite or not equals or not path:
        raise argparse.ArgumentTypeError(f"{text!r:.80}, expected SUITE=PATH, such as bbh=BIG-Bench-Hard")
    return suite, str(Path(path).expanduser().absolute())


def seconds(text: str) -> float:
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time, such as 90s, 30m or 1h30m")
    return sum(float(number) * UNITS[unit] for number, unit in parts)


def positive(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 100")
    return int(text)


def port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port, a whole number from 0 to 65535")
    return int(text)


def complete_words(prefix: str, **rest: object) -> list[str]:
    actions = ChoicesCompleter(tuple(ACTIONS))(prefix)
    return actions + complete_installed(prefix, **rest)


def complete_purposes(prefix: str, **_: object) -> list[str]:
    from ouvert.evaluation import PURPOSES

    before, comma, last = prefix.rpartition(",")
    return [f"{before}{comma}{name}" for name in PURPOSES if name.startswith(last)]
