"""What changes the numbers of an answer, written down once: DESIGN's "One identity".

Prefix keys in memory and on disk, the names of packed files, the server's fingerprint, receipts, `receipt verify` and
`replay` all take it from here. What is not in it (threads, native instruction sets, what else runs) changes no number.
"""

import functools
import platform
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np

from ouvert.packed import STORED, described, json_digest

# Another number whenever a field is added or means something else: digests of two versions are never the same.
IDENTITY_VERSION = 1
BASE_VARIANT = "base"  # the digest of the variant without adapters and edits
DECODED = "decoded"
NATIVE = "native"


@dataclass(frozen=True, slots=True, kw_only=True)
class NumericIdentity:
    """Two answers of the same identity, tokens and sampling are the same, bit for bit.

    `weights` and `configuration` are digests: of the source's weight files, and of its configuration as the model
    reads it (see `configuration_digest`). `layout`: of packed weights, with its version; "decoded" where NumPy computes
    on floats. `precision`: to how many bits large matrices were rounded, "4", "8" or "16", or "stored", which keeps the
    encodings of the source. `arithmetic`: "native", whose numbers are the
    same with every instruction set, or NumPy's version and processor. `build`: digest of this program's files, None
    of an engine that does not say. `variant`: "base", or the digest of adapters and edits (`ouvert.engine.variant`).
    """

    weights: str
    configuration: str
    layout: str
    arithmetic: str
    build: str | None
    exact: bool
    cache: str
    precision: str = STORED
    variant: str = BASE_VARIANT

    def facts(self) -> dict[str, Any]:
        """The fields with the version, for keys of what is kept."""
        return {"identity": IDENTITY_VERSION, **asdict(self)}

    def of_variant(self, digest: str) -> Self:
        """The same identity with another variant."""
        return replace(self, variant=digest)

    @property
    def digest(self) -> str:
        """ "sha256:<hex>" of the canonical JSON of `facts`."""
        return digest_of(self)


@functools.cache
def digest_of(identity: NumericIdentity) -> str:
    return json_digest(identity.facts())


def numpy_arithmetic() -> str:
    """NumPy's products come from the library it was built with, which chooses by processor."""
    return f"numpy {np.__version__} {platform.machine()}"


def configuration_digest(family: str, file_format: str, config: Any) -> str:
    """Of config.json or GGUF metadata as the model reads it: every field of the family's configuration, defaults and
    stretching of positions included. Keys that change no number are not in it."""
    return json_digest({"family": family, "format": file_format, "config": described(config)})
