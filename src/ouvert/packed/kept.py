"""The packed file that is kept of a model: found, made, made again if it is damaged, removed if it is outdated."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ouvert import kernels
from ouvert.models import Parameter
from ouvert.packed.placement import LAYOUT_VERSION, Placement, placements
from ouvert.packed.precision import ROUNDING_VERSION, STORED, Precision, rounding
from ouvert.packed.reading import AGAIN, PackedWeights
from ouvert.packed.recipe import recipe_digest
from ouvert.packed.source_check import SourceCheck
from ouvert.packed.watch import WeightsWatch
from ouvert.packed.writing import write_packed
from ouvert.weights import BusyError, Checkpoint, CheckpointError, encoded_bytes, wait_for_writer

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
    checkpoint: Checkpoint,
    parameters: Sequence[Parameter],
    file: PackedFile,
    threads: int,
    precision: Precision = STORED,
) -> tuple[PackedWeights, WeightsWatch]:
    """The packed form of a checkpoint at a settled precision, and the watch over it; written now if it is not there or
    not usable.

    Raises CheckpointError if it cannot be written, or if the source is not what its digest says.
    """
    recipe = recipe_digest(LAYOUT_VERSION, file.source_digest, parameters, rounding(parameters, precision))
    path = file.place(packed_name(recipe, precision))
    say = file.say or (lambda _: None)
    losses: dict[str, Loss] | None = None
    while losses is None:
        if (found := existing(path, recipe, say)) is not None:
            return found
        try:
            losses = write_checked(checkpoint, parameters, path, recipe, file, threads, precision)
        except BusyError:
            say("Another process is packing this model's weights: waiting for it.")
            wait_for_writer(path)
    if any(each.relative for each in losses.values()):
        say(what_was_lost(losses, placements(parameters, precision), precision))
    remove_older(path, say)
    return usable(path, recipe)


def packed_name(recipe: str, precision: Precision) -> str:
    """What the file of a recipe is called: layout version, recipe, and where weights were rounded, to how many bits, by
    which version of the rounding."""
    rounded = "" if precision == STORED else f"-{precision}bit-{ROUNDING_VERSION}"
    return f"{LAYOUT_VERSION}-{recipe.removeprefix('sha256:')[:16]}{rounded}"


def what_was_lost(losses: "Mapping[str, Loss]", placed: Mapping[str, Placement], precision: Precision) -> str:
    """What is said of rounded weights: by how much they changed, all together and where most."""
    whole = sum(losses.values(), start=kernels.Loss())
    worst = max(losses, key=lambda name: losses[name].relative)
    changed = (
        f"changed the weights by {whole.relative:.2%} (root mean square, of the weights' own), most in {worst}, by "
        f"{losses[worst].relative:.2%}"
    )
    if precision == STORED:
        return f"Packing {changed}: their encoding has no layout of its own. docs/formats/packed.md says which have."
    bits = bits_a_weight(placed)
    return f"Rounded to {precision} bits ({bits:.2f} a weight, scales included): that {changed}."


def bits_a_weight(placed: Mapping[str, Placement]) -> float:
    """Of all parameters together, as they are placed. Raises nothing."""
    stored = sum(encoded_bytes(*each.stored_as) for each in placed.values())
    return 8 * stored / sum(math.prod(each.shape) for each in placed.values())


def existing(path: Path, recipe: str, say: Callable[[str], None]) -> tuple[PackedWeights, WeightsWatch] | None:
    """What is there already, if it is usable; what is not is removed: it is only derived, so it is made again."""
    if not path.exists():
        return None
    try:
        return usable(path, recipe)
    except CheckpointError as problem:  # of another kind, or damaged
        say(f"Packed weights are made again. {problem}")
        with suppress(OSError):  # where it cannot be removed, neither can another be written; that is said
            path.unlink(missing_ok=True)
        return None


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
    checkpoint: Checkpoint,
    parameters: Sequence[Parameter],
    path: Path,
    recipe: str,
    file: PackedFile,
    threads: int,
    precision: Precision,
) -> "dict[str, Loss]":
    """`write_packed`. The source is compared with its digest before the file appears.

    Raises CheckpointError.
    """
    with SourceCheck(checkpoint, file.source_digest) as check:
        return write_packed(
            parameters,
            path,
            source_digest=file.source_digest,
            recipe=recipe,
            precision=precision,
            threads=threads,
            progress=file.progress,
            before_it_appears=check.refuse_what_changed,
        )


def remove_older(path: Path, say: Callable[[str], None]) -> None:
    """What versions with other layouts, or with another rounding, left of the same weights: this one never reads it."""
    for older in path.parent.glob("*.safetensors"):
        rounded = re.search(r"bit-(\d+)$", older.stem)
        same_rounding = rounded is None or int(rounded[1]) == ROUNDING_VERSION
        if not older.name.startswith(f"{LAYOUT_VERSION}-") or not same_rounding:
            try:
                size = older.stat().st_size
                older.unlink()
            except OSError:
                continue  # another process removed it, or it is not ours to remove: it is in nobody's way
            say(
                f"Removed {older}, packed by another version ({size / 1e6:.0f} MB): its layout is not {LAYOUT_VERSION}."
                if same_rounding
                else f"Removed {older} ({size / 1e6:.0f} MB): another version rounded it, in another way."
            )
