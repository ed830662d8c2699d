"""What a run needs of this machine: torch, and the model that learns, placed as it is served."""

import sys
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse

    from ouvert.store import Installed, Store
    from ouvert.tuning import Base


def require_torch() -> None:
    """Raises TuningError, with what to install, where there is none: before anything else is done."""
    from ouvert.tuning import no_torch

    if find_spec("torch") is None:
        raise no_torch("tuning")


def computing_of(args: "argparse.Namespace") -> dict[str, Any]:
    """What decides numbers beside weights and recipe, as the command line says it: kept with a run."""
    return {"exact": args.exact, "cache": args.cache, "precision": args.precision, "template": args.template}


def open_base_of(store: "Store", installed: "Installed", threads: int | None, computing: Mapping[str, Any]) -> "Base":
    """The model that learns, from the packed file that is served. Raises what `open_base` and the store raise."""
    from ouvert.assistant import packed_of, precision_of
    from ouvert.cli.progress import show_progress
    from ouvert.engine import physical_cores
    from ouvert.tuning import open_base

    with packed_of(store, installed, show_progress(sys.stderr)) as packed:
        return open_base(
            installed.path,
            threads=threads or physical_cores(),
            name=installed.name,
            packed=packed,
            precision=precision_of(installed, computing["precision"]),
            exact=bool(computing["exact"]),
            cache=computing["cache"] or "f16",
            template=computing["template"],
        )
