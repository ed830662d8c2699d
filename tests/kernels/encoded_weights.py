"""Random weights in every encoding, as a file could hold them: for the tests of packing and of products."""

import numpy as np

from ouvert.arithmetic import as_mxint8
from ouvert.weights import blocks
from ouvert.weights.encodings import ENCODINGS

RECORDS = {
    name: getattr(blocks, name)
    for name in ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "MXFP4")
}


def encoded(random: np.random.Generator, encoding: str, rows: int, columns: int) -> np.ndarray:
    """Flat uint8. Every code occurs; scales are such that weights are around one."""
    if encoding in ("F32", "F16", "BF16", "MXINT8"):
        values = random.standard_normal((rows, columns)).astype(np.float32)
        if encoding == "MXINT8":  # no encoding of files: float32 that this layout holds, with scales that differ
            values *= np.exp2(random.integers(-12, 2, (rows, columns)))
            return as_mxint8(values).reshape(-1).view(np.uint8)
        if encoding == "BF16":
            return (values.view(np.uint32) >> 16).astype("<u2").reshape(-1).view(np.uint8)
        return values.astype({"F32": "<f4", "F16": "<f2"}[encoding]).reshape(-1).view(np.uint8)
    record = RECORDS[encoding]
    count = rows * columns // ENCODINGS[encoding].block_weights
    data = random.integers(0, 256, (count, record.itemsize), np.uint8).reshape(-1).view(record)
    small = 16.0 ** -{"Q8_0": 2, "Q2_K": 1, "Q3_K": 1, "Q4_K": 2, "Q5_K": 2, "Q6_K": 3, "IQ4_NL": 2}.get(encoding, 1)
    for field in ("scale", "minimum"):
        if field in (record.names or ()):
            data[field] = random.uniform(-2 * small, 2 * small, count).astype(np.float16)
    if encoding == "MXFP4":
        data["exponent"] = random.integers(120, 130, count)
    return data.view(np.uint8)
