"""GET /health, for whoever watches the server, and GET /metrics, for Prometheus."""

import time
from collections.abc import Iterable, Iterator
from typing import Any

from starlette.responses import Response

from ouvert.assistant import Model
from ouvert.serving.callers import identify
from ouvert.serving.endpoints import Call, Endpoint
from ouvert.serving.errors import Refusal
from ouvert.serving.loaded_models import LoadedModels
from ouvert.serving.streams import JSONAnswer


async def health(call: Call) -> Response:
    """200 as soon as requests are answered; a model may still be loading. `status` is "recovering" while one that
    failed is loaded again: requests to it get 503 until then.

    Counts are shown to callers who may see what is stored; a key for some models gets the counts of those alone."""
    service, loaded_models = call.service, call.service.loaded_models
    recovering = loaded_models.recovering()
    facts: dict[str, Any] = {
        "status": "recovering" if recovering else "ok",
        "uptime_seconds": round(time.time() - service.started),
    }
    try:
        caller = identify(call.request, service.keys, counted=False)
    except Refusal:  # this much is for everybody
        return JSONAnswer(facts)
    if caller.reads_stored:
        states = [state for name, state in loaded_models.states().items() if caller.admits(name)]
        answers = sum(each.count for each in service.answers.in_progress if caller.admits(each.model.info.name))
        recovering = loaded_models.recovering(caller.admits)
        facts |= {
            "status": "recovering" if recovering else "ok",
            "models_recovering": recovering,
            "models_loaded": states.count("loaded"),
            "models_loading": states.count("loading"),
            "answers": answers if caller.is_limited else service.answers.in_flight,
        }
        facts |= pool_facts(model for name, model in named_models(loaded_models) if caller.admits(name))
    return JSONAnswer(facts)


def named_models(loaded_models: LoadedModels) -> Iterator[tuple[str, Model]]:
    for entry in loaded_models.loaded():
        if entry.model is not None:
            yield entry.installed.name, entry.model


def pool_facts(models: Iterable[Model]) -> dict[str, Any]:
    """How the members of a pool are, where one computes."""
    members: list[dict[str, Any]] = [
        {
            "name": each.name,
            "state": "in" if each.is_in else "out",
            "running": each.running,
            "answers": each.answers,
            "lost": each.lost,
            "identity_digest": each.identity or None,
            "why": each.why,
        }
        for model in models
        for each in model.engine.load.members
    ]
    return {"pool": members} if members else {}


async def metrics(call: Call) -> Response:
    """A key for some models gets the numbers of those, and none that are of the whole server."""
    models = (entry.model for entry in call.service.loaded_models.loaded())
    call.service.metrics.observe(model for model in models if model is not None)
    text = call.service.metrics.text(call.caller.admits if call.caller.is_limited else None)
    return Response(text, media_type=call.service.metrics.content_type)


ENDPOINTS = (
    Endpoint(method="GET", path="/health", handler=health, summary="Whether the server answers", public=True),
    Endpoint(
        method="GET",
        path="/metrics",
        handler=metrics,
        summary="Counters for Prometheus",
        answers="text/plain",
        private=True,
    ),
)
