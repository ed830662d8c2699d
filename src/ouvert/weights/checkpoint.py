"""A checkpoint on disk: its tensors by name, and what it says about itself."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Literal, Self

from .mapping import MappedFile, mapped_file
from .tensor import Tensor


class Checkpoint:
    """Tensors of one model, in one file or several. A context manager.

    `metadata` holds GGUF's keys and values, or the strings of safetensors' `__metadata__`. Closing forgets the
    tensors; a tensor or array that somebody still holds stays readable, and its file stays mapped until it is let go.
    A file must not be cut shorter while it is mapped (replacing it by renaming is fine): the system ends a process
    that reads where a mapped file no longer is, unless the range is guarded (ouvert.kernels.mapped).

    `open_checkpoint` makes one. Its methods and properties raise nothing.
    """

    def __init__(
        self,
        path: Path,
        format: Literal["gguf", "safetensors"],  # noqa: A002
        tensors: dict[str, Tensor],
        metadata: dict[str, Any],
        files: tuple[Path, ...],
    ) -> None:
        self.path = path
        self.format = format
        self.files = files
        self.tensors: Mapping[str, Tensor] = MappingProxyType(tensors)
        self.metadata: Mapping[str, Any] = MappingProxyType(metadata)

    @property
    def maps(self) -> tuple[MappedFile, ...]:
        """The maps that its tensors lie in, one for each file that has any."""
        found = {id(mapped): mapped for each in self.tensors.values() if (mapped := mapped_file(each.data)) is not None}
        return tuple(found.values())

    @property
    def folder(self) -> Path | None:
        """Where safetensors files have their companions (config.json, tokenizer.json); None of GGUF, which has all in
        itself."""
        if self.format == "gguf":
            return None
        return self.path if self.path.is_dir() else self.path.parent

    def close(self) -> None:
        """Let go of the files. May be called twice."""
        self.tensors = MappingProxyType({})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
