"""The owner's documents: read in a box, found by their words, cited by page and character, deleted for good.

May import store, tokenization, safety, sandbox. Everything public is listed here and imported when it is first used, so
that the reader, a program of its own in the box, starts with nothing it does not need.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ouvert.documents.boxed import ENDINGS, Ran, Run, in_a_box
    from ouvert.documents.browser import Browser, BrowserError
    from ouvert.documents.citations import UNSUPPORTED, BrowserPages, Citations, Cited
    from ouvert.documents.collection import Changes, Collection, other_files_of
    from ouvert.documents.collections import Collections, Stated
    from ouvert.documents.database import encrypts
    from ouvert.documents.deleting import deletion_receipt, prefix_owner, uses_collection
    from ouvert.documents.error import DocumentError, UnreadableFile, WrongKey
    from ouvert.documents.found import Document, Found, Span
    from ouvert.documents.place import Place
    from ouvert.documents.sources import Sources, asking, consult

PUBLIC = {
    "ENDINGS": "boxed",
    "UNSUPPORTED": "citations",
    "Browser": "browser",
    "BrowserError": "browser",
    "BrowserPages": "citations",
    "Changes": "collection",
    "Citations": "citations",
    "Cited": "citations",
    "Collection": "collection",
    "Collections": "collections",
    "Document": "found",
    "DocumentError": "error",
    "Found": "found",
    "Place": "place",
    "Ran": "boxed",
    "Run": "boxed",
    "Sources": "sources",
    "Span": "found",
    "Stated": "collections",
    "UnreadableFile": "error",
    "WrongKey": "error",
    "asking": "sources",
    "consult": "sources",
    "encrypts": "database",
    "in_a_box": "boxed",
    "other_files_of": "collection",
    "prefix_owner": "deleting",
    "uses_collection": "deleting",
    "deletion_receipt": "deleting",
}

__all__ = [
    "ENDINGS",
    "UNSUPPORTED",
    "Browser",
    "BrowserError",
    "BrowserPages",
    "Changes",
    "Citations",
    "Cited",
    "Collection",
    "Collections",
    "Document",
    "DocumentError",
    "Found",
    "Place",
    "Ran",
    "Run",
    "Sources",
    "Span",
    "Stated",
    "UnreadableFile",
    "WrongKey",
    "asking",
    "consult",
    "deletion_receipt",
    "encrypts",
    "in_a_box",
    "other_files_of",
    "prefix_owner",
    "uses_collection",
]


def __getattr__(name: str) -> Any:
    if name not in PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{PUBLIC[name]}"), name)
