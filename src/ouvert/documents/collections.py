"""The collections of one owner on this machine: made, opened, removed. Nobody opens another's, so nothing of them is
ranked, counted or named."""

import base64
import hashlib
import json
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ouvert.documents import keys
from ouvert.documents.boxed import Run
from ouvert.documents.collection import Collection, changing_alone
from ouvert.documents.database import REMEDY, encrypts
from ouvert.documents.error import DocumentError, WrongKey
from ouvert.documents.index import now
from ouvert.store import write_whole

NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
STATED = "collection.json"
VERSION = 1
OWN = "own"  # the folder of the person who owns the machine
SALT_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    """What stands beside a collection in plain: how it is encrypted, and no word of it."""

    name: str
    owner: str
    created: str
    salt: bytes
    encrypted: str | None = None  # "passphrase", "key file"
    key_file: str | None = None


class Collections:
    """Those of one owner. Making one raises nothing, and creates nothing."""

    def __init__(
        self, home: Path, run: Run, *, owner: str = "", passphrase: Callable[[str], str | None] | None = None
    ) -> None:
        """`home`: the store's folder. `run` starts a program in a box. `owner`: whose they are, "" for the person whose
        machine it is. `passphrase`: asked with a collection's name where it is needed."""
        self.folder = home / "documents" / (hashlib.sha256(owner.encode()).hexdigest()[:16] if owner else OWN)
        self.owner = owner
        self._run, self._passphrase = run, passphrase

    def names(self) -> tuple[str, ...]:
        """Their names, sorted. Raises nothing."""
        return tuple(sorted(each.parent.name for each in self.folder.glob(f"*/{STATED}")))

    def stated(self, name: str) -> Stated:
        """What is known of a collection without opening it. Raises DocumentError where there is none."""
        self._refuse_no_name(name)
        try:
            stated = json.loads((self.folder / name / STATED).read_bytes())
            if stated["collection"] != VERSION:
                raise DocumentError(
                    f"opening {name}: it is of version {stated['collection']!r:.20}, expected {VERSION}. A newer "
                    "Ouvert made it: use that."
                )
            return Stated(
                name=name, owner=stated["owner"], created=stated["created"], salt=base64.b64decode(stated["salt"]),
                encrypted=stated["encrypted"], key_file=stated["key_file"],
            )  # fmt: skip
        except FileNotFoundError:
            there = ", ".join(self.names()) or "none yet"
            raise DocumentError(
                f"there is no collection {name!r} here (there are: {there}). "
                f"`ouvert documents add {name} FOLDER` makes one."
            ) from None
        except (OSError, ValueError, KeyError) as problem:
            raise DocumentError(
                f"opening {name}: {self.folder / name / STATED} cannot be used ({problem!r:.100}). Bring it back "
                "from a copy."
            ) from problem

    def create(self, name: str, *, passphrase: str | None = None, key_file: Path | None = None) -> Collection:
        """A new, empty one; encrypted where a passphrase or key file is given, which is made if it is not there.

        Raises DocumentError for a name that cannot be one or is taken, and where nothing here encrypts.
        """
        self._refuse_no_name(name)
        if passphrase is not None and key_file is not None:
            raise DocumentError(f"making {name}: a passphrase and a key file were given, expected one of them.")
        wanted = "passphrase" if passphrase is not None else "key file" if key_file is not None else None
        if wanted and not encrypts():
            raise DocumentError(f"making {name} encrypted: no library that encrypts is here. {REMEDY}")
        if key_file is not None and not key_file.exists():
            keys.make_key_file(key_file)
        self._sweep()
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with changing_alone(folder):
            if (folder / STATED).exists():
                raise DocumentError(f"there is a collection {name!r} already. Add to it, or choose another name.")
            return self._created(name, wanted, passphrase, key_file)

    def _created(self, name: str, wanted: str | None, passphrase: str | None, key_file: Path | None) -> Collection:
        folder, salt = self.folder / name, secrets.token_bytes(SALT_BYTES)
        (folder / "originals").mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder.parent.chmod(0o700)
        stated = {
            "collection": VERSION, "name": name, "owner": self.owner, "created": now(), "encrypted": wanted,
            "salt": base64.b64encode(salt).decode(), "key_file": None if key_file is None else str(key_file.resolve()),
        }  # fmt: skip
        key = keys.from_passphrase(passphrase, salt) if passphrase is not None else None
        if key_file is not None:
            key = keys.from_file(key_file, salt)
        (folder / "index.sqlite").unlink(missing_ok=True)  # of one whose making was cut off
        made = Collection(folder, name, key, self._run)
        write_whole(folder / STATED, [json.dumps(stated, indent=1).encode(), b"\n"])
        return made

    @contextmanager
    def begun(self, name: str, *, passphrase: str | None = None, key_file: Path | None = None) -> Iterator[Collection]:
        """A new one to put documents in. If none is in it at the end, it is away again. Raises as `create` does."""
        try:
            collection = self.create(name, passphrase=passphrase, key_file=key_file)
        except DocumentError:
            if passphrase is not None or key_file is not None or name not in self.names():
                raise
            collection = self.open(name)  # somebody else began it at the same moment
        try:
            yield collection
        finally:
            with collection:
                empty = not collection.documents
            if empty:
                self.remove(name)

    def open(self, name: str) -> Collection:
        """Raises DocumentError where there is none, WrongKey where its key is not to be had."""
        self._sweep()
        stated = self.stated(name)
        key = None
        if stated.key_file is not None:
            key = keys.from_file(Path(stated.key_file), stated.salt)
        elif stated.encrypted is not None:
            passphrase = None if self._passphrase is None else self._passphrase(name)
            if passphrase is None:
                raise WrongKey(
                    f"opening {name}: it is encrypted with a passphrase, and none was given. Type it when asked at a "
                    "terminal, or set OUVERT_DOCUMENTS_PASSPHRASE."
                )
            key = keys.from_passphrase(passphrase, stated.salt)
        return Collection(self.folder / name, name, key, self._run)

    def remove(self, name: str) -> dict[str, Any]:
        """Remove a whole collection; what was removed, for the deletion receipt. It need not be opened for that, so its
        key is not needed. Raises DocumentError where there is none, or it cannot be removed."""
        self._sweep()
        self.stated(name)
        folder = self.folder / name
        size = sum(each.stat().st_size for each in folder.rglob("*") if each.is_file())
        try:
            with changing_alone(folder):
                (folder / STATED).unlink()  # from now on it is none
                shutil.rmtree(folder)
        except OSError as problem:
            raise DocumentError(f"removing {name}: {problem}. Remove the folder {folder} yourself.") from problem
        return {"collection": name, "bytes": size}

    def _sweep(self) -> None:
        """Remove what is left of a collection whose removal, or making, was cut off: nobody else could."""
        for folder in self.folder.glob("*/"):
            if (folder / STATED).exists():
                continue
            with suppress(DocumentError, OSError), changing_alone(folder, patience=0):
                if not (folder / STATED).exists():
                    shutil.rmtree(folder)

    def _refuse_no_name(self, name: str) -> None:
        if not NAME.fullmatch(name):
            raise DocumentError(
                f"a collection cannot be called {name!r:.80}: expected small letters, digits, '.', '_' and '-', 64 at "
                "most, beginning with a letter or digit."
            )
