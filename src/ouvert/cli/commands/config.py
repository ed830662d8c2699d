"""`ouvert config`: every setting, its value, and where that comes from."""

import argparse
import json
import sys

from ouvert.cli.configuration import Configuration, SettingValue, configuration_path
from ouvert.cli.settings import FILE_VARIABLE, SETTINGS, in_words, template

SUMMARY = "Show every setting, its value, and where it comes from."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        f"{SUMMARY} An option on the command line comes first, then the environment, then the configuration file, "
        f"then the default. {FILE_VARIABLE} names another file."
    )
    key = parser.add_argument("key", nargs="?", metavar="SETTING", help="print the value of this one and nothing else")
    key.completer = lambda prefix, **_: [each for each in SETTINGS if each.startswith(prefix)]  # type: ignore[attr-defined]
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--json", action="store_true", help="print one JSON object")
    what.add_argument("--path", action="store_true", help="print the file's path and nothing else")
    what.add_argument("--write", action="store_true", help="write the file, every setting explained, if there is none")


def run(args: argparse.Namespace) -> int:
    """0: shown. 1: not; a sentence on stderr says why."""
    from ouvert.cli.answering import complain

    if args.path:
        print(configuration_path())
        return 0
    if args.write:
        return write()
    if args.key is not None and args.key not in SETTINGS:
        complain(f"there is no setting {args.key!r}. There are: {', '.join(SETTINGS)}.")
        return 1
    configuration = Configuration()
    if args.key is not None:
        value = configuration.stated(args.key).value
        value = concealed(args.key, value)
        print(json.dumps(plain(value)) if args.json else in_words(value))
        return 0
    show_all(configuration, as_json=args.json)
    return 0


def show_all(configuration: Configuration, *, as_json: bool) -> None:
    from ouvert.cli.commands.list import print_columns

    stated = {key: configuration.stated(key) for key in SETTINGS}
    if as_json:
        settings = {
            key: {"value": plain(concealed(key, each.value)), "source": each.source} for key, each in stated.items()
        }
        print(json.dumps({"file": str(configuration.path), "settings": settings}, ensure_ascii=False))
        return
    rows = [(key, shown(key, each), each.source) for key, each in stated.items()]
    print_columns(("SETTING", "VALUE", "FROM"), rows)
    there = "" if configuration.path.exists() else " (there is none yet: `ouvert config --write` makes it)"
    print(f"\nThe file is {configuration.path}{there}.", file=sys.stderr)


def shown(key: str, stated: SettingValue) -> str:
    """A default that is decided elsewhere is said in words."""
    own = SETTINGS[key].default
    if stated.source == "default" and stated.value == own:
        return SETTINGS[key].fallback
    return in_words(concealed(key, stated.value))


def concealed(key: str, value: object) -> object:
    """The value, or in place of a secret that there is one."""
    return "(set, and not shown)" if SETTINGS[key].secret and value is not None else value


def plain(value: object) -> object:
    """The value as JSON can hold it: without infinite numbers."""
    return "forever" if value == float("inf") else value


def write() -> int:
    from ouvert.cli.answering import complain

    path = configuration_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(template())
    except FileExistsError:
        complain(f"{path} is there already, and stays as it is. `ouvert config` shows what it sets.")
        return 1
    except OSError as problem:
        complain(f"{path} cannot be written ({problem.strerror}): make its folder writable, or set {FILE_VARIABLE}.")
        return 1
    print(path)
    return 0
