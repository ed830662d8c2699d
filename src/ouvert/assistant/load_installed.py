"""From a model of the store to an engine: its weights packed once, into the store, with a progress that shows."""

import errno
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from ouvert.engine import (
    PRECISIONS,
    AskedPrecision,
    AtMost,
    CacheType,
    EngineError,
    Opened,
    PackedFile,
    PageFiles,
    UnwritableError,
    key_of_this_user,
    open_engine,
    pack_weights,
)
from ouvert.store import SILENCE, Installed, Progress, Store

# What the system says of a folder that cannot be written.
UNWRITABLE = frozenset({errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.EIO})

# Smaller models are read and packed before anybody has looked up.
WORTH_SHOWING = 300_000_000  # bytes
# For kept prefixes on disk: bytes, and one part in so many of what is free.
MOST_FOR_PREFIXES = 8_000_000_000
SHARE_FOR_PREFIXES = 10


def open_installed(
    store: Store,
    installed: Installed,
    *,
    threads: int | None = None,
    context: int | AtMost | None = None,
    exact: bool = False,
    cache: CacheType | None = None,
    prefixes: PageFiles | None = None,
    progress: Progress = SILENCE,
    precision: AskedPrecision | None = None,
    memory: int | None = None,
) -> Opened:
    """`engine.open_engine` for a model that the store resolved; raises what that and the store raise.

    The precision in its name comes before `precision`.

    Where the store cannot be written, the weights are packed into memory, and `progress` says so.
    """
    digest = store.weights_digest(installed, worth_showing(installed, progress))
    opened = partial(
        open_engine,
        installed.path,
        threads=threads,
        context=context,
        exact=exact,
        weights_digest=digest,
        cache_type=cache,
        prefixes=prefixes,
        precision=precision_of(installed, precision),
        memory=memory,
    )
    try:
        with packed_file(store, installed, digest, progress) as packed:
            return opened(packed=packed)
    except UnwritableError as problem:
        why = str(problem)
    except OSError as problem:
        if problem.errno not in UNWRITABLE:
            raise
        why = f"{problem.filename or store.home}: {problem.strerror}."
    progress.say(
        f"The packed weights of {installed.name} are not kept: {why} They are packed into memory, now and at every "
        "start, until the store can be written; `ouvert doctor` says what is in the way."
    )
    return opened(packed=None)


def kept_prefixes(
    store: Store,
    folder: Path | None = None,
    *,
    quota: int | None = None,
    key: bytes | None = None,
    encrypted: bool = True,
    say: Callable[[str], None] | None = None,
) -> PageFiles | None:
    """Where the beginnings of prompts are kept across restarts: in the store, unless a folder is named.

    `quota` is in bytes: left out, a tenth of what is free on that disk, 8 GB at most. `key`: 32 bytes; left out, this
    user's own (`engine.key_of_this_user`). Not `encrypted`: none. None, and `say` is told, if there is no place for
    such a key: prompts are then kept in memory only.

    Raises EngineError for a key of another length than 32 bytes.
    """
    if encrypted and key is None:
        try:
            key = key_of_this_user()
        except EngineError as problem:
            if say is not None:
                say(f"Beginnings of prompts are kept in memory only: {problem}")
            return None
    folder = folder or store.home / "prefixes"
    if quota is None:
        there = next(each for each in (folder, *folder.parents) if each.exists())
        quota = min(MOST_FOR_PREFIXES, shutil.disk_usage(there).free // SHARE_FOR_PREFIXES)
    return PageFiles(folder, quota=quota, key=key, say=say)


def precision_of(installed: Installed, asked: AskedPrecision | None) -> AskedPrecision | None:
    """That of a model's name, or the one that is asked for where its name says none. Raises nothing."""
    named = [each for each in PRECISIONS if each == installed.precision]
    return named[0] if named else asked


def pack_installed(
    store: Store, installed: Installed, progress: Progress = SILENCE, precision: AskedPrecision | None = None
) -> None:
    """Write the packed form of a model's weights now, so that its first start is as quick as every other.

    The precision in its name comes before `precision`; where neither says one, it is the usual one.

    Raises CheckpointError if the weights cannot be used or their packed form cannot be written, StoreError if they are
    not what they were, Cancelled where `progress` says that nobody wants it any more.
    """
    digest = store.weights_digest(installed, worth_showing(installed, progress))
    with packed_file(store, installed, digest, progress) as packed:
        pack_weights(installed.path, packed, precision_of(installed, precision))


def worth_showing(installed: Installed, progress: Progress) -> Progress:
    return progress if installed.size >= WORTH_SHOWING else SILENCE


@contextmanager
def packed_of(store: Store, installed: Installed, progress: Progress = SILENCE) -> Iterator[PackedFile]:
    """Where the packed weights of a model are kept, for whoever places them without an engine. Raises StoreError where
    its files are not what they were."""
    digest = store.weights_digest(installed, worth_showing(installed, progress))
    with packed_file(store, installed, digest, progress) as packed:
        yield packed


@contextmanager
def packed_file(store: Store, installed: Installed, digest: str, progress: Progress) -> Iterator[PackedFile]:
    """The store's place for the packed weights. `progress` is shown while they are written."""
    before: int | None = None
    shown = worth_showing(installed, progress)

    def advance(done: int, total: int) -> None:
        nonlocal before
        progress.require_wanted()
        if before is None:
            shown.begin(f"packing {installed.name}", total)
            before = 0
        shown.advance(done - before)
        before = done

    try:
        yield PackedFile(
            place=partial(store.packed_path, digest), source_digest=digest, progress=advance, say=progress.say
        )
    finally:
        if before is not None:
            shown.end()
