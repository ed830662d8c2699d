"""What cannot be tuned."""


class TuningError(Exception):
    """Data, a recipe or a model cannot be used for tuning. The message says what was given, what was expected and what
    to do; of data, with the file and the line."""
