"""What the files of a model have to be: those that its record names, with their sizes, dates and digests."""

from pathlib import Path

from ouvert.store.error import StoreError
from ouvert.store.manifest import Manifest, StoredFile
from ouvert.store.model_files import require_magic
from ouvert.store.names import Order
from ouvert.store.records import Records


def require_right_content(order: Order, manifest: Manifest, records: Records) -> None:
    """Raise StoreError for weights that are not what their name says, or not those that are pinned."""
    for file in manifest.weights:
        require_magic(records.content(manifest, file), file.name, manifest.source)
    if order.pinned is not None and manifest.digest != order.pinned:
        raise StoreError(
            f"{manifest.source} is not the model that is pinned as {order.name}: its digest is {manifest.digest}, "
            f"expected {order.pinned}. It was not recorded."
        )


def require_unchanged(manifest: Manifest, file: StoredFile, path: Path) -> None:
    """Raise StoreError unless the file is there, and has the size and (linked) the date that are recorded."""
    again = f"`ouvert pull {manifest.source}`" + ("" if manifest.linked else " fetches what is missing")
    try:
        found = path.stat()
    except FileNotFoundError as problem:
        if manifest.linked:  # what is no longer there cannot be pulled again from there
            again = (
                f"put it back, or `ouvert pull` it from where it is now, or forget it: `ouvert remove {manifest.name}`"
            )
        raise StoreError(f"{manifest.name}: {file.name} is gone from {path}: {again}.") from problem
    if found.st_size != file.size:
        raise StoreError(
            f"{manifest.name}: {file.name} has {found.st_size} bytes, expected {file.size} ({path}): {again}."
        )
    if file.modified not in (None, found.st_mtime_ns):
        raise StoreError(
            f"{manifest.name}: {path} was changed after it was put into the store: {again} takes note of it."
        )
