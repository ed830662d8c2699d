"""GET /health, for whoever watches the server, and GET /metrics, for Prometheus."""

import time

from starlette.responses import Response

from ouvert.serving.endpoints import Call, Endpoint
from ouvert.serving.streams import JSONAnswer


async def health(call: Call) -> Response:
    """200 as soon as requests are answered; a model may still be loading. `status` is "recovering" while one that
    failed is loaded again: requests to it get 503 until then."""
    residents = call.house.residents
    loading = sorted(name for name, state in residents.states().items() if state == "loading")
    recovering = residents.recovering()
    facts = {
        "status": "recovering" if recovering else "ok",
        "models_recovering": recovering,
        "models_loaded": len(residents.loaded()),
        "models_loading": len(loading),
        "answers": call.house.in_flight,
        "uptime_seconds": round(time.time() - call.house.started),
    }
    return JSONAnswer(facts)


async def metrics(call: Call) -> Response:
    models = (resident.model for resident in call.house.residents.loaded())
    call.house.metrics.observe(model for model in models if model is not None)
    return Response(call.house.metrics.text(), media_type=call.house.metrics.content_type)


ENDPOINTS = (
    Endpoint(method="GET", path="/health", handler=health, summary="Whether the server answers", public=True),
    Endpoint(
        method="GET",
        path="/metrics",
        handler=metrics,
        summary="Counters for Prometheus",
        answers="text/plain",
    ),
)
