"""The libraries of the extra `documents`: what of them is not here, and what to do. Imports none of them."""

import importlib.util
import sys
from collections.abc import Mapping

# What each is imported as -> the package it comes in. `apsw`, without which nothing is encrypted, says so itself.
LIBRARIES: Mapping[str, str] = {
    "defusedxml": "defusedxml",
    "docx": "python-docx",
    "pptx": "python-pptx",
    "pypdfium2": "pypdfium2",
    "python_calamine": "python-calamine",
    "selectolax": "selectolax",
    "snowballstemmer": "snowballstemmer",
}


def missing_libraries() -> tuple[str, ...]:
    """The packages that are not installed, sorted. Raises nothing."""
    return tuple(sorted(name for module, name in LIBRARIES.items() if importlib.util.find_spec(module) is None))


def remedy(missed: str) -> str:
    """What is said where the library `missed` is needed and not here: all that is missing, and the extra."""
    missing = ", ".join(dict.fromkeys((*missing_libraries(), LIBRARIES.get(missed, missed))))
    return (
        f"not installed here: {missing}. Expected the extra `documents`, which brings them; in the folder that Ouvert "
        f"was installed from: `{sys.executable} -m pip install -e '.[documents]'`."
    )
