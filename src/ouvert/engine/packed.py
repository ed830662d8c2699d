"""A model's weights in a file that the native products read as it lies: written once, memory-mapped from then on.

The file is safetensors: matrices as U8 in the layouts of docs/formats/packed.md, vectors as F32, under the names of
`models`. Its metadata say what each matrix is and from which weights it was made; its last tensor holds the digest of
the header and of every piece, for it is derived, and what is derived must be checked.
"""

import hashlib
import json
import math
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ouvert.engine.identity import recipe_digest
from ouvert.engine.integrity import Piece, WeightsWatch, check_of_pieces, digest_of_maps, guarded
from ouvert.engine.runners.choosing import LAYOUT_VERSION, PackedFile
from ouvert.kernels import packing
from ouvert.kernels.linear import Packed
from ouvert.models import Parameter
from ouvert.weights import (
    BusyError,
    Checkpoint,
    CheckpointError,
    SafetensorsWriter,
    encoded_bytes,
    open_checkpoint,
    sha256_of_range,
    wait_for_writer,
)

# Source bytes packed at once, about: enough for several threads, little beside any model.
CHUNK_BYTES = 32 << 20

# Kinds of parameters that are multiplied with or looked up; the others are vectors and stay float32.
MATRICES = ("embedding", "linear", "experts")

FORMAT = f"ouvert packed {LAYOUT_VERSION}"
# The tensor of digests: 32 bytes for the header, then for each piece of each tensor, in the order of `entries`.
DIGESTS = "ouvert.digests"
DIGEST_BYTES = 32
PIECE_BYTES = 4 << 20
# So much of a file is checked before it is used: it takes less time than anybody notices. Larger ones are checked
# while they answer.
CHECKED_AT_ONCE = 128 << 20
AGAIN = "It is only derived: it is removed, and made again when the model is next used."


@dataclass(frozen=True, slots=True)
class Entry:
    """A parameter in a packed file. `layout` None: float32 numbers of `shape`, else (experts, rows, columns) packed."""

    shape: tuple[int, ...]
    layout: str | None


def layout_for(parameter: Parameter) -> str | None:
    """The layout that keeps this parameter's encoding; F32 where there is none."""
    return packing.LAYOUTS.get(parameter.encoding, "F32") if parameter.kind in MATRICES else None


def plan(parameters: Iterable[Parameter]) -> dict[str, Entry]:
    """What the file will hold; parameters that share another's bytes are not written twice."""
    return {each.name: Entry(each.shape, layout_for(each)) for each in parameters if each.same_as is None}


def declared(entry: Entry) -> tuple[str, tuple[int, ...]]:
    """The entry as safetensors declares it."""
    if entry.layout is None:
        return "F32", entry.shape
    *experts, rows, columns = entry.shape
    return "U8", (math.prod(experts) * packing.packed_bytes(entry.layout, rows, columns),)


def piece_count(size: int) -> int:
    return -(-size // PIECE_BYTES)


class PieceDigests:
    """The SHA-256 of every piece of a tensor, as its bytes come in order."""

    def __init__(self) -> None:
        self._whole: list[bytes] = []
        self._begun, self._size = hashlib.sha256(), 0

    def add(self, data: memoryview) -> None:
        while len(data):
            part = data[: PIECE_BYTES - self._size]
            self._begun.update(part)
            self._size += len(part)
            data = data[len(part) :]
            if self._size == PIECE_BYTES:
                self._end()

    def all(self) -> list[bytes]:
        if self._size:
            self._end()
        return self._whole

    def _end(self) -> None:
        self._whole.append(self._begun.digest())
        self._begun, self._size = hashlib.sha256(), 0


def pieces(parameter: Parameter, layout: str | None, threads: int) -> Iterator[tuple[np.ndarray, int, packing.Loss]]:
    """(bytes to write, source bytes they came from, loss), in order, a few rows of one expert at a time."""
    if layout is None:
        yield np.ascontiguousarray(parameter.decode(), np.float32), parameter.stored_bytes, packing.Loss()
        return
    *experts, rows, columns = parameter.shape
    for expert in range(math.prod(experts)):
        matrix = replace(parameter.expert(expert) if experts else parameter.encoded(), shape=(rows, columns))
        step = max(1, CHUNK_BYTES // (matrix.row_bytes * packing.ROW_GROUP)) * packing.ROW_GROUP
        for start in range(0, rows, step):
            part = matrix.rows(start, min(rows, start + step))
            encoding, data = part.encoding, part.data
            if encoding not in packing.LAYOUTS:
                encoding, data = "F32", np.ascontiguousarray(part.decode(), np.float32).reshape(-1).view(np.uint8)
            packed, loss = packing.pack(encoding, data, part.shape[0], columns, layout=layout, threads=threads)
            read = part.data.nbytes
            part.release()
            yield packed, read, loss


def write_packed(
    parameters: list[Parameter],
    path: Path,
    *,
    source_digest: str,
    recipe: str,
    threads: int = 2,
    progress: Callable[[int, int], None] | None = None,
    before_it_appears: Callable[[], None] = lambda: None,
) -> packing.Loss:
    """Pack all parameters into `path`. `progress(done, total)` counts source bytes. `recipe`: see
    identity.recipe_digest. What `before_it_appears` raises keeps the file from appearing.

    Memory stays at a few chunks. The file appears when it is whole; two processes packing the same model do not harm
    each other. Returns what packing lost. Raises CheckpointError if it cannot be written or a weight cannot be packed.
    """
    entries = plan(parameters)
    path.parent.mkdir(parents=True, exist_ok=True)
    total = sum(each.stored_bytes for each in parameters if each.same_as is None)
    done, lost = 0, packing.Loss()
    tensors = {name: declared(entry) for name, entry in entries.items()}
    count = 1 + sum(piece_count(encoded_bytes(*each)) for each in tensors.values())
    metadata = {
        "format": FORMAT,
        "source": source_digest,
        "recipe": recipe,
        "made": secrets.token_hex(16),
        "entries": json.dumps({name: asdict(entry) for name, entry in entries.items()}, separators=(",", ":")),
    }
    with SafetensorsWriter(path, {**tensors, DIGESTS: ("U8", (count * DIGEST_BYTES,))}, metadata) as writer:
        writer.write(DIGESTS, writer.header_digest)
        for parameter in parameters:
            if parameter.same_as is not None:
                continue
            digests = PieceDigests()
            for packed, read, loss in pieces(parameter, entries[parameter.name].layout, threads):
                writer.write(parameter.name, packed)
                digests.add(packed.reshape(-1).view(np.uint8).data)
                done, lost = done + read, lost + loss
                if progress is not None:
                    progress(done, total)
            writer.write(DIGESTS, b"".join(digests.all()))
        before_it_appears()
    return lost


class PackedWeights:
    """A packed file, open. `checkpoint` stays open as long as its weights are used.

    Size and header are checked here; the pieces by `watch`. Raises CheckpointError for a file of another format or
    layout, one that is cut off, and one whose header is not what was written.
    """

    def __init__(self, path: Path) -> None:
        self.checkpoint: Checkpoint = open_checkpoint(path)
        metadata = self.checkpoint.metadata
        if metadata.get("format") != FORMAT:
            raise CheckpointError(f"{path}: format is {metadata.get('format')!r}, expected {FORMAT!r}. {AGAIN}")
        table = self.checkpoint.tensors.get(DIGESTS)
        maps = self.checkpoint.maps
        if table is None or len(maps) != 1:
            raise CheckpointError(
                f"{path}: the tensor {DIGESTS} is missing, expected the digests of its pieces. {AGAIN}"
            )
        self.mapped = maps[0]
        begin = {name: self._place_of(tensor.data) for name, tensor in self.checkpoint.tensors.items()}
        digests = self.mapped[begin[DIGESTS] : begin[DIGESTS] + table.data.nbytes]
        if sha256_of_range(self.mapped.descriptor, 0, min(begin.values())) != digests[:DIGEST_BYTES]:
            raise CheckpointError(f"{path}: its header is not what was written: its digest is another one. {AGAIN}")
        self.source_digest: str = metadata["source"]
        self.recipe: str = metadata["recipe"]
        self.made: str = metadata["made"]
        self.entries: Mapping[str, Entry] = {
            name: Entry(tuple(row["shape"]), row["layout"]) for name, row in json.loads(metadata["entries"]).items()
        }
        self.digest = f"sha256:{hashlib.sha256(digests[DIGEST_BYTES:]).hexdigest()}"
        self.pieces = tuple(self._pieces(begin, digests))

    def _place_of(self, data: np.ndarray) -> int:
        """Where in the file an array of it begins."""
        return int(data.ctypes.data - np.frombuffer(self.mapped, np.uint8).ctypes.data)

    def _pieces(self, begin: Mapping[str, int], digests: bytes) -> Iterator[Piece]:
        at = DIGEST_BYTES
        for name in self.entries:
            start, size = begin[name], self.checkpoint.tensors[name].data.nbytes
            for first in range(start, start + size, PIECE_BYTES):
                yield Piece(first, min(first + PIECE_BYTES, start + size), digests[at : at + DIGEST_BYTES], name)
                at += DIGEST_BYTES

    def watch(self) -> WeightsWatch:
        """A watch over the file, which checks the pieces once it is started. To be closed after the last step."""
        return WeightsWatch((self.mapped,), check_of_pieces(self.mapped, self.pieces), derived=True, instance=self.made)

    def place(self, parameter: Parameter) -> Any:
        """What kernels.Tracer's operations take for this parameter: a Packed matrix or a float32 array.

        Raises CheckpointError if the file does not hold it in the expected shape.
        """
        name = parameter.same_as or parameter.name
        entry, tensor = self.entries.get(name), self.checkpoint.tensors.get(name)
        if entry is None or tensor is None or entry.shape != parameter.shape:
            raise CheckpointError(
                f"{self.checkpoint.path}: {name} is {entry and entry.shape}, expected {parameter.shape}. "
                "The file belongs to another model: remove it; it is made again when the model is next used."
            )
        if entry.layout is None:
            return np.frombuffer(tensor.data, np.float32).reshape(entry.shape)
        *experts, rows, columns = entry.shape
        return Packed(entry.layout, rows, columns, tensor.data, math.prod(experts))


def packed_weights(
    checkpoint: Checkpoint, parameters: list[Parameter], file: PackedFile, threads: int
) -> tuple[PackedWeights, WeightsWatch]:
    """The packed form of a checkpoint, and the watch over it; written now if it is not there or not usable.

    Raises CheckpointError if it cannot be written, or if the source is not what its digest says.
    """
    recipe = recipe_digest(LAYOUT_VERSION, file.source_digest, parameters)
    path = file.place(f"{LAYOUT_VERSION}-{recipe.removeprefix('sha256:')[:16]}")
    say = file.say or (lambda _: None)
    loss: packing.Loss | None = None
    while loss is None:
        if path.exists():
            try:
                return usable(path, recipe)
            except CheckpointError as problem:  # of another kind or damaged: it is only derived, so it is made again
                say(f"Packed weights are made again. {problem}")
                with suppress(OSError):  # where it cannot be removed, neither can another be written; that is said
                    path.unlink(missing_ok=True)
        try:
            loss = write_checked(checkpoint, parameters, path, recipe, file, threads)
        except BusyError:
            say("Another process is packing this model's weights: waiting for it.")
            wait_for_writer(path)
    if loss.relative:
        say(
            f"Packing changed the weights by {loss.relative:.2%} (root mean square, of the weights' own): their "
            "encoding has no layout of its own. docs/formats/packed.md says which have."
        )
    remove_older(path, say)
    return usable(path, recipe)


def usable(path: Path, recipe: str) -> tuple[PackedWeights, WeightsWatch]:
    """An existing file, if it is of that recipe; if it is small, all of it is checked. Raises CheckpointError."""
    found = PackedWeights(path)
    if found.recipe != recipe:
        raise CheckpointError(f"{path}: it was made from {found.recipe}, expected {recipe}. {AGAIN}")
    watch = found.watch()
    if found.mapped.state.size <= CHECKED_AT_ONCE and (problem := watch.wait()) is not None:
        watch.close()
        raise CheckpointError(str(problem))
    return found, watch


def write_checked(
    checkpoint: Checkpoint, parameters: list[Parameter], path: Path, recipe: str, file: PackedFile, threads: int
) -> packing.Loss:
    """`write_packed`, from a source that is read again beside it and compared with its digest: what a packed file is
    checked against is only as good as what it was made from. Raises CheckpointError."""
    found: list[str | None] = []
    given_up = threading.Event()

    def read() -> None:
        found.append(digest_of_maps(maps, given_up.is_set))

    maps = checkpoint.maps
    reader = threading.Thread(target=read, name="ouvert-source-check", daemon=True)

    def compare() -> None:
        reader.join()
        if lost() or found != [file.source_digest]:
            what = "it was cut shorter while it was read" if lost() else f"its digest is {found[0]}"
            raise CheckpointError(
                f"packing {checkpoint.path}: {what}, expected {file.source_digest}. It is not what was fetched, or was "
                "changed meanwhile: fetch the model again, or load it again once nobody writes to it."
            )

    with guarded(maps) as lost:
        reader.start()
        try:
            return write_packed(
                parameters,
                path,
                source_digest=file.source_digest,
                recipe=recipe,
                threads=threads,
                progress=file.progress,
                before_it_appears=compare,
            )
        finally:
            given_up.set()
            reader.join()


def remove_older(path: Path, say: Callable[[str], None]) -> None:
    """What versions with other layouts left of the same weights: no version reads it any more."""
    for older in path.parent.glob("*.safetensors"):
        if not older.name.startswith(f"{LAYOUT_VERSION}-"):
            try:
                size = older.stat().st_size
                older.unlink()
            except OSError:
                continue  # another process removed it, or it is not ours to remove: it is in nobody's way
            say(
                f"Removed {older}, packed by another version ({size / 1e6:.0f} MB): its layout is not {LAYOUT_VERSION}."
            )


def damage_in(path: Path) -> str | None:
    """What is wrong with a packed file, all of which is read; None if nothing is. Changes nothing."""
    try:
        found = PackedWeights(path)
        return check_of_pieces(found.mapped, found.pieces)(lambda: False)
    except CheckpointError as problem:
        return str(problem)
