"""The key of a collection that is encrypted: from a passphrase (scrypt), or a file of its owner's."""

import hashlib
import os
import secrets
from pathlib import Path
from typing import Any

from ouvert.documents.error import DocumentError, WrongKey

KEY_BYTES = 32
LARGEST = 1 << 20  # bytes of a key file
SCRYPT = {"n": 2**15, "r": 8, "p": 1, "maxmem": 64 * 1024 * 1024}
NONCE_BYTES = 12


def from_passphrase(passphrase: str, salt: bytes) -> bytes:
    """Raises DocumentError for an empty one."""
    if not passphrase:
        raise DocumentError("encrypting a collection: the passphrase is empty, expected a text. Give one.")
    return hashlib.scrypt(passphrase.encode(), salt=salt, dklen=KEY_BYTES, **SCRYPT)


def from_file(path: Path, salt: bytes) -> bytes:
    """The key of a file of any bytes, 32 at least. Raises DocumentError where it cannot be read, is no file (a pipe
    says nothing twice, and a device has no end), or is too short or too long."""
    try:
        if path.exists() and not path.is_file():
            raise OSError(0, "it is no file")
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as problem:
        raise DocumentError(
            f"reading the key file {path}: {problem.strerror}. Bring it back: without it the documents cannot be read."
        ) from problem
    if not KEY_BYTES <= len(content) <= LARGEST:
        raise DocumentError(
            f"reading the key file {path}: it has {len(content)} bytes, expected {KEY_BYTES} to {LARGEST}. "
            f"`head -c 32 /dev/urandom > {path.name}` makes one."
        )
    return hashlib.blake2b(content, digest_size=KEY_BYTES, salt=salt[:16], person=b"ouvert.document").digest()


def make_key_file(path: Path) -> None:
    """A new one, readable by its owner alone. Raises DocumentError where there is a file already, or it cannot be."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as problem:
        raise DocumentError(f"making the key file {path}: {problem.strerror}. Choose another place.") from problem
    with os.fdopen(handle, "wb") as file:
        file.write(secrets.token_bytes(KEY_BYTES))


def sealed(data: bytes, key: bytes) -> bytes:
    """AES-256-GCM: the nonce stands before it. Raises nothing."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + bytes(cipher(key).encrypt(nonce, data, None))


def opened(data: bytes, key: bytes) -> bytes:
    """Raises WrongKey where it was sealed with another key, or was changed."""
    from cryptography.exceptions import InvalidTag

    try:
        return bytes(cipher(key).decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], None))
    except InvalidTag:
        raise WrongKey(
            "reading a kept file: it was sealed with another key, or is damaged. Add the file again."
        ) from None


def cipher(key: bytes) -> Any:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(hashlib.blake2b(key, digest_size=KEY_BYTES, person=b"ouvert.original").digest())
