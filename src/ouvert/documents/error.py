"""What is raised when the owner's documents cannot be read, kept, found or removed."""


class DocumentError(Exception):
    """The message names the operation, the collection or file, the fault and the remedy."""


class UnreadableFile(DocumentError):  # noqa: N818, it says what is the case
    """A file whose text cannot be had: damaged, encrypted, of a kind that is not read, or too large."""


class WrongKey(DocumentError):  # noqa: N818, it says what is the case
    """A collection that is encrypted, and was not opened with its passphrase or key."""
