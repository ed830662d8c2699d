"""A named array in a checkpoint, still encoded."""

from dataclasses import dataclass

import numpy as np

from .encodings import decode, encoded_bytes
from .error import CheckpointError, shown
from .mapping import release_pages


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """Nothing is read from disk before `decode`, `take_rows` or a look into `data`.

    `shape` is row-major, as NumPy says it. `data` is flat uint8, a read-only view of the memory map: the encoded bytes.
    `encoding` is a key of ENCODINGS.
    """

    name: str
    shape: tuple[int, ...]
    encoding: str
    data: np.ndarray

    def decode(self) -> np.ndarray:
        """The numbers, of `shape`, owned by the caller: float32 (F64 stays float64, integers keep their type).

        Raises CheckpointError if `data` has not as many bytes as encoding and shape say.
        """
        return decode(self.encoding, self.data, self.shape)

    @property
    def row_bytes(self) -> int:
        """Encoded bytes for each index of the first axis.

        Raises CheckpointError if such a part is not a whole number of blocks (a vector in a block encoding, a scalar).
        """
        if not self.shape:
            raise CheckpointError(f"Tensor {shown(self.name)} is a single number and has no rows: decode it whole.")
        return encoded_bytes(self.encoding, self.shape[1:])

    def rows(self, start: int, stop: int) -> "Tensor":
        """Rows start to stop along the first axis, without a copy. Raises CheckpointError outside 0 to shape[0]."""
        width = self.row_bytes
        if not 0 <= start <= stop <= self.shape[0]:
            raise CheckpointError(
                f"Rows {start} to {stop} of tensor {shown(self.name)} were asked for; it has 0 to {self.shape[0]}: "
                "ask for rows it has."
            )
        data = self.data[start * width : stop * width]
        return Tensor(self.name, (stop - start, *self.shape[1:]), self.encoding, data)

    def take_rows(self, index: np.ndarray) -> "Tensor":
        """The rows `index` names, in that order, copied as they are encoded. Raises IndexError for a row it lacks."""
        width = self.row_bytes
        data = self.data.reshape(self.shape[0], width)[index].reshape(-1)
        return Tensor(self.name, (len(index), *self.shape[1:]), self.encoding, data)

    def release(self) -> None:
        """Let the system take back the memory that these bytes of the file occupy; they are read again if looked at.

        Raises nothing.
        """
        release_pages(self.data)
