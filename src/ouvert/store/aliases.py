"""Short names for well-known models: the table is aliases.toml, beside this file."""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

TABLE = Path(__file__).with_name("aliases.toml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """Another source of a model whose digest is pinned. `part_size`: bytes of a part, where packages carry parts."""

    source: str
    part_size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """A short name, and what it stands for. `size` is bytes to fetch, approximate where no digest is pinned.

    `mirrors` are asked in order where `source` does not give the model.
    """

    name: str
    other_names: tuple[str, ...]
    source: str
    licence: str
    size: int
    family: str
    built: bool  # whether this version can run the family
    sha256: str | None  # of the weights, where it is pinned: as Manifest.digest
    mirrors: tuple[Mirror, ...] = ()


@cache
def aliases() -> tuple[Alias, ...]:
    """The table, in its own order (by family, then by size). Raises nothing."""
    table = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    built = set(table["built"])
    return tuple(
        Alias(
            name=row["name"],
            other_names=tuple(row.get("other_names", ())),
            source=row["source"],
            licence=row["licence"],
            size=row["size"],
            family=row["family"],
            built=row["family"] in built,
            sha256=row.get("sha256"),
            mirrors=tuple(Mirror(**mirror) for mirror in row.get("mirrors", ())),
        )
        for row in table["alias"]
    )


def find_alias(name: str) -> Alias | None:
    """The alias called `name`, by its own or another of its names; the case of letters does not matter.

    Raises nothing.
    """
    wanted = name.lower()
    for alias in aliases():
        if wanted == alias.name or wanted in map(str.lower, alias.other_names):
            return alias
    return None
