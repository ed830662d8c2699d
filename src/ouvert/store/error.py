"""What is raised when the store cannot do what it was asked."""


class StoreError(Exception):
    """A model cannot be found, fetched or kept. The message names the model or file, the fault and the remedy."""


class Unreachable(StoreError):  # noqa: N818, it says what is the case
    """The place a model comes from does not answer: this machine is offline, or that one is."""


class Cancelled(StoreError):  # noqa: N818, it says what is the case
    """Whoever asked for a fetch has given it up. What has arrived is kept."""


class NoRoom(StoreError):  # noqa: N818, it says what is the case
    """The disk cannot take the model, wherever it comes from."""
