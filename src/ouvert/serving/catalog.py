"""The models that this server offers, by the names that clients use."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

from ouvert.chat import Effort
from ouvert.serving.errors import Refusal
from ouvert.store import Installed, Store, find_alias, split_precision, unknown_precision

LATEST = ":latest"


@dataclass(frozen=True, slots=True)
class Named:
    """What a client's name for a model stands for: one that is here, and the effort that the name asks for."""

    installed: Installed
    effort: Effort | None = None


class Catalog:
    """The models this server offers, by the names clients use. Paths are no names here: only the owner gives paths."""

    def __init__(self, store: Store, named: tuple[str, ...], *, only_named: bool) -> None:
        """`named` are names or paths; raises StoreError for one that is not here."""
        self._store = store
        self._named = {model.called: model for model in map(store.resolve, named)}
        self._only_named = only_named

    @property
    def first(self) -> tuple[Installed, ...]:
        return tuple(self._named.values())

    def every(self) -> tuple[Installed, ...]:
        """All models that are offered: first those that the owner named."""
        if self._only_named:
            return self.first
        return (*self.first, *(model for model in self._store.list() if model.name not in self._named))

    def find(self, name: str, admits: Callable[[str], bool] = lambda own_name: True) -> Named:
        """The model of that name, which may end with `:latest`, a precision and an effort. Raises Refusal 404.

        A model that `admits` says no to is treated as if it were not here, in the error too."""
        for known, effort in spellings(name):
            if (installed := self._exactly(known)) is not None and admits(installed.name):
                return Named(installed, effort)
            plain, precision = split_precision(known.removesuffix(LATEST))
            if precision is None:
                continue
            if (installed := self._exactly(plain.removesuffix(LATEST))) is not None and admits(installed.name):
                return Named(replace(installed, precision=precision), effort)
        offered = (
            ", ".join(model.called for model in self.every() if admits(model.name))
            or "none yet: `ouvert pull smollm2` brings one"
        )
        alias = find_alias(name)
        asked = unknown_precision(name, [model.name for model in self.every() if admits(model.name)])
        if asked is not None:
            raise Refusal(404, asked, code="model_not_found", param="model")
        fetch = f" `ouvert pull {alias.name}` fetches it." if alias is not None and not self._only_named else ""
        raise Refusal(
            404,
            f"There is no model {name!r:.200} here.{fetch} This server offers: {offered}.",
            code="model_not_found",
            param="model",
        )

    def forget(self, own_name: str) -> None:
        """The model of that own name has been removed."""
        self._named.pop(own_name, None)

    def _exactly(self, name: str) -> Installed | None:
        alias = find_alias(name)
        names = (name,) if alias is None else (name, alias.name)
        for each in names:
            if each in self._named:
                return self._named[each]
        if not self._only_named:
            stored = self._store.names()
            for each in names:
                if each in stored:
                    return self._store.resolve(each)
        return None


def spellings(name: str) -> Iterator[tuple[str, Effort | None]]:
    """(name of a model, effort) that a client's name may mean, the plainest first."""
    plain = name.removesuffix(LATEST)
    yield name, None
    if plain != name:
        yield plain, None
    base, _, last = plain.rpartition(":")
    if base and last in get_args(Effort):
        yield base, last  # type: ignore[misc]
        yield base.removesuffix(LATEST), last  # type: ignore[misc]


def plain_names(name: str) -> tuple[str, ...]:
    """The own names that a client's name may stand for: as it is, without `:latest`, or of the alias that it is."""
    written = (name, name.removesuffix(LATEST))
    aliased = (alias.name for each in written if (alias := find_alias(each)) is not None)
    return tuple(dict.fromkeys((*written, *aliased)))


def created_at(installed: Installed) -> datetime:
    """When a model was fetched; where the owner named a path, when its files were last written."""
    if installed.fetched_at is not None:
        return datetime.fromisoformat(installed.fetched_at).astimezone(UTC)
    return datetime.fromtimestamp(Path(installed.path).stat().st_mtime, UTC)
