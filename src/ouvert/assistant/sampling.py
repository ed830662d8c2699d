"""How tokens are chosen where nobody says: as the model's makers advise, else a plain default."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ouvert.assistant.error import AssistantError
from ouvert.engine import Sampling

# Where the makers say nothing. 0.7 keeps answers lively, 0.95 cuts off the long tail of unlikely words.
DEFAULT = Sampling(temperature=0.7, top_p=0.95)
# Models with fewer parameters lose the thread when sampled: they take the likeliest token unless told otherwise.
# A repetition penalty would keep them from going in circles, but with 1.05 SmolLM2-135M no longer knows what 3+5 is.
# So such an answer ends when it goes in circles, instead of going on to the end of the context.
DEFAULT_SMALL = Sampling(temperature=0.0, repetition_guard=256)
SMALL = 1_000_000_000

# Field of Sampling -> key in generation_config.json / key of GGUF metadata (llama.cpp's general.sampling.*).
GENERATION_CONFIG_KEYS = {
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "repetition_penalty": "repetition_penalty",
}
GGUF_KEYS = {
    "temperature": "general.sampling.temp",
    "top_k": "general.sampling.top_k",
    "top_p": "general.sampling.top_p",
    "min_p": "general.sampling.min_p",
    "repetition_penalty": "general.sampling.penalty_repeat",
}


def default_sampling(folder: Path | None, metadata: Mapping[str, Any], parameters: int) -> Sampling:
    """The sampling of a model about which the caller said nothing.

    `folder` may hold a generation_config.json; `metadata` are a GGUF file's keys; `parameters` are counted.
    """
    advised = advised_sampling(folder, metadata)
    if advised is not None:
        return advised
    return DEFAULT_SMALL if parameters < SMALL else DEFAULT


def advised_sampling(folder: Path | None, metadata: Mapping[str, Any]) -> Sampling | None:
    """What the makers of the model advise, or None if they do not say."""
    if folder is not None and (path := folder / "generation_config.json").exists():
        stated = read_generation_config(path)
        if stated.get("do_sample") is False:
            return Sampling(temperature=0.0)
        values = picked(stated, GENERATION_CONFIG_KEYS, str(path))
    else:
        values = picked(metadata, GGUF_KEYS, "GGUF metadata")
    if not values:
        return None
    if values.get("top_k") == -1:  # vLLM's way to write "all"
        values["top_k"] = 0
    return Sampling(**values)


def read_generation_config(path: Path) -> dict[str, Any]:
    try:
        stated = json.loads(path.read_text(encoding="utf-8-sig"))
    except (UnicodeDecodeError, json.JSONDecodeError) as problem:
        raise AssistantError(f"{path} is not JSON ({problem}). Fetch it again or delete it.") from problem
    if not isinstance(stated, dict):
        raise AssistantError(f"{path} holds {type(stated).__name__}, expected a JSON object. Fetch it again.")
    return stated


def picked(stated: Mapping[str, Any], keys: Mapping[str, str], where: str) -> dict[str, Any]:
    """Field -> value for the keys that are there. A value that is no number is refused by name."""
    values = {field: stated[key] for field, key in keys.items() if stated.get(key) is not None}
    for field, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise AssistantError(f"{where}: {keys[field]} is {value!r}, expected a number. Correct or delete it.")
    if "top_k" in values:
        values["top_k"] = int(values["top_k"])
    return values
