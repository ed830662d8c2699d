"""adapter_config.json: what of it we honour, what does not change the numbers, and what is refused, by key.

Source: peft 0.21.2, tuners/lora/config.py (LoraConfig) and config.py (PeftConfig).
"""

import json
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ouvert.packed.adapters.error import AdapterError
from ouvert.weights import read_regular

MOST_PATTERN, MOST_GROUPS, MOST_REPEATED = 300, 4, 3
MOST_BYTES = 1 << 22  # of the file; real ones have a few thousand
# What the rank, alpha and names of the adapter follow from.
HONOURED = frozenset(
    ("peft_type", "peft_version", "r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern", "target_modules",
     "target_parameters", "exclude_modules", "layers_to_transform", "layers_pattern", "base_model_name_or_path",
     "init_lora_weights", "lora_B_layout", "auto_mapping")
)  # fmt: skip
# What we have read about and does not change what the adapter computes, and why.
HARMLESS = {
    "corda_config": "how the adapter began; init_lora_weights says whether the base was changed",
    "ensure_weight_tying": "of embeddings and heads, which are refused by the names of their tensors",
    "eva_config": "how the adapter began; the base stays as it was",
    "fan_in_fan_out": "how the base's layer is stored; no layer of these families is stored the other way",
    "inference_mode": "whether it is trained further",
    "loftq_config": "how the adapter began; init_lora_weights says whether the base was changed",
    "lora_dropout": "only in training",
    "lora_ga_config": "how the adapter began; init_lora_weights says whether the base was changed",
    "megatron_config": "how another program splits the same products",
    "megatron_core": "how another program splits the same products",
    "qalora_group_size": "only with use_qalora",
    "revision": "which version of the base was loaded",
    "runtime_config": "how another program computes the same",
    "task_type": "which class to load the base with",
    "velora_config": "only in training",
}
MERGE = "Merge it into its base with peft (merge_and_unload) and take the result as a model"
# What changes the numbers and is not computed here: what it is, and what to do. Values that turn it off are accepted.
REFUSED = {
    "alora_invocation_tokens": ("an activated LoRA, which begins in the middle of a text", "Train it as plain LoRA"),
    "arrow_config": ("a router among adapters", "Take one of its adapters"),
    "bias": ("biases that were trained besides", MERGE),
    "kasa_config": ("KaSA, which changes the base's weights and scales every rank", MERGE),
    "layer_replication": ("layers of the base used several times", MERGE),
    "lora_bias": ("a bias of its own", MERGE),
    "modules_to_save": ("whole layers that were trained besides", MERGE),
    "monteclora_config": ("an adapter that is drawn at random for each use", "Train it as plain LoRA"),
    "trainable_token_indices": ("tokens whose embeddings were trained", MERGE),
    "use_bdlora": ("block-diagonal factors", MERGE),
    "use_dora": ("DoRA, which scales every row of the weights by a vector of its own", MERGE),
    "use_qalora": ("pooled inputs", MERGE),
}
OFF: tuple[Any, ...] = (None, False, "none", [], {}, "")
# Beginnings of an adapter that leave the base's weights as they are. The others replace them: what is added there is
# right for another base than the one that is served.
BEGINNINGS = (True, False, "gaussian", "eva", "orthogonal", "mica")
CONVERT = (
    "Convert it: with peft, load the first and the last state and save with path_initial_model_for_weight_conversion, "
    "which gives a plain LoRA of twice the rank for the base as it is published"
)


@dataclass(frozen=True, slots=True)
class PeftSettings:
    """What adapter_config.json says that changes numbers, checked. `said` is all of it."""

    path: Path
    said: Mapping[str, Any]

    def rank(self, name: str) -> int:
        """Of the module or parameter of that full name. Raises nothing."""
        return int(self._of(name, "rank_pattern", self.said["r"]))

    def scale(self, name: str, rank: int) -> float:
        """alpha / rank, or alpha / √rank where it is rank-stabilised. Raises nothing."""
        alpha = float(self._of(name, "alpha_pattern", self.said["lora_alpha"]))
        return alpha / (math.sqrt(rank) if self.said.get("use_rslora") else rank)

    def unfitting(self, names: Collection[str]) -> list[str]:
        """The patterns and targets that fit none of these full names. Raises nothing.

        A pattern in the place of a list of targets is not asked: which weights are adapted is what the tensors say.
        """
        lost = [
            f"{key}: {each!r}"
            for key in ("rank_pattern", "alpha_pattern")
            for each in self.said.get(key) or {}
            if not any(fits(each, name) for name in names)
        ]
        modules = self.said.get("target_modules")
        for key, listed in (
            ("target_modules", modules if isinstance(modules, list) else []),
            ("target_parameters", self.said.get("target_parameters") or []),
        ):
            lost += [f"{key}: {each!r}" for each in listed if not any(ends(each, name) for name in names)]
        return lost

    def wants(self, name: str, *, parameter: bool) -> bool:
        """Whether the targets name it, as far as they can be asked: a pattern in the place of a list cannot. Raises
        nothing."""
        said = self.said
        if parameter or self.targets(name):
            return self.targets(name)
        modules, excluded, layers = (
            said.get(key) for key in ("target_modules", "exclude_modules", "layers_to_transform")
        )
        if not isinstance(modules, list) or isinstance(excluded, str) or said.get("layers_pattern"):
            return False
        if isinstance(excluded, list) and any(ends(each, name) for each in excluded):
            return False
        if layers not in (None, []):
            layer = re.search(r"\.layers\.(\d+)\.", name)
            listed = layers if isinstance(layers, list) else [layers]
            if layer is None or int(layer[1]) not in listed:
                return False
        return any(name == each or name.endswith("." + each) for each in modules)

    @property
    def base(self) -> str | None:
        """The name or path of its base, as whoever trained it had it. Raises nothing."""
        base: str | None = self.said.get("base_model_name_or_path")
        return base

    def targets(self, name: str) -> bool:
        """Whether a parameter of that full name is among the target_parameters. Raises nothing."""
        return any(ends(each, name) for each in self.said.get("target_parameters") or [])

    @property
    def version(self) -> tuple[int, int, int] | None:
        """That of the PEFT that wrote it; None if it does not say one. Raises nothing."""
        stated = re.match(r"(\d{1,6})\.(\d{1,6})(?:\.(\d{1,6}))?", self.said.get("peft_version") or "")
        return (int(stated[1]), int(stated[2]), int(stated[3] or 0)) if stated else None

    @property
    def by_unsloth(self) -> bool:
        """Whether Unsloth prepared the model that was trained. Raises nothing."""
        mapping = self.said.get("auto_mapping")
        return isinstance(mapping, dict) and "unsloth_fixed" in mapping

    def _of(self, name: str, key: str, usual: Any) -> Any:
        patterns = self.said.get(key) or {}
        return next((value for pattern, value in patterns.items() if fits(pattern, name)), usual)


def fits(pattern: str, name: str) -> bool:
    """Whether PEFT takes a pattern for this name (utils/other.py, get_pattern_key), or for that of its parameter."""
    return any(re.match(in_place(pattern), each) is not None for each in (name, f"{name}.weight"))


def in_place(pattern: str) -> str:
    """The whole expression that PEFT makes of a pattern."""
    return rf"(.*\.)?({pattern})$"


def ends(wanted: str, name: str) -> bool:
    """Whether a full name is, or ends in, what is wanted. PEFT can name a linear layer by its parameter, too."""
    return any(each == wanted or each.endswith(f".{wanted}") for each in (name, f"{name}.weight"))


def read_settings(path: Path) -> PeftSettings:
    """Raises AdapterError, by key, for what changes the numbers and is not computed here, what is of another kind than
    it must be, and what we do not know."""
    said = json_object(path)
    if said.get("peft_type") != "LORA":
        raise AdapterError(
            f"{path}: peft_type is {said.get('peft_type')!r:.80}, expected 'LORA': other methods are not computed "
            f"here. {MERGE}."
        )
    for key, (what, remedy) in REFUSED.items():
        if said.get(key) not in OFF:
            raise AdapterError(f"{path}: {key} is {said[key]!r:.80}: {what}, which is not computed here. {remedy}.")
    unknown = sorted(said.keys() - HONOURED - HARMLESS.keys() - REFUSED.keys())
    if unknown := [key for key in unknown if said[key] not in OFF]:
        raise AdapterError(
            f"{path}: {', '.join(map(repr, unknown[:5]))} {'is' if len(unknown) == 1 else 'are'} not known here, "
            f"expected the keys of PEFT's LoRA up to version 0.21.2. It may change what the adapter computes. {MERGE}."
        )
    check_kinds(path, said)
    check_beginning(path, said)
    return PeftSettings(path, said)


def json_object(path: Path) -> dict[str, Any]:
    """Raises AdapterError for a file that is no JSON object, or too large for one."""
    try:
        data = read_regular(path, MOST_BYTES)
        said = json.loads(data.decode(), object_pairs_hook=without_twins)
        json.dumps(said, ensure_ascii=False).encode()  # half a character cannot be written anywhere
    except (OSError, ValueError, RecursionError) as problem:
        raise AdapterError(
            f"reading the adapter's settings {path}: {problem!s:.200}. Expected PEFT's adapter_config.json, an object "
            "of JSON. Fetch it again."
        ) from None
    if not isinstance(said, dict):
        raise AdapterError(
            f"reading the adapter's settings {path}: they are of type {type(said).__name__}, expected an object of "
            "JSON. Fetch the file again."
        )
    return said


def without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON. Raises ValueError where a key is there twice: readers differ in which of the two counts."""
    said = dict(pairs)
    if len(said) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r:.80} is there twice")
    return said


def check_kinds(path: Path, said: Mapping[str, Any]) -> None:
    """Raise AdapterError for a value of another kind than PEFT writes."""

    def positive(value: object) -> bool:
        return type(value) is int and 0 < value < 1 << 31

    def finite(value: object) -> bool:
        return type(value) in (int, float) and -1e30 < value < 1e30  # type: ignore[operator]

    def texts(value: object) -> bool:
        return value is None or (isinstance(value, list) and all(isinstance(each, str) and each for each in value))

    def patterns(value: object, fine: Any) -> bool:
        return value is None or (
            isinstance(value, dict) and all(is_pattern(key) and fine(n) for key, n in value.items())
        )

    def layers(value: object) -> bool:
        return value is None or all(type(each) is int for each in (value if isinstance(value, list) else [value]))

    checks = {
        "r": (positive, "a whole number above 0"),
        "lora_alpha": (finite, "a number"),
        "use_rslora": (lambda value: value in (None, True, False), "true or false"),
        "rank_pattern": (lambda value: patterns(value, positive), "ranks by patterns of names"),
        "alpha_pattern": (lambda value: patterns(value, finite), "numbers by patterns of names"),
        "target_modules": (lambda value: texts(value) or isinstance(value, str), "a list of names, or a pattern"),
        "target_parameters": (texts, "a list of names"),
        "base_model_name_or_path": (lambda value: value is None or isinstance(value, str), "a name"),
        "peft_version": (lambda value: value is None or isinstance(value, str), "a version"),
        "exclude_modules": (lambda value: texts(value) or isinstance(value, str), "a list of names, or a pattern"),
        "layers_to_transform": (layers, "a layer's number, or a list of them"),
        "layers_pattern": (lambda value: texts(value) or isinstance(value, str), "a list of names, or one"),
    }
    for key, (fine, what) in checks.items():
        if not fine(said.get(key)):
            raise AdapterError(f"{path}: {key} is {said.get(key)!r:.80}, expected {what}. Fetch the file again.")


def is_pattern(value: object) -> bool:
    """Whether it is a regular expression that finishes: at most three repetitions, none of them of a group."""
    if not isinstance(value, str) or not 0 < len(value) <= MOST_PATTERN or value.count("(") > MOST_GROUPS:
        return False
    repeated = re.sub(r"\\.|\(\?", "", value)  # neither escaped signs nor (?:
    if len(re.findall(r"[*+{?]+", repeated)) > MOST_REPEATED or re.search(r"\)[*+{?]", repeated):
        return False
    try:
        return re.compile(in_place(value)) is not None
    except (re.error, RecursionError, OverflowError):
        return False


def check_beginning(path: Path, said: Mapping[str, Any]) -> None:
    """Raise AdapterError for an adapter that began by changing its base's weights and was not converted since."""
    beginning = said.get("init_lora_weights", True)
    if not any(beginning is each or beginning == each for each in BEGINNINGS):
        raise AdapterError(
            f"{path}: init_lora_weights is {beginning!r:.40}: such an adapter is added to a base whose weights it "
            f"changed at its beginning, and the published base is served here. {CONVERT}."
        )
