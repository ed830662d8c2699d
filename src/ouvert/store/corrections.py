"""Answers that the owner corrected: what was said, what was answered, what should have been. One file each, the owner's
alone (docs/formats/tuning-data.md, "Corrections"). `tuning` reads them, and their export, as they are."""

import json
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ouvert.store.error import StoreError
from ouvert.store.jobs.private_files import make_private_folder, write_json, write_whole

VERSION = 1
ID = re.compile(r"[a-z0-9]{16,32}")
SUFFIX = ".json"
OPTIONAL = frozenset({"tools", "reasoning_effort", "model", "receipt"})
KEYS = frozenset({"ouvert_correction", "id", "created", "messages", "given", "wanted"})
LARGEST = 16_000_000  # bytes of one correction: longer than any conversation that is trained


@dataclass(frozen=True, slots=True)
class Correction:
    """`facts` is its file, whole. Two are the same if their conversation and both answers are."""

    id: str
    facts: Mapping[str, Any]

    @property
    def created(self) -> str:
        """ISO 8601, UTC. Raises nothing."""
        return str(self.facts["created"])

    @property
    def asked(self) -> str:
        """What the user said last before the answer. Raises nothing."""
        said = [each.get("content") for each in self.facts["messages"] if each.get("role") == "user"]
        return str(said[-1]) if said else ""


class Corrections:
    """The corrections below the store's folder. Making one raises nothing, and creates nothing."""

    def __init__(self, home: Path) -> None:
        self.folder = home / "corrections"

    def all(self) -> tuple[Correction, ...]:
        """Oldest first. Raises StoreError for a file that cannot be understood."""
        paths = sorted(self.folder.glob(f"[!.]*{SUFFIX}"))
        return tuple(sorted((self._read(path) for path in paths), key=lambda each: (each.created, each.id)))

    def add(self, said: Mapping[str, Any]) -> Correction:
        """Keep a correction: `messages` (the conversation, without the answer), `given`, `wanted`, and what else is
        known: `tools`, `reasoning_effort`, `model`, `receipt` (its digest). Whole or not at all. The same conversation
        with the same answer given has one correction: the newer replaces the older.

        Raises StoreError, by name, for what is no correction; OSError if the folder cannot be written.
        """
        require_correction(said)
        same = next((each for each in self.all() if same_answer(each.facts, said)), None)
        identity = secrets.token_hex(8) if same is None else same.id
        facts = {"ouvert_correction": VERSION, "id": identity, "created": now(), **said}
        make_private_folder(self.folder)
        write_json(self.folder / f"{identity}{SUFFIX}", facts)
        return Correction(identity, facts)

    def remove(self, identity: str) -> None:
        """Raises StoreError if there is none of that id."""
        path = self.folder / f"{identity}{SUFFIX}"
        if not ID.fullmatch(identity) or not path.is_file():
            raise StoreError(
                f"there is no correction {identity!r:.80} on this machine. `ouvert corrections list` shows their ids."
            )
        path.unlink()

    def export(self, path: Path, *, replace: bool = False) -> int:
        """All of them as JSON Lines, which `ouvert tune` takes as it is, for this user alone. Returns how many.

        Raises StoreError where there are none, or `path` is there already (unless `replace`); OSError if it cannot be
        written.
        """
        found = self.all()
        if not found:
            raise StoreError(
                "there are no corrections on this machine yet. Correct an answer in the page (the pencil below it), "
                "and it is kept here."
            )
        if path.exists() and not replace:
            raise StoreError(f"{path} is there already. Choose another name, or remove it first.")
        write_whole(path, lines_of(found))
        return len(found)

    def _read(self, path: Path) -> Correction:
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
            require_correction({key: facts[key] for key in facts.keys() - {"ouvert_correction", "id", "created"}})
            if facts["ouvert_correction"] != VERSION or not isinstance(facts["created"], str):
                raise StoreError("it is of another version, or its time is missing")
        except (OSError, ValueError, KeyError, AttributeError, StoreError) as problem:
            raise StoreError(
                f"the correction {path} cannot be read: {problem}. Remove the file, or mend it "
                "(docs/formats/tuning-data.md)."
            ) from problem
        return Correction(path.name.removesuffix(SUFFIX), facts)


def require_correction(said: Mapping[str, Any]) -> None:
    """Raises StoreError for what is no correction. What its messages may be, `tuning` says."""
    if unknown := sorted(said.keys() - (KEYS | OPTIONAL) | (said.keys() & {"ouvert_correction", "id", "created"})):
        raise refused(f"it has the keys {', '.join(map(str, unknown))[:200]}")
    messages = said.get("messages")
    if not isinstance(messages, Sequence) or not messages or not all(is_message(each) for each in messages):
        raise refused("messages is no list of messages with a role")
    if messages[-1]["role"] == "assistant":
        raise refused("messages end with the assistant's, and the answer belongs into given and wanted")
    for key in ("given", "wanted"):
        if not isinstance(said.get(key), str) or not said[key].strip():
            raise refused(f"{key} is no text")
    if said["given"] == said["wanted"]:
        raise refused("wanted is what was given: nothing was corrected")
    if not all(isinstance(said.get(key, ""), str) for key in ("model", "receipt", "reasoning_effort")):
        raise refused("model, receipt or reasoning_effort is no text")
    if len(json.dumps(said)) > LARGEST:
        raise refused(f"it is larger than {LARGEST} bytes")


def refused(what: str) -> StoreError:
    return StoreError(
        f"keeping a correction: {what}. Expected messages, given (the answer as it was) and wanted (as it should be), "
        "and perhaps tools, reasoning_effort, model, receipt: docs/formats/tuning-data.md."
    )


def is_message(value: Any) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("role"), str)


def same_answer(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return bool(one["messages"] == other["messages"] and one["given"] == other["given"])


def lines_of(found: Sequence[Correction]) -> Iterator[bytes]:
    for each in found:
        yield json.dumps(each.facts, ensure_ascii=False).encode() + b"\n"


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
