"""What stands in the file of a page, and what it is called: docs/formats/prefix-cache.md."""

import hashlib
import hmac
import json
import secrets
import struct
import sys
from collections.abc import Mapping
from collections.abc import Sequence as Ordered
from typing import Any

from ouvert.engine.interface import EngineError
from ouvert.engine.prefixes.disk import Place

MAGIC = b"OUVPAGE2"
LENGTH = struct.Struct("<I")  # of the place, as it stands in the file
DIGEST_BYTES = 32
KEY_BYTES = 32
NONCE_BYTES = 12
LONGEST_PLACE = 1 << 13  # bytes; 64 tokens take a tenth of it
LONGEST_HEAD = len(MAGIC) + LENGTH.size + LONGEST_PLACE


class PageFormat:
    """Encrypted with `key`, 32 bytes, which is needed to read it; without one it is plain."""

    def __init__(self, key: bytes | None) -> None:
        """Raises EngineError for a key of another length."""
        if key is not None and len(key) != KEY_BYTES:
            raise EngineError(f"opening kept prefixes: the key has {len(key)} bytes, expected 32. Make it with 32.")
        self.encrypts = key is not None
        self._naming = b"" if key is None else hmac.digest(key, b"ouvert page names", "sha256")
        self._sealing = None if key is None else cipher(hmac.digest(key, b"ouvert page contents", "sha256"))
        self._placing = None if key is None else cipher(hmac.digest(key, b"ouvert page places", "sha256"))

    def root(self, fingerprint: Mapping[str, Any]) -> str:
        """What the names of all pages of the same numbers start from."""
        text = json.dumps(fingerprint, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return self._digest(b"root\0" + text.encode())

    def name(self, parent: str, ids: Ordered[int]) -> str:
        """The name of the page with these ids that follows the page called `parent`, or the root."""
        return self._digest(f"{parent}\0{','.join(map(str, ids))}".encode())

    def _digest(self, data: bytes) -> str:
        """With a key, a name says nothing to a reader who lacks the key, even if the reader guesses the text."""
        return (hmac.new(self._naming, data, "sha256") if self._naming else hashlib.sha256(data)).hexdigest()

    def encode(self, name: str, data: bytes | memoryview, place: Place) -> tuple[bytes | memoryview, ...]:
        """The file of a page, in pieces."""
        facts = [place.owner, place.root, place.parent, place.ids, *([place.base] if place.base != place.root else [])]
        stated = json.dumps(facts, separators=(",", ":")).encode()
        if self._sealing is None or self._placing is None:
            return MAGIC, LENGTH.pack(len(stated)), stated, checked(name, stated, data), data
        # Random nonces of 96 bits stay apart for 2**32 pages under one key, far more than a disk holds.
        nonces = secrets.token_bytes(NONCE_BYTES), secrets.token_bytes(NONCE_BYTES)
        stated = nonces[0] + self._placing.encrypt(nonces[0], stated, name.encode())
        sealed = self._sealing.encrypt(nonces[1], data, name.encode() + stated)
        return MAGIC, LENGTH.pack(len(stated)), stated, nonces[1], sealed

    def decode(self, name: str, data: memoryview) -> memoryview | None:
        """The page in the file called `name`; None if it is damaged, or another's."""
        parts = parted(data)
        if parts is None:
            return None
        place, page = parts
        if self._sealing is not None:
            from cryptography.exceptions import InvalidTag

            try:
                return memoryview(
                    self._sealing.decrypt(bytes(page[:NONCE_BYTES]), page[NONCE_BYTES:], name.encode() + place)
                )
            except (InvalidTag, ValueError):
                return None  # damaged, or written with another key
        digest, page = page[:DIGEST_BYTES], page[DIGEST_BYTES:]
        return page if hmac.compare_digest(checked(name, place, page), digest) else None

    def place(self, name: str, head: memoryview) -> Place | None:
        """Where the page called `name` belongs, from the first LONGEST_HEAD bytes of its file; None for what cannot be
        read. Not compared with the page."""
        parts = parted(head)
        if parts is None:
            return None
        stated = parts[0]
        if self._placing is not None:
            from cryptography.exceptions import InvalidTag

            try:
                stated = self._placing.decrypt(stated[:NONCE_BYTES], stated[NONCE_BYTES:], name.encode())
            except (InvalidTag, ValueError):
                return None
        try:
            owner, root, parent, ids, *base = json.loads(stated)
            return Place(owner, root, parent, tuple(ids), *(base or [root]))
        except (ValueError, TypeError):
            return None


def parted(data: memoryview) -> tuple[bytes, memoryview] | None:
    """What a file says of its page's place, as it stands there, and what comes after it; None if it is no such file."""
    head = len(MAGIC) + LENGTH.size
    if len(data) < head or bytes(data[: len(MAGIC)]) != MAGIC:
        return None
    (length,) = LENGTH.unpack(data[len(MAGIC) : head])
    if length > LONGEST_PLACE or len(data) < head + length:
        return None
    return bytes(data[head : head + length]), data[head + length :]


def checked(name: str, place: bytes, data: bytes | memoryview) -> bytes:
    """The digest of a page under its name, so that no file is taken for another."""
    digest = hashlib.sha256(name.encode() + b"\0" + place + b"\0")
    digest.update(data)
    return digest.digest()


def cipher(key: bytes) -> Any:
    """AES-256-GCM. Raises EngineError where `cryptography` is not installed."""
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as problem:
        raise EngineError(
            "encrypting kept prefixes: the package `cryptography` is not installed. Install it with "
            f"`{sys.executable} -m pip install cryptography`, or keep prefixes unencrypted (--prefix-cache-key none)."
        ) from problem
    return AESGCM(key)
