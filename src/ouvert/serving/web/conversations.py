"""The conversations of the web page, kept on this machine: one JSON file each, readable by their owner only."""

import json
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from ouvert.serving.sentences import sentence_of
from ouvert.serving.web.conversation_format import ID, VERSION, Conversation, ConversationError, check, summary
from ouvert.serving.web.conversation_search import fold, matches
from ouvert.store import read_regular

MOST_BYTES = 32 << 20  # a conversation as JSON; a person types and pastes less, a script that sends more has a fault
EXPORT = "ouvert_export"


class NoSuchConversation(ConversationError):  # noqa: N818, it says what is the case
    """There is none of that id."""


class ChangedMeanwhile(ConversationError):  # noqa: N818
    """Another window wrote it since the caller read it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Damaged:
    """A file in the folder that is not a conversation: shown, never deleted and never passed over in silence."""

    file: str
    fault: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Newest first."""

    conversations: tuple[dict[str, Any], ...]
    damaged: tuple[Damaged, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """Ids of what an import brought: new ones, ones that were already here, and ones that got another id."""

    added: tuple[str, ...]
    unchanged: tuple[str, ...]
    copied: tuple[str, ...]


def new_id() -> str:
    return secrets.token_hex(12)


class Conversations:
    """All conversations in one folder. Safe to use from several threads and processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def listing(self, query: str = "") -> Listing:
        """Summaries of all conversations in which every word of `query` occurs, capitals and accents aside."""
        words = fold(query).split()
        found: list[dict[str, Any]] = []
        damaged: list[Damaged] = []
        for path in self._files():
            try:
                conversation = self._read(path)
            except NoSuchConversation:
                continue  # deleted while we were listing
            except ConversationError as problem:
                damaged.append(Damaged(file=path.name, fault=sentence_of(problem)))
                continue
            if (match := matches(conversation, words)) is not None:
                found.append(summary(conversation) | match)
        found.sort(key=lambda each: (each["updated"], each["id"]), reverse=True)
        return Listing(conversations=tuple(found), damaged=tuple(damaged))

    def get(self, conversation_id: str) -> Conversation:
        return self._read(self._path(conversation_id))

    def put(self, conversation_id: str, stated: object) -> Conversation:
        """Keep this conversation and hand back what was kept: see `exchange`."""
        return self.exchange(conversation_id, stated)[1]

    def exchange(self, conversation_id: str, stated: object) -> tuple[Conversation | None, Conversation]:
        """Keep this conversation; hand back what was kept before it, if anything, and what is kept now.

        Its `revision` is that of the version it was made from: ChangedMeanwhile if the kept one has another. A new
        conversation has revision 0.
        """
        conversation = check(stated)
        if conversation["id"] != conversation_id:
            raise ConversationError(
                f"Keeping conversation {conversation_id}: the body's id is {conversation['id']!r}. "
                "Send the same id twice."
            )
        path = self._path(conversation_id)
        with self._lock():
            try:
                before = self._read(path)
            except NoSuchConversation:
                before = None
            kept_revision = 0 if before is None else before["revision"]
            if conversation["revision"] != kept_revision:
                raise ChangedMeanwhile(
                    f"Keeping conversation {conversation_id}: it was made from revision {conversation['revision']}, "
                    f"but revision {kept_revision} is kept. Read it, merge, then send it with that revision."
                )
            now = datetime.now(UTC).isoformat(timespec="microseconds")
            conversation["revision"] = kept_revision + 1
            conversation["created"] = now if before is None else before["created"]
            conversation["updated"] = now
            self._write(path, conversation)
        return before, conversation

    def delete(self, conversation_id: str) -> Conversation | None:
        """Delete it and hand back what it held; None where the file was damaged."""
        path = self._path(conversation_id)
        with self._lock():
            try:
                gone = self._read(path)
            except NoSuchConversation:
                raise NoSuchConversation(
                    f"There is no conversation {conversation_id}: it may be deleted already."
                ) from None
            except ConversationError:
                gone = None
            path.unlink(missing_ok=True)
        return gone

    def delete_all(self) -> int:
        """Delete every conversation, damaged files included; how many there were."""
        gone = 0
        with self._lock():
            for path in self._files():
                path.unlink(missing_ok=True)
                gone += 1
        return gone

    def export(self) -> dict[str, Any]:
        """Everything in one value that import_all takes. ConversationError if a file is damaged: an export is whole."""
        return {
            EXPORT: VERSION,
            "created": datetime.now(UTC).isoformat(timespec="microseconds"),
            "conversations": [self._read(path) for path in self._files()],
        }

    def import_all(self, stated: object, new_id: Callable[[], str]) -> Imported:
        """Keep all conversations of an export, or a single one. All are checked before the first is written.

        Nothing here is overwritten: one whose id is taken by a different conversation gets a new id.
        """
        if isinstance(stated, Mapping) and EXPORT in stated:
            if stated[EXPORT] != VERSION or not isinstance(stated.get("conversations"), list):
                raise ConversationError(
                    f"Importing: {EXPORT} is {stated[EXPORT]!r}, expected {VERSION} and a list `conversations`. "
                    "Export again with this version of Ouvert."
                )
            conversations = [check(each) for each in stated["conversations"]]
        else:
            conversations = [check(stated)]
        added: list[str] = []
        unchanged: list[str] = []
        copied: list[str] = []
        with self._lock():
            for conversation in conversations:
                now = datetime.now(UTC).isoformat(timespec="microseconds")
                conversation.setdefault("created", now)
                conversation.setdefault("updated", now)
                conversation["revision"] = max(1, conversation["revision"])
                path = self._path(conversation["id"])
                if path.exists():
                    if self._read(path) == conversation:
                        unchanged.append(conversation["id"])
                        continue
                    conversation["id"] = new_id()
                    path = self._path(conversation["id"])
                    copied.append(conversation["id"])
                else:
                    added.append(conversation["id"])
                self._write(path, conversation)
        return Imported(added=tuple(added), unchanged=tuple(unchanged), copied=tuple(copied))

    def _path(self, conversation_id: str) -> Path:
        if not ID.fullmatch(conversation_id):
            raise ConversationError(
                f"{conversation_id[:80]!r} is not a conversation's id: expected 16 to 32 letters a-z and digits."
            )
        return self.folder / f"{conversation_id}.json"

    def _files(self) -> Iterator[Path]:
        if self.folder.is_dir():
            yield from sorted(path for path in self.folder.glob("*.json") if ID.fullmatch(path.stem))

    def _lock(self) -> FileLock:
        self._make_folder()
        return FileLock(self.folder / ".lock", mode=0o600)

    def _make_folder(self) -> None:
        for folder in (*reversed(self.folder.parents), self.folder):
            folder.mkdir(mode=0o700, exist_ok=True)

    def _read(self, path: Path) -> Conversation:
        try:
            text = read_regular(path).decode("utf-8")
        except FileNotFoundError:
            raise NoSuchConversation(f"There is no conversation {path.stem}: it may have been deleted.") from None
        except OSError as problem:
            raise ConversationError(
                f"{path} cannot be read ({problem.strerror}). Make it a file of yours, or delete it."
            ) from None
        except UnicodeDecodeError as problem:
            raise ConversationError(
                f"{path}: not UTF-8 ({problem}). Restore it from an export, or delete it."
            ) from None
        try:
            return check(json.loads(text))
        except json.JSONDecodeError as problem:
            raise ConversationError(f"{path}: not JSON ({problem}). Restore or delete it.") from None
        except RecursionError:
            raise ConversationError(f"{path}: nested too deeply. Restore or delete it.") from None

    def _write(self, path: Path, conversation: Conversation) -> None:
        """Write the whole file or nothing: first beside it, flushed, then renamed. mkstemp makes files of mode 0600."""
        try:
            content = json.dumps(conversation, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
        except (ValueError, RecursionError) as problem:  # NaN, half a surrogate pair, a receipt nested without end
            raise ConversationError(
                f"Keeping conversation {conversation['id']}: it cannot be written as JSON in UTF-8 ({problem})."
            ) from None
        if len(content) > MOST_BYTES:
            raise ConversationError(
                f"Keeping conversation {conversation['id']}: it has {len(content)} bytes, at most {MOST_BYTES} are "
                "kept. Begin a new conversation."
            )
        handle, beside = tempfile.mkstemp(dir=self.folder, prefix=".writing-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, path)
        except BaseException:
            Path(beside).unlink(missing_ok=True)
            raise
