"""What reader and writer of a packed file agree on: docs/formats/packed.md, "The file"."""

from ouvert.packed.placement import LAYOUT_VERSION

FORMAT = f"ouvert packed {LAYOUT_VERSION}"
# The tensor of digests: 32 bytes for the header, then for each piece of each tensor, in the order of `entries`.
DIGESTS = "ouvert.digests"
DIGEST_BYTES = 32
# The tensor of what rounding lost, of files in which something was: for each parameter, in the order of `entries`, the
# sum of squared errors and that of squares.
LOSSES = "ouvert.losses"
