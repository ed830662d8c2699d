"""What changes the numbers of an answer, written down once: DESIGN's "One identity".

Prefix keys in memory and on disk, the names of packed files, the server's fingerprint, receipts, `receipt verify` and
`replay` all take it from here. What is not in it (threads, native instruction sets, what else runs) changes no number.
"""

import functools
import hashlib
import json
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from typing import Any, Self

import numpy as np

from ouvert.models import Parameter
from ouvert.weights import Tensor

# Another number whenever a field is added or means something else: digests of two versions are never the same.
IDENTITY_VERSION = 1
BASE_VARIANT = "base"  # the digest of the variant without adapters and edits
STORED = "stored"
DECODED = "decoded"
NATIVE = "native"


@dataclass(frozen=True, slots=True, kw_only=True)
class NumericIdentity:
    """Two answers of the same identity, tokens and sampling are the same, bit for bit.

    `weights` and `configuration` are digests: of the source's weight files, and of its configuration as the model
    reads it (see `configuration_digest`). `layout`: of packed weights, with its version; "decoded" where NumPy computes
    on floats. `precision`: "stored", the encoding that the source has. `arithmetic`: "native", whose numbers are the
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
        """The same but for the variant."""
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


def json_digest(facts: Mapping[str, Any]) -> str:
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def configuration_digest(family: str, file_format: str, config: Any) -> str:
    """Of config.json or GGUF metadata as the model reads it: every field of the family's configuration, defaults and
    stretching of positions included. Keys that change no number are not in it."""
    return json_digest({"family": family, "format": file_format, "config": described(config)})


def recipe_digest(layout_version: str, source: str, parameters: Iterable[Parameter]) -> str:
    """Of all that decides the bytes of a packed file: the source's weights, the layout's version, and from which rows
    of which tensor each parameter is taken."""
    taken = [[each.name, each.kind, list(each.shape), each.same_as, described(each.source)] for each in parameters]
    return json_digest({"layout": layout_version, "source": source, "parameters": taken})


def described(value: Any) -> Any:
    """A configuration or a parameter's source as JSON: classes by name, tensors by name and shape, arrays by digest.

    Raises TypeError for what it does not know, so that nothing is left out of an identity in silence.
    """
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Tensor():
            return ["Tensor", value.name, list(value.shape), value.encoding]
        case np.ndarray():
            digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
            return ["array", str(value.dtype), list(value.shape), digest]
        case np.generic():
            return described(value.item())
        case tuple() | list():
            return [described(each) for each in value]
        case Mapping():
            return {str(key): described(each) for key, each in value.items()}
        case _ if is_dataclass(value) and not isinstance(value, type):
            stated = {field.name: described(getattr(value, field.name)) for field in fields(value)}
            return {"is": type(value).__name__, **stated}
    raise TypeError(f"describing {value!r:.80} ({type(value).__name__}) for an identity: not a value that is known.")
