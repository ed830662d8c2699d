"""What commands share: the owner's store, ledger, guard and kept prompts, as they are set up; options and completions.

The hub's own variables are read here: HF_ENDPOINT, another address of the hub, e.g. a mirror; HF_TOKEN, the owner's
token for it, without which the one counts that `hf auth login` saved (below HF_HOME, if set).
"""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ouvert.cli.configuration import Configuration, ConfigurationError, add_settings

if TYPE_CHECKING:
    from ouvert.assistant import Ledger
    from ouvert.engine import PageFiles
    from ouvert.safety import Guard, Hosts
    from ouvert.store import Hub, Store

UNENCRYPTED = "none"  # what --prefix-cache-key says where pages are not to be encrypted
PREFIX_SETTINGS = ("prefix_cache", "prefix_cache_quota", "prefix_cache_key")


def open_store() -> "Store":
    """The owner's store. Nothing is created before something is put in. Raises ConfigurationError."""
    from ouvert.store import Store

    return Store(Path(str(Configuration().value("home"))).expanduser().absolute())


def ledger_asked_for(receipts: str, store: "Store") -> "Ledger | None":
    """The owner's ledger, or None if receipts are not to be kept; `receipts` is one of RECEIPTS."""
    from ouvert.assistant import Ledger

    if receipts == "off":
        return None
    return Ledger(receipts_folder(store), contents=receipts == "contents", say=warn)


def guard_asked_for() -> "Guard | None":
    """The guard of this process, put up now; None if its owner turned it off. Raises ConfigurationError."""
    from ouvert.safety import guard

    allowed = hosts_allowed()
    return None if allowed is None else guard(list(allowed))


def hosts_allowed() -> "Hosts | None":
    """What the guard allows besides this machine; None if its owner turned it off. Raises ConfigurationError."""
    from ouvert.safety import Hosts

    configuration = Configuration()
    if not configuration.value("guard"):
        return None
    allowed = configuration.stated("allow_hosts")
    try:
        return Hosts(cast("tuple[str, ...]", allowed.value))
    except ValueError as problem:
        raise ConfigurationError(f"allow_hosts, from {allowed.source}: {problem}") from problem


def open_ledger() -> "Ledger":
    """The owner's ledger, to be read."""
    from ouvert.assistant import Ledger

    return Ledger(receipts_folder(open_store()))


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


def receipts_folder(store: "Store") -> Path:
    return store.home / "receipts"


def warn(text: str) -> None:
    print(f"ouvert: {text}", file=sys.stderr)


def hub() -> "Hub":
    """The hub as the owner reaches it. Opens no connection."""
    from ouvert.store import Hub

    return Hub(endpoint=os.environ.get("HF_ENDPOINT") or None, token=os.environ.get("HF_TOKEN") or saved_token())


def saved_token() -> str | None:
    """The token that `hf auth login` keeps: ~/.cache/huggingface/token, or below HF_HOME."""
    home = os.environ.get("HF_HOME")
    path = Path(home).expanduser() / "token" if home else Path.home() / ".cache" / "huggingface" / "token"
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except FileNotFoundError:
        return None


def add_prefix_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "kept beginnings of prompts",
        "What prompts begin with is kept on this disk, so that it is not computed again after a restart. "
        "`ouvert cache` shows and clears it.",
    )
    add_settings(group, *PREFIX_SETTINGS)


def prefixes_asked_for(
    store: "Store", place: str | None, gigabytes: float | None, key: str | None
) -> "PageFiles | None":
    """Where beginnings of prompts are kept, or None for in memory only. Raises EngineError for what makes no sense."""
    from ouvert.assistant import kept_prefixes

    if place == "off":
        return None
    quota = None if gigabytes is None else int(gigabytes * 1e9)
    folder = Path(place).expanduser().absolute() if place else store.home / "prefixes"
    return kept_prefixes(
        store, folder, quota=quota, key=prefix_key(key, folder), encrypted=key != UNENCRYPTED, say=warn
    )


def kept_on_disk() -> "PageFiles | None":
    """The owner's kept prompts, as they are set up, to be counted or cleared: no page is read, so no key is needed."""
    configuration = Configuration()
    place, quota = configuration.value("prefix_cache"), configuration.value("prefix_cache_quota")
    return prefixes_asked_for(open_store(), cast("str | None", place), cast("float | None", quota), UNENCRYPTED)


def prefix_key(key: str | None, folder: Path) -> bytes | None:
    """The key that --prefix-cache-key names; None for this user's own, or for none. Raises EngineError."""
    from ouvert.engine import EngineError
    from ouvert.engine.prefixes.page_keys import key_from_file, key_from_keyring, key_from_passphrase

    match key:
        case None | "" | "none":
            return None
        case "keyring":
            return key_from_keyring()
        case "passphrase":
            from getpass import getpass

            try:
                passphrase = getpass("Passphrase of kept prompts: ")
            except EOFError:
                raise EngineError(
                    "encrypting kept prefixes: a passphrase is needed, and there is nobody to ask. Use a key file, or "
                    "the keyring."
                ) from None
            return key_from_passphrase(passphrase, folder)
        case path:
            return key_from_file(Path(path).expanduser())


def add_model_argument(parser: argparse.ArgumentParser, *, help: str, **settings: object) -> None:  # noqa: A002
    """The positional argument `model`, completed by Tab with what is in the store and the files and folders here."""
    argument = parser.add_argument("model", metavar="MODEL", help=help, **settings)  # type: ignore[arg-type]
    argument.completer = complete_installed  # type: ignore[attr-defined]


def add_cache_argument(parser: argparse._ActionsContainer) -> None:
    """--cache, left out where the native runner keeps 16 bits and NumPy 32, as every day."""
    parser.add_argument(
        "--cache", choices=("f16", "q8"), help="keep keys and values in 16 bits (the rule), or 8: about half the memory"
    )


def complete_installed(prefix: str, **_: object) -> list[str]:
    """Names of models in the store, then files and folders: what `run`, `show` and `bench` can be given."""
    from argcomplete.completers import FilesCompleter

    return complete_stored(prefix) + list(FilesCompleter(("gguf", "safetensors"))(prefix))


def complete_stored(prefix: str, **_: object) -> list[str]:
    """Names of models in the store."""
    return [name for name in open_store().names() if name.startswith(prefix)]


def complete_pullable(prefix: str, **_: object) -> list[str]:
    """Aliases: what `pull` can be given by a short name; a path is completed too."""
    from argcomplete.completers import FilesCompleter

    from ouvert.store import aliases

    return [alias.name for alias in aliases() if alias.name.startswith(prefix)] + list(FilesCompleter()(prefix))
