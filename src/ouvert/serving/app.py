"""The application: every endpoint from one table, behind one guard."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from difflib import get_close_matches

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match, Route

from ouvert.serving import (
    agents,
    anthropic,
    causes,
    comparisons,
    corrections,
    document_endpoints,
    health,
    mcp,
    ollama,
    openai,
    openapi,
    receipts,
    token_ids,
    traces,
    tunings,
    web,
)
from ouvert.serving.body import Bounds
from ouvert.serving.callers import ANYBODY, identify, refuse_all_but_the_owner, refuse_strangers
from ouvert.serving.endpoints import Call, Endpoint, read_body
from ouvert.serving.errors import Dialect, Refusal, dialect_of, refusal_of
from ouvert.serving.job_kinds import JobKind
from ouvert.serving.job_runner import JobRunner
from ouvert.serving.origin_guard import HostAndOriginGuard, refuse_other_pages
from ouvert.serving.service import Service
from ouvert.serving.settings import Settings
from ouvert.serving.streams import ClientGone, JSONAnswer
from ouvert.store import SILENCE, Progress, Store

LOG = logging.getLogger("ouvert.serving")

ENDPOINTS: tuple[Endpoint, ...] = (
    *openai.ENDPOINTS,
    *anthropic.ENDPOINTS,
    *ollama.ENDPOINTS,
    *receipts.ENDPOINTS,
    *traces.ENDPOINTS,
    *causes.ENDPOINTS,
    *comparisons.ENDPOINTS,
    *tunings.ENDPOINTS,
    *agents.ENDPOINTS,
    *mcp.ENDPOINTS,
    *corrections.ENDPOINTS,
    *document_endpoints.ENDPOINTS,
    *health.ENDPOINTS,
    *web.ENDPOINTS,
    *openapi.ENDPOINTS,
)
# What is awaited once the models that were named have been loaded; with the refusals of those that could not be.
Ready = Callable[[Service, Sequence[Refusal]], Awaitable[None]]
# Of a server that is nothing but an engine.
ENGINE_ENDPOINTS: tuple[Endpoint, ...] = (
    *token_ids.ENDPOINTS,
    *openai.TOKENIZER_ENDPOINTS,
    *health.ENDPOINTS,
    *openapi.ENDPOINTS,
)
JOB_KINDS: tuple[JobKind, ...] = (openai.Batches(),)
LONGEST_GUESSED = 200
CLIENT_GONE = 499  # no client reads it; the counters show it


def make_app(
    settings: Settings,
    store: Store,
    *,
    progress: Progress = SILENCE,
    endpoints: Iterable[Endpoint] = ENDPOINTS,
    kinds: Iterable[JobKind] = JOB_KINDS,
    ready: Ready | None = None,
    comparison: comparisons.OpenComparison | None = None,
) -> Starlette:
    """The application. Models named in `settings` are loaded when it starts; `ready` is awaited after that. Without it
    the log names those that cannot be loaded. `kinds`: what it does as jobs, those of an earlier server included.
    `comparison`: what is shown side by side below /ouvert/comparison.

    Raises nothing. The application raises StoreError when it starts, if a model that is to be served is not here.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        service = app.state.service = Service(settings, store, progress)
        responses = app.state.responses = openai.ResponseStore(settings.stored_responses)
        inside = app.state.traces = traces.Traces()
        studies = app.state.studies = causes.Studies()
        rounds = app.state.rounds = comparisons.Rounds()
        agent_runs = app.state.agent_runs = agents.Runs(service)
        service.agents = agent_runs
        programs = app.state.mcp = mcp.OverHTTP(service)
        service.also_forgets += [inside.forget, studies.forget, rounds.forget]
        jobs = app.state.jobs = JobRunner(service, app, kinds)
        watch = asyncio.create_task(service.loaded_models.watch())
        keys = asyncio.create_task(service.watch_keys())
        cleared = asyncio.create_task(service.kept_prompts.watch_cleared())
        first = asyncio.create_task(load_named_models(service, ready))
        jobs.begin()
        try:
            yield
        finally:
            await jobs.pause()
            for task in (watch, keys, cleared, first):
                task.cancel()
            await asyncio.gather(watch, keys, cleared, first, return_exceptions=True)
            await programs.close()
            await agent_runs.close()
            await responses.close()
            await inside.close()
            await studies.close()
            await service.close()

    rows = tuple(endpoints)
    app = Starlette(
        routes=list(routes(rows)),
        lifespan=lifespan,
        exception_handlers={HTTPException: unknown_address},  # type: ignore[dict-item]
    )
    app.state.comparison = comparison
    app.state.description = openapi.describe(rows)
    app.add_middleware(HostAndOriginGuard, settings=settings)
    return app


async def serve_mcp(settings: Settings, store: Store, *, progress: Progress = SILENCE) -> None:
    """Answer the program that started this one, over standard input and output, until it closes them. Models are loaded
    when they are asked.

    Raises ImportError where the library mcp is not here, StoreError for a model that is to be served and is not.
    """
    service = Service(settings, store, progress)
    runs = service.agents = agents.Runs(service)
    try:
        await mcp.speak_stdio(service)
    finally:
        await runs.close()
        await service.close()


async def load_named_models(service: Service, ready: Ready | None) -> None:
    """Load the models that were named, one by one, and the adapters that were; then await `ready`."""
    refusals: list[Refusal] = []
    catalog = service.loaded_models.catalog

    async def load(name: str) -> None:
        try:
            (await service.loaded_models.lend(name)).give_back()
        except Exception as problem:
            refusal = refusal_of(problem)
            if refusal is None:
                raise
            refusals.append(refusal)

    for model in catalog.first:
        await load(model.called)
    for name in catalog.names_with_adapters():  # the weights of models that are no part of the store are known now
        await load(name)
    if ready is not None:
        await ready(service, refusals)
    else:
        for each in refusals:
            LOG.error("%s", each.message)


def routes(endpoints: Iterable[Endpoint]) -> Iterable[Route]:
    for endpoint in endpoints:
        serve = served(endpoint)
        yield Route(endpoint.path, serve, methods=[endpoint.method])
        if endpoint.both_ways:
            yield Route("/v1" + endpoint.path, serve, methods=[endpoint.method])


def served(endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint as Starlette calls it: key, body, handler, and every error in the endpoint's dialect."""

    async def serve(request: Request) -> Response:
        service: Service = request.app.state.service
        status = CLIENT_GONE
        try:
            caller = ANYBODY if endpoint.public else identify(request, service.keys)
            if endpoint.private or endpoint.owners:
                refuse_other_pages(request)
                refuse_strangers(caller)
            if endpoint.owners:
                refuse_all_but_the_owner(caller)
            body = None
            if endpoint.body is not None:
                settings = service.settings
                bounds = Bounds(
                    bytes=settings.body_bytes,
                    values=max(settings.body_values, endpoint.values),
                    seconds=settings.read_seconds,
                )
                body = await read_body(request, endpoint.body, bounds)
            response = await endpoint.handler(Call(service=service, request=request, body=body, caller=caller))
            status = response.status_code
        except (ClientGone, ClientDisconnect):
            response = Response(status_code=CLIENT_GONE)
        except Exception as problem:
            refusal = refusal_of(problem)
            if refusal is None:
                LOG.exception("%s %s", endpoint.method, endpoint.path)
                refusal = Refusal(500, "Something went wrong here, and the server's log says what.", code="internal")
            status = refusal.status
            response = refused(refusal, endpoint.dialect)
        service.metrics.requests.labels(endpoint.path, str(status)).inc()
        return response

    return serve


def refused(refusal: Refusal, dialect: Dialect) -> Response:
    headers = dict(refusal.headers)
    if refusal.retry_after is not None:
        headers["retry-after"] = str(refusal.retry_after)
    if refusal.status == 401:
        headers["www-authenticate"] = "Bearer"
    return JSONAnswer(dialect(refusal), refusal.status, headers)


async def unknown_address(request: Request, problem: HTTPException) -> Response:
    """The answer to an address that is not served, in the dialect of its clients, with the address they may mean."""
    path, app = request.url.path, request.app
    if problem.status_code == 405:
        methods = methods_at(app, path)
        message = f"{path} takes {' and '.join(methods)}, not {request.method}. /openapi.json describes what it takes."
        refusal = Refusal(405, message, code="method_not_allowed", headers={"allow": ", ".join(methods)})
    else:
        meant = address_meant(app, path)
        hint = f" Did you mean {meant}?" if meant else " /openapi.json describes what this server offers."
        message = f"There is nothing at {path!r:.200}.{hint}"
        refusal = Refusal(problem.status_code, message, code="not_found")
    return refused(refusal, dialect_of(path))


def methods_at(app: Starlette, path: str) -> list[str]:
    """The methods that an address takes, without HEAD."""
    scope = {"type": "http", "path": path, "root_path": "", "method": ""}
    found = {
        method
        for route in app.routes
        if isinstance(route, Route) and route.matches(scope)[0] is not Match.NONE
        for method in route.methods or ()
    }
    return sorted(found - {"HEAD"})


def address_meant(app: Starlette, path: str) -> str | None:
    """The address of this server that the client may have meant: without doubled parts and slashes, or spelt alike."""
    parts = [part for part in path.split("/") if part]
    plain = [part for n, part in enumerate(parts) if n == 0 or part != parts[n - 1]]
    while len(plain) > 1 and plain[1] == "v1":  # /api/v1/…, /openai/v1/…
        plain = plain[1:]
    candidate = "/" + "/".join(plain)
    if candidate != path and methods_at(app, candidate):
        return candidate
    if len(path) > LONGEST_GUESSED:
        return None
    fixed = [route.path for route in app.routes if isinstance(route, Route) and "{" not in route.path]
    return next(iter(get_close_matches(path, fixed, n=1, cutoff=0.8)), None)
