"""What an assistant raises."""


class AssistantError(Exception):
    """A request that cannot be served as asked. The message says what was given and what to do."""
