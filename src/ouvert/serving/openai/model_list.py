"""GET /v1/models and /v1/models/{id}: what is offered, in OpenAI's shape with Anthropic's fields beside it."""

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ouvert.serving.callers import Caller
from ouvert.serving.catalog import created_at
from ouvert.serving.endpoints import Call, Endpoint
from ouvert.serving.model_facts import adapted, efforts_of, facts_of
from ouvert.serving.service import AGENT, Service
from ouvert.serving.streams import JSONAnswer
from ouvert.store import Installed


def entries(service: Service, caller: Caller) -> list[dict[str, Any]]:
    """One for every model, with each of its adapters too, and one for each effort that is offered as a suffix of its
    name; then the agents that this caller may use."""
    found = []
    for installed in service.loaded_models.catalog.every():
        if not caller.admits(installed.name):
            continue
        efforts = efforts_of(service, installed)
        for named in (installed, *adapted(service, installed)):
            for name in (named.called, *(f"{named.called}:{effort}" for effort in efforts)):
                found.append(entry(service, named, name, efforts))
    if service.agents is not None:
        for name, installed in service.agents.named(caller):
            found.append(entry(service, installed, name, ()))
    return found


def entry(service: Service, installed: Installed, name: str, efforts: tuple[str, ...]) -> dict[str, Any]:
    created = created_at(installed)
    model = service.loaded_models.model_of(installed.base.called)
    return {
        "id": name,
        "object": "model",
        "created": int(created.timestamp()),
        "owned_by": "ouvert",
        "type": "model",
        "display_name": name,
        "created_at": created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "lifecycle": "active",
        **({} if model is None else {"max_model_len": model.info.context, "max_input_tokens": model.info.context}),
        "ouvert": facts_of(service, installed, efforts),
    }


async def list_models(call: Call) -> Response:
    data = await asyncio.to_thread(entries, call.service, call.caller)
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return JSONAnswer({"object": "list", "data": data, "has_more": False, "first_id": first, "last_id": last})


async def one_model(call: Call) -> Response:
    name = name_in_path(call.request)
    if not name:  # /models/ is the list
        return await list_models(call)
    if name.startswith(AGENT) and call.service.agents is not None:
        installed = call.service.permitted(call.service.agents.model_of(name, call.caller), call.caller)
        return JSONAnswer(entry(call.service, installed, name, ()))
    installed = call.service.permitted(name, call.caller)
    return JSONAnswer(entry(call.service, installed, name, efforts_of(call.service, installed)))


def name_in_path(request: Request) -> str:
    return str(request.path_params["model"])


ENDPOINTS = (
    Endpoint(method="GET", path="/models", handler=list_models, summary="The models this server offers"),
    Endpoint(method="GET", path="/models/{model:path}", handler=one_model, summary="One of them"),
)
