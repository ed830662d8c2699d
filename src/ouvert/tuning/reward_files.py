"""Rewards that stand in files of the owner's: which these are, and that they stay the same for the whole of a run."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ouvert.tuning.error import TuningError

FUNCTION = re.compile(r"(.+\.py):(\w+)")  # ./reward.py:score
SCHEMA = re.compile(r"schema:(.+\.json)")  # schema:form.json


def file_of(name: str) -> Path | None:
    """The file that a reward is in; None for one that needs none. Raises nothing."""
    found = SCHEMA.fullmatch(name) or (None if name.startswith("matches:") else FUNCTION.fullmatch(name))
    return None if found is None else Path(found[1])


def placed(name: str, path: Path) -> str:
    """The same reward, its file at this path. Raises nothing."""
    return f"schema:{path}" if SCHEMA.fullmatch(name) else f"{path}:{name.rpartition(':')[2]}"


def with_whole_paths(names: Sequence[str]) -> tuple[str, ...]:
    """As a run keeps them: it may go on from another folder. Raises nothing."""
    return tuple(name if (path := file_of(name)) is None else placed(name, path.absolute()) for name in names)


def without_folders(names: Sequence[str]) -> tuple[str, ...]:
    """As an adapter keeps them, which may be given away. Raises nothing."""
    return tuple(name if (path := file_of(name)) is None else placed(name, Path(path.name)) for name in names)


def digests_of(names: Sequence[str]) -> dict[str, str]:
    """Of every file, by its reward. Raises TuningError for one that cannot be read."""
    return {name: digest_of(name, path) for name in names if (path := file_of(name)) is not None}


def digest_of(name: str, path: Path) -> str:
    try:
        return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    except OSError as problem:
        raise TuningError(f"reading the reward {name}: {problem}. Expected a file.") from None


def require_same_files(run: str, then: Mapping[str, str]) -> None:
    """Raises TuningError where a reward's file is another than when the run began."""
    for name, digest in digests_of(tuple(then)).items():
        if digest != then[name]:
            raise TuningError(
                f"going on with {run}: the file of the reward {name} is {digest}, and the run began with {then[name]}. "
                f"Bring the file back as it was, or remove the run: `ouvert tune remove {run}`."
            )
