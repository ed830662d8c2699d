"""What the environment says: the one file that reads it. Everything below gets values.

OUVERT_HOME  folder of the store; without it, the place where this system keeps a user's data
OUVERT_RECEIPTS  which receipts are kept: on (as it is without), contents, or off; --receipts goes before it
OUVERT_GUARD  off: no guard against connections; without it, on in every process that answers
OUVERT_ALLOW_HOSTS  hosts that the guard lets this process speak to, with commas between them: example.org:443,10.0.0.5
OUVERT_PREFIX_CACHE, OUVERT_PREFIX_CACHE_QUOTA, OUVERT_PREFIX_CACHE_KEY  what --prefix-cache, --prefix-cache-quota and
    --prefix-cache-key say, which go before them
HF_ENDPOINT  another address of the hub, e.g. a mirror
HF_TOKEN     the owner's token for the hub; without it, the one that `hf auth login` saved (below HF_HOME, if set)
"""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ouvert.assistant import Ledger
    from ouvert.engine import PageFiles
    from ouvert.safety import Guard, Hosts
    from ouvert.store import Hub, Store

VARIABLES = (
    "OUVERT_HOME",
    "OUVERT_RECEIPTS",
    "OUVERT_GUARD",
    "OUVERT_ALLOW_HOSTS",
    "OUVERT_PREFIX_CACHE",
    "OUVERT_PREFIX_CACHE_QUOTA",
    "OUVERT_PREFIX_CACHE_KEY",
)

RECEIPTS = {
    "on": "digests, counts and times",
    "contents": "what was said as well, so that `ouvert receipt replay` needs nothing else",
    "off": "none",
}


def strange_variables() -> list[str]:
    """Those that look like ours and that nothing reads."""
    return sorted(name for name in os.environ if name.startswith("OUVERT_") and name not in VARIABLES)


def open_store() -> "Store":
    """The owner's store. Nothing is created before something is put in."""
    from ouvert.store import Store, default_home

    home = os.environ.get("OUVERT_HOME")
    return Store(Path(home).expanduser().absolute() if home else default_home())


def add_receipts_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--receipts",
        choices=list(RECEIPTS),
        help="what is kept of every answer, on this machine only: "
        + "; ".join(f"{name}: {meaning}" for name, meaning in RECEIPTS.items())
        + " (without: what OUVERT_RECEIPTS says, else on)",
    )


def ledger_asked_for(choice: str | None, store: "Store") -> "Ledger | None":
    """The owner's ledger, or None if receipts are not to be kept; `choice` is what --receipts says.

    Raises AssistantError if the environment says what makes no sense.
    """
    from ouvert.assistant import AssistantError, Ledger

    stated = choice or os.environ.get("OUVERT_RECEIPTS") or "on"
    if stated not in RECEIPTS:
        raise AssistantError(
            f"keeping receipts: OUVERT_RECEIPTS is {stated!r}, expected one of {', '.join(RECEIPTS)}. Correct it."
        )
    if stated == "off":
        return None
    return Ledger(receipts_folder(store), contents=stated == "contents", say=warn)


def guard_asked_for() -> "Guard | None":
    """The guard of this process, put up now; None if its owner turned it off.

    Raises AssistantError if the environment says what makes no sense.
    """
    from ouvert.safety import guard

    allowed = hosts_allowed()
    return None if allowed is None else guard(list(allowed))


def hosts_allowed() -> "Hosts | None":
    """What the guard allows besides this machine; None if its owner turned it off. Raises AssistantError."""
    from ouvert.assistant import AssistantError
    from ouvert.safety import Hosts

    stated = os.environ.get("OUVERT_GUARD") or "on"
    if stated not in ("on", "off"):
        raise AssistantError(f"putting up the guard: OUVERT_GUARD is {stated!r}, expected on or off. Correct it.")
    if stated == "off":
        return None
    try:
        return Hosts(each for each in os.environ.get("OUVERT_ALLOW_HOSTS", "").split(",") if each.strip())
    except ValueError as problem:
        raise AssistantError(f"OUVERT_ALLOW_HOSTS: {problem}") from problem


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
        help="activations in float32, or not (without: as in the receipt)",
    )
    parser.add_argument(
        "--cache", choices=("f16", "q8"), help="keys and values in 16 bits or 8 (without: as in the receipt)"
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
    group.add_argument("--prefix-cache", metavar="DIR", help="where; off: in memory only (without: in the store)")
    group.add_argument("--prefix-cache-quota", metavar="GB", help="at most (without: a tenth of the free disk, 8)")
    group.add_argument(
        "--prefix-cache-key",
        metavar="KEY",
        help="encrypt it: a file with 32 bytes, `keyring` for the system's keyring, or `passphrase` to be asked",
    )


def prefixes_asked_for(args: argparse.Namespace, store: "Store") -> "PageFiles | None":
    """Where beginnings of prompts are kept, or None for in memory only. Raises EngineError for what makes no sense."""
    from ouvert.assistant import kept_prefixes
    from ouvert.engine import EngineError

    place = args.prefix_cache or os.environ.get("OUVERT_PREFIX_CACHE")
    size = args.prefix_cache_quota or os.environ.get("OUVERT_PREFIX_CACHE_QUOTA")
    key = args.prefix_cache_key
    if key is None:
        key = os.environ.get("OUVERT_PREFIX_CACHE_KEY")
    if place == "off":
        return None
    quota = None
    if size is not None:
        try:
            quota = int(float(size) * 1e9)
        except (ValueError, OverflowError):
            quota = -1
        if quota < 0:
            raise EngineError(
                f"keeping beginnings of prompts: the quota is {size!r}, expected a number of gigabytes, such as 2.5."
            )
    folder = Path(place).expanduser().absolute() if place else store.home / "prefixes"
    return kept_prefixes(store, folder, quota=quota, key=prefix_key(key, folder), say=warn)


def prefix_key(key: str | None, folder: Path) -> bytes | None:
    """The key that --prefix-cache-key names; None if it names none. Raises EngineError."""
    from ouvert.engine import EngineError
    from ouvert.engine.page_keys import key_from_file, key_from_keyring, key_from_passphrase

    match key:
        case None | "":
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
