"""What is raised when a job or a kept file cannot be had."""

from ouvert.store.error import StoreError


class JobError(StoreError):
    """A job or a file of jobs cannot be used. The message names it, the fault and the remedy."""


class NoSuchJob(JobError):  # noqa: N818, it says what is the case
    """There is no job of that id."""


class JobBusy(JobError):  # noqa: N818
    """A process is working on it."""


class NoSuchFile(JobError):  # noqa: N818
    """There is no kept file of that id."""
