"""Documents in requests, `"ouvert": {"documents": ["contracts"]}`: whose they are, and citations in every dialect.

docs/formats/documents.md describes both.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Annotated, Any, ClassVar
from urllib.parse import quote

from pydantic import Field

from ouvert.assistant import ChatRequest
from ouvert.documents import Collections, Sources, consult, in_a_box
from ouvert.serving import receipts
from ouvert.serving.callers import refuse_strangers, refuse_without_scope
from ouvert.serving.endpoints import Call
from ouvert.serving.errors import Refusal

MOST_COLLECTIONS = 16
LONGEST = 64  # characters of a name
SCOPE = "documents"


class Extras(receipts.Extras):
    """`documents`: the collections that are asked; passages of them are put before the question."""

    refused: ClassVar[Mapping[str, str]] = {
        name: why for name, why in receipts.Extras.refused.items() if name != "documents"
    }

    documents: Annotated[list[Annotated[str, Field(max_length=LONGEST)]], Field(max_length=MOST_COLLECTIONS)] = Field(
        default_factory=list
    )


def collections_of(call: Call) -> Collections:
    """The caller's own collections. Raises Refusal for a caller who may have none."""
    refuse_strangers(call.caller)
    refuse_without_scope(call.caller, SCOPE)
    passphrase = call.service.settings.documents_passphrase
    return Collections(call.service.store.home, in_a_box(), owner=call.caller.whose, passphrase=lambda name: passphrase)


def consulted(wanted: ChatRequest, stated: Any, call: Call) -> ChatRequest:
    """The request with the documents that were stated beside it. Raises Refusal for a caller who may not read them, and
    where one is not there."""
    if not isinstance(stated, Extras) or not stated.documents:
        return wanted
    there = collections_of(call)
    names = tuple(dict.fromkeys(stated.documents))
    for n, name in enumerate(names):
        if name not in there.names():
            place = f"ouvert.documents[{n}]"
            sentence = f"{place}: there is no collection {name!r:.80} of yours here."
            raise Refusal(404, sentence, code="collection_not_found", param=place)

    def find(question: str, context: int) -> Sources:
        with ExitStack() as opened:
            return consult([opened.enter_context(there.open(name)) for name in names], question, context=context)

    return replace(wanted, consult=find)


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
