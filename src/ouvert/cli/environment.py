"""What commands share: the owner's store, ledger, guard and kept prompts, as they are set up.

The hub's own variables are read here: HF_ENDPOINT, another address of the hub, e.g. a mirror; HF_TOKEN, the owner's
token for it, without which the one counts that `hf auth login` saved (below HF_HOME, if set). So are the keys of other
servers: OPENAI_API_KEY, ANTHROPIC_API_KEY, GEMINI_API_KEY, and KEY_<HOST> for any other. And the passphrase of
collections of documents: OUVERT_DOCUMENTS_PASSPHRASE.
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ouvert.cli.configuration import Configuration, ConfigurationError

if TYPE_CHECKING:
    from ouvert.assistant import Ledger
    from ouvert.documents import Collections
    from ouvert.engine import PageFiles
    from ouvert.safety import Guard, Hosts
    from ouvert.store import Hub, Store

UNENCRYPTED = "none"  # what --prefix-cache-key says where pages are not to be encrypted


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
    from ouvert.sandbox import box_commands

    allowed = hosts_allowed()
    if allowed is None:
        return None
    made = guard(list(allowed))
    made.admit_boxes(box_commands())
    return made


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


def open_collections() -> "Collections":
    """The owner's collections of documents. A passphrase is asked for at a terminal where none is set."""
    from ouvert.documents import Collections, in_a_box

    return Collections(open_store().home, in_a_box(), passphrase=documents_passphrase)


def stated_passphrase() -> str | None:
    """The passphrase of collections of documents that the environment states; None where it states none."""
    return os.environ.get("OUVERT_DOCUMENTS_PASSPHRASE")


def documents_passphrase(collection: str) -> str | None:
    """The passphrase of a collection, from the environment or a person; None where there is neither."""
    if (stated := stated_passphrase()) is not None:
        return stated
    if not (sys.stdin is not None and sys.stdin.isatty()):
        return None
    from getpass import getpass

    return getpass(f"Passphrase of {collection}: ")


def open_ledger() -> "Ledger":
    """The owner's ledger, to be read."""
    from ouvert.assistant import Ledger

    return Ledger(receipts_folder(open_store()))


def receipts_folder(store: "Store") -> Path:
    return store.home / "receipts"


def warn(text: str) -> None:
    print(f"ouvert: {text}", file=sys.stderr)


def hub() -> "Hub":
    """The hub as the owner reaches it. Opens no connection."""
    from ouvert.store import Hub

    return Hub(endpoint=os.environ.get("HF_ENDPOINT") or None, token=os.environ.get("HF_TOKEN") or saved_token())


def key_of_host(variable: str) -> str | None:
    """The key of another server, under that name; None where there is none."""
    return os.environ.get(variable) or None


def saved_token() -> str | None:
    """The token that `hf auth login` keeps: ~/.cache/huggingface/token, or below HF_HOME."""
    home = os.environ.get("HF_HOME")
    path = Path(home).expanduser() / "token" if home else Path.home() / ".cache" / "huggingface" / "token"
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except FileNotFoundError:
        return None


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


def kept_prompts() -> "PageFiles | None":
    """The owner's kept prompts, as they are set up, with the key they are kept with."""
    configuration = Configuration()
    names = ("prefix_cache", "prefix_cache_quota", "prefix_cache_key")
    place, quota, key = (configuration.value(name) for name in names)
    return prefixes_asked_for(
        open_store(), cast("str | None", place), cast("float | None", quota), cast("str | None", key)
    )


def kept_on_disk() -> "PageFiles | None":
    """The owner's kept prompts, as they are set up, to be counted or cleared: no page is read, so no key is needed."""
    configuration = Configuration()
    place, quota = configuration.value("prefix_cache"), configuration.value("prefix_cache_quota")
    return prefixes_asked_for(open_store(), cast("str | None", place), cast("float | None", quota), UNENCRYPTED)


def prefix_key(key: str | None, folder: Path) -> bytes | None:
    """The key that --prefix-cache-key names; None for this user's own, or for none. Raises EngineError."""
    from ouvert.engine import EngineError, key_from_file, key_from_keyring, key_from_passphrase

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
