"""What the windows of damage.jsonl show: displacement, flips and direction, by language and one beside the other."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ouvert.evaluation.comparison import Damage, DamageRatio
from ouvert.evaluation.error import EvaluationError
from ouvert.evaluation.field_types import require_field_types
from ouvert.evaluation.measures.damage import WindowDamage
from ouvert.evaluation.statistics.clusters import draws, percentile_interval, ratio_interval

SEEDS = {"en": 1, "fr": 2}  # languages are resampled apart


def window_damages(lines: Sequence[Mapping[str, Any]]) -> list[WindowDamage]:
    """Each window once, as it was measured last. Raises EvaluationError for lines that are none."""
    last: dict[tuple[str, str, str, int], WindowDamage] = {}
    for number, line in enumerate(lines, 1):
        try:
            found = WindowDamage(**line)
            require_field_types(found)
            if found.tokens < 1:
                raise ValueError("a window of no tokens")
        except (TypeError, ValueError) as problem:
            raise EvaluationError(
                f"reading damage.jsonl, line {number}: {problem!s:.120}, expected a window as "
                "docs/formats/comparison.md has it. The file is damaged: take it from a copy, or measure again."
            ) from None
        last[found.key] = found
    return list(last.values())


def damages_of(found: Sequence[WindowDamage]) -> tuple[Damage, ...]:
    """By contestant and language, in the order in which they were measured."""
    groups: dict[tuple[str, str, str], list[WindowDamage]] = {}
    for each in found:
        groups.setdefault((each.contestant, each.reference, each.language), []).append(each)
    return tuple(damage_of_group(*who, group) for who, group in sorted(groups.items(), key=place_in(found)))


def place_in(found: Sequence[WindowDamage]) -> Any:
    """Contestants as they come, languages by name."""
    order = list(dict.fromkeys(each.contestant for each in found))
    return lambda pair: (order.index(pair[0][0]), pair[0][2])


def damage_of_group(contestant: str, reference: str, language: str, group: Sequence[WindowDamage]) -> Damage:
    tokens = [float(each.tokens) for each in group]
    names = [f"{each.text} {each.window}" for each in group]
    sums = {name: [float(getattr(each, name)) for each in group] for name in ("divergence", "flips", "change")}
    figures: dict[str, Any] = {name: sum(tops) / sum(tokens) for name, tops in sums.items()}
    figures |= {f"{name}_interval": ratio_interval(tops, tokens, names) for name, tops in sums.items()}
    return Damage(
        contestant=contestant,
        reference=reference,
        language=language,
        tokens=int(sum(tokens)),
        windows=len(group),
        **figures,
    )


def damage_ratios_of(found: Sequence[WindowDamage]) -> tuple[DamageRatio, ...]:
    """How many times more French is displaced than English, where both were measured and English was displaced."""
    ratios = []
    for contestant in dict.fromkeys(each.contestant for each in found):
        english, french = (
            [each for each in found if each.contestant == contestant and each.language == language]
            for language in ("en", "fr")
        )
        if english and french and sum(each.divergence for each in english) > 0:
            ratios.append(ratio_of(contestant, french, english))
    return tuple(ratios)


def ratio_of(contestant: str, above: Sequence[WindowDamage], below: Sequence[WindowDamage]) -> DamageRatio:
    tops, bottoms = resampled(above), resampled(below)
    with np.errstate(divide="ignore"):
        drawn = tops[1:] / bottoms[1:]
    return DamageRatio(
        contestant=contestant,
        reference=above[0].reference,
        language=above[0].language,
        beside=below[0].language,
        ratio=float(tops[0] / bottoms[0]),
        interval=percentile_interval(drawn, min(len(above), len(below)), 0.95),
    )


def resampled(windows: Sequence[WindowDamage]) -> np.ndarray:
    """The mean divergence a token: of all windows, then of each resample."""
    sums = np.array([each.divergence for each in windows])
    tokens = np.array([float(each.tokens) for each in windows])
    drawn = [
        sums[block].sum(axis=1) / tokens[block].sum(axis=1) for block in draws(len(windows), SEEDS[windows[0].language])
    ]
    return np.concatenate([[sums.sum() / tokens.sum()], *drawn])
