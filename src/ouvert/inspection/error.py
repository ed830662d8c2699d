"""What goes wrong when one looks inside."""


class InspectionError(Exception):
    """Something cannot be looked at. The message names it, and says what can be looked at instead."""
