"""Tensors on disk and their encodings. Imports nothing of ours."""

from .checkpoint import Checkpoint
from .digest import combined_digest, sha256_of, sha256_of_range
from .encoding import encode
from .encodings import ENCODINGS, Encoding, decode, encoded_bytes
from .error import BusyError, CheckpointError, PrecisionError, UnwritableError
from .floats import decode_fp8_blocks, decode_mxfp4_blocks
from .gguf import gguf_metadata
from .gguf_writing import GgufWriter, gguf_value, write_gguf
from .mapping import FileState, MappedFile
from .opening import open_checkpoint
from .regular import NotRegularError, open_regular, read_regular
from .tensor import Tensor
from .writing import SafetensorsWriter, TensorWriter, wait_for_writer

__all__ = [
    "ENCODINGS",
    "BusyError",
    "Checkpoint",
    "CheckpointError",
    "Encoding",
    "FileState",
    "GgufWriter",
    "MappedFile",
    "NotRegularError",
    "PrecisionError",
    "SafetensorsWriter",
    "Tensor",
    "TensorWriter",
    "UnwritableError",
    "combined_digest",
    "decode",
    "decode_fp8_blocks",
    "decode_mxfp4_blocks",
    "encode",
    "encoded_bytes",
    "gguf_metadata",
    "gguf_value",
    "open_checkpoint",
    "open_regular",
    "read_regular",
    "sha256_of",
    "sha256_of_range",
    "wait_for_writer",
    "write_gguf",
]
