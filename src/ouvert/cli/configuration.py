"""What the owner has set, and where: in the environment, in the configuration file, or nowhere.

A setting on the command line comes first (ouvert.cli.arguments), then the environment, then the file, then the default.
"""

import os
import tomllib
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ouvert.cli.settings import FILE_VARIABLE, SETTINGS, VARIABLES, Setting

if TYPE_CHECKING:
    from ouvert.engine import Precision


class ConfigurationError(Exception):
    """What was set makes no sense. The message names the setting, where it stands, and what was expected."""


@dataclass(frozen=True, slots=True)
class SettingValue:
    """A setting's value, and where it comes from: a variable, the file, or "default"."""

    value: object
    source: str


class Configuration:
    """The environment and the file, as they are now. Raises ConfigurationError for a file that cannot be read."""

    def __init__(self) -> None:
        self.path = configuration_path()
        self.in_file = read_file(self.path, asked_for=bool(os.environ.get(FILE_VARIABLE)))

    def stated(self, key: str) -> SettingValue:
        """Raises ConfigurationError if what is set makes no sense."""
        setting = SETTINGS[key]
        if os.environ.get(setting.variable):
            return SettingValue(understood(setting, os.environ[setting.variable], setting.variable), setting.variable)
        if key in self.in_file:
            return SettingValue(understood(setting, self.in_file[key], f"{key} in {self.path}"), str(self.path))
        if key == "home":
            from ouvert.store import default_home

            return SettingValue(str(default_home()), "default")
        return SettingValue(setting.default, "default")

    def value(self, key: str) -> object:
        """What holds where nobody types it: of `precision` a limit, because it holds for models of fewer bits too."""
        value = self.stated(key).value
        return precision_for_all(value) if key == "precision" else value


def precision_for_all(stated: object) -> object:
    """A precision that is not asked of one model, but holds for all: a limit, unless it is "stored", or none (None)."""
    if not isinstance(stated, str) or stated == "stored":
        return stated
    from ouvert.engine import PrecisionLimit

    return PrecisionLimit(cast("Precision", stated))


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
    return flattened(stated, path)


def flattened(stated: dict[str, object], path: Path) -> dict[str, object]:
    """`table.name` -> value. Raises ConfigurationError for what is no setting."""
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
    """Variables of the environment that look like ours and that nothing reads."""
    return sorted(name for name in os.environ if name.startswith("OUVERT_") and name not in VARIABLES)
