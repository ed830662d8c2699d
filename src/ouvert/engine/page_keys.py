"""Keys for kept prefixes: from a file, a passphrase, or the system's keyring. They are never written or shown."""

import hashlib
import os
import secrets
import stat
from pathlib import Path

from ouvert.engine.waist import EngineError

KEY_BYTES = 32
# scrypt, RFC 7914, with the parameters of its section 2 for interactive use, doubled: about a tenth of a second.
SCRYPT_N, SCRYPT_R, SCRYPT_P = 2**15, 8, 1
SALT_FILE = "salt"
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
    """Derived with scrypt, and a salt that is kept in the folder. Raises EngineError for an empty one."""
    if not passphrase:
        raise EngineError("deriving a key: the passphrase is empty. Give one, or keep prefixes without a key.")
    path = folder / SALT_FILE
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        pass
    else:
        with open(file, "wb") as out:
            out.write(secrets.token_bytes(16))
    salt = path.read_bytes()
    if len(salt) != 16:
        raise EngineError(f"deriving a key: {path} is damaged. Remove it and clear the cache: `ouvert cache clear`.")
    return hashlib.scrypt(
        passphrase.encode(), salt=salt, n=SCRYPT_N, r=SCRYPT_R, p=SCRYPT_P, maxmem=2**26, dklen=KEY_BYTES
    )


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
            kept = secrets.token_hex(KEY_BYTES)
            keyring.set_password(SERVICE, ACCOUNT, kept)
    except KeyringError as problem:
        raise EngineError(
            f"reading the key from the keyring: {problem}. Unlock it, or use a key file instead."
        ) from problem
    return bytes.fromhex(kept)
