"""/api/ui/models: the models that the page offers, and whether they fit into memory."""

import asyncio
from typing import Any

from starlette.responses import Response

from ouvert.assistant import bytes_in_memory, is_toy, size_of
from ouvert.serving.endpoints import Call
from ouvert.serving.errors import refusal_of
from ouvert.serving.model_facts import adapted, efforts_of, facts_of
from ouvert.serving.origin_guard import refuse_other_pages
from ouvert.serving.sentences import sentence_of
from ouvert.serving.streams import JSONAnswer
from ouvert.store import Installed

# A model that takes more of what models may use than this leaves little for its caches.
TIGHT = 0.85


async def list_models(call: Call) -> Response:
    refuse_other_pages(call.request)
    return JSONAnswer({"models": await asyncio.to_thread(model_records, call)})


def model_records(call: Call) -> list[dict[str, Any]]:
    """Every model this caller may use: its facts, its state, and whether it fits into what models may use here."""
    service = call.service
    records, stored = [], set(service.store.names())
    models = [each for each in service.loaded_models.catalog.every() if call.caller.admits(each.name)]
    for installed in [each for model in models for each in (model, *adapted(service, model))]:
        facts = facts_of(service, installed, efforts_of(service, installed))
        record = {
            "id": installed.called,
            "removable": installed.called in stored,
            **size_facts(installed),
            **facts,
        }
        if not record.pop("writes_text"):
            continue  # a model of embeddings holds no conversation
        if (room := service.settings.memory) is not None:
            needs = bytes_in_memory(installed, service.settings.load_options.get("precision"))
            state = fit(needs, room, experts=bool(record.get("experts")))
            record["fit"] = {"state": state, "needs_bytes": needs, "available_bytes": room}
        records.append(record)
    return records


def size_facts(installed: Installed) -> dict[str, Any]:
    """The size of a model, loaded or not. A model whose files cannot be read is listed with what is wrong with it."""
    try:
        size = size_of(installed)
    except Exception as problem:
        refusal = refusal_of(problem)
        return {"writes_text": True, "fault": sentence_of(problem) if refusal is None else refusal.message}
    return {
        "family": size.family,
        "parameters": size.parameters,
        "context": size.context,
        "toy": is_toy(size.parameters),
        "writes_text": size.writes_text,
        "experts": size.has_experts,
    }


def fit(needs: int, room: int, *, experts: bool = False) -> str:
    """Whether weights fit into the memory that models may use here. The server refuses to load what is too large, but
    it reads the `experts` of a mixture from disk."""
    if needs > room:
        return "tight" if experts else "too_large"
    return "tight" if needs > TIGHT * room else "fits"
