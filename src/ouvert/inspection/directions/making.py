"""A direction from two sets of prompts: the difference of their means, at every layer (Marks and Tegmark,
arXiv:2310.06824; Arditi et al., arXiv:2406.11717).

Prompts are divided once, by the seed: a half makes the vectors, a quarter chooses the layer, and a quarter, which
neither has seen, says how well that layer's direction tells the two sets apart. AUC is the probability that a positive
prompt projects higher than a negative one. Beside it stands the same with shuffled labels, which is about 0.5 unless
something is wrong.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from ouvert.inspection.directions.direction import FORMAT, Direction
from ouvert.inspection.error import InspectionError
from ouvert.inspection.layer_programs import check_bytes
from ouvert.inspection.metrics import ids_of
from ouvert.inspection.price import Price, price_of
from ouvert.inspection.subject import Array, Subject, steps_of

Prompts = Sequence[str | Sequence[int]]

LEAST_PROMPTS = 8  # of each set: two are left to say how well it works
SHUFFLES = 200
STRENGTH = 0.25  # what `add` adds where nobody says how much, as a share of the typical norm


def mean_difference(
    subject: Subject,
    positive: Prompts,
    negative: Prompts,
    *,
    token: int = -1,
    seed: int = 0,
    price: Callable[[Price], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Direction:
    """Mean of `positive` less mean of `negative`, of the residual stream after every layer, at a token of each prompt.

    `token`: which, -1 for the last. `price` is told what it takes before anything is computed. The facts say the AUC of
    every layer, the layer chosen, and digests of the prompts; the prompts themselves are not kept. Raises
    InspectionError for fewer than 8 prompts of a set, a prompt in both, and one that does not have that token.
    """
    sets = [
        checked(subject, prompts, name, token) for prompts, name in ((positive, "positive"), (negative, "negative"))
    ]
    if both := set(map(tuple, sets[0])) & set(map(tuple, sets[1])):
        raise InspectionError(
            f"direction: {len(both)} prompts stand in both sets, expected none: a prompt cannot be told from itself. "
            "Remove them from one."
        )
    if price is not None:
        price(price_of_streams(subject, [len(ids) for each in sets for ids in each]))
    streams, norms = recorded(subject, sets, token, progress)
    random = np.random.default_rng(seed)
    parts = [divided(each, random) for each in streams]
    vectors = parts[0][0].mean(axis=0, dtype=np.float64) - parts[1][0].mean(
        axis=0, dtype=np.float64
    )  # (layers, hidden)
    if not vectors.any():
        raise InspectionError(
            f"direction: at token {token} the two sets are the same in every layer, so there is no direction between "
            "them. Choose a token behind what tells them apart, such as -1 for the last."
        )
    choosing, held_out = ([auc_of(vectors, *quarter, n) for n in range(len(vectors))] for quarter in quarters(parts))
    layer = chosen_layer(vectors, parts, choosing)
    facts: dict[str, Any] = {
        "format": FORMAT,
        "method": "mean difference",
        "site": "layers.N.out",
        "token": token,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": dict(subject.facts),
        "prompts": {name: prompts_facts(each) for name, each in zip(("positive", "negative"), sets, strict=True)},
        "seed": seed,
        "norms": [float(f"{norm:.6g}") for norm in norms],
        "layer": layer,
        "strength": STRENGTH,
        "threshold": threshold_of(vectors, parts, layer),
        "auc": auc_facts(parts, layer, choosing, held_out, random),
        "state": "made",
        "licence": None,
    }
    return Direction({n: vector.astype(np.float32) for n, vector in enumerate(vectors)}, facts)


def auc_facts(
    parts: Sequence[tuple[Array, ...]],
    layer: int,
    choosing: Sequence[float],
    held_out: Sequence[float],
    random: np.random.Generator,
) -> dict[str, Any]:
    """How well the layers tell the sets apart, and how well the chosen one does with shuffled labels."""
    low, middle, high = shuffled_labels(parts, layer, random)
    return {
        "held_out": held_out[layer],
        "held_out_prompts": [len(part[2]) for part in parts],
        "choosing": choosing,
        "held_out_by_layer": held_out,
        "shuffled": {"mean": middle, "low": low, "high": high, "times": SHUFFLES},
    }


def quarters(parts: Sequence[tuple[Array, ...]]) -> list[tuple[Array, Array]]:
    """(positive, negative) of the quarter that chooses, and of the one that is held out."""
    return [(parts[0][part], parts[1][part]) for part in (1, 2)]


def prompts_facts(prompts: Sequence[Sequence[int]]) -> dict[str, Any]:
    """How many there are, and the digest of their tokens: which they were can be checked, not read."""
    digest = hashlib.sha256(json.dumps([list(ids) for ids in prompts]).encode()).hexdigest()
    return {"count": len(prompts), "digest": f"sha256:{digest}"}


def checked(subject: Subject, prompts: Prompts, name: str, token: int) -> list[list[int]]:
    """The prompts as tokens, each once. Raises InspectionError for too few, and for one that lacks the token."""
    found = list({tuple(ids_of(subject, prompt, f"{name} prompt {n + 1}")): None for n, prompt in enumerate(prompts)})
    if len(found) < LEAST_PROMPTS:
        raise InspectionError(
            f"direction: {len(found)} different {name} prompts, expected {LEAST_PROMPTS} or more: a half makes the "
            "direction, and the rest says whether it works. 50 of each are better."
        )
    for n, ids in enumerate(found):
        if not -len(ids) <= token < len(ids):
            raise InspectionError(
                f"direction: {name} prompt {n + 1} has {len(ids)} tokens and no token {token}. Choose a token that "
                "all prompts have, such as -1 for the last."
            )
    return [list(ids) for ids in found]


def price_of_streams(subject: Subject, lengths: Sequence[int]) -> Price:
    """Of computing prompts of these lengths without logits, one at a time with every layer's stream."""
    tokens = sum(lengths)
    return price_of(subject, tokens, layer_outs(subject), max(lengths), head_rows=-tokens)


def layer_outs(subject: Subject) -> list[str]:
    """The names of the residual stream after each layer."""
    return [f"layers.{n}.out" for n in range(subject.layers)]


def recorded(
    subject: Subject, sets: Sequence[Sequence[Sequence[int]]], token: int, progress: Callable[[int, int], None] | None
) -> tuple[list[Array], Array]:
    """(of each set, (prompts, layers, hidden) at the token; the median norm of the stream after each layer)."""
    names = layer_outs(subject)
    total, done = sum(map(len, sets)), 0
    streams: list[Array] = []
    norms: list[Array] = []
    for prompts in sets:
        rows = []
        for ids in prompts:
            check_bytes(subject, names, len(ids), logits=False)
            steps = list(steps_of(subject, names, ids, logits=False))
            whole = [np.concatenate([step.values[name] for step in steps]) for name in names]
            rows.append(np.stack([values[token] for values in whole]))
            norms.append(np.stack([np.linalg.norm(values, axis=-1) for values in whole], axis=1))
            done += 1
            if progress is not None:
                progress(done, total)
        streams.append(np.stack(rows))
    # The median: the first token's stream is often a hundred times as long as all others'.
    return streams, np.median(np.concatenate(norms), axis=0)


def divided(prompts: Array, random: np.random.Generator) -> tuple[Array, Array, Array]:
    """A half, a quarter and a quarter, in random order."""
    shuffled = prompts[random.permutation(len(prompts))]
    half, quarter = len(prompts) // 2, len(prompts) // 2 + len(prompts) // 4
    return shuffled[:half], shuffled[half:quarter], shuffled[quarter:]


def auc_of(vectors: Array, positive: Array, negative: Array, n: int) -> float:
    """How well the vector of layer `n` tells streams (prompts, layers, hidden) apart."""
    return auc(positive[:, n] @ vectors[n], negative[:, n] @ vectors[n])


def auc(positive: Array, negative: Array) -> float:
    """The share of pairs in which the positive number is higher; a tie counts half. Raises nothing."""
    higher = (positive[:, None] > negative).mean() + (positive[:, None] == negative).mean() / 2
    return float(higher)


def chosen_layer(vectors: Array, parts: Sequence[tuple[Array, ...]], choosing: Sequence[float]) -> int:
    """The layer with the best AUC; of several, the one where the two sets lie furthest apart for their spread."""

    def apart(n: int) -> float:
        one, two = (part[1][:, n] @ vectors[n] for part in parts)
        return float((one.mean() - two.mean()) / (one.std() + two.std() + 1e-12))

    return max(range(len(choosing)), key=lambda n: (choosing[n], apart(n)))


def threshold_of(vectors: Array, parts: Sequence[tuple[Array, ...]], layer: int) -> float:
    """Halfway between the mean projections of the two sets on the layer's vector, of length 1, in the prompts that
    chose the layer: what is above it lies nearer to the positive ones."""
    unit = vectors[layer] / np.linalg.norm(vectors[layer])
    positive, negative = (float((part[1][:, layer] @ unit).mean()) for part in parts)
    return float(f"{(positive + negative) / 2:.6g}")


def shuffled_labels(
    parts: Sequence[tuple[Array, ...]], layer: int, random: np.random.Generator
) -> tuple[float, float, float]:
    """(2.5 %, mean, 97.5 %) of the held-out AUC at that layer of directions made with shuffled labels."""
    making = np.concatenate([part[0][:, layer] for part in parts])
    count = len(parts[0][0])
    found = []
    for _ in range(SHUFFLES):
        order = random.permutation(len(making))
        vector = making[order[:count]].mean(axis=0) - making[order[count:]].mean(axis=0)
        found.append(auc(parts[0][2][:, layer] @ vector, parts[1][2][:, layer] @ vector))
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(np.mean(found)), float(high)
