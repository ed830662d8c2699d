"""Options and arguments that several commands have, their completion, and settings given on the command line."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ouvert.cli.configuration import Configuration, ConfigurationError, understood
from ouvert.cli.environment import open_collections, open_store
from ouvert.cli.setting_values import switch, texts
from ouvert.cli.settings import SETTINGS

if TYPE_CHECKING:
    from ouvert.store import AdapterRecord

PREFIX_SETTINGS = ("prefix_cache", "prefix_cache_quota", "prefix_cache_key")


# --- settings as options ---


class ChoicesCompleter:
    """Completes a fixed set of words for argcomplete, without importing it."""

    def __init__(self, choices: tuple[str, ...]) -> None:
        self.choices = choices

    def __call__(self, prefix: str, **_: object) -> list[str]:
        return [choice for choice in self.choices if choice.startswith(prefix)]


def add_settings(parser: argparse._ActionsContainer, *keys: str) -> None:
    """An option for each: a text, or None where it is left out, until `settle` has read it."""
    for key in keys:
        setting = SETTINGS[key]
        flag = str(setting.flag)
        words = f"{setting.meaning} (default: {setting.fallback})"
        if setting.read is switch:
            parser.add_argument(
                flag, dest=setting.name, action=argparse.BooleanOptionalAction, default=None, help=setting.meaning
            )
        elif setting.read is texts:
            parser.add_argument(
                flag,
                dest=setting.name,
                action="append",
                metavar=setting.metavar,
                help=f"{setting.meaning}; repeatable",
            )
        else:
            metavar = "{" + ",".join(setting.choices) + "}" if setting.choices else setting.metavar
            argument = parser.add_argument(flag, dest=setting.name, metavar=metavar, help=words)
            if setting.choices:  # told to the shell; argparse's own would say what is wrong in another way
                argument.completer = ChoicesCompleter(setting.choices)  # type: ignore[attr-defined]
    parser.set_defaults(settings=(*(parser.get_default("settings") or ()), *keys))


def settle(args: argparse.Namespace) -> None:
    """Read the settings of this command that its line gives; the others are as the environment or the file says.

    Raises ConfigurationError.
    """
    keys: tuple[str, ...] = getattr(args, "settings", ())
    if not keys:
        return
    configuration = Configuration()
    require_one_precision(args)
    for key in keys:
        setting = SETTINGS[key]
        given = getattr(args, setting.name)
        value = configuration.value(key) if given is None else understood(setting, given, str(setting.flag))
        setattr(args, setting.name, value)


def require_one_precision(args: argparse.Namespace) -> None:
    """Raises ConfigurationError where the line says one precision behind a name and another with --precision.

    Not in `serve`, whose option is for the names that say none.
    """
    typed, name = getattr(args, "precision", None), getattr(args, "model", None) or getattr(args, "source", None)
    if typed is None or name is None:
        return
    from ouvert.store import split_adapters, split_precision

    _, named = split_precision(split_adapters(name)[0])
    if named not in (None, typed):
        raise ConfigurationError(
            f"{name} --precision {typed}: two precisions for one model, expected one. Leave one out."
        )


# --- options that are no settings ---


def add_engine_override(parser: argparse.ArgumentParser) -> None:
    """For commands that load the model a receipt names."""
    argument = parser.add_argument("--model", metavar="MODEL", help="another name, folder or file of the model")
    argument.completer = complete_installed  # type: ignore[attr-defined]
    parser.add_argument(
        "--exact",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="activations in float32, or not (default: as in the receipt)",
    )
    parser.add_argument(
        "--cache", choices=("f16", "q8"), help="keys and values in 16 bits or 8 (default: as in the receipt)"
    )


def add_prefix_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "kept beginnings of prompts",
        "What prompts begin with is kept on this disk, so that it is not computed again after a restart. "
        "`ouvert cache` shows and clears it.",
    )
    add_settings(group, *PREFIX_SETTINGS)


def add_model_argument(parser: argparse.ArgumentParser, *, help: str, **settings: object) -> None:  # noqa: A002
    """The positional argument `model`, completed by Tab with what is in the store and the files and folders here."""
    argument = parser.add_argument("model", metavar="MODEL", help=help, **settings)  # type: ignore[arg-type]
    argument.completer = complete_installed  # type: ignore[attr-defined]


def add_cache_argument(parser: argparse._ActionsContainer) -> None:
    """--cache. Without it the native runner keeps 16 bits, and NumPy 32."""
    parser.add_argument(
        "--cache", choices=("f16", "q8"), help="keep keys and values in 16 bits (the rule), or 8: about half the memory"
    )


def add_adapter_argument(parser: argparse._ActionsContainer, meaning: str) -> None:
    """--adapter NAME, repeatable; `adapted_name` puts them behind the model's name."""
    argument = parser.add_argument(
        "--adapter",
        dest="adapters",
        action="append",
        default=[],
        metavar="NAME",
        help=f"{meaning}; repeatable. `ouvert adapter list` shows them",
    )
    argument.completer = complete_adapters  # type: ignore[attr-defined]


def adapted_name(model: str, adapters: Sequence[str]) -> str:
    """The model's name with these adapters behind it, as it may be written at once. Raises ConfigurationError for what
    can be none, such as a folder of another program's."""
    from ouvert.store import is_adapter_name

    for each in adapters:
        if is_adapter_name(each):
            continue
        name = Path(each).name.lower() or "NAME"
        raise ConfigurationError(
            f"--adapter {each}: an adapter is used by its name on this machine, expected one. Bring the folder or file "
            f"here first: `ouvert adapter import {each} --name {name if is_adapter_name(name) else 'NAME'}`."
        )
    return "+".join((model, *adapters))


def complete_adapters(prefix: str, **_: object) -> list[str]:
    """Names of the adapters on this machine."""
    return [name for name in open_store().adapters.names() if name.startswith(prefix)]


def complete_collections(prefix: str, **_: object) -> list[str]:
    """Names of the owner's collections of documents."""
    return [name for name in open_collections().names() if name.startswith(prefix)]


def complete_agents(prefix: str, **_: object) -> list[str]:
    """Names of the agents that are kept here."""
    from ouvert.agents import Agents

    return [name for name in Agents(open_store().home).names() if name.startswith(prefix)]


def complete_agents_files(prefix: str, **_: object) -> list[str]:
    """What `ouvert agent run` and `test` can be given: names, and files."""
    from argcomplete.completers import FilesCompleter

    return complete_agents(prefix) + list(FilesCompleter(("md",))(prefix))


def complete_runs(prefix: str, **_: object) -> list[str]:
    """Names of the runs of agents, the newest first."""
    from ouvert.agents import Agents

    folder = Agents(open_store().home).runs_folder
    return sorted((each.name for each in folder.glob("run-*") if each.name.startswith(prefix)), reverse=True)


def complete_agents_runs(prefix: str, **_: object) -> list[str]:
    """What `ouvert agent show` and `remove` can be given."""
    return complete_agents(prefix) + complete_runs(prefix)


def complete_installed(prefix: str, **_: object) -> list[str]:
    """Names of models in the store, with adapters behind a +, then files and folders: what `run`, `show` and `bench`
    can be given."""
    from argcomplete.completers import FilesCompleter

    return complete_stored(prefix) + list(FilesCompleter(("gguf", "safetensors"))(prefix))


def complete_stored(prefix: str, **_: object) -> list[str]:
    """Names of models in the store, and behind a + the adapters of the one that stands before it."""
    store = open_store()
    names = [*store.names()]
    before, plus, _begun = prefix.rpartition("+")
    if plus:
        names += [f"{before}+{each}" for each in adapters_behind(before)]
    return [name for name in names if name.startswith(prefix)]


def adapters_behind(before: str) -> list[str]:
    """Names of the adapters that may stand behind a model's name, its precision and other adapters. Raises nothing."""
    from ouvert.store import split_precision

    store = open_store()
    model, *others = before.split("+")
    plain, _ = split_precision(model)
    weights = {each.digest for each in store.list() if each.name == plain}
    fitting = (each for each in store.adapters.readable() if each.base["weights"] in weights or each.base_name == plain)
    return [each.name for each in fitting if each.name not in others]


def model_of(record: "AdapterRecord") -> str:
    """What its base is called on this machine now; as its record says where it is not here. Raises nothing."""
    named = [each.name for each in open_store().list() if each.digest == record.base["weights"]]
    return record.base_name if record.base_name in named or not named else named[0]


def complete_pullable(prefix: str, **_: object) -> list[str]:
    """Aliases: what `pull` can be given by a short name; a path is completed too."""
    from argcomplete.completers import FilesCompleter

    from ouvert.store import aliases

    return [alias.name for alias in aliases() if alias.name.startswith(prefix)] + list(FilesCompleter()(prefix))


def within(least: float, most: float, kind: type[int] | type[float] = int) -> Callable[[str], float]:
    """A type for argparse: a number from `least` to `most`; what is none, NaN too, is refused by name."""

    def number(text: str) -> float:
        try:
            given = kind(text)
        except ValueError:
            given = kind(0) if least > 0 else kind(least - 1)
        if not least <= given <= most:
            whole = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"{text!r:.40} is not {whole} from {least:,} to {most:,}")
        return given

    return number
