"""Which files at a path make up a model, and whether their content is what their names say."""

import json
import os
from collections.abc import Collection, Sequence
from pathlib import Path, PurePosixPath

from ouvert.store.error import StoreError
from ouvert.store.selection import ADAPTER, INDEX, SHARD, Kind, choose_files, in_folder, kinds_by_name


def files_at(path: Path) -> tuple[Path, list[str]]:
    """The folder at `path` or around it, and the names of the files in it that make up the model."""
    path = path.absolute()
    folder = path if path.is_dir() else path.parent
    if not path.is_dir() and not path.is_file():
        raise StoreError(f"{path}: {why_no_file(path)}")
    found = [*folder.iterdir(), *(path.glob("*/config.json") if path.is_dir() else ())]
    sizes = {each.relative_to(folder).as_posix(): each.stat().st_size for each in found if each.is_file()}
    # A shard stands for the whole of which it is a part.
    selection = None if path.is_dir() or SHARD.fullmatch(path.name) else path.name
    kinds = kinds_in(folder, sizes, selection)
    return folder, choose_files(sizes, selection, str(folder), kinds, base_of_adapter(folder / ADAPTER))


def why_no_file(path: Path) -> str:
    """What stands at a path where no file or folder is."""
    if path.is_symlink() and not path.exists():
        return f"this link leads to {os.readlink(path)}, where nothing is. Make the link anew, or name the file itself."
    if path.exists():
        return "this is a device, a pipe or a socket, expected a file or a folder. Write what it holds to a file."
    return "there is no such file or folder."


def kinds_in(folder: Path, names: Collection[str], selection: str | None) -> dict[str, Kind]:
    """Which files are weights. Their content decides; where it says nothing, as in a damaged file, their names do.

    A file that is only called .gguf does not stand in the way of those that are, unless it was asked for.
    """
    kinds = kinds_by_name(names)
    called = {name for name, kind in kinds.items() if kind == "gguf" and name != selection}
    true: dict[str, Kind] = {}
    for name in names:
        kind = None if "/" in name else kind_of(folder / name)
        # Another program's state may well be in safetensors: in a folder, those are weights that are called so.
        if kind == "gguf" or (kind == "safetensors" and (name == selection or name in kinds)):
            true[name] = kind
    false = called - true.keys() if "gguf" in true.values() else set()
    return {name: kind for name, kind in (kinds | true).items() if name not in false}


def kind_of(path: Path) -> Kind | None:
    """What the first bytes of a file say it is; None for anything else, and for what may not be read."""
    try:
        with path.open("rb") as file:
            start = file.read(9)
            size = os.fstat(file.fileno()).st_size
    except OSError:
        return None
    if start[:4] == b"GGUF":
        return "gguf"
    return "safetensors" if start[8:] == b"{" and int.from_bytes(start[:8], "little") <= size - 8 else None


def opened_at(folder: Path, weights: Sequence[str]) -> Path:
    """What weights.open_checkpoint takes for these: a folder where an index or its name leads to them, else a file."""
    sharded = len(weights) > 1 and weights[0].endswith(".safetensors")
    sharded = sharded or (SHARD.fullmatch(weights[0]) is not None and (folder / f"model{INDEX}").exists())
    return folder if sharded or weights[0] == "model.safetensors" else folder / weights[0]


def base_of_adapter(settings: Path) -> str | None:
    """The model that an adapter was made for, if its settings say so."""
    try:
        base = json.loads(settings.read_bytes())["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return base if isinstance(base, str) and base.isprintable() else None


def require_magic(path: Path, name: str, where: str) -> None:
    """Raise StoreError for weights whose first bytes are those of no format we read, whatever the file is called."""
    if kind_of(path) is not None:
        return
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as problem:
        raise StoreError(f"{name} of {where} cannot be read: {problem}. Make it readable, or take a copy.") from problem
    expected = "the letters GGUF" if name.lower().endswith(".gguf") else "the length of a JSON header"
    raise StoreError(
        f"{name} of {where} is not what its name says: it begins with {start!r}, expected {expected}. "
        "It was not taken; look for another source of this model."
    )


def require_shards(index: Path, names: Collection[str], where: str) -> None:
    """Raise StoreError unless every file that the index of a sharded model names is among `names`."""
    try:
        shards = set(json.loads(index.read_text(encoding="utf-8-sig"))["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise StoreError(f"{where}: its index of shards cannot be understood ({problem!r}). Fetch another copy.") from (
            problem
        )
    if missing := sorted(shards - set(names)):
        raise StoreError(
            f"{where} is incomplete: missing {', '.join(map(str, missing[:5]))}, which its index of shards names. "
            "Ask its owner, or look for another copy."
        )


def kept_name(name: str) -> str:
    """How a file is called here: without the folders it came in, unless it is looked for there."""
    return name if in_folder(name) else PurePosixPath(name).name
