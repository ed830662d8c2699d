"""The models that this server offers, by the names that clients use."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

from ouvert.chat import Effort
from ouvert.serving.errors import Refusal
from ouvert.serving.sentences import sentence_of
from ouvert.store import (
    AdapterRecord,
    Installed,
    Store,
    StoreError,
    find_alias,
    is_adapter_name,
    readings,
    split_adapters,
    split_precision,
    unknown_precision,
)

LATEST = ":latest"


@dataclass(frozen=True, slots=True)
class Named:
    """What a client's name for a model stands for: one that is here, and the effort that the name asks for. Adapters
    stand in `installed.adapters`; what is in memory is `installed.base`."""

    installed: Installed
    effort: Effort | None = None


class Catalog:
    """The models this server offers, by the names clients use. Paths are no names here: only the owner gives paths."""

    def __init__(
        self,
        store: Store,
        named: tuple[str, ...],
        *,
        only_named: bool,
        adapters: tuple[str, ...] = (),
        has_adapters: bool = True,
    ) -> None:
        """`named` are names or paths, with adapters or without; `adapters` are of one of these models each. With
        `only_named` no other model and no other adapter is offered. `has_adapters`: what computes here can have any.
        Raises StoreError for what is not here."""
        self._store, self._only_named, self._has_adapters = store, only_named, has_adapters
        found = [store.resolve(each) for each in named]
        self._named = {model.base.called: model.base for model in found}
        self._weights: dict[str, str] = {}  # of models that the store has no digest of
        self._adapters = {each for model in found for each in model.adapters}
        for name in adapters:
            self._require_fitting(name, found)
            self._adapters.add(name)

    def _require_fitting(self, name: str, models: Sequence[Installed]) -> None:
        """Raises StoreError for an adapter that was made for none of these models."""
        problems = []
        for model in models:
            try:
                self._store.adapters.made_for(model.name, self._weights_of(model), [name])
                return
            except StoreError as problem:
                problems.append(problem)
        if problems:
            raise problems[0]
        self._store.adapters.record(name)

    @property
    def first(self) -> tuple[Installed, ...]:
        return tuple(self._named.values())

    def names_with_adapters(self) -> tuple[str, ...]:
        """Of each adapter that the owner named a name to ask for it: with the first model that it was made for; with
        the first one of all where it fits none, so that the error says so. Raises StoreError for a record that is
        damaged."""
        names = []
        for adapter in sorted(self._adapters):
            record = self._store.adapters.record(adapter)
            fitting = [model for model in self.every() if self._fits(record, model)]
            names += [f"{model.called}+{adapter}" for model in (*fitting, *self.first)[:1]]
        return tuple(names)

    def every(self) -> tuple[Installed, ...]:
        """All models that are offered, without adapters: first those that the owner named."""
        if self._only_named:
            return self.first
        return (*self.first, *(model for model in self._store.list() if model.name not in self._named))

    def adapters_of(self, installed: Installed) -> tuple[AdapterRecord, ...]:
        """The adapters that are offered with this model, as they are on this machine now, by name. Raises nothing."""
        stored = self._store.names()  # a model may have the name of both together, and is then meant by it
        return tuple(
            each
            for each in self._store.adapters.readable()
            if self._offers(each, installed) and f"{installed.called}+{each.name}" not in stored
        )

    def _offers(self, record: AdapterRecord, installed: Installed) -> bool:
        """Whether this adapter is offered with this model."""
        named = record.name in self._adapters or not self._only_named
        return self._has_adapters and named and self._fits(record, installed)

    def _fits(self, record: AdapterRecord, installed: Installed) -> bool:
        """Whether it was made for these weights; for a model of this name, where they are not known before it is in
        memory."""
        weights = self._weights_of(installed)
        return record.base["weights"] == weights if weights is not None else record.base_name == installed.name

    def know(self, installed: Installed, weights: str) -> None:
        """The model that is called so has been loaded, and has the weights with this digest."""
        self._weights[str(installed.path)] = weights

    def _weights_of(self, installed: Installed) -> str | None:
        return installed.digest or self._weights.get(str(installed.path))

    def find(self, name: str, admits: Callable[[str], bool] = lambda own_name: True) -> Named:
        """The model of that name, which may end with `:latest`, a precision, adapters and an effort. Raises Refusal
        404.

        A model that `admits` says no to is treated as if it were not here, in the error too. What admits a model admits
        it with any adapter that is offered."""
        for known, effort in spellings(name):
            for plain, adapters in readings(known):
                if not all(map(is_adapter_name, adapters)):
                    break
                if (installed := self._at_precision(plain)) is not None and admits(installed.name):
                    self._require_offered(installed, adapters, admits)
                    return Named(replace(installed, adapters=adapters), effort)
        raise self._refusal(name, admits)

    def _at_precision(self, name: str) -> Installed | None:
        """The model of that name, or of what stands before a precision, with `:latest` or without."""
        for each in dict.fromkeys((name, name.removesuffix(LATEST))):
            if (installed := self._exactly(each)) is not None:
                return installed
        plain, precision = split_precision(name.removesuffix(LATEST))
        installed = None if precision is None else self._exactly(plain.removesuffix(LATEST))
        return None if installed is None else replace(installed, precision=precision)

    def _is_offered(self, adapter: str, installed: Installed) -> bool:
        try:
            return self._offers(self._store.adapters.record(adapter), installed)
        except StoreError:
            return False

    def _require_offered(self, installed: Installed, adapters: Sequence[str], admits: Callable[[str], bool]) -> None:
        """Raises Refusal 404 for adapters that are not offered with this model. Of those of other models a caller
        learns nothing whom these do not admit."""
        strange = [each for each in adapters if not self._is_offered(each, installed)]
        if not strange and len(set(adapters)) == len(adapters):
            return
        why = f"{installed.called} has no adapter {(strange or adapters)[0]!r:.80} here."
        with suppress(StoreError):
            known = [self._store.adapters.record(each) for each in strange]
            if all(admits(each.base_name) for each in known):
                try:
                    self._store.adapters.made_for(installed.name, self._weights_of(installed), adapters)
                except StoreError as problem:
                    why = sentence_of(problem)
        listed = ", ".join(self.names_of(installed))
        raise Refusal(404, f"{why} This server offers: {listed}.", code="model_not_found", param="model")

    def _refusal(self, name: str, admits: Callable[[str], bool]) -> Refusal:
        admitted = [model for model in self.every() if admits(model.name)]
        offered = ", ".join(each for model in admitted for each in self.names_of(model))
        plain, _ = split_adapters(name)
        alias = find_alias(plain)
        fetch = f" `ouvert pull {alias.name}` fetches it." if alias is not None and not self._only_named else ""
        sentence = unknown_precision(plain, [model.name for model in admitted]) or (
            f"There is no model {name!r:.200} here.{fetch} This server offers: "
            f"{offered or 'none yet: `ouvert pull smollm2` brings one'}."
        )
        return Refusal(404, sentence, code="model_not_found", param="model")

    def names_of(self, installed: Installed) -> tuple[str, ...]:
        """By which this model is offered: alone, and with each of its adapters. Raises nothing."""
        return (installed.called, *(f"{installed.called}+{each.name}" for each in self.adapters_of(installed)))

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
