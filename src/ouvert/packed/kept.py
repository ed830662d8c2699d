"""The packed file that is kept of a model: found, made, made again if it is damaged, removed if it is outdated."""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ouvert.models import Parameter
from ouvert.packed.guards import guarded
from ouvert.packed.pieces import digest_of_maps
from ouvert.packed.placement import LAYOUT_VERSION
from ouvert.packed.reading import AGAIN, PackedWeights
from ouvert.packed.recipe import recipe_digest
from ouvert.packed.watch import WeightsWatch
from ouvert.packed.writing import write_packed
from ouvert.weights import BusyError, Checkpoint, CheckpointError, wait_for_writer

if TYPE_CHECKING:
    from ouvert.kernels import Loss

# So much of a file is checked before it is used: it takes less time than anybody notices. Larger ones are checked
# while they answer.
CHECKED_AT_ONCE = 128 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedFile:
    """Where the packed form of the weights is, or is to be written, and the digest of the weights it is made from.

    `place(name)` is the path for packed weights of that name, which says layout and recipe; its folder is there.
    `progress(done, total)` counts source bytes; `say` is told, in a sentence, what packing lost, if anything.
    """

    place: Callable[[str], Path]
    source_digest: str
    progress: Callable[[int, int], None] | None = None
    say: Callable[[str], None] | None = None


def packed_weights(
    checkpoint: Checkpoint, parameters: Sequence[Parameter], file: PackedFile, threads: int
) -> tuple[PackedWeights, WeightsWatch]:
    """The packed form of a checkpoint, and the watch over it; written now if it is not there or not usable.

    Raises CheckpointError if it cannot be written, or if the source is not what its digest says.
    """
    recipe = recipe_digest(LAYOUT_VERSION, file.source_digest, parameters)
    path = file.place(f"{LAYOUT_VERSION}-{recipe.removeprefix('sha256:')[:16]}")
    say = file.say or (lambda _: None)
    loss: Loss | None = None
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
    if found.mapped.state.size <= CHECKED_AT_ONCE and (damage := watch.wait()) is not None:
        watch.close()
        raise CheckpointError(f"{damage.what}. {damage.remedy}")
    return found, watch


def write_checked(
    checkpoint: Checkpoint, parameters: Sequence[Parameter], path: Path, recipe: str, file: PackedFile, threads: int
) -> "Loss":
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
