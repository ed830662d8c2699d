"""What clients are told of a model that is offered, whether it is in memory or not."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

from ouvert.assistant import AssistantError
from ouvert.chat import ChatError
from ouvert.serving.service import Service
from ouvert.store import Installed, StoreError, shown_state

HARMONY_EFFORTS = ("low", "medium", "high")


def adapted(service: Service, installed: Installed) -> Iterator[Installed]:
    """A model with each of the adapters that are offered with it now. Raises nothing."""
    for record in service.loaded_models.catalog.adapters_of(installed):
        yield replace(installed, adapters=(record.name,))


def adapter_facts(service: Service, installed: Installed) -> list[dict[str, Any]]:
    """What is known of the adapters that a name asks for; nothing of one that has just been removed. Raises nothing."""
    found = []
    for name in installed.adapters:
        with suppress(StoreError):
            record = service.store.adapters.record(name)
            facts = {"name": name, "digest": record.digest, "state": record.state, "shown": shown_state(record.state)}
            found.append(facts)
    return found


def efforts_of(service: Service, installed: Installed) -> tuple[str, ...]:
    """The efforts a model has: as its format says if it is in memory; else by its name, for gpt-oss has them."""
    model = service.loaded_models.model_of(installed.base.called)
    if model is None:
        return HARMONY_EFFORTS if "gpt-oss" in installed.name.lower() else ()
    try:
        return model.chat_format.abilities.efforts
    except (AssistantError, ChatError):  # it has no chat format
        return ()


def facts_of(service: Service, installed: Installed, efforts: tuple[str, ...]) -> dict[str, Any]:
    """Its state and size; of one in memory also what it is."""
    state, progress = service.loaded_models.state_of(installed.base.called)
    model = service.loaded_models.model_of(installed.base.called)
    facts: dict[str, Any] = {"state": state, "size_bytes": installed.size, "efforts": list(efforts)}
    if installed.adapters:
        facts["adapters"] = adapter_facts(service, installed)
    if progress is not None:
        facts["progress"] = round(progress, 3)
    if model is not None:
        info = model.info
        facts |= {"family": info.family, "parameters": info.parameters, "context": info.context}
        if info.embedding_size is not None:
            facts["embedding_size"] = info.embedding_size
    return facts
