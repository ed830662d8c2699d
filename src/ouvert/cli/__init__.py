"""The command `ouvert`: one file per command, found through one table. The only reader of environment variables.

Nothing but the chosen command's own file is imported, and that file imports what it needs in `run`, so that
`ouvert --help` and tab completion answer at once.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from typing import NoReturn

from ouvert.cli.terminal import ready_streams, visible

__all__ = ["COMMANDS", "main"]

# Command -> what --help says of it. The command's file is ouvert/cli/<command>.py, with SUMMARY (the same words),
# add_arguments(parser) and run(args) -> exit status.
COMMANDS = {
    "run": "Ask a model one thing, or hold a conversation with it.",
    "pull": "Bring a model onto this machine.",
    "list": "List the models on this machine, or those that have a short name.",
    "show": "Say what a model is, and where it came from.",
    "remove": "Remove a model from this machine.",
    "agent": "Run agents, answer what they ask, test, replay and import them.",
    "adapter": "List, show, check, compare, import, export and remove adapters: what is learnt beside the weights.",
    "batch": "Answer a file of requests; interrupted, it goes on where it was.",
    "jobs": "List, show, cancel and remove batches and other long work.",
    "serve": "Serve models to other programs, on this machine.",
    "mcp": "Offer models, documents and agents as tools to a program that speaks MCP.",
    "pool": "Show the members of a pool of engines, and how each is.",
    "key": "Make, list and revoke the keys of clients of the server.",
    "fit": "Say whether a model will run here, in how much memory, and about how fast.",
    "bench": "Measure how fast a model runs on this machine.",
    "compare": "Ask models the same questions, and say what can be shown.",
    "box": "Say how code that is not yours is isolated on this machine, and run some.",
    "cache": "Show or clear the kept beginnings of prompts.",
    "patch": "Say which layer and token carries the difference between two prompts.",
    "tune": "Teach a model from examples, and look at what it would learn.",
    "documents": "Keep documents that models answer from: add, search, update, remove them for good.",
    "corrections": "List, export and remove the answers that you corrected.",
    "direction": "Make, test, import and export directions: what a model's stream moves along.",
    "lesson": "Write lessons about comparing models, filled from your own comparison.",
    "microscope": "Say what four bits cost: layer by layer, and at the end.",
    "receipt": "List, show, verify and replay the receipts of answers.",
    "look": "Look inside: what each layer would say, and how sure the model was.",
    "config": "Show every setting, its value, and where it comes from.",
    "doctor": "Say what this machine is, what Ouvert found on it, and what is wrong.",
    "completion": "Print what makes your shell complete commands and names of models.",
}

# Errors whose message is written for the person at the keyboard: shown as one line, without a traceback.
KNOWN_ERRORS = (
    ("ouvert.agents", "AgentError"),
    ("ouvert.assistant", "AssistantError"),
    ("ouvert.chat", "ChatError"),
    ("ouvert.cli.configuration", "ConfigurationError"),
    ("ouvert.documents", "DocumentError"),
    ("ouvert.engine", "EngineError"),
    ("ouvert.evaluation", "EvaluationError"),
    ("ouvert.inspection", "InspectionError"),
    ("ouvert.safety", "Denied"),
    ("ouvert.sandbox", "BoxError"),
    ("ouvert.store", "StoreError"),
    ("ouvert.tokenization", "TokenizerError"),
    ("ouvert.tuning", "TuningError"),
    ("ouvert.weights", "CheckpointError"),
)

# Words that people bring from other programs -> what they are called here.
CALLED_HERE = {
    "help": "--help",
    "version": "--version",
    "chat": "run",
    "ask": "run",
    "start": "serve",
    "download": "pull",
    "install": "pull",
    "delete": "remove",
    "rm": "remove",
    "ls": "list",
    "models": "list",
    "info": "show",
    "adapters": "adapter",
    "rag": "documents",
    "docs": "documents",
    "agents": "agent",
    "lora": "adapter",
    "settings": "config",
    "eval": "compare",
    "evaluate": "compare",
}

TRACE = "OUVERT_TRACE"  # set to anything: the traceback of what nobody foresaw is shown
OWN_OPTIONS = ("--help", "--version")  # of `ouvert` itself: all others stand behind a command
INTERRUPTED = 130  # 128 + SIGINT, as shells say it
WRONG_USE = 2  # argparse's own status for a wrong command line


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status: 0 done, 1 failed with a sentence on stderr, 2 wrong use.

    Raises SystemExit for --help, and for a wrong command line.
    """
    if "_ARGCOMPLETE" in os.environ:
        complete()
    ready_streams()
    arguments = sys.argv[1:] if arguments is None else arguments
    command = chosen_command(arguments)
    if arguments and arguments[0].startswith("--") and arguments[0] not in OWN_OPTIONS:
        return refuse_option(arguments)
    if command is not None and command not in COMMANDS:
        return refuse_command(command)
    try:
        status = carried_out(command, arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone; pointing stdout elsewhere keeps the interpreter's last flush quiet.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as problem:
        if isinstance(problem, tuple(known_errors())):
            print(visible(f"ouvert: {problem}"), file=sys.stderr)
        else:
            explain_unforeseen(problem)
        return 1
    return status


def carried_out(command: str | None, arguments: Sequence[str]) -> int:
    """Run the command, or show the help where there is none; its exit status."""
    if command is None:
        build_parser(None).parse_args(arguments)
        build_parser(None).print_help()
        return 0
    args = parsed(command, arguments)
    args.words = [*arguments]
    if hasattr(args, "settings"):
        from ouvert.cli.arguments import settle

        settle(args)
    return int(args.run(args))


def explain_unforeseen(problem: Exception) -> None:
    """What nobody foresaw, in a sentence; where it came from on request, for a report."""
    if os.environ.get(TRACE):
        import traceback

        traceback.print_exception(problem)
    if isinstance(problem, OSError):
        place = "" if problem.filename is None else f"{problem.filename}: "
        what = str(problem.strerror or problem).rstrip(".")
        sentence = f"{place}{what}. `ouvert doctor` says whether something is wrong with the store."
    elif isinstance(problem, MemoryError):
        sentence = "there is no memory left for this. Close other programs, or choose a smaller model or --context."
    else:
        sentence = f"this should not have happened: {type(problem).__name__}: {problem!s:.500}."
    print(visible(f"ouvert: {sentence} ({TRACE}=1 shows where it happened.)"), file=sys.stderr)


def parsed(command: str, arguments: Sequence[str]) -> argparse.Namespace:
    """What the words of a command mean: options may stand before, between and after its other words.

    Wrong use leaves the process with WRONG_USE and the command's own usage; no words where some are needed, with all
    of its help.
    """
    at = arguments.index(command)
    if at:  # options of `ouvert` itself
        return build_parser(command).parse_args(arguments)
    module = importlib.import_module(f"ouvert.cli.commands.{command}")
    parser = CommandParser(prog=f"ouvert {command}", description=COMMANDS[command])
    module.add_arguments(parser)
    parser.set_defaults(run=module.run)
    words = arguments[at + 1 :]
    if hasattr(module, "narrow"):  # of words that are actions argparse knows nothing
        module.narrow(parser, words)
    # argparse calls words required of which there may be none ("*", where nothing says what else holds).
    if not words and any(action.required and action.nargs != argparse.ZERO_OR_MORE for action in parser._actions):
        parser.print_help(sys.stderr)
        parser.exit(WRONG_USE)
    # Actions with words of their own (`ouvert key create`) take what follows them, and argparse reads those in order.
    has_actions = any(isinstance(action, argparse._SubParsersAction) for action in parser._actions)
    return parser.parse_args(words) if has_actions else parser.parse_intermixed_args(words)


class CommandParser(argparse.ArgumentParser):
    """A command's words. Of an option that does not exist it says which one may be meant, and where they are listed."""

    def error(self, message: str) -> NoReturn:
        from difflib import get_close_matches

        if message.startswith("unrecognized arguments: "):
            wrong = next((word for word in message.split()[2:] if word.startswith("-")), "").partition("=")[0]
            near = get_close_matches(wrong, self._option_string_actions, n=1)
            message += f". Did you mean {near[0]}?" if near else f". `{self.prog} --help` lists every option."
        super().error(message)


def chosen_command(arguments: Sequence[str]) -> str | None:
    """The first word that is not an option: the options before it take no values."""
    return next((word for word in arguments if not word.startswith("-")), None)


def refuse_command(command: str) -> int:
    from difflib import get_close_matches

    near = [CALLED_HERE[command]] if command in CALLED_HERE else get_close_matches(command, COMMANDS, n=1, cutoff=0.5)
    advice = f"Did you mean 'ouvert {near[0]}'?" if near else f"There are: {', '.join(COMMANDS)}."
    print(f"ouvert: there is no command {command!r}. {advice}", file=sys.stderr)
    return WRONG_USE


def refuse_option(arguments: Sequence[str]) -> int:
    command = next((word for word in arguments if word in COMMANDS), "COMMAND")
    option = arguments[0].partition("=")[0]
    print(
        f"ouvert: {option} stands before the command, expected a command there. Options come behind it: "
        f"`ouvert {command} {option} ...`; `ouvert --help` lists the commands.",
        file=sys.stderr,
    )
    return WRONG_USE


def build_parser(chosen: str | None) -> argparse.ArgumentParser:
    """The parser of the whole command line, with the arguments of `chosen` only."""
    parser = argparse.ArgumentParser(
        prog="ouvert",
        description="Runs open-weight reasoning models entirely on this machine.",
        epilog="To begin: `ouvert run` fetches a small model and talks with it; `ouvert serve` opens a page for your "
        "browser. `ouvert COMMAND --help` lists a command's options.",
    )
    parser.add_argument("--version", action=ShowVersion, help="show the version and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, summary in COMMANDS.items():
        subparser = commands.add_parser(name, help=summary, description=summary)
        if name == chosen:
            module = importlib.import_module(f"ouvert.cli.commands.{name}")
            module.add_arguments(subparser)
            subparser.set_defaults(run=module.run)
    return parser


class ShowVersion(argparse.Action):
    """--version, looked up only when asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:  # noqa: A002
        super().__init__(option_strings, dest=argparse.SUPPRESS, default=argparse.SUPPRESS, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from ouvert import __version__

        print(f"ouvert {__version__}")
        parser.exit()


def known_errors() -> Iterator[type[BaseException]]:
    """The classes of KNOWN_ERRORS whose part has been imported; a part that was not cannot have raised."""
    for module, name in KNOWN_ERRORS:
        known = getattr(sys.modules.get(module), name, None)
        if known is not None:
            yield known


def complete() -> None:
    """Answer the shell's question for completions and leave the process (argcomplete's protocol)."""
    import argcomplete

    words = os.environ.get("COMP_LINE", "").split()[1:]
    command = chosen_command(words)
    argcomplete.autocomplete(build_parser(command if command in COMMANDS else None), always_complete_options=False)
