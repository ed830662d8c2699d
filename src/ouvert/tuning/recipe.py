"""How a run learns: every value has a default, an unknown one is refused by name. docs/formats/recipe.md."""

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, Self, get_args

from ouvert.store import read_regular, toml_value
from ouvert.tuning.error import TuningError
from ouvert.tuning.recipe_values import RecipeReader
from ouvert.tuning.stored import AdapterPrecision

MOST_BYTES = 1 << 20  # of a file; real ones have a few hundred
Method = Literal["sft", "dpo", "orpo", "kto", "grpo"]
METHODS: tuple[Method, ...] = get_args(Method)


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """Which examples, and what of them is trained."""

    train: str = ""
    held_out: float | str = 0.05  # a share of the examples, by content; or a file
    length: int = 1024  # most tokens of a sequence
    too_long: Literal["refuse", "cut at message"] = "refuse"
    trained: Literal["assistant", "last", "all"] = "assistant"
    reasoning: Literal["keep", "none", "as given"] = "keep"
    pack: bool = True
    date: str = ""  # that conversations take place on, "2026-11-05"; empty: the day on which the run begins
    ignore: tuple[str, ...] = ()  # columns of the file that are not read


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterShape:
    """What is added to which weights."""

    rank: int = 16
    alpha: float = 32.0
    rank_stabilised: bool = False
    layers: Literal["all", "upper"] = "all"
    experts: str = "busiest 0.25"  # of each layer; or "all", "none", or numbers: "3 7 12"
    expert_rank: int = 8
    precision: AdapterPrecision = "mxint8"  # of the numbers that are served; float32 stands behind them while it learns


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimise:
    """AdamW, its rate, and how long."""

    rate: float = 2e-4
    rate_of_b: float = 1.0  # times `rate`, for the b of every pair (LoRA+, arXiv:2402.12354)
    weight_decay: float = 0.0
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warm_up: float = 0.05  # of all steps
    batch: int = 16  # examples of a step
    epochs: float = 3.0
    steps: int = 0  # 0: as many as the epochs make
    minutes: float = 0.0  # 0: no limit; else as many steps as fit, foreseen by the plan
    stop_early: int = 3  # evaluations without improvement; 0: never
    clip: float = 1.0  # of the gradient's norm; 0: never


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferenceSettings:
    """DPO, ORPO and KTO."""

    beta: float = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Reward:
    """GRPO."""

    use: tuple[str, ...] = ("stops",)
    answers: int = 8  # to each prompt
    length: int = 256  # most tokens of an answer
    temperature: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Safety:
    """What is mixed in, and whether the checks run afterwards."""

    mix: float = 0.02  # of the examples: shipped refusals, and harmless requests that look alike; else 0 (MIXING)
    check: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that decides a run beside the base's weights and the data's bytes.

    `of` makes one from a mapping, `read_recipe` from a TOML file; both check it.
    """

    model: str = ""
    method: Method = "sft"
    seed: int = 20
    data: Data = field(default_factory=Data)
    adapter: AdapterShape = field(default_factory=AdapterShape)
    optimise: Optimise = field(default_factory=Optimise)
    preference: PreferenceSettings = field(default_factory=PreferenceSettings)
    reward: Reward = field(default_factory=Reward)
    safety: Safety = field(default_factory=Safety)

    @classmethod
    def of(cls, said: Mapping[str, Any], where: str = "the recipe") -> Self:
        """From a mapping such as `tomllib` gives. Raises TuningError, by name, for a key that there is not, for a value
        of another kind or out of range, and for one that the method does nothing with."""
        recipe: Self = RecipeReader(cls, where).read(said)
        if "mix" not in said.get("safety", {}):
            recipe = replace(recipe, safety=replace(recipe.safety, mix=usual_mix(recipe.method)))
        require_effect(recipe, where)
        return recipe

    def mapping(self) -> dict[str, Any]:
        """All of its values, as TOML and JSON have them. Raises nothing."""
        return asdict(self)

    @property
    def toml(self) -> str:
        """All of its values as a TOML file, which `read_recipe` reads back as this recipe. Raises nothing."""
        values = self.mapping()
        lines = [f"{key} = {toml_value(value)}" for key, value in values.items() if not isinstance(value, dict)]
        for section, inside in values.items():
            if isinstance(inside, dict):
                lines += ["", f"[{section}]", *(f"{key} = {toml_value(value)}" for key, value in inside.items())]
        return "\n".join(lines) + "\n"


def read_recipe(path: Path) -> Recipe:
    """Raises TuningError for a file that cannot be read, is no TOML, or that `Recipe.of` refuses."""
    try:
        data = read_regular(path, MOST_BYTES + 1, follow=True)
        if len(data) > MOST_BYTES:
            raise ValueError(f"it has more than {MOST_BYTES} bytes")
        said = tomllib.loads(data.decode())
    except (OSError, ValueError, RecursionError) as problem:
        raise TuningError(
            f"reading the recipe {path}: {problem!s:.300}. Expected a TOML file: docs/formats/recipe.md."
        ) from None
    return Recipe.of(said, str(path))


# What people say beside a recipe -> where it stands in one.
OPTIONS: Mapping[str, tuple[str, str]] = {
    "method": ("", "method"),
    "minutes": ("optimise", "minutes"),
    "epochs": ("optimise", "epochs"),
    "steps": ("optimise", "steps"),
    "length": ("data", "length"),
    "rank": ("adapter", "rank"),
    "rate": ("optimise", "rate"),
    "batch": ("optimise", "batch"),
    "seed": ("", "seed"),
    "beta": ("preference", "beta"),
    "held_out": ("data", "held_out"),
    "ignore": ("data", "ignore"),
    "check": ("safety", "check"),
    "date": ("data", "date"),
}


def with_options(recipe: Recipe, options: Mapping[str, Any]) -> Recipe:
    """The recipe with these values instead of its own. Raises TuningError for a value that it cannot have, TypeError
    for an option that there is not."""
    said = recipe.mapping()
    if recipe.safety.mix == usual_mix(recipe.method):  # that of the method which is asked for now
        del said["safety"]["mix"]
    for option, value in options.items():
        if option not in OPTIONS:
            raise TypeError(f"tuning: there is no option {option!r}, expected some of {', '.join(OPTIONS)}.")
        section, key = OPTIONS[option]
        (said[section] if section else said)[key] = value
    return Recipe.of(said, "the options")


# The methods that learn from single answers, as the shipped ones are: the others have nothing to reject, or no answer.
MIXING: tuple[Method, ...] = ("sft", "kto")


def usual_mix(method: Method) -> float:
    """`safety.mix` where nobody says it. Raises nothing."""
    return Safety().mix if method in MIXING else 0.0


# Sections that only some methods read.
READ_BY: Mapping[str, tuple[Method, ...]] = {"preference": ("dpo", "orpo", "kto"), "reward": ("grpo",)}


def require_effect(recipe: Recipe, where: str) -> None:
    """Raises TuningError for a value that was changed and that the method does nothing with."""
    untouched = Recipe()
    if recipe.safety.mix and recipe.method not in MIXING:
        raise TuningError(
            f"reading {where}: safety.mix is {recipe.safety.mix:g}, and has no effect on the method {recipe.method!r}, "
            f"only on {' and '.join(MIXING)}: the shipped examples are single answers. Leave it out, and add examples "
            "of your own that refuse."
        )
    for section, methods in READ_BY.items():
        if recipe.method in methods:
            continue
        values, usual = getattr(recipe, section), getattr(untouched, section)
        for each in fields(values):
            if getattr(values, each.name) != getattr(usual, each.name):
                raise TuningError(
                    f"reading {where}: {section}.{each.name} has no effect on the method {recipe.method!r}, only on "
                    f"{' and '.join(methods)}. Leave it out, or choose one of these methods."
                )
