"""`ouvert tune MODEL DATA`: teach the weights that are served, from examples; and what is done with such a run."""

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from ouvert.cli.arguments import ChoicesCompleter, add_settings, complete_installed

if TYPE_CHECKING:
    from collections.abc import Mapping

SUMMARY = "Teach a model from examples, and look at what it would learn."
METHODS = ("sft", "dpo", "orpo", "kto", "grpo")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        f"{SUMMARY} `ouvert tune MODEL DATA` shows a plan, asks, and trains an adapter; killed at any moment, `ouvert "
        "tune resume NAME` goes on to the same bits. `ouvert tune check DATA --model MODEL` shows token by token what "
        "would be trained, `status [NAME]`, `log NAME`, `stop NAME` and `remove NAME` are about unfinished runs."
    )
    words = parser.add_argument("named", nargs="+", metavar="WORD", help="MODEL DATA (a file of examples, or the word "
                                f"corrections); or one of {', '.join(ACTIONS)}, and what it is about")  # fmt: skip
    words.completer = complete_words  # type: ignore[attr-defined]
    learnt = parser.add_argument_group("what is learnt (docs/formats/recipe.md)")
    learnt.add_argument("--recipe", type=Path, metavar="FILE", help="all settings; the options here win over it")
    method = learnt.add_argument("--method", choices=METHODS, help="how it learns (sft)")
    method.completer = ChoicesCompleter(METHODS)  # type: ignore[attr-defined]
    learnt.add_argument("--minutes", type=float, metavar="N", help="as many steps as fit into this time")
    learnt.add_argument("--epochs", type=float, metavar="N", help="how often every example is seen (3)")
    learnt.add_argument("--steps", type=int, metavar="N", help="so many steps instead")
    learnt.add_argument("--length", type=int, metavar="N", help="most tokens of a sequence (1024)")
    learnt.add_argument("--rank", type=int, metavar="N", help="the rank of what is added to each weight (16)")
    learnt.add_argument("--rate", type=float, metavar="X", help="the learning rate at its highest (2e-4)")
    learnt.add_argument("--batch", type=int, metavar="N", help="examples of a step (16)")
    learnt.add_argument("--seed", type=int, metavar="N", help="decides first numbers and the order of examples (20)")
    learnt.add_argument("--beta", type=float, metavar="X", help="dpo, orpo, kto: preference.beta (0.1)")
    learnt.add_argument("--held-out", type=share_or_file, metavar="X", help="a share that is only measured (0.05), or "
                        "a file of such examples")  # fmt: skip
    learnt.add_argument("--ignore", type=names_in, metavar="A,B", help="columns of the data that are not read")
    done = parser.add_argument_group("what is done with it")
    done.add_argument("--name", metavar="NAME", help="what the adapter is called (as the file of examples)")
    done.add_argument("--plan", action="store_true", help="show the plan, and train nothing")
    done.add_argument("--yes", action="store_true", help="do not ask whether to go on")
    done.add_argument("--polite", action=argparse.BooleanOptionalAction, default=True,
                      help="wait while a server of this machine is writing an answer")  # fmt: skip
    done.add_argument("--no-check", action="store_true", help="no check afterwards: the adapter stays unchecked")
    done.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    done.add_argument("--follow", action="store_true", help="log: go on as the run goes on")
    shown = parser.add_argument_group("what is shown (check)")
    model = shown.add_argument("--model", metavar="MODEL", help="whose tokens and format it is shown in")
    model.completer = complete_installed  # type: ignore[attr-defined]
    shown.add_argument("--show", type=int, default=3, metavar="N", help="how many examples to show (3)")
    shown.add_argument("--line", type=int, metavar="N", help="show those of this line of the file instead")
    computed = parser.add_argument_group("how it is computed, as it is served")
    add_settings(computed, *SERVED_WITH)
    parser.set_defaults(unstated={name: parser.get_default(name) for name in OPTIONS})


def share_or_file(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def names_in(text: str) -> list[str]:
    return [name for each in text.split(",") if (name := each.strip())]


OF_A_LOOK = frozenset({
    "model", "recipe", "method", "length", "seed", "held_out", "ignore", "show", "line", "json"
})  # fmt: skip


def narrow(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Of `ouvert tune status` and its like: help of that alone, without the options that do nothing there."""
    action = next((word for word in words if not word.startswith("-")), "")
    if action not in ACTIONS:
        return
    behind, does = HOW_MANY.get(action, (1, 1, "NAME"))[2], MEANINGS[action]
    parser.usage, parser.description = f"%(prog)s {action} {behind} [options]", does
    parser.set_defaults(settings=COMPUTING.get(action, ()))  # the others stay None unless they are typed
    effective = {"help", *ACTIONS[action][2], *COMPUTING.get(action, ())}
    for option in parser._actions:
        if option.dest not in effective:
            option.help = argparse.SUPPRESS


# What help says of each action, and which options on computing have an effect there.
MEANINGS = {
    "check": "Show token by token what of a file of examples would be trained, and what is wrong with it.",
    "resume": "Go on with a run that was stopped or killed, to the same bits.",
    "status": "Say how far a run is, or every unfinished run.",
    "log": "Show the losses of a run, or of an adapter that came of one.",
    "stop": "Stop a run after the step that it computes; `ouvert tune resume NAME` goes on with it.",
    "remove": "Delete an unfinished run with its checkpoints and its copy of the data. An adapter that came of one is "
    "removed by `ouvert adapter remove NAME`.",
}
COMPUTING = {"resume": ("threads",)}
# Words that are no models -> the file and function that does it, and the options that have an effect on it.
ACTIONS: "Mapping[str, tuple[str, str, frozenset[str]]]" = {
    "check": ("tuning_check", "run", OF_A_LOOK),
    "resume": ("tuning_run", "resume", frozenset({"name", "polite", "no_check", "json"})),
    "status": ("tuning_status", "status", frozenset({"json"})),
    "log": ("tuning_status", "log", frozenset({"json", "follow"})),
    "stop": ("tuning_status", "stop", frozenset()),
    "remove": ("tuning_status", "remove", frozenset({"yes"})),
}
# Every option of its own, by the name of its value; of a run that begins all but these have an effect.
OPTIONS = {
    "recipe": "--recipe", "method": "--method", "minutes": "--minutes", "epochs": "--epochs", "steps": "--steps",
    "length": "--length", "rank": "--rank", "rate": "--rate", "batch": "--batch", "seed": "--seed", "beta": "--beta",
    "held_out": "--held-out", "ignore": "--ignore", "name": "--name", "plan": "--plan", "yes": "--yes",
    "polite": "--no-polite", "no_check": "--no-check", "json": "--json", "follow": "--follow", "model": "--model",
    "show": "--show", "line": "--line",
}  # fmt: skip
SERVED_WITH = ("threads", "exact", "cache", "precision", "template")
OF_OTHERS = frozenset({"follow", "model", "show", "line"})
HOW_MANY = {"check": (1, 1, "DATA"), "status": (0, 1, "[NAME]")}  # words behind an action; usually one, a NAME


def run(args: argparse.Namespace) -> int:
    """0: done. 1: not; a sentence on stderr says why, or a check found a regression. 130: interrupted."""
    action = args.named[0]
    file, function, effective = ACTIONS.get(action, ("tuning_begin", "begin", frozenset(OPTIONS) - OF_OTHERS))
    what = f"tune {action}" if action in ACTIONS else "tune MODEL DATA"
    given = [name for name, default in args.unstated.items() if getattr(args, name) != default]
    idle = [OPTIONS[name] for name in given if name not in effective]
    idle += [f"--{name}" for name in SERVED_WITH if name not in args.settings and getattr(args, name) is not None]
    if idle:
        print(f"ouvert: {what} does nothing with {', '.join(idle)}. Leave that out.", file=sys.stderr)
        return 2
    least, most, words = HOW_MANY.get(action, (1, 1, "NAME")) if action in ACTIONS else (1, 1, "DATA")
    if not least <= len(args.named) - 1 <= most:
        usage = f"`ouvert tune {action} {words}`" if action in ACTIONS else "`ouvert tune MODEL DATA`"
        print(f"ouvert: {what} takes other words than these: {usage}.", file=sys.stderr)
        return 2
    act: Callable[[argparse.Namespace], int] = getattr(import_module(f"ouvert.cli.{file}"), function)
    return act(args)


def complete_words(prefix: str, **rest: object) -> list[str]:
    """Actions and models; behind an action that is about a run, their names; behind a model, files."""
    from argcomplete.completers import FilesCompleter

    named = getattr(rest.get("parsed_args"), "named", None) or []
    if not named:
        return ChoicesCompleter(tuple(ACTIONS))(prefix) + complete_installed(prefix, **rest)
    if named[0] in ACTIONS and named[0] != "check":
        from ouvert.cli.environment import open_store
        from ouvert.tuning import Runs

        store = open_store()
        names = [*Runs(store.home).names(), *(store.adapters.names() if named[0] == "log" else ())]
        return [name for name in names if name.startswith(prefix)]
    return [word for word in ("corrections",) if word.startswith(prefix)] + list(FilesCompleter()(prefix))
