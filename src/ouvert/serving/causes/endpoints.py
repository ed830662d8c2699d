"""The endpoints below /ouvert/patches, /ouvert/ablations, /ouvert/microscopes and /ouvert/directions."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from starlette.responses import Response

from ouvert.inspection import Direction, read_direction, write_direction
from ouvert.serving.causes.requests import AblationBody, DirectionBody, MicroscopeBody, PatchBody, TrialBody, described
from ouvert.serving.causes.studies import Kind, Studies, Study, Work
from ouvert.serving.endpoints import Call, Endpoint, Handler
from ouvert.serving.errors import Refusal
from ouvert.serving.long_work import inside_endpoint
from ouvert.serving.streams import JSONAnswer, Streamed, sse
from ouvert.store import Directions, StoreError

WRITTEN = ("direction", "gguf", "npz", "safetensors")


async def begin(call: Call, kind: Kind, models: list[str], work: Work) -> Response:
    """Borrow the models, and begin: 202 with the study."""
    with ExitStack() as given_back:
        leases = []
        for name in models:
            leases.append(await call.service.borrow(name, call.caller))
            given_back.callback(leases[-1].give_back)
        study = Study(kind, call.caller.whose, work, call.body.words)
        given_back.pop_all()
    studies_of(call).begin(study, leases)
    return JSONAnswer(study.facts(), status_code=202)


async def patch(call: Call) -> Response:
    body: PatchBody = call.body
    return await begin(call, "patch", [body.model], body.work)


async def ablate(call: Call) -> Response:
    body: AblationBody = call.body
    return await begin(call, "ablation", [body.model], body.work)


async def look_closely(call: Call) -> Response:
    body: MicroscopeBody = call.body
    models = [body.model, *([] if body.against is None else [body.against])]
    return await begin(call, "microscope", models, body.work)


async def make_direction(call: Call) -> Response:
    body: DirectionBody = call.body
    kept = directions_of(call)
    refuse_wrong_name(kept, body.name)
    return await begin(call, "direction", [body.model], partial(body.work, kept))


async def test_direction(call: Call) -> Response:
    body: TrialBody = call.body
    direction = await asyncio.to_thread(kept_direction, call)
    return await begin(call, "direction_test", [body.model], partial(body.work, direction))


async def directions(call: Call) -> Response:
    names = await asyncio.to_thread(directions_of(call).names)
    return JSONAnswer({"object": "list", "data": [{"name": name, "object": "direction"} for name in names]})


async def direction(call: Call) -> Response:
    found = await asyncio.to_thread(kept_direction, call)
    return JSONAnswer(described(call.request.path_params["name"], found))


async def direction_file(call: Call) -> Response:
    form = call.request.query_params.get("as", WRITTEN[0])
    if form not in WRITTEN or call.request.query_params.keys() - {"as"}:
        raise Refusal(400, f"as={form!r:.40}, expected one of {', '.join(WRITTEN)}, and nothing else.", param="as")
    found = await asyncio.to_thread(kept_direction, call)
    name = f"{call.request.path_params['name']}.{form}"
    data = await asyncio.to_thread(written, found, name)
    headers = {"content-disposition": f'attachment; filename="{name}"', "cache-control": "no-store"}
    return Response(data, media_type="application/octet-stream", headers=headers)


def written(found: Direction, name: str) -> bytes:
    with TemporaryDirectory() as folder:
        write_direction(found, Path(folder) / name)
        return (Path(folder) / name).read_bytes()


async def remove_direction(call: Call) -> Response:
    name = call.request.path_params["name"]
    kept_path(call)
    await asyncio.to_thread(directions_of(call).remove, name)
    return JSONAnswer({"name": name, "object": "direction", "deleted": True})


def studies_of(call: Call) -> Studies:
    studies: Studies = call.request.app.state.studies
    return studies


def directions_of(call: Call) -> Directions:
    return Directions(call.service.store.home)


def refuse_wrong_name(kept: Directions, name: str) -> None:
    """Raises Refusal for a name that cannot be one, or is taken."""
    try:
        kept.check_new(name)
    except StoreError as problem:
        raise Refusal(409, str(problem), code="invalid_value", param="name") from None


def kept_path(call: Call) -> Path:
    """Raises Refusal for a direction that is not here."""
    try:
        return directions_of(call).path(call.request.path_params["name"])
    except StoreError as problem:
        raise Refusal(404, str(problem), code="not_found", param="name") from None


def kept_direction(call: Call) -> Direction:
    """Raises Refusal for a direction that is not here, InspectionError or CheckpointError for one that was spoilt."""
    return read_direction(kept_path(call), ours=True)


def listed(kind: Kind) -> Handler:
    async def handler(call: Call) -> Response:
        rows = [{**study.facts(), "result": None} for study in studies_of(call).all_of(kind, call.caller.whose)]
        return JSONAnswer({"object": "list", "data": rows})

    return handler


def study_of(call: Call, kind: Kind) -> Study:
    return studies_of(call).of(call.request.path_params["study_id"], kind, call.caller.whose)


def shown(kind: Kind) -> Handler:
    async def handler(call: Call) -> Response:
        return JSONAnswer(study_of(call, kind).facts())

    return handler


def followed(kind: Kind) -> Handler:
    async def handler(call: Call) -> Response:
        study = study_of(call, kind)

        async def pieces() -> AsyncIterator[bytes]:
            async for facts in study.events():
                yield sse(facts, kind)

        async def close() -> None:
            """Nothing is held."""

        return Streamed(pieces(), close)

    return handler


def removed(kind: Kind) -> Handler:
    async def handler(call: Call) -> Response:
        study = study_of(call, kind)
        studies_of(call).remove(study)
        return JSONAnswer({"id": study.id, "object": kind, "deleted": True})

    return handler


def studied(path: str, kind: Kind, what: str) -> tuple[Endpoint, ...]:
    """How a study of this kind is followed, read and removed."""
    return (
        inside_endpoint("GET", path, listed(kind), f"The {what}s that are kept"),
        inside_endpoint(
            "GET", f"{path}/{{study_id}}", shown(kind), f"A {what}: its state, and its result once it is done"
        ),
        inside_endpoint(
            "GET",
            f"{path}/{{study_id}}/events",
            followed(kind),
            f"How far a {what} is, as events",
            answers="text/event-stream",
        ),
        inside_endpoint("DELETE", f"{path}/{{study_id}}", removed(kind), f"Remove a {what}, or stop it"),
    )


ENDPOINTS = (
    inside_endpoint(
        "POST", "patches", patch, "Which layer and token carries the difference of two prompts", body=PatchBody
    ),
    *studied("patches", "patch", "patch"),
    inside_endpoint(
        "POST", "ablations", ablate, "What a metric loses without a head, an expert or a layer", body=AblationBody
    ),
    *studied("ablations", "ablation", "ablation"),
    inside_endpoint("POST", "microscopes", look_closely, "What few bits cost, layer by layer", body=MicroscopeBody),
    *studied("microscopes", "microscope", "microscope"),
    *studied("direction-runs", "direction", "direction that is made"),
    *studied("direction-tests", "direction_test", "test of a direction"),
    inside_endpoint("GET", "directions", directions, "The directions on this machine"),
    inside_endpoint(
        "POST", "directions", make_direction, "Make a direction from prompts", body=DirectionBody, owners=True
    ),
    inside_endpoint("GET", "directions/{name}", direction, "What is known of a direction"),
    inside_endpoint(
        "POST", "directions/{name}/tests", test_direction, "Test whether a direction is a cause", body=TrialBody
    ),
    inside_endpoint(
        "GET", "directions/{name}/file", direction_file, "The file of a direction", answers="application/octet-stream"
    ),
    inside_endpoint("DELETE", "directions/{name}", remove_direction, "Remove a direction", owners=True),
)
