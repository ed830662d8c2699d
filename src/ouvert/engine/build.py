"""Which build of this program answers: the digest of its files, so that two of them are never taken for one another."""

import functools
import hashlib
from pathlib import Path

import ouvert

# What decides an answer's tokens, and the numbers in caches. Faces (cli, serving) and what fetches models do not.
PARTS = ("arithmetic", "assistant", "chat", "engine", "kernels", "models", "packed", "tokenization", "weights")
KINDS = frozenset({".jinja", ".py", ".pyd", ".so", ".toml"})


@functools.cache
def build_digest(roots: tuple[str, ...] = tuple(ouvert.__path__)) -> str:
    """The SHA-256 of the sorted lines "<hex> <path>" of the files, each with its end; computed once in a process.

    `roots` are the folders the package lies in: one, or two where it is installed for working on it. Raises OSError for
    a file that cannot be read.
    """
    lines = sorted(
        f"{hashlib.sha256(file.read_bytes()).hexdigest()} {file.relative_to(root).as_posix()}\n"
        for root in map(Path, roots)
        for part in PARTS
        for file in (root / part).rglob("*")
        if file.suffix in KINDS
    )
    return f"sha256:{hashlib.sha256(''.join(lines).encode()).hexdigest()}"
