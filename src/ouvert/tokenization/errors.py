"""What can go wrong with a tokenizer."""


class TokenizerError(Exception):
    """A tokenizer cannot be built, or cannot take what it was given. The message says what to do."""
