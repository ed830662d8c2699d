"""What cannot be used as an adapter, or written as one."""

from ouvert.weights import CheckpointError


class AdapterError(CheckpointError):
    """An adapter's files cannot be used, or another program's format cannot hold an adapter. The message names the
    file, the fault, what was expected and what to do."""
