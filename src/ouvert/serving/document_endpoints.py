"""/ouvert/documents: a caller's collections of documents, added to, searched, shown and removed for good.

Each caller has their own; files are read in a box.
"""

import re
from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from ouvert.documents import Collection, deletion_receipt, uses_collection
from ouvert.serving.body import Bounds, read
from ouvert.serving.consulting import carried_out, collections_of, document_in, in_collection
from ouvert.serving.endpoints import Call, Endpoint
from ouvert.serving.errors import Refusal
from ouvert.serving.streams import JSONAnswer

MOST_FOUND = 100
LONGEST_MARKED = 8000  # characters that are marked on a page
CHARACTERS = re.compile(r"(\d{1,9})-(\d{1,9})", re.ASCII)
Result = TypeVar("Result")


class SearchBody(BaseModel):
    """`most`: how many passages at most."""

    model_config = ConfigDict(extra="forbid")

    question: str = Field(min_length=1, max_length=2000)
    most: int = Field(10, ge=1, le=MOST_FOUND)


def part(call: Call, name: str) -> str:
    return str(call.request.path_params[name])


async def within(call: Call, act: Callable[[Collection], Result], *, make: bool = False) -> Result:
    """What `act` gives of the caller's collection that the address names. Raises Refusal 404 where there is none."""
    return await in_collection(collections_of(call), part(call, "collection"), act, make=make)


async def list_collections(call: Call) -> Response:
    there = collections_of(call)
    stated = await carried_out(lambda: [there.stated(name) for name in there.names()])
    data = [{"name": each.name, "encrypted": each.encrypted, "created": each.created} for each in stated]
    return JSONAnswer({"object": "list", "data": data})


async def list_documents(call: Call) -> Response:
    found = await within(call, lambda collection: collection.documents)
    return JSONAnswer({"object": "list", "data": [shown(each.facts) for each in found]})


def shown(facts: dict[str, Any]) -> dict[str, Any]:
    """Without the place on this machine that a document was read from."""
    return {name: value for name, value in facts.items() if name != "source"}


async def add_document(call: Call) -> Response:
    """The body is the file itself."""
    settings, name = call.service.settings, part(call, "document")
    bounds = Bounds(bytes=settings.file_bytes, values=0, seconds=settings.read_seconds)
    data = await read(call.request, bounds, counted=False)
    added = await within(call, lambda collection: collection.add(name, data), make=True)
    return JSONAnswer(shown(added.facts), 201)


async def show_document(call: Call) -> Response:
    def texts(collection: Collection) -> dict[str, Any]:
        document = document_in(collection, part(call, "document"))
        pages = [
            {
                "page": page,
                "start": start,
                "stop": stop,
                "scan": scan,
                "text": collection.text(document.id, start, stop),
            }
            for page, start, stop, scan in collection.pages(document.id)
        ]
        return {**shown(document.facts), "pages": pages}

    return JSONAnswer(await within(call, texts))


async def show_page(call: Call) -> Response:
    """`mark`: words, or `chars`: a place of the text, START-STOP."""
    asked = call.request.query_params
    marked, chars = asked.get("mark", "")[:LONGEST_MARKED], asked.get("chars")
    page = part(call, "page")
    if not page.isdecimal() or len(page) > 6:
        raise Refusal(404, f"There is no page {page!r:.40}.", code="page_not_found")
    span = None if chars is None else characters_in(chars)

    def drawn(collection: Collection) -> bytes:
        document = document_in(collection, part(call, "document")).id
        if span is None:
            return collection.picture(document, int(page), marked)
        place = collection.place(document, *span)
        return collection.picture(document, int(page), place.quote[:LONGEST_MARKED], place.nth)

    return Response(await within(call, drawn), media_type="image/png", headers={"cache-control": "no-store"})


def characters_in(chars: str) -> tuple[int, int]:
    """Raises Refusal 400 for what names no characters."""
    found = CHARACTERS.fullmatch(chars)
    if found is None:
        raise Refusal(400, f"The place {chars!r:.40} is none: expected START-STOP, such as 120-164.", code="no_place")
    return int(found[1]), int(found[2])


async def show_place(call: Call) -> Response:
    """What a citation leads to."""
    span = characters_in(part(call, "place"))

    def found(collection: Collection) -> dict[str, Any]:
        return collection.place(document_in(collection, part(call, "document")).id, *span).facts

    return JSONAnswer(await within(call, found))


async def update(call: Call) -> Response:
    """Read again what was added from this machine's disk and has changed there, and what is new in its folders."""
    return JSONAnswer(await within(call, lambda collection: collection.update().facts))


async def search(call: Call) -> Response:
    body: SearchBody = call.body
    found = await within(call, lambda collection: collection.search(body.question, body.most))
    return JSONAnswer({"object": "list", "data": [each.facts for each in found]})


async def remove_document(call: Call) -> Response:
    def removed(collection: Collection) -> dict[str, Any]:
        return collection.remove(document_in(collection, part(call, "document")))

    return await forgotten(call, await within(call, removed))


async def remove_collection(call: Call) -> Response:
    there, name = collections_of(call), part(call, "collection")
    if name not in there.names():
        raise Refusal(404, f"There is no collection {name!r:.80} of yours here.", code="collection_not_found")
    return await forgotten(call, await carried_out(lambda: there.remove(name)))


async def forgotten(call: Call, removed: dict[str, Any]) -> Response:
    """The deletion receipt, once the kept prompts that held words of the collection are gone."""
    name, service = part(call, "collection"), call.service
    whose = service.owner_of_prefixes(call.caller)
    for forget in service.also_forgets:
        forget(None, call.caller.whose)
    pages = await service.kept_prompts.forget_owners(lambda owner: uses_collection(owner, whose, name))
    return JSONAnswer(deletion_receipt(name, [removed], kept_prompts=pages))


def endpoint(method: str, path: str, handler: Any, summary: str, **more: Any) -> Endpoint:
    return Endpoint(
        method=method,
        path=f"/ouvert/documents{path}",
        handler=handler,
        summary=summary,
        private=True,
        versioned=False,
        both_ways=False,
        **more,
    )


ENDPOINTS = (
    endpoint("GET", "", list_collections, "Collections of documents"),
    endpoint("GET", "/{collection}", list_documents, "The documents of a collection"),
    endpoint("DELETE", "/{collection}", remove_collection, "Remove a collection for good"),
    endpoint("POST", "/{collection}/search", search, "The passages that fit a question best", body=SearchBody),
    endpoint("POST", "/{collection}/update", update, "Read again what has changed on the disk of the server"),
    endpoint("PUT", "/{collection}/{document}", add_document, "Add a file, which is the body, to a collection"),
    endpoint("GET", "/{collection}/{document}", show_document, "The text of a document, page by page"),
    endpoint("DELETE", "/{collection}/{document}", remove_document, "Remove a document for good"),
    endpoint("GET", "/{collection}/{document}/places/{place}", show_place, "The page around a cited place of the text"),
    endpoint(
        "GET",
        "/{collection}/{document}/pages/{page}",
        show_page,
        "A page of a PDF as a picture, with the words of `mark` or the place `chars` marked",
        answers="image/png",
    ),
)
