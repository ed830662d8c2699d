"""A longer past for llama.cpp without computing it: a saved one, its rows repeated.

What keys and values hold does not change how long attention over them takes; only how many there are does. llama.cpp
reads a prompt of 32768 tokens of gpt-oss-20b's shape in about an hour on two cores, so for timing tokens at that depth
a past of a few hundred tokens is read, saved, stretched and restored.

The format is that of llama_state_seq_get_data with flash attention on (llama.cpp, src/llama-kv-cache.cpp, state_write),
for models whose layers alternate between all keys and a window: first the cache of the former, then of the latter.
Every count in it is checked; anything unexpected ends the program.
"""

import struct
from dataclasses import dataclass

import numpy as np

MAGIC = 0xAF143CD8


@dataclass
class Cache:
    """Positions (cells,), and for each layer's keys, then each layer's values, (type, bytes of (cells, row))."""

    layers: int
    positions: np.ndarray
    parts: list[tuple[int, np.ndarray]]


class Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, form: str) -> int:
        (value,) = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return int(value)

    def expect(self, form: str, value: int) -> None:
        if (found := self.take(form)) != value:
            raise SystemExit(f"llama_cpp_cache: {found} at byte {self.at}, expected {value}: another format.")

    def cache(self) -> Cache:
        self.expect("I", 1)  # streams
        cells = self.take("I")
        positions = np.empty(cells, np.int32)
        for cell in range(cells):
            positions[cell] = self.take("i")
            self.expect("I", 1)  # sequences that share the cell
            self.expect("i", 0)  # which
        self.expect("I", 0)  # values are not transposed
        layers = self.take("I")
        parts = []
        for _ in range(2 * layers):
            kind, row = self.take("i"), self.take("Q")
            rows = np.frombuffer(self.data, np.uint8, cells * row, self.at).reshape(cells, row)
            parts.append((kind, rows))
            self.at += cells * row
        return Cache(layers, positions, parts)


def written(cache: Cache) -> bytes:
    cells = np.zeros((len(cache.positions), 3), np.int32)
    cells[:, 0], cells[:, 1] = cache.positions, 1
    pieces = [struct.pack("<II", 1, len(cells)), cells.tobytes(), struct.pack("<II", 0, cache.layers)]
    for kind, rows in cache.parts:
        pieces += [struct.pack("<iQ", kind, rows.shape[1]), np.ascontiguousarray(rows).tobytes()]
    return b"".join(pieces)


def stretched(data: bytes, tokens: int) -> bytes:
    """The saved past of one sequence, made as long as `tokens`."""
    reader = Reader(data)
    reader.expect("I", MAGIC)
    reader.expect("I", 0)  # the sequence
    whole, windowed = reader.cache(), reader.cache()
    if reader.at != len(data):
        raise SystemExit(f"llama_cpp_cache: {len(data) - reader.at} bytes are left over: another format.")
    short = len(whole.positions)
    again = np.arange(tokens) % short
    whole.positions = np.arange(tokens, dtype=np.int32)
    whole.parts = [(kind, rows[again]) for kind, rows in whole.parts]
    windowed.positions = windowed.positions + np.int32(tokens - short)
    return data[:8] + written(whole) + written(windowed)
