"""Documents in requests, `"ouvert": {"documents": ["contracts"]}`: whose they are, and citations in every dialect.

docs/formats/documents.md describes both.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Annotated, Any, ClassVar, TypeVar
from urllib.parse import quote

from pydantic import Field

from ouvert.assistant import ChatRequest
from ouvert.documents import (
    Collection,
    Collections,
    Document,
    DocumentError,
    Sources,
    UnreadableFile,
    WrongKey,
    consult,
    in_a_box,
)
from ouvert.serving import receipts
from ouvert.serving.callers import Caller, refuse_strangers, refuse_without_scope
from ouvert.serving.endpoints import Call
from ouvert.serving.errors import Refusal
from ouvert.serving.sentences import sentence_of
from ouvert.serving.service import Service

MOST_COLLECTIONS = 16
LONGEST = 64  # characters of a name
SCOPE = "documents"
Result = TypeVar("Result")


class Extras(receipts.Extras):
    """`documents`: the collections that are asked; passages of them are put before the question."""

    refused: ClassVar[Mapping[str, str]] = {
        name: why for name, why in receipts.Extras.refused.items() if name != "documents"
    }

    documents: Annotated[list[Annotated[str, Field(max_length=LONGEST)]], Field(max_length=MOST_COLLECTIONS)] = Field(
        default_factory=list
    )


def collections_of(call: Call) -> Collections:
    """The collections of whoever asks. Raises Refusal for a caller who may have none."""
    return collections_for(call.service, call.caller)


def collections_for(service: Service, caller: Caller) -> Collections:
    """This caller's own collections. Raises Refusal for a caller who may have none."""
    refuse_strangers(caller)
    refuse_without_scope(caller, SCOPE)
    passphrase = service.settings.documents_passphrase
    return Collections(service.store.home, in_a_box(), owner=caller.whose, passphrase=lambda name: passphrase)


def consulted(wanted: ChatRequest, stated: Any, call: Call) -> ChatRequest:
    """The request with the documents that were stated beside it. Raises Refusal for a caller who may not read them, and
    where one is not there."""
    if not isinstance(stated, Extras) or not stated.documents:
        return wanted
    return from_documents(wanted, stated.documents, call.service, call.caller, field="ouvert.documents")


def from_documents(
    wanted: ChatRequest, stated: Sequence[str], service: Service, caller: Caller, *, field: str
) -> ChatRequest:
    """The request, answered from these collections. `field`: where their names stood. Raises Refusal for a caller who
    may not read them, and where one is not there."""
    there = collections_for(service, caller)
    names = tuple(dict.fromkeys(stated))
    for n, name in enumerate(names):
        if name not in there.names():
            place = f"{field}[{n}]"
            sentence = f"{place}: there is no collection {name!r:.80} of yours here."
            raise Refusal(404, sentence, code="collection_not_found", param=place)

    def find(question: str, context: int) -> Sources:
        with ExitStack() as opened:
            return consult([opened.enter_context(there.open(name)) for name in names], question, context=context)

    return replace(wanted, consult=find)


async def carried_out(act: Callable[[], Result]) -> Result:
    """What `act` gives, from a thread. Raises Refusal for what documents cannot."""
    try:
        return await asyncio.to_thread(act)
    except UnreadableFile as problem:
        raise Refusal(422, sentence_of(problem), code="file_unreadable") from problem
    except WrongKey as problem:
        sentence = "The collection is encrypted, and this server has not its key. Its owner starts it with the key."
        raise Refusal(409, sentence, code="collection_locked") from problem
    except DocumentError as problem:
        raise Refusal(400, sentence_of(problem), code="documents_unusable") from problem


async def in_collection(
    there: Collections, name: str, act: Callable[[Collection], Result], *, make: bool = False
) -> Result:
    """What `act` gives of the collection of that name. `make`: it is made where there is none, and kept if something is
    in it then. Raises Refusal 404 where there is none, and for what documents cannot."""
    known = name in there.names()
    if not known and not make:
        raise Refusal(404, f"There is no collection {name!r:.80} of yours here.", code="collection_not_found")

    def opened() -> Result:
        with there.open(name) if known else there.begun(name) as collection:
            return act(collection)

    return await carried_out(opened)


def document_in(collection: Collection, named: str) -> Document:
    """The document of that id or name. Raises Refusal 404 where there is none, DocumentError where several have the
    name."""
    if all(named not in (each.id, each.name) for each in collection.documents):
        raise Refusal(404, f"There is no document {named!r:.80} in {collection.name}.", code="document_not_found")
    return collection.document(named)


def address_of(facts: Mapping[str, Any], base: str) -> str:
    """Where the cited place can be read on this server."""
    place = f"page={facts['page']}&chars={facts['start']}-{facts['stop']}"
    return f"{base}ouvert/documents/{quote(facts['collection'])}/{facts['document']}#{place}"


def as_url_citation(facts: Mapping[str, Any], base: str) -> dict[str, Any]:
    """OpenAI's `url_citation`."""
    page = f", page {facts['page']}" if facts["paged"] else ""
    return {
        "start_index": facts["start_index"],
        "end_index": facts["end_index"],
        "title": f"{facts['name']}{page}",
        "url": address_of(facts, base),
    }


def as_annotations(facts: Mapping[str, Any], base: str) -> list[dict[str, Any]]:
    """Of Responses: the file, and the place in it."""
    file = {
        "type": "file_citation",
        "file_id": facts["document"],
        "filename": facts["name"],
        "index": facts["start_index"],
    }
    return [file, {"type": "url_citation", **as_url_citation(facts, base)}]


def as_location(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Anthropic's `page_location`, and `char_location` of documents that have no pages; ends are behind the last."""
    common = {
        "cited_text": facts["quote"],
        "document_index": int(facts["mark"].strip("[]")) - 1,
        "document_title": facts["name"],
        "file_id": facts["document"],
    }
    if facts["paged"]:
        pages = {"start_page_number": facts["page"], "end_page_number": facts["page"] + 1}
        return {"type": "page_location", **common, **pages}
    return {
        "type": "char_location",
        **common,
        "start_char_index": facts["start"],
        "end_char_index": facts["stop"],
    }
