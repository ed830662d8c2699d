"""How tokens are chosen where nobody says: as the model's makers advise, else a plain default."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ouvert.assistant.error import AssistantError
from ouvert.assistant.request import SEEDS
from ouvert.engine import SAMPLING_BOUNDS, Sampling

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


# What else the makers may ask for, which is not done here, with the values at which it does nothing.
NOT_DONE: dict[str, tuple[Any, ...]] = {
    "bad_words_ids": (), "begin_suppress_tokens": (), "constraints": (), "diversity_penalty": (0,),
    "encoder_repetition_penalty": (1,), "epsilon_cutoff": (0,), "eta_cutoff": (0,),
    "exponential_decay_length_penalty": (), "force_words_ids": (), "forced_bos_token_id": (),
    "forced_decoder_ids": (), "forced_eos_token_id": (), "guidance_scale": (1,), "min_length": (0,),
    "min_new_tokens": (0,), "no_repeat_ngram_size": (0,), "num_beams": (1,), "penalty_alpha": (0,),
    "sequence_bias": (), "stop_strings": (), "suppress_tokens": (), "typical_p": (1,), "watermarking_config": (),
    "general.sampling.mirostat": (0,), "general.sampling.xtc_probability": (0,),
}  # fmt: skip


LEAST_SHARE = 1e-9  # a top_p of 0: the likeliest token alone


def sampling_asked(**stated: Any) -> dict[str, Any]:
    """Fields of a request's `sampling`, from what a client stated under their names; None is left out.

    A `top_p` of 0 keeps the likeliest token alone, a `top_k` of -1 keeps all, a `seed` may be any whole number.

    Raises nothing.
    """
    chosen = {name: value for name, value in stated.items() if value is not None}
    if "top_p" in chosen:
        chosen["top_p"] = max(chosen["top_p"], LEAST_SHARE)
    if "top_k" in chosen:
        chosen["top_k"] = max(chosen["top_k"], 0)
    if "seed" in chosen:
        chosen["seed"] %= SEEDS
    return chosen


def not_done(folder: Path | None, metadata: Mapping[str, Any]) -> str | None:
    """A sentence about what the makers advise and this version does not do; None if there is nothing of that kind."""
    stated = metadata
    if folder is not None:
        path = folder / "generation_config.json"
        stated = read_generation_config(path) if path.exists() else {}
    asked = [key for key, off in NOT_DONE.items() if stated.get(key) not in (None, [], {}, *off)]
    if not asked:
        return None
    return (
        f"The model's makers also ask for {', '.join(asked)}, which this version does not do: answers may differ from "
        "those of programs that do."
    )


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
    return Sampling(**values)


def read_generation_config(path: Path) -> dict[str, Any]:
    try:
        stated = json.loads(path.read_bytes())
    except OSError as problem:
        raise AssistantError(
            f"{path} cannot be read: {problem.strerror}. Make it a file that you may read."
        ) from problem
    except (ValueError, RecursionError) as problem:
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
    if values.get("top_k") == -1:  # vLLM's way to write "all"
        values["top_k"] = 0
    for field, value in values.items():
        bounds = SAMPLING_BOUNDS[field]
        if not bounds.least <= value <= bounds.most:
            raise AssistantError(
                f"{where}: {keys[field]} is {value!r:.40}, expected {bounds.expected}. Correct or delete it, or "
                "take the model from its publisher."
            )
    if "top_k" in values:
        values["top_k"] = int(values["top_k"])
    return values
