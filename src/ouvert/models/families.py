"""The families we know, and how a checkpoint is recognised and loaded."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ouvert.models import deepseek_v3, gpt_oss, llama, mamba, mamba2, mixtral, qwen2, qwen3, qwen3_moe
from ouvert.models.family import Family, Model
from ouvert.models.mistral_params import PARAMS, config_of
from ouvert.models.operations import Places
from ouvert.models.parameters import Parameter
from ouvert.weights import Checkpoint, CheckpointError

# Every family that is computed here.
FAMILIES = (
    deepseek_v3.FAMILY,
    gpt_oss.FAMILY,
    llama.FAMILY,
    mamba.FAMILY,
    mamba2.FAMILY,
    mixtral.FAMILY,
    qwen2.FAMILY,
    qwen3.FAMILY,
    qwen3_moe.FAMILY,
)
# What a checkpoint of a family is that says how one vector is made of a text.
EMBEDDING = {qwen3.FAMILY.name: qwen3.EMBEDDING}
# What a GGUF file of a family is if it has experts: llama.cpp has one architecture for both.
MIXTURES = {llama.FAMILY.name: mixtral.FAMILY}
# What a GGUF file may hold instead of a model.
OTHER_KINDS = {
    "adapter": "a LoRA adapter",
    "imatrix": "an importance matrix, with which models are quantised",
    "mmproj": "a projector, with which a model sees pictures or hears",
    "vocab": "a vocabulary without weights",
}
# Pooling in GGUF (llama.cpp, enum llama_pooling_type) and its counterpart in sentence-transformers.
NO_POOLING, LAST = 0, 3
LAST_TOKEN = "pooling_mode_lasttoken"  # noqa: S105 - no password


def recognise(checkpoint: Checkpoint, config: Mapping[str, Any] | None = None) -> tuple[Family, Any]:
    """Which family a checkpoint belongs to, and its shape.

    A GGUF file says so in its metadata; for safetensors, `config` is the content of config.json (read from beside
    the weights if not given, or from Mistral's params.json if only that is there). Raises CheckpointError for a family
    we do not know, with the list of those we do.
    """
    if (folder := checkpoint.folder) is None:
        refuse_other_kinds(checkpoint)
        architecture = str(checkpoint.metadata.get("general.architecture"))
        for family in FAMILIES:
            if architecture in family.gguf_architectures:
                if checkpoint.metadata.get(f"{architecture}.expert_count"):
                    family = MIXTURES.get(family.name, family)
                family = of_purpose(family, pools_gguf(checkpoint, architecture), str(checkpoint.path))
                return family, family.config_from_gguf(checkpoint.metadata, checkpoint.tensors, str(checkpoint.path))
        raise unknown(str(checkpoint.path), "general.architecture", architecture, lambda each: each.gguf_architectures)
    source = folder / "config.json"
    if config is None and not source.exists() and (params := folder / PARAMS).exists():
        config, source = config_of(read_json(params), str(params)), params
    config = read_json(source) if config is None else config
    kind = str(config.get("model_type"))
    if "model_type" not in config and config.keys() >= gpt_oss.ORIGINAL_KEYS:
        kind = "gpt_oss"  # OpenAI's own config.json does not say what it is of
    for family in FAMILIES:
        if kind in family.model_types:
            family = of_purpose(family, pools_hf(folder), str(folder))
            return family, family.config_from_hf(config, str(source))
    raise unknown(str(source), "model_type", kind, lambda each: each.model_types)


def refuse_other_kinds(checkpoint: Checkpoint) -> None:
    """Raise CheckpointError for a GGUF file that is no model, by what it is (general.type of the specification)."""
    said = checkpoint.metadata
    kind = "adapter" if "adapter.type" in said else said.get("general.type", "model")
    if kind == "model" and said.get("general.architecture") == "clip":
        kind = "mmproj"
    if kind != "model":
        what = OTHER_KINDS.get(str(kind), f"of type {str(kind)[:40]!r}")
        base = said.get("general.base_model.0.name")
        of = f" for {base[:80]}" if isinstance(base, str) and base.isprintable() else ""
        remedy = (
            "Bring it beside its base: `ouvert adapter import`." if kind == "adapter" else "Name the model's own file."
        )
        raise CheckpointError(
            f"{checkpoint.path}: this is {what}{of}, not a model, expected a model's weights. {remedy}"
        )


def of_purpose(family: Family, pools: bool, source: str) -> Family:
    """The family itself, or its embedding model if a checkpoint `pools`. Raises CheckpointError if it has none."""
    if not pools:
        return family
    if family.name not in EMBEDDING:
        raise CheckpointError(
            f"{source}: it makes embeddings, which this version computes for {', '.join(EMBEDDING)} only, not for "
            f"{family.name}. Take an embedding model of one of these."
        )
    return EMBEDDING[family.name]


def pools_gguf(checkpoint: Checkpoint, architecture: str) -> bool:
    """Whether a file says that a text's last token is its embedding. Raises CheckpointError for other ways."""
    pooling = checkpoint.metadata.get(f"{architecture}.pooling_type", NO_POOLING)
    if pooling not in (NO_POOLING, LAST):
        raise CheckpointError(
            f"{checkpoint.path}: {architecture}.pooling_type is {pooling!r}, expected {LAST} (the last token's value): "
            "other ways to make one vector of a text are not computed here."
        )
    return bool(pooling == LAST)


def pools_hf(folder: Path) -> bool:
    """The same of a folder, which says it as sentence-transformers does: modules.json, and a file of the pooling.

    Raises CheckpointError for steps and ways of pooling that we do not compute.
    """
    path = folder / "modules.json"
    if not path.exists():
        return False
    steps = {}
    for step in read_json(path, list):
        match step:
            case {"type": str(kind), "path": str(place)}:
                steps[kind.rpartition(".")[2]] = place
            case _:
                raise CheckpointError(
                    f"{path}: a step is {str(step)[:80]}, expected its type and path. Fetch it again."
                )
    if not {"Transformer", "Pooling"} <= steps.keys() <= {"Transformer", "Pooling", "Normalize"}:
        raise CheckpointError(
            f"{path}: its steps are {', '.join(steps)}, expected Transformer, Pooling, Normalize: this version "
            "computes no others."
        )
    source = folder / steps["Pooling"] / "config.json"
    stated = read_json(source)
    modes = [name for name, value in stated.items() if name.startswith("pooling_mode") and value is True]
    if modes != [LAST_TOKEN]:
        raise CheckpointError(
            f"{source}: it asks for {', '.join(modes) or 'nothing'}, expected {LAST_TOKEN}: other ways to make one "
            "vector of a text are not computed here."
        )
    return True


def unknown(source: str, key: str, said: str, known: Callable[[Family], frozenset[str]]) -> CheckpointError:
    """The error for a family that we do not know, with the list of those we do."""
    families = ", ".join(f"{each.name} ({', '.join(sorted(known(each)))})" for each in FAMILIES)
    return CheckpointError(
        f"{source}: {key} is {said[:80]!r}, a family this version does not compute. It knows: {families}. "
        "docs/guides/a-new-family.md says how to add one."
    )


def read_json(path: Path, kind: type = dict) -> Any:
    """What a JSON file holds, which must be of this kind. Raises CheckpointError."""
    try:
        stated = json.loads(path.read_bytes())  # UTF-8 or UTF-16, as the bytes say, with a byte order mark or without
    except FileNotFoundError:
        raise CheckpointError(
            f"{path}: not found, expected beside the weights. Fetch it from where the weights came from."
        ) from None
    except OSError as problem:
        raise CheckpointError(
            f"{path}: cannot be read ({problem.strerror}), expected a file that you may read. Check what it "
            "is, and its permissions."
        ) from problem
    except (ValueError, RecursionError) as problem:
        raise CheckpointError(
            f"{path}: not JSON ({problem}). Fetch it again from where the weights came from."
        ) from None
    if not isinstance(stated, kind):
        raise CheckpointError(
            f"{path}: holds a {type(stated).__name__}, expected a JSON {'object' if kind is dict else 'list'}. "
            "Fetch it again."
        )
    return stated


def load(
    checkpoint: Checkpoint,
    places: Places,
    config: Mapping[str, Any] | None = None,
    progress: Callable[[Parameter], None] | None = None,
) -> Model:
    """`recognise` a checkpoint, and `place` its weights.

    Raises CheckpointError for what the family does not honour, and what `places.place` raises.
    """
    family, shape = recognise(checkpoint, config)
    return place(family, shape, family.parameters(shape, checkpoint), places, progress)


def place(
    family: Family,
    config: Any,
    parameters: Iterable[Parameter],
    places: Places,
    progress: Callable[[Parameter], None] | None = None,
) -> Model:
    """The model of that configuration, its weights placed by `places`, one parameter at a time.

    Nothing is kept of a parameter but what `places.place` returned; a tied head is what was placed as the embedding.
    `progress` is told of each parameter once it is placed. Raises what `places.place` raises.
    """
    placed: dict[str, Any] = {}
    for parameter in parameters:
        placed[parameter.name] = placed[parameter.same_as] if parameter.same_as else places.place(parameter)
        if progress is not None:
            progress(parameter)
    return Model(family, config, family.assemble(config, placed))
