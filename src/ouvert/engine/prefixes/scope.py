"""Between which requests prefixes are shared."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scope:
    """Pages are shared within a scope, and never across two: neither in memory, nor on disk, nor by waiting.

    `owner`: whose prompts they come from. `variant`: digest of the variant of the model that computed them.
    """

    owner: str
    variant: str
