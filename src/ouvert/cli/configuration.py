"""What the owner has set, and where: on the command line, in the environment, in the configuration file, or nowhere.

SETTINGS is the one table of it: the names in the file and in the environment, the options of commands, what `ouvert
config` shows and docs/configuration.md say are all made from it. The command line goes before the environment, that
before the file, and the file before what holds if nobody says anything.
"""

import argparse
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

Reader = Callable[[object], object]  # text of the command line or environment, or a TOML value; raises ValueError

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
RECEIPTS = {
    "on": "digests, counts and times",
    "contents": "what was said as well, so that `ouvert receipt replay` needs nothing else",
    "off": "none",
}


CACHES = ("f16", "q8")


class ConfigurationError(Exception):
    """What was set makes no sense. The message names the setting, where it stands, and what was expected."""


# --- how settings are read ---


def whole(least: int, most: int | None = None) -> Reader:
    expected = f"a whole number, {least} or more" if most is None else f"a whole number from {least} to {most}"

    def read(value: object) -> int:
        if isinstance(value, str) and re.fullmatch(r"-?\d+", value):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or value < least or (most or value) < value:
            raise ValueError(expected)
        return value

    return read


def switch(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if value not in ("on", "off"):
        raise ValueError("on or off")
    return value == "on"


def one_of(names: Iterable[str]) -> Reader:
    choices = tuple(names)

    def read(value: object) -> str:
        if isinstance(value, bool):
            value = "on" if value else "off"
        if value not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return str(value)

    return read


def text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("a text")
    return value


def texts(value: object) -> tuple[str, ...]:
    """A list; in the environment with commas between its members."""
    if isinstance(value, str):
        value = [each.strip() for each in value.split(",") if each.strip()]
    if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
        raise ValueError("a list of texts")
    return tuple(value)


def gigabytes(value: object) -> float:
    try:
        number = float(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else -1.0
    except (ValueError, OverflowError):
        number = -1.0
    if not 0 <= number < 1e6:
        raise ValueError("a number of gigabytes, such as 2.5")
    return number


def duration(value: object) -> float:
    """Seconds: 30m, 90s, 1h, or a number of them. `forever` is infinite."""
    if value == "forever":
        return float("inf")
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0:
        return float(value)
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", value) if isinstance(value, str) else None
    if not found:
        raise ValueError("a time: 90s, 30m, 2h or forever")
    return float(found[1]) * UNITS[found[2] or "s"]


def size(value: object) -> int:
    """Bytes: 800MB, 12GB, or a number of them."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kMGT]?)B?", value) if isinstance(value, str) else None
    if not found:
        raise ValueError("a size: 800MB or 12GB")
    return int(float(found[1]) * 1000 ** " kMGT".index(found[2] or " "))


# --- the table ---


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """`key` is its name in the file, `table.name` or `name`; `metavar` and `flag` are for commands that take it as an
    option, which those without a flag do not. `without` says what holds if nobody sets it, where `default` does not.
    """

    key: str
    read: Reader
    meaning: str
    default: object = None
    without: str | None = None
    flag: str | None = None
    metavar: str | None = None
    choices: tuple[str, ...] = ()
    example: str

    @property
    def name(self) -> str:
        return self.key.rpartition(".")[2]

    @property
    def variable(self) -> str:
        return "OUVERT_" + self.key.replace(".", "_").upper()

    @property
    def fallback(self) -> str:
        """What holds if nobody sets it, in words."""
        return self.without or in_words(self.default)


def in_words(value: object) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "on" if value else "off"
        case tuple():
            return ", ".join(value) or "none"
        case float() if value == float("inf"):
            return "forever"
        case float() if value == int(value):
            return str(int(value))
        case _:
            return str(value)


SETTINGS: Mapping[str, Setting] = {
    setting.key: setting
    for setting in (
        Setting(
            key="model",
            read=text,
            meaning="the model that `ouvert run` asks where none is named",
            default="smollm2",
            example='"gpt-oss:20b"',
        ),
        Setting(
            key="home",
            read=text,
            meaning="folder of the store: models, receipts, keys, kept prompts",
            without="where this system keeps a user's data",
            example='"/srv/ouvert"',
        ),
        Setting(
            key="receipts",
            read=one_of(RECEIPTS),
            meaning="what is kept of every answer, on this machine only: "
            + "; ".join(f"{name}: {meaning}" for name, meaning in RECEIPTS.items()),
            default="on",
            flag="--receipts",
            choices=tuple(RECEIPTS),
            example='"contents"',
        ),
        Setting(
            key="guard",
            read=switch,
            meaning="deny and count connections beyond this machine in every process that answers",
            default=True,
            example="false",
        ),
        Setting(
            key="allow_hosts",
            read=texts,
            meaning="hosts that the guard lets through",
            default=(),
            example='["example.org:443", "10.0.0.5"]',
        ),
        Setting(
            key="threads",
            read=whole(1),
            meaning="threads that compute",
            without="what serves best",
            flag="--threads",
            metavar="N",
            example="2",
        ),
        Setting(
            key="context",
            read=whole(1),
            meaning="most tokens of a conversation",
            without="the model's",
            flag="--context",
            metavar="N",
            example="8192",
        ),
        Setting(
            key="exact",
            read=switch,
            meaning="keep activations in float32 where it is faster not to",
            default=False,
            flag="--exact",
            example="true",
        ),
        Setting(
            key="cache",
            read=one_of(CACHES),
            meaning="keep keys and values in 16 bits, or 8: about half the memory",
            without="f16, in float32 where NumPy computes",
            flag="--cache",
            choices=CACHES,
            example='"q8"',
        ),
        Setting(
            key="template",
            read=text,
            meaning="chat template instead of the model's: a file, `builtin` (ours for the model), `builtin:NAME`, or "
            "the name of one of several that the model brings",
            without="the model's own, or ours where it has none",
            flag="--template",
            metavar="FILE|NAME",
            example='"builtin"',
        ),
        Setting(
            key="prefix_cache",
            read=text,
            meaning="where beginnings of prompts are kept on this disk; off: in memory only",
            without="in the store",
            flag="--prefix-cache",
            metavar="DIR",
            example='"off"',
        ),
        Setting(
            key="prefix_cache_quota",
            read=gigabytes,
            meaning="most that they may take, in gigabytes",
            without="a tenth of the free disk, 8 at most",
            flag="--prefix-cache-quota",
            metavar="GB",
            example="2.5",
        ),
        Setting(
            key="prefix_cache_key",
            read=text,
            meaning="the key that encrypts them: a file with 32 bytes, `keyring` for the system's, `passphrase` to be "
            "asked; none: they are not encrypted",
            without="a key of this user's, in the system's keyring or beside the configuration file",
            flag="--prefix-cache-key",
            metavar="KEY",
            example='"keyring"',
        ),
        Setting(
            key="serve.models",
            read=texts,
            meaning="models that are loaded first, where the command names none",
            default=(),
            example='["gpt-oss:20b", "smollm2"]',
        ),
        Setting(
            key="serve.only",
            read=switch,
            meaning="serve none but these",
            default=False,
            flag="--only",
            example="true",
        ),
        Setting(
            key="serve.host",
            read=text,
            meaning="address to listen at; any but this machine's own needs a key",
            default="127.0.0.1",
            flag="--host",
            metavar="ADDRESS",
            example='"0.0.0.0"',
        ),
        Setting(
            key="serve.port",
            read=whole(0, 65535),
            meaning="port to listen at; 0: any free one",
            default=11435,
            flag="--port",
            metavar="N",
            example="8080",
        ),
        Setting(
            key="serve.keep",
            read=duration,
            meaning="idle models stay in memory so long",
            default=1800.0,
            without="30m",
            flag="--keep",
            metavar="TIME",
            example='"forever"',
        ),
        Setting(
            key="serve.memory",
            read=size,
            meaning="most that models may take together",
            without="four fifths of the machine's memory",
            flag="--memory",
            metavar="SIZE",
            example='"12GB"',
        ),
        Setting(
            key="serve.names",
            read=texts,
            meaning="host names by which clients call it, beside this machine's own",
            default=(),
            flag="--name",
            metavar="NAME",
            example='["ouvert.lan"]',
        ),
        Setting(
            key="serve.origins",
            read=texts,
            meaning="web pages that may use it, beside its own",
            default=(),
            flag="--origin",
            metavar="ORIGIN",
            example='["https://chat.example.org"]',
        ),
        Setting(
            key="serve.share_prefixes",
            read=switch,
            meaning="kept beginnings of prompts are one for all keys: less to compute where they begin alike, and "
            "whoever has a key can find out how another key's prompts began",
            default=False,
            flag="--share-prefixes",
            example="true",
        ),
        Setting(
            key="serve.most",
            read=whole(1),
            meaning="answers written or waiting at once",
            default=256,
            flag="--most",
            metavar="N",
            example="32",
        ),
        Setting(
            key="serve.answer_within",
            read=duration,
            meaning="an answer that takes longer ends as it is",
            default=float("inf"),
            flag="--answer-within",
            metavar="TIME",
            example='"10m"',
        ),
        Setting(
            key="serve.stop_within",
            read=duration,
            meaning="when told to stop, answers may be finished for so long",
            default=10.0,
            without="10s",
            flag="--stop-within",
            metavar="TIME",
            example='"1m"',
        ),
        Setting(
            key="serve.largest_request",
            read=size,
            meaning="bodies of requests may have so many bytes",
            default=32_000_000,
            without="32MB",
            flag="--largest-request",
            metavar="SIZE",
            example='"100MB"',
        ),
    )
}
FILE_VARIABLE = "OUVERT_CONFIG"
VARIABLES = (FILE_VARIABLE, *(setting.variable for setting in SETTINGS.values()))


# --- what is set ---


@dataclass(frozen=True, slots=True)
class Stated:
    """A setting's value, and where it comes from: a variable, the file, or "default"."""

    value: object
    source: str


class Configuration:
    """The environment and the file, as they are now. Raises ConfigurationError for a file that cannot be read."""

    def __init__(self) -> None:
        self.path = configuration_path()
        self.in_file = read_file(self.path, asked_for=bool(os.environ.get(FILE_VARIABLE)))

    def stated(self, key: str) -> Stated:
        """Raises ConfigurationError if what is set makes no sense."""
        setting = SETTINGS[key]
        if os.environ.get(setting.variable):
            return Stated(understood(setting, os.environ[setting.variable], setting.variable), setting.variable)
        if key in self.in_file:
            return Stated(understood(setting, self.in_file[key], f"{key} in {self.path}"), str(self.path))
        if key == "home":
            from ouvert.store import default_home

            return Stated(str(default_home()), "default")
        return Stated(setting.default, "default")

    def value(self, key: str) -> object:
        return self.stated(key).value


def understood(setting: Setting, given: object, where: str) -> object:
    try:
        return setting.read(given)
    except ValueError as problem:
        raise ConfigurationError(f"{where} is {given!r}, expected {problem}. Correct it.") from None


def configuration_path() -> Path:
    """What OUVERT_CONFIG says, else where this system keeps such things, e.g. ~/.config/ouvert/config.toml."""
    if stated := os.environ.get(FILE_VARIABLE):
        return Path(stated).expanduser().absolute()
    from platformdirs import user_config_path

    return user_config_path("ouvert", appauthor=False) / "config.toml"


def read_file(path: Path, *, asked_for: bool) -> dict[str, object]:
    """Key -> value as TOML has it; empty if there is no file and none was asked for. Raises ConfigurationError."""
    try:
        stated = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        if not asked_for:
            return {}
        raise ConfigurationError(
            f"{FILE_VARIABLE} names {path}, and there is no such file: correct it, or take the variable away."
        ) from None
    except OSError as problem:
        raise ConfigurationError(f"{path} cannot be read ({problem.strerror}): make it readable for you.") from None
    except UnicodeDecodeError as problem:
        raise ConfigurationError(f"{path} is not UTF-8 text (byte {problem.start}): save it as UTF-8.") from None
    except tomllib.TOMLDecodeError as problem:
        raise ConfigurationError(f"{path} is not TOML: {problem}. Correct it there.") from None
    flat: dict[str, object] = {}
    for name, value in stated.items():
        flat |= {f"{name}.{inner}": each for inner, each in value.items()} if isinstance(value, dict) else {name: value}
    for key in flat:
        if key not in SETTINGS:
            near = get_close_matches(key, SETTINGS, n=1)
            advice = f"did you mean {near[0]}?" if near else "`ouvert config` lists those there are."
            raise ConfigurationError(f"{path} sets {key}, and there is no such setting: {advice}")
    return flat


def strange_variables() -> list[str]:
    """Those that look like ours and that nothing reads."""
    return sorted(name for name in os.environ if name.startswith("OUVERT_") and name not in VARIABLES)


# --- settings as options of commands ---


class ChoicesCompleter:
    """For argcomplete, without importing it."""

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
    for key in keys:
        setting = SETTINGS[key]
        given = getattr(args, setting.name)
        value = configuration.value(key) if given is None else understood(setting, given, str(setting.flag))
        setattr(args, setting.name, value)


# --- the file, as it is written for its owner to fill in ---


def template() -> str:
    """The whole file with every setting commented out, as docs/configuration.md has it."""
    lines = [
        "# Ouvert's configuration. Every line is optional: take the # away from what you want to set.",
        "# The command line goes before the environment (in brackets), and that before this file.",
    ]
    table = ""
    for setting in SETTINGS.values():
        of, _, name = setting.key.rpartition(".")
        if of != table:
            lines += ["", f"[{of}]"]
            table = of
        lines += [
            "",
            f"# {setting.meaning} (default: {setting.fallback}) [{setting.variable}]",
            f"# {name} = {setting.example}",
        ]
    return "\n".join(lines) + "\n"
