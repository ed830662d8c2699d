"""Which files of a repository or folder make up a model. Decisions only: nothing is fetched or read here."""

import re
from collections.abc import Collection, Mapping
from pathlib import PurePosixPath

from ouvert.store.error import StoreError
from ouvert.store.progress import bytes_in_words

# What stands beside the weights and is read by us or owed to the reader.
COMPANIONS = re.compile(
    r"config\.json|generation_config\.json|tokenizer\.json|tokenizer_config\.json|special_tokens_map\.json"
    r"|added_tokens\.json|vocab\.json|merges\.txt|tokenizer\.model(\.v\d+)?|tekken\.json|tiktoken\.model"
    r"|chat_template\.(jinja|json)|modules\.json|(LICEN[CS]E|NOTICE|USE_POLICY|COPYING)([.-].*)?",
    re.IGNORECASE,
)
# How an embedding model makes one vector of a text, in the folder that its modules.json names.
POOLING = re.compile(r"\d+_Pooling/config\.json")
SHARD = re.compile(r"model(-\d+-of-\d+)?\.safetensors")
SPLIT_GGUF = re.compile(r"-\d{5}-of-(?P<parts>\d{5})(?=\.gguf$)")
# Formats that run code when they are opened.
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")


def choose_files(files: Mapping[str, int], selection: str | None, where: str) -> list[str]:
    """The names to take of `files` (name -> bytes), weights last. `where` names the place in complaints.

    Without `selection`: the safetensors at the top with their companions, else the only GGUF model there is.
    With it: the file of that name, or the GGUF whose name carries that quantisation. Pickles are refused.
    """
    companions = [name for name in sorted(files) if COMPANIONS.fullmatch(name) or POOLING.fullmatch(name)]
    if selection is not None:
        return companions_of(companions, chosen := chosen_by(files, selection, where)) + chosen
    top = [name for name in sorted(files) if name.endswith(".safetensors") and "/" not in name]
    shards = [name for name in top if SHARD.fullmatch(name)]
    # Some repositories hold the same weights twice, the second time as consolidated*.safetensors.
    if weights := shards or [name for name in top if not name.startswith("consolidated")] or top:
        index = [name + ".index.json" for name in ("model.safetensors",) if name + ".index.json" in files]
        return companions + index + weights
    models = gguf_models(files)
    if len(models) == 1:
        (only,) = models.values()
        return companions_of(companions, only) + only
    if models:
        raise StoreError(f"{where} holds {len(models)} models: say which after a colon. {listed(models, files)}")
    raise StoreError(f"{where} holds no weights that can be read: {why_not(files)}")


def chosen_by(files: Mapping[str, int], selection: str, where: str) -> list[str]:
    if selection.lower().endswith(PICKLES):
        raise StoreError(f"{where}: {selection} is a pickle, which may run code when opened, so it is not taken.")
    if selection in files:
        if not selection.endswith((".gguf", ".safetensors")):
            raise StoreError(f"{where}: {selection} is not a weight file: expected a .gguf or .safetensors file.")
        return next((parts for parts in gguf_models(files).values() if selection in parts), [selection])
    word = re.compile(rf"(?<![A-Za-z0-9_]){re.escape(selection)}(?![A-Za-z0-9_])", re.IGNORECASE)
    models = gguf_models(files)
    fitting = {name: parts for name, parts in models.items() if word.search(PurePosixPath(name).name)}
    if len(fitting) == 1:
        return next(iter(fitting.values()))
    if fitting:
        raise StoreError(f"{where}: {selection} fits {len(fitting)} models; say which. {listed(fitting, files)}")
    there = listed(models, files) if models else f"There is: {', '.join(sorted(files)[:20]) or 'nothing'}."
    raise StoreError(f"{where} holds nothing called {selection}. {there}")


def gguf_models(files: Collection[str]) -> dict[str, list[str]]:
    """GGUF models by name, each with its parts in order. Vision projectors are no models of ours."""
    models: dict[str, list[str]] = {}
    for name in sorted(files):
        if name.lower().endswith(".gguf") and "mmproj" not in name.lower():
            models.setdefault(SPLIT_GGUF.sub("", name), []).append(name)
    for name, parts in models.items():
        split = SPLIT_GGUF.search(parts[0])
        if split and int(split["parts"]) != len(parts):
            raise StoreError(f"{name} should have {int(split['parts'])} parts, but {len(parts)} are there.")
    return models


def companions_of(companions: list[str], weights: list[str]) -> list[str]:
    """What goes with `weights`: a GGUF file carries its configuration and tokenizer itself."""
    if weights[0].lower().endswith(".gguf"):
        return [name for name in companions if re.match(r"LICEN|NOTICE|USE_POLICY|COPYING", name, re.IGNORECASE)]
    return companions


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
