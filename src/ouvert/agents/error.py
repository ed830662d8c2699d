"""What agents raise."""


class AgentError(Exception):
    """An agent cannot be read, run, resumed or replayed. The message says what was given, expected, and what to do."""


class ToolError(Exception):
    """A call that failed in a way its model may be told of: the message is what the model reads."""
