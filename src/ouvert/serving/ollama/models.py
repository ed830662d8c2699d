"""/api/tags, ps and show: which models there are, and what they can do."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from pydantic import Field
from starlette.responses import Response

from ouvert.serving.catalog import LATEST, created_at
from ouvert.serving.endpoints import Call
from ouvert.serving.errors import Refusal
from ouvert.serving.model_facts import adapted, adapter_facts
from ouvert.serving.streams import JSONAnswer
from ouvert.serving.text_continuation import GAP_TOKENS
from ouvert.serving.wire import Wire
from ouvert.store import Installed

FOR_GOOD = timedelta(days=365 * 100)  # the day that a model which stays is said to go; Ollama, too, names a far one


class ModelRequest(Wire):
    """A model by either of the names that clients use for the field."""

    model: str | None = Field(None, max_length=512)
    name: str | None = Field(None, max_length=512)

    @property
    def named(self) -> str:
        if not (name := self.model or self.name):
            raise Refusal(400, "model is missing. Name one; /api/tags lists them.", code="invalid_value", param="model")
        return name


class ShowRequest(ModelRequest):
    without_effect: ClassVar[frozenset[str]] = frozenset({"options", "template"})
    unkept: ClassVar[Mapping[str, str]] = {
        "system": "nothing is set here; send it with a conversation",
        "verbose": "all that is known is said in any case",
    }


def tagged(name: str) -> str:
    return name if ":" in name.rpartition("/")[2] else name + LATEST


def parameter_size(count: int) -> str:
    """7240000000 -> "7.2B", as Ollama writes it."""
    for unit, size in (("T", 10**12), ("B", 10**9), ("M", 10**6), ("K", 10**3)):
        if count >= size:
            return f"{count / size:.1f}{unit}" if unit in "TB" else f"{count / size:.2f}{unit}"
    return str(count)


def details(call: Call, installed: Installed) -> dict[str, Any]:
    """What is known of a model without opening it; its family and size only where it is in memory."""
    model = call.service.loaded_models.model_of(installed.base.called)
    family = "" if model is None else model.info.family
    names = [file.name for file in installed.files] or [installed.path.name]
    return {
        "parent_model": installed.base.called if installed.adapters else "",
        "format": "gguf" if any(name.endswith(".gguf") for name in names) else "safetensors",
        "family": family,
        "families": [family] if family else [],
        "parameter_size": "" if model is None else parameter_size(model.info.parameters),
        "quantization_level": "",
    }


def listed(call: Call, installed: Installed) -> dict[str, Any]:
    name = tagged(installed.called)
    return {
        "name": name,
        "model": name,
        "modified_at": created_at(installed).isoformat().replace("+00:00", "Z"),
        "size": installed.size,
        "digest": (installed.digest or "").removeprefix("sha256:"),
        "details": details(call, installed),
        **({"ouvert": {"adapters": adapter_facts(call.service, installed)}} if installed.adapters else {}),
    }


def admitted(call: Call, installed: Installed) -> bool:
    return call.caller.admits(installed.name)


async def tags(call: Call) -> Response:
    models = [each for each in call.service.loaded_models.catalog.every() if admitted(call, each)]
    every = [each for model in models for each in (model, *adapted(call.service, model))]
    return JSONAnswer({"models": [listed(call, installed) for installed in every]})


async def in_memory(call: Call) -> Response:
    loaded_models = call.service.loaded_models
    models = []
    for loaded in loaded_models.loaded():
        if not admitted(call, loaded.installed) or loaded.model is None:
            continue
        stays = loaded_models.expires_in(loaded)
        until = datetime.now(UTC) + (FOR_GOOD if stays is None else timedelta(seconds=stays))
        entry = listed(call, loaded.installed)
        del entry["modified_at"]
        models.append(
            {
                **entry,
                "expires_at": until.isoformat().replace("+00:00", "Z"),
                "size_vram": 0,
                "context_length": loaded.model.info.context,
            }
        )
    return JSONAnswer({"models": models})


async def show(call: Call) -> Response:
    """What a model is and can do, from its files: clients ask it of every model, so none is loaded."""
    request: ModelRequest = call.body
    installed = call.service.permitted(request.named, call.caller)
    found = await call.service.description(installed)
    capabilities = ["completion"] if found.embedding_size is None else ["embedding"]
    if found.control_tokens & {gap[0] for gap in GAP_TOKENS}:
        capabilities.append("insert")
    if found.abilities is not None:
        capabilities += ["tools"] if found.abilities.tools else []
        capabilities += ["thinking"] if found.abilities.thinks else []
    family, limited = found.family, call.service.settings.load_options.get("context")
    return JSONAnswer(
        {
            "license": installed.licence or "",
            "modelfile": "".join(
                (f"FROM {installed.base.called}\n", *(f"ADAPTER {each}\n" for each in installed.adapters))
            ),
            "parameters": "",
            "template": "",
            "details": details(call, installed)
            | {
                "family": family,
                "families": [family],
                "parameter_size": parameter_size(found.parameters),
            },
            "model_info": {
                "general.architecture": family,
                "general.basename": installed.name,
                "general.parameter_count": found.parameters,
                f"{family}.context_length": min(limited or found.context, found.context),
                f"{family}.vocab_size": found.vocabulary_size,
            },
            "capabilities": capabilities,
            "modified_at": created_at(installed).isoformat().replace("+00:00", "Z"),
            **request.beside,
        }
    )
