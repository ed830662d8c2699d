"""The digest of a model's weight files, computed beside everything else."""

import threading
from collections.abc import Sequence
from pathlib import Path

from ouvert.engine.interface import EngineError
from ouvert.weights import combined_digest, sha256_of


class WeightsDigest:
    """The digest of a checkpoint's weight files, unless it is known computed when it is needed, in a thread.

    Of several files together it is weights.combined_digest, the same as the store's.
    """

    def __init__(self, files: Sequence[Path], known: str | None = None) -> None:
        self._files = tuple(files)
        self._value = known
        self._failure: OSError | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to compute it, if it is not known and nobody has begun."""
        if self._value is None and self._thread is None:
            self._thread = threading.Thread(target=self._compute, name="ouvert-digest", daemon=True)
            self._thread.start()

    def value(self) -> str:
        """Waits until it is there. Raises EngineError if a file could not be read."""
        self.start()
        if self._value is None and self._thread is not None:
            self._thread.join()
        if self._value is None:
            raise EngineError(
                f"digest of {', '.join(map(str, self._files))}: {self._failure}. The files must stay readable while "
                "the model is used; put them back and load it again."
            )
        return self._value

    def _compute(self) -> None:
        try:
            digests = {file.name: sha256_of(file) for file in self._files}
        except OSError as failure:
            self._failure = failure
            return
        self._value = combined_digest(digests)
