"""What people want a model for, and which rows of a comparison speak about that: one decides, others stand beside."""

from dataclasses import dataclass

from ouvert.evaluation.error import EvaluationError


@dataclass(frozen=True, slots=True)
class Purpose:
    """Suites, or "suite/form". `primary`: the first that is here decides. `language`: the only one it is about, ""
    where it is about those that are asked for."""

    primary: tuple[str, ...]
    beside: tuple[str, ...] = ()
    language: str = ""


PURPOSES = {
    "chat": Purpose(("obey", "summary", "read"), ("read", "summary", "calibration", "ifeval")),
    "tools": Purpose(("tools/schema", "bfcl"), ("tools/free", "bfcl")),
    "french": Purpose(("french", "mgsm-fr"), ("obey", "read", "ladder", "mgsm-fr", "reading"), language="fr"),
    "maths": Purpose(("gsm8k", "ladder"), ("ladder", "mgsm-fr")),
    "knowledge": Purpose(("mmlu/likelihood",), ("mmlu/letter", "calibration")),
    "code": Purpose(("humaneval",)),
    "json": Purpose(("json/schema",), ("json/free", "tools/schema")),
    "long": Purpose(("needle",)),
    "reading": Purpose(("read", "xquad", "summary"), ("summary", "xquad", "reading")),
    "reasoning": Purpose(("ladder", "reasoning-gym", "bbh"), ("reasoning-gym", "bbh")),
    "grammar": Purpose(("blimp", "french"), ("french",)),
    "calibration": Purpose(("calibration/asked",), ("calibration/tokens", "mmlu/letter")),
}
USUAL = ("chat", "tools", "maths", "french")  # where --for says nothing


def purpose(name: str) -> Purpose:
    """Raises EvaluationError for one that there is not."""
    if name not in PURPOSES:
        raise EvaluationError(
            f"planning a comparison: --for has {name!r:.40}, expected words among {', '.join(PURPOSES)}. Choose from "
            "those, or name suites with --suites."
        )
    return PURPOSES[name]
