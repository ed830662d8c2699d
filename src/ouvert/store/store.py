"""The models on this machine. docs/formats/store.md draws the folder."""

import shutil
from collections.abc import Collection, MutableSequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from ouvert.store.adapters import Adapters
from ouvert.store.aliases import find_alias
from ouvert.store.blobs import Blobs, free_bytes
from ouvert.store.error import Cancelled, NoRoom, StoreError, Unreachable
from ouvert.store.expected_files import require_right_content, require_unchanged
from ouvert.store.fetching import Fetcher, MadeOfIt, digest_of, nothing_made
from ouvert.store.hub import Hub
from ouvert.store.installed import Installed, weight_files
from ouvert.store.locks import Locks
from ouvert.store.manifest import Manifest, StoredFile, read_manifest
from ouvert.store.model_files import files_at, opened_at, require_magic
from ouvert.store.names import (
    PRECISIONS,
    Order,
    absent,
    did_you_mean,
    find_record,
    order_of,
    readings,
    split_precision,
    unknown_precision,
    while_offline,
)
from ouvert.store.offer import Offer, hosts_of, offer_of
from ouvert.store.packed_files import Packed, PackedFiles
from ouvert.store.progress import SILENCE, Progress, shown
from ouvert.store.records import Records
from ouvert.store.remembered import RememberedDigests
from ouvert.store.selection import is_companion
from ouvert.store.source import HubSource, LocalSource, PackageSource, PartsSource, Source, exists, looks_like_path
from ouvert.store.unfinished import Unfinished, UnfinishedFetches


def default_home() -> Path:
    """Where this system keeps a user's data, e.g. ~/.local/share/ouvert. Raises nothing."""
    from platformdirs import user_data_path

    return user_data_path("ouvert", appauthor=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """What a removal freed."""

    name: str
    freed: int
    files: int


class Store:
    """The models below one folder. Opening it reads and creates nothing; any number of processes may have it open.

    `home` is the folder. Making one raises nothing.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.locks = Locks(home / "locks")
        self.blobs = Blobs(home / "blobs", self.locks.folder)
        self.records = Records(home, self.blobs)
        self.packed_files = PackedFiles(home / "packed")
        self.adapters = Adapters(home)
        self._remembered = RememberedDigests(home / "digests.json")
        self._unfinished = UnfinishedFetches(home, self.blobs, self.locks)

    # --- what is here -------------------------------------------------------------------------------------------------

    def names(self) -> tuple[str, ...]:
        """Names of the models in the store, sorted, without reading more than one folder's listing. Raises nothing."""
        return self.records.names()

    def list(self) -> tuple[Installed, ...]:
        """Every model in the store, by name. Raises StoreError for a record that cannot be understood."""
        return tuple(self._installed(manifest) for manifest in self.records.all())

    def unfinished(self) -> tuple[Unfinished, ...]:
        """Fetches that were begun, by any process, and are not finished, by name. Raises nothing."""
        return self._unfinished.all()

    def resolve(self, name: str) -> Installed:
        """The model called `name`: an alias, a store name, a hub name, or the path of a folder or file. "@4", "@8",
        "@16" or "@stored" may stand behind it, and then "+" and an adapter, several times.

        Opens no connection. Raises StoreError with what to do when it is not here or not whole, and for an adapter that
        is not here or of another model.
        """
        meant, adapters = name, tuple[str, ...]()
        if "+" in name:
            found = next((each for each in readings(name) if self._is_here(each[0])), None)
            if found is None:
                raise absent(name, self.records)
            meant, adapters = found
        plain, precision = split_precision(meant)
        if precision is not None and not exists(meant):
            installed = replace(self._named(plain), precision=precision)
        else:
            installed = self._named(meant)
        self.adapters.made_for(installed.name, installed.digest, adapters)
        return replace(installed, adapters=adapters)

    def _is_here(self, name: str) -> bool:
        """Whether something here is called so, or so before a precision. It may be damaged. Raises nothing."""
        plain, _ = split_precision(name)
        try:
            return exists(name) or exists(plain) or find_record(plain, self.records) is not None
        except StoreError:
            return self.records.holds(plain)

    def _named(self, name: str) -> Installed:
        if looks_like_path(name):
            return self._at_path(Path(name).expanduser())
        if manifest := find_record(name, self.records):
            return self._whole(manifest)
        if exists(name):
            return self._at_path(Path(name))
        raise absent(name, self.records)

    def packed_path(self, source_digest: str, layout: str) -> Path:
        """Where the packed form of the weights with this digest is, or is to be written (beside it, then renamed).

        The folder exists afterwards. `layout` names the layout and its version in small letters. Raises StoreError for
        what is no digest or no name of a layout.
        """
        return self.packed_files.path(source_digest, layout)

    def packed(self) -> tuple[Packed, ...]:
        """All packed models, also those of weights that are not in the store.

        Raises OSError if one is removed while they are listed.
        """
        return self.packed_files.all()

    def weights_digest(self, installed: Installed, progress: Progress = SILENCE) -> str:
        """The digest that keys the packed form of a model's weights; raises StoreError or CheckpointError.

        The store knows it of what it fetched. Of files elsewhere it is computed once, and remembered until they change;
        those that were linked must still be what they were.
        """
        if installed.digest is not None and not installed.linked:
            return installed.digest
        from ouvert.weights import combined_digest  # imported here so that names can be completed at once

        def compute(file: Path) -> str:
            with shown(progress, f"reading {file.name}", file.stat().st_size):
                return digest_of(file, progress)

        files = weight_files(installed)
        digest = combined_digest({file.name: self._remembered.digest_of(file, compute) for file in files})
        if installed.digest not in (None, digest):
            raise StoreError(
                f"{installed.name}: its weights in {installed.path} were changed after it was put into the store "
                f"(their digest is {digest}, expected {installed.digest}): `ouvert pull {installed.source}` takes "
                "note of it."
            )
        return digest

    def verify(self, name: str, progress: Progress = SILENCE) -> Installed:
        """`resolve`, and read every file again: raises StoreError that names the first one whose content changed."""
        installed = self.resolve(name)
        manifest = find_record(installed.name, self.records)
        if manifest is None:
            raise StoreError(f"{name} is not in the store, so nothing is known to compare with: `ouvert pull {name}`.")
        for file in manifest.files:
            with shown(progress, f"checking {file.name}", file.size):
                found = digest_of(self.records.content(manifest, file), progress)
            if found != file.digest:
                raise StoreError(
                    f"{file.name} of {manifest.name} has changed on the disk: its digest is {found}, expected "
                    f"{file.digest}. `ouvert remove {manifest.name}`, then `ouvert pull {manifest.source}`."
                )
        return installed

    def free_bytes(self) -> int:
        """What is free on the disk of the store. Raises OSError where the system does not say."""
        return free_bytes(self.home)

    def offer(self, what: str, *, name: str | None = None, hub: Hub | None = None) -> Offer:
        """What `pull` would ask for, and whom. Opens no connection; pip is asked for its settings where packages are
        among the sources (HOSTS_COMMAND). Raises StoreError for what names nothing, or files of this machine.
        """
        order = order_of(what, name, self.records)
        return offer_of(order, hub or Hub(), self._unfinished.find(order.name))

    # --- bringing in --------------------------------------------------------------------------------------------------

    def pull(
        self,
        what: str,
        *,
        name: str | None = None,
        copy: bool = False,
        hub: Hub | None = None,
        progress: Progress = SILENCE,
        made: MadeOfIt = nothing_made,
    ) -> Installed:
        """Bring in an alias, hf:org/name[@revision][:file or quantisation], pypi:package[==version], or a path.

        A path is linked (its files stay where they are) unless `copy`. What is here already is not fetched again; a
        branch of the hub is asked for its newest commit. What was cut off goes on where it was. Nothing is fetched
        unless it fits on the disk, and beside it what is `made` of it afterwards (bytes). Raises StoreError;
        Unreachable when there is no connection; Cancelled where `progress` says that nobody wants it any more.
        """
        order = order_of(what, name, self.records)
        fetcher = Fetcher(self.home, self.blobs, self._remembered, self._unfinished, progress, made)
        with self.locks.model(order.name, progress):
            before = self.records.find(order.name)
            if before and self._is_final(order, before):
                return self._whole(before)
            try:
                with nullcontext() if isinstance(order.source, LocalSource) else self._unfinished.noted(order):
                    manifest = self._fetch_from_any(order, before, copy, hub or Hub(), fetcher)
            except Unreachable as problem:
                raise Unreachable(f"{problem} {while_offline(order, before)}") from problem
            if before:
                with self.locks.store():
                    self._drop_content(before)
            return self._installed(manifest)

    def _is_final(self, order: Order, before: Manifest) -> bool:
        """Whether what is here cannot have a newer version, and is whole."""
        if order.pinned is not None and before.digest == order.pinned:
            return self._has_all(before)
        match order.source:
            case PackageSource(version=str()) if before.source == str(order.source):
                pass
            case HubSource(revision=str(revision)) if revision == before.revision:
                pass
            case _:
                return False
        return self._has_all(before)

    def _fetch_from_any(
        self, order: Order, before: Manifest | None, copy: bool, hub: Hub, fetcher: Fetcher
    ) -> Manifest:
        """Ask the model's sources in order, until one gives it.

        Raises Unreachable when none can be reached, StoreError with what each said, NoRoom and Cancelled at once.
        """
        problems: list[StoreError] = []
        for source in order.sources:
            if problems:
                fetcher.progress.say(f"{problems[-1]} Asking the next source of {order.name}.")
            try:
                return self._fetch(order, source, before, copy, hub, fetcher)
            except (NoRoom, Cancelled):
                raise
            except StoreError as problem:
                problems.append(problem)
        if len(problems) == 1:
            raise problems[0]
        kind = Unreachable if all(isinstance(problem, Unreachable) for problem in problems) else StoreError
        raise kind(f"{order.name}: none of its {len(problems)} sources gave it. {' '.join(map(str, problems))}")

    def _fetch(
        self,
        order: Order,
        source: Source | PartsSource,
        before: Manifest | None,
        copy: bool,
        hub: Hub,
        fetcher: Fetcher,
    ) -> Manifest:
        """Fetch and record. Should another process remove shared content in between, it is fetched again."""
        if not isinstance(source, LocalSource):
            fetcher.progress.say(f"{order.name}: asking {hosts_of(source, hub)} for {source}")
        while True:
            came: MutableSequence[StoredFile] = []  # into the store, for this order
            try:
                match source:
                    case HubSource():
                        manifest = fetcher.from_hub(order, source, before, hub)
                    case PackageSource():
                        manifest = fetcher.from_package(order, source, came)
                    case PartsSource():
                        manifest = fetcher.from_parts(order, source)
                    case LocalSource():
                        manifest = fetcher.from_path(order, source, copy=copy)
                came += [] if manifest.linked else manifest.files
                require_right_content(order, manifest, self.records)
            except BaseException:
                self._give_back(came)
                raise
            if source != order.source:  # a revision is one of the source that is recorded
                manifest = replace(manifest, fetched_from=str(source), revision=None)
            with self.locks.store():
                if manifest.linked or self._has_all(manifest):
                    self.records.write(manifest)
                    return manifest

    def _has_all(self, manifest: Manifest) -> bool:
        return all(self.blobs.holds(file.digest, file.size) for file in manifest.files)

    def _give_back(self, came: Collection[StoredFile]) -> None:
        """Remove what came into the store and was then refused, unless a model that is here has it too."""
        with self.locks.store():
            needed = {file.digest for manifest in self.records.all() for file in manifest.files}
            discard("what was refused", [self.blobs.path(file.digest) for file in came if file.digest not in needed])

    # --- taking away --------------------------------------------------------------------------------------------------

    def remove(self, name: str) -> Removed:
        """Forget a model, or a fetch that is not finished, and free what nobody else needs. Files that were linked stay
        where they are. Of a name with a precision, only the packed weights of that precision go.

        Raises StoreError if no such model is in the store, or nothing of it at that precision.
        """
        plain, precision = split_precision(name)
        if precision is not None:
            return self._remove_packed(plain, precision)
        stored = name if name in self.names() else getattr(find_record(name, self.records), "name", None)
        if stored is None:
            return self._give_up(name)
        with self.locks.model(stored, SILENCE), self.locks.store():
            path = self.records.path(stored)
            try:
                manifest = read_manifest(path)
            except StoreError:  # a record that nobody understands protects nothing: `sweep` finds what it named
                path.unlink()
                return Removed(name=stored, freed=0, files=0)
            except FileNotFoundError as problem:
                raise StoreError(f"{stored} has just been removed by another process.") from problem
            path.unlink()
            return self._drop_content(manifest)

    def _give_up(self, name: str) -> Removed:
        """Remove what an unfinished fetch left."""
        alias = find_alias(name)
        begun = next((each.name for each in self.unfinished() if each.name in (name, alias and alias.name)), None)
        if begun is None:
            why = unknown_precision(name, self.names()) or (
                f"{name} is not in the store, so there is nothing to remove.{did_you_mean(self.names(), name)}"
            )
            raise StoreError(why)
        with self.locks.model(begun, SILENCE), self.locks.store():
            return discard(begun, self._unfinished.left_of(begun))

    def _remove_packed(self, name: str, precision: str) -> Removed:
        installed = self.resolve(name)
        packed = [each for each in installed.packed if each.precision == precision]
        if not packed:
            there = {each.precision for each in installed.packed}
            listed = ", ".join(each for each in PRECISIONS if each in there) or "none"
            same = precision == "16" and "stored" in there
            raise StoreError(
                f"{installed.name} is not packed at the precision {precision}, so there is nothing to remove; "
                f"packed are: {listed}." + (" Weights of 16 bits are packed as `stored`." if same else "")
            )
        return discard(f"{installed.name}@{precision}", [each.path for each in packed])

    def sweep(self) -> Removed:
        """Free what no model needs: leftovers of fetches that were given up, packed forms of models that are gone.

        Raises StoreError while a fetch is under way, and for a record that cannot be understood; OSError for what
        cannot be removed.
        """
        with self.locks.store():  # nobody starts to fetch from here on
            self.locks.require_no_fetch()
            manifests = self.records.all()
            needed = {self.blobs.path(file.digest) for manifest in manifests for file in manifest.files}
            linked = {self.records.folder(manifest) for manifest in manifests}
            removable = [path for path in self.blobs.folder.glob("*") if path not in needed]
            removable += [path for path in self.records.folders.glob("*") if path not in linked]
            removable += self.packed_files.unneeded({manifest.digest for manifest in manifests})
            removable += self.home.glob("incoming-*")
            removable += self._unfinished.folder.glob("*")
            return discard("unused files", removable)

    def _drop_content(self, manifest: Manifest) -> Removed:
        """Delete what only `manifest` needed. The caller holds the store's lock and has taken the record away."""
        others = self.records.all()
        removable: list[Path] = []
        folder = self.records.folder(manifest)
        if not any(self.records.folder(other) == folder for other in others):
            removable.append(folder)
        if manifest.linked is None:
            needed = {file.digest for other in others for file in other.files if other.linked is None}
            removable += {self.blobs.path(file.digest) for file in manifest.files if file.digest not in needed}
        if all(other.digest != manifest.digest for other in others):
            removable += [each.path for each in self.packed_files.of(manifest.digest)]
        removable += self._unfinished.left_of(manifest.name)  # of a newer version
        return discard(manifest.name, removable)

    # --- inside -------------------------------------------------------------------------------------------------------

    def _installed(self, manifest: Manifest) -> Installed:
        folder = Path(manifest.linked) if manifest.linked else self.records.folder(manifest)
        return Installed(
            name=manifest.name,
            path=opened_at(folder, [file.name for file in manifest.weights]),
            source=manifest.source,
            size=manifest.size,
            revision=manifest.revision,
            licence=manifest.licence,
            fetched_at=manifest.fetched_at,
            fetched_from=manifest.fetched_from,
            files=manifest.files,
            digest=manifest.digest,
            linked=manifest.linked is not None,
            packed=self.packed_files.of(manifest.digest),
        )

    def _whole(self, manifest: Manifest) -> Installed:
        """What `manifest` describes, or StoreError if a file is gone or has another size or (linked) another date."""
        for file in manifest.files:
            require_unchanged(manifest, file, self.records.content(manifest, file))
        folder = self.records.folder(manifest)
        if not manifest.linked and not all((folder / file.name).exists() for file in manifest.files):
            self.records.link_folder(manifest)
        return self._installed(manifest)

    def _at_path(self, path: Path) -> Installed:
        folder, names = files_at(path)
        for manifest in self.records.all():
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


def discard(name: str, removable: list[Path]) -> Removed:
    """Delete files and folders, and say how many bytes of files went."""
    freed = files = 0
    for path in removable:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.exists() or path.is_symlink():
            freed, files = freed + path.stat().st_size, files + 1
            path.unlink()
            if path.parent.parent.name == "packed" and not any(path.parent.iterdir()):
                path.parent.rmdir()
    return Removed(name=name, freed=freed, files=files)
