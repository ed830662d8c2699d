"""What reader and writer of a packed file agree on: docs/formats/packed.md, "The file"."""

from ouvert.packed.placement import LAYOUT_VERSION

FORMAT = f"ouvert packed {LAYOUT_VERSION}"
# The tensor of digests: 32 bytes for the header, then for each piece of each tensor, in the order of `entries`.
DIGESTS = "ouvert.digests"
DIGEST_BYTES = 32
