"""How fast one token looks at a long past, by cache type: milliseconds, and bytes of keys and values a second.

    python benchmarks/attention.py [--megabytes 48] [--repeat 6]

One thread, one layer, float16's size as given. What is timed is `tokens` queries one after the other less one query, so
that filling the cache does not count; best of the repeats.
"""

import argparse
import time

import numpy as np

from ouvert.kernels import _native
from ouvert.models import key_value_bytes

SHAPES = ((3, 3, 64), (8, 8, 64), (8, 4, 128))  # (kv heads, queries of each, head_dim): SmolLM2, gpt-oss, Llama 3
TOKENS = 25


def seconds_a_token(cache: str, kv_heads: int, group: int, head_dim: int, length: int, repeat: int) -> float:
    random = np.random.default_rng(0)
    keys = random.standard_normal((length, kv_heads, head_dim), dtype=np.float32)
    queries = random.standard_normal((TOKENS, kv_heads * group, head_dim), dtype=np.float32)
    out = np.empty_like(queries)

    def seconds(tokens: int) -> float:
        began = time.perf_counter()
        _native.attend_dense(
            _native.best_instruction_set(), cache, queries[:tokens], keys, keys, length - tokens, head_dim**-0.5,
            _native.NO_WINDOW, None, 1, False, out[:tokens],
        )  # fmt: skip
        return time.perf_counter() - began

    all_of_them = min(seconds(TOKENS) for _ in range(repeat))
    return (all_of_them - min(seconds(1) for _ in range(repeat))) / (TOKENS - 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=48)
    parser.add_argument("--repeat", type=int, default=6)
    args = parser.parse_args()
    for kv_heads, group, head_dim in SHAPES:
        length = args.megabytes * 10**6 // (kv_heads * key_value_bytes(head_dim, "f16"))
        for cache in ("f16", "q8", "f32"):
            seconds = seconds_a_token(cache, kv_heads, group, head_dim, length, args.repeat)
            size = length * kv_heads * key_value_bytes(head_dim, cache)
            print(
                f"{kv_heads} kv heads of {head_dim}, {group} queries each, {length} keys, {cache}: "
                f"{1e3 * seconds:.2f} ms a token, {size / seconds / 1e9:.1f} GB/s",
                flush=True,
            )


if __name__ == "__main__":
    main()
