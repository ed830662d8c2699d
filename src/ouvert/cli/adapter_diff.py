"""How two adapters differ: the size of what each adds, layer by layer, and what else their records say differently."""

from collections.abc import Iterator, Mapping
from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ouvert.packed import Adapter
    from ouvert.store import AdapterRecord, Store

# Fields of a record that two adapters have each for itself, so that a difference says nothing.
OWN_FIELDS = frozenset({"digest", "made", "probe", "ouvert", "adapter"})


def numbers_of(store: "Store", record: "AdapterRecord") -> "Adapter":
    """The matrices of an adapter. Its base is needed for their names. Raises StoreError where that is not here, and
    CheckpointError for files that cannot be used."""
    from ouvert.packed import open_model, read_peft
    from ouvert.store import StoreError

    weights, name = record.base["weights"], record.base_name
    here = next((each for each in store.list() if each.digest == weights), None)
    try:
        base = here or store.resolve(name)
    except StoreError as problem:
        raise StoreError(
            f"reading the adapter {record.name}: its base, {name} with the weights {weights}, is not on this machine, "
            f"expected it here. {problem}"
        ) from None
    with open_model(base.path) as files:
        return read_peft(record.path, files)


def difference(store: "Store", one: "AdapterRecord", other: "AdapterRecord") -> dict[str, Any]:
    """What `ouvert adapter diff --json` prints. Raises what `numbers_of` raises."""
    pairs = [numbers_of(store, each).pairs for each in (one, other)]
    return {
        "adapters": [one.name, other.name],
        "same_numbers": one.digest == other.digest,
        "layers": layers_of(*pairs),
        "records": list(differing(flat(one.facts), flat(other.facts))),
        "recipes": list(differing(recipe_of(one), recipe_of(other))),
    }


def layers_of(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[dict[str, Any]]:
    """For every layer the size (Frobenius norm) of what each adapter adds, of the difference of both, and the cosine
    between them; None where one adds nothing there."""
    sums: dict[str, np.ndarray[Any, np.dtype[np.float64]]] = {}
    for name in sorted(one.keys() | other.keys(), key=place_of):
        a, b = one.get(name), other.get(name)
        products = [
            0.0 if a is None else inner(a, a),
            0.0 if b is None else inner(b, b),
            0.0 if a is None or b is None else inner(a, b),
        ]
        layer = ".".join(name.split(".")[:2])
        sums[layer] = sums.get(layer, np.zeros(3)) + products
    found = []
    for layer, (aa, bb, ab) in sums.items():
        cosine = round(float(ab / sqrt(aa * bb)), 6) if aa and bb else None
        sizes = (round(sqrt(each), 6) for each in (aa, bb, max(0.0, aa + bb - 2 * ab)))
        first, second, apart = sizes
        found.append({"layer": layer, "first": first, "second": second, "apart": apart, "cosine": cosine})
    return found


def place_of(name: str) -> tuple[int, str]:
    part = name.split(".")[1] if "." in name else ""
    return (int(part) if part.isdecimal() else -1, name)


def inner(one: Any, other: Any) -> float:
    """The inner product of scale · b a of two additions to the same weight, without ever making these matrices. Of
    experts, the sum over those that both adapt."""
    if one.experts is None or other.experts is None:
        return float(one.scale * other.scale * inner_of(one.a, one.b, other.a, other.b))
    places = {expert: n for n, expert in enumerate(other.experts)}
    both = [(n, places[expert]) for n, expert in enumerate(one.experts) if expert in places]
    return float(one.scale * other.scale * sum(inner_of(one.a[n], one.b[n], other.a[m], other.b[m]) for n, m in both))


def inner_of(a: Any, b: Any, c: Any, d: Any) -> float:
    """That of b a and d c: the sum over (bᵀ d) times (a cᵀ), in float64."""
    a, b, c, d = (each.astype(np.float64) for each in (a, b, c, d))
    return float(((b.T @ d) * (a @ c.T)).sum())


def recipe_of(record: "AdapterRecord") -> dict[str, Any]:
    """The values of the recipe that it was made with; none of an imported one. Raises StoreError for a recipe that
    cannot be read."""
    import tomllib

    from ouvert.store import StoreError

    path = record.path / "run" / "recipe.toml"
    try:
        return flat(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as problem:
        raise StoreError(
            f"reading the recipe of the adapter {record.name}, {path}: {problem}. Expected the TOML file that its run "
            "left; the adapter itself can be used without it."
        ) from problem


def flat(facts: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Nested values by their whole names: "source.tuned.method"."""
    found: dict[str, Any] = {}
    for name, value in facts.items():
        if not before and name in OWN_FIELDS:
            continue
        if isinstance(value, Mapping):
            found |= flat(value, f"{before}{name}.")
        else:
            found[f"{before}{name}"] = value
    return found


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name in sorted(one.keys() | other.keys()):
        if one.get(name) != other.get(name):
            yield {"field": name, "first": one.get(name), "second": other.get(name)}
