"""How positions become angles: plain RoPE and the ways to stretch it.

Facts and sources: docs/formats/configurations.md.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ouvert.arithmetic import Rope
from ouvert.models.config_reader import LARGEST, SMALLEST, ConfigReader


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear:
    """Every position counts for 1 / factor."""

    factor: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Llama3:
    """Long waves are stretched by `factor`, short ones kept, those between blended."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_position_embeddings: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Yarn:
    """Like Llama3 with a ramp over dimensions; vectors grow by `attention_factor`. Peng et al., arXiv:2309.00071."""

    factor: float
    original_max_position_embeddings: int
    beta_fast: float
    beta_slow: float
    attention_factor: float
    truncate: bool  # the ramp's ends are rounded outwards to whole dimensions


@dataclass(frozen=True, slots=True, kw_only=True)
class Factors:
    """Each frequency is divided by its own factor: GGUF's rope_freqs.weight."""

    factors: tuple[float, ...]


Scaling = Linear | Llama3 | Yarn | Factors


@dataclass(frozen=True, slots=True, kw_only=True)
class RopeConfig:
    """Base, number of turning values in a head, and stretching if any."""

    rope_theta: float
    rotary_dim: int
    scaling: Scaling | None = None

    def rope(self) -> Rope:
        """The frequencies themselves: computed in float64, then rounded to float32 as models are run with."""
        inverse: Frequencies = np.float64(self.rope_theta) ** -(np.arange(0, self.rotary_dim, 2) / self.rotary_dim)
        magnitude = 1.0
        match self.scaling:
            case Linear(factor=factor):
                inverse = inverse / factor
            case Llama3() as scaling:
                inverse = llama3(inverse, scaling)
            case Yarn() as scaling:
                inverse = yarn(inverse, scaling, self.rope_theta, self.rotary_dim)
                magnitude = scaling.attention_factor
            case Factors(factors=factors):
                inverse = inverse / np.asarray(factors)
        return Rope(inverse.astype(np.float32), magnitude)


Frequencies = np.ndarray[Any, np.dtype[np.float64]]


def llama3(inverse: Frequencies, scaling: Llama3) -> Frequencies:
    """Blend each frequency with its stretched self by how often its wave fits into the original context."""
    waves = scaling.original_max_position_embeddings * inverse / (2 * math.pi)
    kept = np.clip((waves - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor), 0, 1)
    blended: Frequencies = kept * inverse + (1 - kept) * inverse / scaling.factor
    return blended


def yarn(inverse: Frequencies, scaling: Yarn, theta: float, rotary_dim: int) -> Frequencies:
    """Keep the dimensions that turn often in the original context, stretch those that turn seldom, ramp between."""

    def dimension_that_turns(times: float) -> float:
        span = scaling.original_max_position_embeddings / (times * 2 * math.pi)
        return rotary_dim * math.log(span) / (2 * math.log(theta))

    low, high = dimension_that_turns(scaling.beta_fast), dimension_that_turns(scaling.beta_slow)
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, rotary_dim - 1)
    stretched = np.clip((np.arange(rotary_dim // 2) - low) / max(high - low, 0.001), 0, 1)
    blended: Frequencies = (1 - stretched) * inverse + stretched * inverse / scaling.factor
    return blended


def yarn_attention_factor(factor: float, mscale: float | None = None, mscale_all_dim: float | None = None) -> float:
    """How much longer vectors become, unless the checkpoint says so itself."""

    def grown(by: float) -> float:
        return 0.1 * by * math.log(factor) + 1 if factor > 1 else 1.0

    return grown(mscale) / grown(mscale_all_dim) if mscale and mscale_all_dim else grown(1)


def rope_from_hf(reader: ConfigReader, head_dim: int, context_length: int, default_theta: float | None) -> RopeConfig:
    """Read `rope_theta` and `rope_scaling`, or transformers 5's `rope_parameters` which holds both.

    Facts and sources: docs/formats/configurations.md. Raises CheckpointError for what we do not compute.
    """
    theta, settings = theta_and_settings(reader, default_theta)
    kind = settings.text("rope_type", None) or settings.text("type", "default")
    settings.neutral("type", kind)
    settings.neutral("partial_rotary_factor", 1)
    scaling = scaling_from_hf(settings, kind, context_length)
    settings.finish({"finetuned": "whether the original was trained on the stretched context"})
    return checked(settings, RopeConfig(rope_theta=theta, rotary_dim=head_dim, scaling=scaling))


def theta_and_settings(reader: ConfigReader, default_theta: float | None) -> tuple[float, ConfigReader]:
    """The base of the frequencies, and a reader of the object that says how they are stretched."""
    together = reader.mapping("rope_parameters", None)
    if together is None:
        theta = reader.positive("rope_theta", default_theta)
        scaling = reader.mapping("rope_scaling", None)
        settings = ConfigReader(f"{reader.source}: rope_scaling", scaling or {"rope_type": "default"})
        settings.neutral("rope_theta", theta)
        return theta, settings
    settings = ConfigReader(f"{reader.source}: rope_parameters", together)
    # Left out, it stands where it stood before there was this object.
    inside = "rope_theta" in together
    theta = settings.positive("rope_theta") if inside else reader.positive("rope_theta", default_theta)
    reader.neutral("rope_scaling", together)
    reader.neutral("rope_theta", theta)
    return theta, settings


def scaling_from_hf(settings: ConfigReader, kind: str | None, context_length: int) -> Scaling | None:
    """The scaling of this `rope_type`, None where there is none. Raises CheckpointError for one we do not compute."""
    match kind:
        case "default":
            settings.neutral("factor", 1)
            settings.optional("original_max_position_embeddings", None)  # says what nothing is stretched from
            return None
        case "linear":
            settings.optional("original_max_position_embeddings", None)
            return Linear(factor=settings.positive("factor"))
        case "llama3":
            return Llama3(
                factor=settings.positive("factor"),
                low_freq_factor=settings.positive("low_freq_factor"),
                high_freq_factor=settings.positive("high_freq_factor"),
                original_max_position_embeddings=settings.integer("original_max_position_embeddings"),
            )
        case "yarn":
            return yarn_from_hf(settings, context_length)
        case "dynamic":
            # It stretches only sequences longer than max_position_embeddings, and we run none of those.
            settings.positive("factor")
            settings.neutral("original_max_position_embeddings", context_length)
            return None
        case _:
            raise settings.fault(f"rope_type {kind!r} is not one we compute (default, linear, dynamic, llama3, yarn)")


def yarn_from_hf(settings: ConfigReader, context_length: int) -> Yarn:
    """Peng et al., YaRN, arXiv:2309.00071, with what transformers assumes where the file says nothing."""
    original = settings.integer("original_max_position_embeddings", context_length)
    factor = settings.positive("factor", context_length / original)
    settings.neutral("extrapolation_factor", 1)
    mscale = settings.number("mscale", 0.0), settings.number("mscale_all_dim", 0.0)
    growth = yarn_attention_factor(factor, *mscale) * settings.positive("attn_factor", 1.0)
    if settings.raw.get("attention_factor") is not None and settings.raw.get("attn_factor") is not None:
        raise settings.fault(
            "attention_factor says how much longer vectors become, and attn_factor multiplies what YaRN says; "
            "expected one of them"
        )
    return Yarn(
        factor=factor,
        original_max_position_embeddings=original,
        beta_fast=settings.positive("beta_fast", 32.0),
        beta_slow=settings.positive("beta_slow", 1.0),
        attention_factor=settings.positive("attention_factor", growth),
        truncate=settings.flag("truncate", True),
    )


def rope_from_gguf(
    reader: ConfigReader, head_dim: int, context_length: int, factors: tuple[float, ...] | None, *, truncate: bool
) -> RopeConfig:
    """Read `rope.*` of GGUF metadata; `factors` are the values of the tensor rope_freqs.weight, if the file has one.

    GGUF has no key for YaRN's `truncate`: the family says what its models were made with. Raises CheckpointError for
    what we do not compute.
    """
    theta = reader.positive("rope.freq_base", 10000.0)
    reader.neutral("rope.dimension_count", head_dim)
    scaling = scaling_from_gguf(reader, context_length, truncate=truncate)
    if factors is not None:
        if scaling is not None:
            raise reader.fault("rope.scaling and the tensor rope_freqs.weight both stretch positions; expected one")
        if len(factors) != head_dim // 2:
            raise reader.fault(f"rope_freqs.weight has {len(factors)} values, expected {head_dim // 2}")
        scaling = Factors(factors=factors)
    return checked(reader, RopeConfig(rope_theta=theta, rotary_dim=head_dim, scaling=scaling))


def scaling_from_gguf(reader: ConfigReader, context_length: int, *, truncate: bool) -> Scaling | None:
    """How rope is scaled; None if it is not. Raises CheckpointError for a kind that we do not compute."""
    kind = reader.text("rope.scaling.type", "linear")
    factor = reader.number("rope.scaling.factor", reader.number("rope.scale_linear", 1.0))
    original = reader.whole("rope.scaling.original_context_length", 0) or context_length
    attn_factor = reader.positive("rope.scaling.attn_factor", 1.0)
    betas = reader.positive("rope.scaling.yarn_beta_fast", 32.0), reader.positive("rope.scaling.yarn_beta_slow", 1.0)
    reader.neutral("rope.scaling.yarn_ext_factor", 1)
    reader.neutral("rope.scaling.yarn_attn_factor", 1)
    if kind == "yarn":
        return Yarn(
            factor=factor,
            original_max_position_embeddings=original,
            beta_fast=betas[0],
            beta_slow=betas[1],
            attention_factor=attn_factor * yarn_attention_factor(factor),
            truncate=truncate,
        )
    if kind not in ("none", "linear"):
        raise reader.fault(f"rope.scaling.type {kind!r} is not one we compute (none, linear, yarn)")
    if attn_factor != 1:
        raise reader.fault(f"rope.scaling.attn_factor is {attn_factor}, but only YaRN makes vectors longer")
    return Linear(factor=factor) if kind == "linear" and factor not in (0, 1) else None


def checked(reader: ConfigReader, config: RopeConfig) -> RopeConfig:
    """Refuse settings that no frequencies follow from."""
    match config.scaling:
        case Llama3() as scaling if scaling.high_freq_factor <= scaling.low_freq_factor:
            raise reader.fault(
                f"high_freq_factor is {scaling.high_freq_factor}, expected more than low_freq_factor, "
                f"which is {scaling.low_freq_factor}"
            )
        case Yarn(factor=factor) if factor < SMALLEST:
            raise reader.fault(f"YaRN's factor is {factor}, expected the number of times the context grew")
        case Factors(factors=factors) if not all(SMALLEST <= each <= LARGEST for each in factors):
            raise reader.fault("rope_freqs.weight has values that frequencies cannot be divided by")
    if config.rope_theta <= 1:
        raise reader.fault(f"the base of rotary frequencies is {config.rope_theta}, expected more than 1")
    return config
