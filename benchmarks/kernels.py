"""Products with packed weights, beside the limits of the machine: `python benchmarks/kernels.py`.

For every layout: decoding (one token, a matrix far larger than the caches) in GB/s beside the read bandwidth, and a
prompt of 512 tokens in GMAC/s beside what the processor can multiply from registers alone. Limits and products take
turns, so a busy neighbour hits both; each figure is the best of its repeats.
"""

import argparse
from collections.abc import Iterator

import numpy as np

from ouvert.kernels import _native, linear, packing

LAYOUTS = ("MXFP4", "Q4_0", "IQ4_NL", "Q4_1", "Q5_1", "Q4_K", "Q5_K", "Q6_K", "Q8_0", "BF16", "F16", "F32")
# rows × columns of matrices people run.
PROMPT_SHAPES = {
    "gpt-oss-20b expert": (5760, 2880),
    "Llama-3.1-8B feed-forward": (14336, 4096),
    "SmolLM2-135M feed-forward": (1536, 576),
}
DECODE_COLUMNS = 4096
ROUNDS = 5


def random_matrix(layout: str, rows: int, columns: int) -> linear.Packed:
    """Random bytes, but for bits that keep every layout's scales far from infinity and from subnormal numbers."""
    group = packing.packed_bytes(layout, packing.ROW_GROUP, columns)
    some = np.random.default_rng(1).integers(0, 256, (4, group), np.uint8)
    if layout == "MXFP4":
        some = some & 0x7F | 0x60
    else:
        some[:, 1::2] = some[:, 1::2] & 0x83 | 0x10
    data = packing.aligned_bytes(packing.packed_bytes(layout, rows, columns))
    groups = data.reshape(-1, group)
    for n in range(4):
        groups[n::4] = some[n]
    return linear.Packed(layout, rows, columns, data)


def seconds(weights: linear.Packed, x: np.ndarray, threads: int, set_: str, repeats: int, code_bytes: int = 1) -> float:
    shape = (weights.layout, weights.rows, weights.columns, weights.data)
    best: float = _native.measure_matmul(set_, *shape, x, threads, repeats, code_bytes)
    return best


def decoding(threads: int, set_: str, megabytes: int) -> Iterator[str]:
    yield f"| layout | {set_}, {threads} threads: GB/s | read GB/s | share | GMAC/s |"
    yield "|---|---|---|---|---|"
    x = np.random.default_rng(2).standard_normal((1, DECODE_COLUMNS)).astype(np.float32)
    for layout in LAYOUTS:
        group = packing.packed_bytes(layout, packing.ROW_GROUP, DECODE_COLUMNS)
        weights = random_matrix(layout, (megabytes << 20) // group * packing.ROW_GROUP, DECODE_COLUMNS)
        pairs = [
            (_native.measure_read(weights.data, threads, 3), seconds(weights, x, threads, set_, 3))
            for _ in range(ROUNDS)
        ]
        read, product = (len(weights.data) / min(times) / 1e9 for times in zip(*pairs, strict=True))
        rate = weights.rows * weights.columns * product / len(weights.data)
        yield f"| {layout} | {product:.1f} | {read:.1f} | {product / read:.0%} | {rate:.0f} |"


def prompts(threads: int, set_: str, tokens: int) -> Iterator[str]:
    peaks = [_native.measure_integer_peak(set_, threads, 5) for _ in range(ROUNDS)]
    yield f"Integer peak, {set_}, {threads} threads: {max(peaks) / 1e9:.0f} GMAC/s"
    yield ""
    yield f"| GMAC/s, {tokens} tokens | " + " | ".join(PROMPT_SHAPES) + " |"
    yield "|---|" + "---|" * len(PROMPT_SHAPES)
    for layout in LAYOUTS:
        cells = []
        for rows, columns in PROMPT_SHAPES.values():
            columns -= columns % _native.columns_multiple(layout)
            x = np.random.default_rng(2).standard_normal((tokens, columns)).astype(np.float32)
            best = min(seconds(random_matrix(layout, rows, columns), x, threads, set_, 2) for _ in range(ROUNDS))
            cells.append(f"{rows * columns * tokens / best / 1e9:.0f}")
        yield f"| {layout} | " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--set", dest="set_", choices=linear.available_instruction_sets(), nargs="+")
    parser.add_argument("--megabytes", type=int, default=512, help="size of the matrix for decoding")
    parser.add_argument("--tokens", type=int, default=512, help="length of the prompt")
    args = parser.parse_args()
    for set_ in args.set_ or [linear.best_instruction_set()]:
        for threads in args.threads:
            for line in decoding(threads, set_, args.megabytes):
                print(line, flush=True)
            print()
            for line in prompts(threads, set_, args.tokens):
                print(line, flush=True)
            print()


if __name__ == "__main__":
    main()
