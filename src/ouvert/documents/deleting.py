"""What is made of documents elsewhere, and how it goes with them: kept beginnings of prompts, and the deletion receipt.

Prompts with documents in them are kept under an owner of their own, named after who asks and which collections they may
read: so nobody without the same documents shares them, and deleting finds them without reading a token.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ouvert.documents.index import now

VERSION = 1
MARK, BETWEEN = "\x1fdocuments\x1f", ","
# What no deletion here can reach, and is therefore said.
REMAINS = (
    "answers, conversations and receipts kept with contents that quote it: delete those where they are kept",
    "the file that it was read from, if that is elsewhere",
    "what a solid-state disk has not yet overwritten, and copies that somebody made",
)


def prefix_owner(whose: str, collections: Iterable[str]) -> str:
    """The owner under which prompts with these collections in them are kept. Raises nothing."""
    return f"{whose}{MARK}{BETWEEN.join(sorted(set(collections)))}"


def uses_collection(owner: str, whose: str, collection: str) -> bool:
    """Whether what is kept under `owner` may hold words of that collection of `whose`. Raises nothing."""
    asker, mark, names = owner.partition(MARK)
    return bool(mark) and asker == whose and collection in names.split(BETWEEN)


def deletion_receipt(
    collection: str, removed: Sequence[Mapping[str, Any]], *, kept_prompts: int | None, in_memory: bool = True
) -> dict[str, Any]:
    """What was removed, by places and digests. `kept_prompts`: pages of kept prompts, None where none are kept on disk.

    Raises nothing."""
    return {
        "deletion": VERSION,
        "created": now(),
        "collection": collection,
        "removed": [dict(each) for each in removed],
        "kept_prompt_pages": kept_prompts,
        "kept_prompts_in_memory": "let go" if in_memory else "none",
        "box_copies": 0,  # the reader is given a file through a pipe, and its box is gone with it
        "remains": list(REMAINS),
    }
