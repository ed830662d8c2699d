"""GET /openapi.json: the interface described, from the same table and models that serve it."""

import re
from collections.abc import Iterable
from typing import Any

from pydantic.json_schema import models_json_schema
from starlette.responses import Response

from ouvert import __version__
from ouvert.serving.endpoints import Call, Endpoint
from ouvert.serving.streams import JSONAnswer

PARAMETER = re.compile(r"\{(\w+)(:path)?\}")
ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "anyOf": [
                {"type": "string"},
                {
                    "type": "object",
                    "required": ["message"],
                    "properties": {
                        "message": {"type": "string"},
                        "type": {"type": "string"},
                        "param": {"type": ["string", "null"]},
                        "code": {"type": ["string", "null"]},
                    },
                },
            ]
        }
    },
}


def describe(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """OpenAPI 3.1. Versioned endpoints are listed once, below /v1; they answer without it as well."""
    rows = tuple(endpoints)
    bodies = sorted({row.body for row in rows if row.body is not None}, key=lambda body: body.__name__)
    names, shared = models_json_schema(
        [(body, "validation") for body in bodies], ref_template="#/components/schemas/{model}"
    )
    paths: dict[str, dict[str, Any]] = {}
    for row in rows:
        path = PARAMETER.sub(r"{\1}", ("/v1" if row.versioned else "") + row.path)
        operation: dict[str, Any] = {
            "summary": row.summary,
            "operationId": f"{row.method.lower()}_{re.sub(r'[^a-z0-9]+', '_', row.path.lower()).strip('_') or 'root'}",
            "responses": {
                "200": {"description": "Done", "content": {row.answers: {}}},
                "default": {"description": "Refused", "content": {"application/json": {"schema": ERROR}}},
            },
        }
        if parameters := [match[1] for match in PARAMETER.finditer(row.path)]:
            operation["parameters"] = [
                {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in parameters
            ]
        if row.body is not None:
            content = {"application/json": {"schema": names[row.body, "validation"]}}
            operation["requestBody"] = {"required": True, "content": content}
        if row.public:
            operation["security"] = []
        paths.setdefault(path, {})[row.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Ouvert",
            "version": __version__,
            "description": "Open-weight models on this machine. Every path below /v1 answers without it as well.",
        },
        "paths": paths,
        "components": {
            "schemas": shared.get("$defs", {}),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}, {}],
    }


async def openapi(call: Call) -> Response:
    return JSONAnswer(call.request.app.state.description)


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/openapi.json",
        handler=openapi,
        summary="This description",
        public=True,
        versioned=False,
    ),
)
