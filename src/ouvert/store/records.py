"""The record of each model, and the folder of links that shows its files under their own names."""

import os
from pathlib import Path
from urllib.parse import quote, unquote

from ouvert.store.blobs import Blobs
from ouvert.store.manifest import Manifest, StoredFile, read_manifest, write_manifest

LONGEST_NAME = 200  # written with %, as the files of records are called


class Records:
    """One JSON file for each model in `models/`, one folder of links in `folders/`; the content is in `blobs`."""

    def __init__(self, home: Path, blobs: Blobs) -> None:
        self.manifests, self.folders, self.blobs = home / "models", home / "folders", blobs

    def names(self) -> tuple[str, ...]:
        """Names of the models in the store, sorted, without reading more than one folder's listing."""
        return tuple(sorted(unquote(path.name.removesuffix(".json")) for path in self.manifests.glob("*.json")))

    def find(self, name: str) -> Manifest | None:
        """The record of the model with exactly this name. Raises StoreError for one that cannot be understood."""
        if len(quote(name, safe="")) > LONGEST_NAME:
            return None
        try:
            return read_manifest(self.path(name))
        except FileNotFoundError:
            return None

    def holds(self, name: str) -> bool:
        """Whether there is a record of that name, be it damaged. Raises nothing."""
        return len(quote(name, safe="")) <= LONGEST_NAME and self.path(name).exists()

    def all(self) -> tuple[Manifest, ...]:
        """Every record, by name. Raises StoreError for one that cannot be understood."""
        found = (self.find(name) for name in self.names())
        return tuple(manifest for manifest in found if manifest)

    def write(self, manifest: Manifest) -> None:
        """Record a model whose content is here, with its folder of links."""
        self.link_folder(manifest)
        write_manifest(self.path(manifest.name), manifest)

    def path(self, name: str) -> Path:
        return self.manifests / f"{quote(name, safe='')}.json"

    def folder(self, manifest: Manifest) -> Path:
        """Where the links to the files of a model are whose content is in the store."""
        return self.folders / f"{quote(manifest.name, safe='')}-{manifest.fingerprint}"

    def content(self, manifest: Manifest, file: StoredFile) -> Path:
        return Path(manifest.linked, file.name) if manifest.linked else self.blobs.path(file.digest)

    def link_folder(self, manifest: Manifest) -> None:
        """Make the folder with the original file names, which readers of models expect."""
        if manifest.linked:
            return
        folder = self.folder(manifest)
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
