"""Keys for kept prefixes: this user's own, or one from a file, a passphrase, or the system's keyring.

This user's key is made when it is first needed, and kept where the prefixes are not: in the system's keyring where that
answers without asking anybody, else in a file among this user's settings. No key is shown.
"""

import errno
import hashlib
import hmac
import os
import secrets
import stat
import sys
import threading
import unicodedata
from contextlib import closing, suppress
from pathlib import Path
from queue import Empty, SimpleQueue

from ouvert.engine.interface import EngineError
from ouvert.weights import read_regular

KEY_BYTES = 32
# scrypt (RFC 7914): 128 MB and about half a second for every guess.
SCRYPT_N, SCRYPT_R, SCRYPT_P = 2**17, 8, 1
SALT_BYTES = 16
LONGEST_FILE = 4096  # bytes that are read of a file which should have far fewer
SALT_FILE = "salt"
PROOF_FILE = "proof"
PROOF = b"ouvert prefix cache passphrase"
SERVICE = "ouvert"
ACCOUNT = "prefix cache"
FILE = "prefixes.key"
# Keyrings that are open as long as their user is logged in. SecretService's is asked whether it is.
ALWAYS_OPEN = ("keyring.backends.macOS", "keyring.backends.Windows")
SECRET_SERVICE = "keyring.backends.SecretService"  # noqa: S105 - a module
DEFAULT_COLLECTION = "/org/freedesktop/secrets/aliases/default"
PATIENCE = 2.0  # seconds for a keyring to say whether it is open


def key_file() -> Path:
    """The file with this user's key, if the keyring does not have it: ~/.config/ouvert/prefixes.key on Linux."""
    from platformdirs import user_config_path

    return user_config_path("ouvert", appauthor=False) / FILE


def key_of_this_user(path: Path | None = None) -> bytes:
    """32 bytes, made the first time. Asks nobody, and waits for nothing.

    The file at `path` (left out: `key_file()`) if there is one; else the system's keyring, if one is open; else such a
    file is made. So a machine with no keyring, or with one that is locked now, keeps to its file.

    Raises EngineError for a file that holds no key, is not its owner's alone, or cannot be made.
    """
    path = path or key_file()
    try:
        if os.path.lexists(path):
            return key_from_file(path)
        if keyring_is_open():
            return key_from_keyring()
        kept(path, secrets.token_bytes(KEY_BYTES))  # whole, or another process's that was first
    except OSError as problem:
        raise EngineError(
            f"making the key of kept prefixes, {path}: {problem}. Make that folder yours, name a key with "
            "--prefix-cache-key, or keep prefixes in memory only (--prefix-cache off)."
        ) from problem
    return key_from_file(path)


def keyring_is_open() -> bool:
    """Whether the system's keyring would answer at once, with nobody asked to unlock or to allow anything."""
    try:
        import keyring
    except ImportError:
        return False
    backend = type(keyring.get_keyring()).__module__
    if backend == SECRET_SERVICE:
        return secret_service_is_open()
    return backend in ALWAYS_OPEN


def secret_service_is_open() -> bool:
    """Whether there is a keyring behind D-Bus that is unlocked, and says so soon: some never answer."""
    said: SimpleQueue[bool] = SimpleQueue()
    threading.Thread(target=lambda: said.put(asked_whether_open()), name="ouvert-keyring", daemon=True).start()
    try:
        return said.get(timeout=PATIENCE)
    except Empty:
        return False


def asked_whether_open() -> bool:
    import secretstorage

    try:
        with closing(secretstorage.dbus_init()) as connection:
            if not secretstorage.check_service_availability(connection):
                return False
            # By its alias: asking for the default collection would make one, which asks for a password.
            return not secretstorage.Collection(connection, DEFAULT_COLLECTION).is_locked()
    except (secretstorage.exceptions.SecretStorageException, OSError):
        return False


def key_from_file(path: Path) -> bytes:
    """The file's 32 bytes, or 64 hexadecimal digits. It must be a file, and its owner's alone.

    Raises EngineError for what is not.

    A link is followed, as whoever mounts secrets makes them; what it leads to must be a file too.
    """
    try:
        mode, data = path.stat().st_mode, read_regular(path, LONGEST_FILE, follow=True)
    except OSError as problem:
        raise EngineError(
            f"reading the key {path}: {problem}. Make one: `head -c 32 /dev/urandom > {path}; chmod 600 {path}`."
        ) from problem
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise EngineError(f"reading the key {path}: others may read it too. `chmod 600 {path}`.")
    if len(data) == KEY_BYTES:
        return data
    try:
        key = bytes.fromhex(data.decode())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise EngineError(
            f"reading the key {path}: it has {len(data)} bytes, expected {KEY_BYTES}, or as many in hexadecimal."
        )
    return key


def key_from_passphrase(passphrase: str, folder: Path) -> bytes:
    """Derived with scrypt; a salt, and what tells a mistyped passphrase, are kept in the folder.

    Raises EngineError for an empty passphrase, and for another than the first that was given for this folder.
    """
    if not passphrase:
        raise EngineError("deriving a key: the passphrase is empty. Give one, or keep prefixes without a key.")
    path = folder / SALT_FILE
    # However a keyboard composes é, it is the same passphrase.
    text = unicodedata.normalize("NFC", passphrase).encode()
    try:
        salt = kept(path, secrets.token_bytes(SALT_BYTES))
        if len(salt) != SALT_BYTES:
            raise EngineError(
                f"deriving a key: {path} has {len(salt)} bytes, expected {SALT_BYTES}: it is damaged, and what was "
                f"encrypted with it is lost. Clear the cache (`ouvert cache clear`), then remove the folder {folder}."
            )
        key = hashlib.scrypt(text, salt=salt, n=SCRYPT_N, r=SCRYPT_R, p=SCRYPT_P, maxmem=2**28, dklen=KEY_BYTES)
        proof = hmac.digest(key, PROOF, "sha256")
        if not hmac.compare_digest(kept(folder / PROOF_FILE, proof), proof):
            raise EngineError(
                f"deriving a key: this is not the passphrase that {folder} was first used with. Type it again; to take "
                f"another, clear the cache (`ouvert cache clear`) and remove that folder."
            )
    except OSError as problem:
        raise EngineError(f"deriving a key: {problem}. Make {folder} yours, or choose another folder.") from problem
    return key


def kept(path: Path, first: bytes) -> bytes:
    """What this file holds; `first`, if there was none: there whole or not at all, and one for all who ask at once."""
    if not os.path.lexists(path):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        beside = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
        try:
            with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(first)
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):  # another process was first: its content is the one
                give_name(beside, path)
        finally:
            beside.unlink(missing_ok=True)
    return read_regular(path, LONGEST_FILE)


def give_name(beside: Path, path: Path) -> None:
    """Raises FileExistsError where another was first; only where a file system has no links may two be at once."""
    try:
        os.link(beside, path)
    except OSError as problem:
        if problem.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        os.rename(beside, path)


def key_from_keyring() -> bytes:
    """The system's keyring keeps it; made the first time. Raises EngineError where there is no keyring."""
    try:
        import keyring
        from keyring.errors import KeyringError
    except ImportError as problem:
        raise EngineError(
            "reading the key from the keyring: the package `keyring` is not installed. Install it with "
            f"`{sys.executable} -m pip install keyring`, or use a key file."
        ) from problem
    try:
        kept = keyring.get_password(SERVICE, ACCOUNT)
        if kept is None:
            keyring.set_password(SERVICE, ACCOUNT, secrets.token_hex(KEY_BYTES))
            kept = keyring.get_password(SERVICE, ACCOUNT)  # another process may have been first, or last
    except KeyringError as problem:
        raise EngineError(
            f"reading the key from the keyring: {problem}. Unlock it, or use a key file instead."
        ) from problem
    try:
        key = bytes.fromhex(kept or "")
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise EngineError(
            f"reading the key from the keyring: {SERVICE!r}, {ACCOUNT!r} is not {KEY_BYTES} bytes in hexadecimal. "
            "Remove that entry (a new key is made then), or use a key file."
        )
    return key
