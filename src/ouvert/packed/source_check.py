"""Whether a model's files are what their digest says while something is made from them: they are read again beside it.

What a packed file is checked against is only as good as what it was made from.
"""

import threading
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from ouvert.packed.guards import guarded
from ouvert.packed.pieces import digest_of_maps
from ouvert.weights import Checkpoint, CheckpointError


class SourceCheck:
    """A context manager: reading begins with it in a thread of its own, and ends with it at the latest."""

    def __init__(self, checkpoint: Checkpoint, digest: str) -> None:
        """`digest` is what the files of `checkpoint` should have: see weights.combined_digest."""
        self._path, self._maps, self._expected = checkpoint.path, checkpoint.maps, digest
        self._found: str | None = None
        self._given_up = threading.Event()
        self._reader = threading.Thread(target=self._read, name="ouvert-source-check", daemon=True)
        self._guards = ExitStack()

    def refuse_what_changed(self) -> None:
        """Waits until all is read. Raises CheckpointError if the files are, or were meanwhile, something else."""
        self._reader.join()
        lost = self._lost()
        if lost or self._found != self._expected:
            what = "it was cut shorter while it was read" if lost else f"its digest is {self._found}"
            raise CheckpointError(
                f"packing {self._path}: {what}, expected {self._expected}. It is not what was fetched, or was changed "
                "meanwhile: fetch the model again, or load it again once nobody writes to it."
            )

    def __enter__(self) -> Self:
        self._lost = self._guards.enter_context(guarded(self._maps))
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._given_up.set()
        self._reader.join()
        self._guards.close()

    def _read(self) -> None:
        self._found = digest_of_maps(self._maps, self._given_up.is_set)
