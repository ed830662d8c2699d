"""Looking inside takes long, and gives way to those who wait for an answer: a thread for it begins with this."""

from ouvert.packed import lower_priority

__all__ = ["lower_priority"]
