"""Keys for kept prefixes: from a file, a passphrase, or the system's keyring. They are never written or shown."""

import hashlib
import hmac
import os
import secrets
import stat
import unicodedata
from contextlib import suppress
from pathlib import Path

from ouvert.engine.waist import EngineError

KEY_BYTES = 32
# scrypt (RFC 7914): 128 MB and about half a second for every guess.
SCRYPT_N, SCRYPT_R, SCRYPT_P = 2**17, 8, 1
SALT_BYTES = 16
SALT_FILE = "salt"
PROOF_FILE = "proof"
PROOF = b"ouvert prefix cache passphrase"
SERVICE = "ouvert"
ACCOUNT = "prefix cache"


def key_from_file(path: Path) -> bytes:
    """The file's 32 bytes, or 64 hexadecimal digits. It must be its owner's alone. Raises EngineError."""
    try:
        mode, data = path.stat().st_mode, path.read_bytes()
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
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        beside = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
        try:
            with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(first)
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):  # another process was first: its content is the one
                os.link(beside, path)
        finally:
            beside.unlink(missing_ok=True)
    return path.read_bytes()


def key_from_keyring() -> bytes:
    """The system's keyring keeps it; made the first time. Raises EngineError where there is no keyring."""
    try:
        import keyring
        from keyring.errors import KeyringError
    except ImportError as problem:
        raise EngineError(
            "reading the key from the keyring: the package `keyring` is not installed. Install it with "
            "`pip install 'ouvert[encryption]'`, or use a key file."
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
