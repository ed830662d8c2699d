"""What stand-ins say of variants that they do not compute."""

from ouvert.engine import BASE, EngineError, Variant


def refuse_all_but_base(variant: Variant, runner: str) -> None:
    """`check_variant` of a runner that computes the base alone."""
    if variant != BASE:
        raise EngineError(
            f"beginning a sequence: {', '.join(variant.parts)}: {runner} computes this model without adapters and "
            "edits. Leave them out."
        )
