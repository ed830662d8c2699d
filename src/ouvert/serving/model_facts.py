"""What clients are told of a model that is offered, whether it is in memory or not."""

from ouvert.serving.service import Service
from ouvert.store import Installed

HARMONY_EFFORTS = ("low", "medium", "high")


def efforts_of(service: Service, installed: Installed) -> tuple[str, ...]:
    """Of a model in memory as its format says, else as its name tells: gpt-oss has them."""
    model = service.loaded_models.model_of(installed.name)
    if model is not None:
        return service.loaded_models.efforts_of(model)
    return HARMONY_EFFORTS if "gpt-oss" in installed.name.lower() else ()
