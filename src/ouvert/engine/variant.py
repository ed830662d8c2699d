"""Which variant of a model a request asks for: adapters and edits. The base is the model as it is.

A variant is part of the one identity (`ouvert.engine.identity`): prefixes, queue, receipts, replay and fingerprint are
keyed by its digest. It is data and computes nothing: a runner computes it, or refuses it by name.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ouvert.engine.identity import BASE_VARIANT
from ouvert.models import Edit, canonical
from ouvert.packed import json_digest

DIGEST = re.compile("sha256:[0-9a-f]{64}")
DIGESTS_KEPT = 256  # of the variants that were last used


@dataclass(frozen=True, slots=True)
class ScaledAdapter:
    """An adapter, by the digest of its weights ("sha256:<hex>"), and what its additions are multiplied by.

    Raises ValueError for a digest of another form and a scale that is not a finite number.
    """

    digest: str
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.digest, str) or not DIGEST.fullmatch(self.digest):
            raise ValueError(
                f"naming an adapter: its digest is {self.digest!r:.80}, expected sha256: and 64 hexadecimal digits. "
                "Give the digest of its weights."
            )
        if not math.isfinite(self.scale):
            raise ValueError(
                f"scaling the adapter {self.digest}: scale={self.scale}, expected a finite number. Leave it out for 1."
            )


@dataclass(frozen=True, slots=True)
class Variant:
    """Adapters and edits, each in the order in which they are applied. Equal variants have equal digests.

    Making one raises ValueError for what is no tuple of ScaledAdapter, or of Edit. Its methods and properties raise
    nothing.
    """

    adapters: tuple[ScaledAdapter, ...] = ()
    edits: tuple[Edit, ...] = ()

    def __post_init__(self) -> None:
        for name, kind in (("adapters", ScaledAdapter), ("edits", Edit)):
            value = getattr(self, name)
            if not isinstance(value, tuple) or not all(isinstance(each, kind) for each in value):
                raise ValueError(
                    f"making a variant: {name}={value!r:.80}, expected a tuple of {kind.__name__}. "
                    "Leave it out for none."
                )

    def facts(self) -> dict[str, Any]:
        """The variant as JSON."""
        return {
            "adapters": [{"digest": each.digest, "scale": canonical(each.scale)} for each in self.adapters],
            "edits": [each.facts() for each in self.edits],
        }

    @property
    def digest(self) -> str:
        """ "base", or "sha256:<hex>" of the canonical JSON of `facts`."""
        return BASE_VARIANT if self == BASE else digest_of(self)

    @property
    def parts(self) -> Iterator[str]:
        """What it asks for beside the base, each in a few words, for errors."""
        yield from (f"adapter {each.digest}" for each in self.adapters)
        yield from (f"edit {each.operation} at {each.tap}" for each in self.edits)


BASE = Variant()  # the model as it is


@lru_cache(DIGESTS_KEPT)
def digest_of(variant: Variant) -> str:
    return json_digest(variant.facts())
