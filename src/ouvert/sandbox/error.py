"""What is raised where a box cannot be had, or cannot do what it was asked."""


class BoxError(Exception):
    """A box could not do what it was asked. The message has the operation, what it was given, what was expected and
    what to do."""


class BoxRefusedError(BoxError):
    """This machine gives no way to isolate a program. Nothing was run. The message says why, and what would help."""
