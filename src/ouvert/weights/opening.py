"""From a path to a checkpoint: what kind of file it is is read from its content, never from its name."""

import os
from pathlib import Path

from . import gguf, safetensors
from .checkpoint import Checkpoint
from .error import CheckpointError
from .mapping import map_file

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


def open_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint at `path`: a GGUF file (of a split model: any of its files), a safetensors file, an index of
    safetensors shards, or a folder with one of these. Headers are checked whole; weights are mapped, not read.

    Raises CheckpointError, whatever the bytes are.
    """
    path = Path(path)
    if os.path.isdir(path):  # Path.is_dir would raise for some names
        chosen = chosen_in(path)
        if isinstance(chosen, list):
            return safetensors.open_shards(chosen)
        path = chosen
    if path.name.endswith(".safetensors.index.json"):
        return safetensors.open_sharded(path)
    if map_file(path)[:4].tobytes() == gguf.MAGIC:
        return gguf.open_gguf(path)
    return safetensors.open_safetensors(path)


def chosen_in(folder: Path) -> Path | list[Path]:
    """The file to open in a folder: an index, else model.safetensors, else the only safetensors or GGUF model; or all
    the parts of one, where the index is missing.

    Raises CheckpointError if there is none or a choice is left.
    """
    try:
        files = sorted(file for file in folder.iterdir() if not file.name.startswith("."))
    except OSError as error:
        raise CheckpointError(
            f"{folder} cannot be listed: {error}. It must be a readable folder: check its permissions."
        ) from error
    for name in (safetensors.INDEX, "model.safetensors"):
        if (file := folder / name) in files:
            return file
    tensors = [file for file in files if file.name.endswith(".safetensors")]
    firsts = [file for file in files if file.name.lower().endswith(".gguf") and is_first(file.name)]
    for found in (tensors, firsts):
        if len(found) == 1:
            return found[0]
        if found:
            return parts_of_one(found, folder)
    raise nothing_to_open(files, folder)


def parts_of_one(found: list[Path], folder: Path) -> list[Path]:
    """All of these, if they are the parts of one model in safetensors. Raises CheckpointError if not, or not all."""
    tensors = found[0].name.endswith(".safetensors")
    lacking = safetensors.parts_lacking([file.name for file in found]) if tensors else None
    if lacking is None:
        raise CheckpointError(
            f"{folder} holds {len(found)} models or parts and no {safetensors.INDEX} that joins them: "
            f"{', '.join(file.name for file in found[:10])}{' …' if len(found) > 10 else ''}. "
            "Name one of them, or fetch the index."
        )
    if lacking:
        raise CheckpointError(
            f"{folder} holds {len(found)} of {len(found) + len(lacking)} parts of a model, missing "
            f"{', '.join(lacking[:20])}{' …' if len(lacking) > 20 else ''}. Fetch them into the same folder."
        )
    return found


def nothing_to_open(files: list[Path], folder: Path) -> CheckpointError:
    """The error for a folder without weights that can be read."""
    if pickles := [file.name for file in files if file.suffix in PICKLES]:
        return CheckpointError(
            f"{folder} holds pickles ({', '.join(pickles[:3])}), which can run any program when they are read; "
            "expected safetensors or GGUF. Fetch or convert the model in one of these formats."
        )
    return CheckpointError(
        f"{folder} holds no checkpoint: expected {safetensors.INDEX}, model.safetensors or a .gguf file. "
        "Check the path, and that the fetch was complete."
    )


def is_first(name: str) -> bool:
    """Whether a GGUF file stands alone or begins a split model."""
    match = gguf.SPLIT_NAME.fullmatch(name)
    return match is None or int(match[2]) == 1
