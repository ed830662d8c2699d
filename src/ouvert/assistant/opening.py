"""From a model of the store to an engine: its weights packed once, into the store, with a progress that shows."""

from collections.abc import Iterator
from contextlib import contextmanager

from ouvert.engine import LAYOUT_VERSION, Opened, PackedFile, open_engine, pack_weights
from ouvert.store import SILENCE, Installed, Progress, Store

# Smaller models are read and packed before anybody has looked up.
WORTH_SHOWING = 300_000_000  # bytes


def open_installed(
    store: Store,
    installed: Installed,
    *,
    threads: int | None = None,
    context: int | None = None,
    exact: bool = False,
    progress: Progress = SILENCE,
) -> Opened:
    """`engine.open_engine` for a model that the store resolved; raises what that and the store raise."""
    progress = progress if installed.size >= WORTH_SHOWING else SILENCE
    digest = store.weights_digest(installed, progress)
    with packed_file(store, installed, digest, progress) as packed:
        return open_engine(
            installed.path, threads=threads, context=context, exact=exact, weights_digest=digest, packed=packed
        )


def pack_installed(store: Store, installed: Installed, progress: Progress = SILENCE) -> None:
    """Write the packed form of a model's weights now, so that its first start is as quick as every other."""
    progress = progress if installed.size >= WORTH_SHOWING else SILENCE
    digest = store.weights_digest(installed, progress)
    with packed_file(store, installed, digest, progress) as packed:
        pack_weights(installed.path, packed)


@contextmanager
def packed_file(store: Store, installed: Installed, digest: str, progress: Progress) -> Iterator[PackedFile]:
    """Where the store keeps the packed weights; if they have to be written, `progress` is shown meanwhile."""
    before: int | None = None

    def advance(done: int, total: int) -> None:
        nonlocal before
        if before is None:
            progress.begin(f"packing {installed.name}", total)
            before = 0
        progress.advance(done - before)
        before = done

    try:
        yield PackedFile(
            path=store.packed_path(digest, LAYOUT_VERSION), source_digest=digest, progress=advance, say=progress.say
        )
    finally:
        if before is not None:
            progress.end()
