"""What goes wrong in an evaluation."""


class EvaluationError(Exception):
    """An evaluation cannot be planned, run or read. The message says what was asked, given, expected; what to do."""
