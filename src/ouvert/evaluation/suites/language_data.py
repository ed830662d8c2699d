"""Words, sentences and instructions of a suite in one language: LANGUAGE.toml beside the suite's code."""

import tomllib
from functools import cache
from pathlib import Path
from typing import Any


@cache
def language_data(folder: Path, language: str) -> dict[str, Any]:
    """The tables of `folder`/LANGUAGE.toml; not to be changed. Raises FileNotFoundError for a language it lacks."""
    return tomllib.loads((folder / f"{language}.toml").read_text(encoding="utf-8"))
