"""What clients are told of a model that is offered, whether it is in memory or not."""

from typing import Any

from ouvert.assistant import AssistantError
from ouvert.chat import ChatError
from ouvert.serving.service import Service
from ouvert.store import Installed

HARMONY_EFFORTS = ("low", "medium", "high")


def efforts_of(service: Service, installed: Installed) -> tuple[str, ...]:
    """The efforts a model has: as its format says if it is in memory; else by its name, for gpt-oss has them."""
    model = service.loaded_models.model_of(installed.called)
    if model is None:
        return HARMONY_EFFORTS if "gpt-oss" in installed.name.lower() else ()
    try:
        return model.chat_format.abilities.efforts
    except (AssistantError, ChatError):  # it has no chat format
        return ()


def facts_of(service: Service, installed: Installed, efforts: tuple[str, ...]) -> dict[str, Any]:
    """Its state and size; of one in memory also what it is."""
    state, progress = service.loaded_models.state_of(installed.called)
    model = service.loaded_models.model_of(installed.called)
    facts: dict[str, Any] = {"state": state, "size_bytes": installed.size, "efforts": list(efforts)}
    if progress is not None:
        facts["progress"] = round(progress, 3)
    if model is not None:
        info = model.info
        facts |= {"family": info.family, "parameters": info.parameters, "context": info.context}
        if info.embedding_size is not None:
            facts["embedding_size"] = info.embedding_size
    return facts
