"""What an assistant raises."""

from ouvert.engine import EngineError


class AssistantError(Exception):
    """A request that cannot be served as asked. The message says what was given and what to do."""


class ContextExceeded(EngineError):  # noqa: N818 - it says what is the case
    """A prompt that leaves no room for an answer.

    Making one raises nothing.
    """

    def __init__(self, prompt_tokens: int, context: int, *, at_least: bool = False) -> None:
        """`at_least`: it was not counted to its end, since so many are too many already."""
        least = "at least " if at_least else ""
        super().__init__(
            f"reading a prompt: it has {least}{prompt_tokens} tokens, and this engine's context holds {context} for "
            "prompt and answer together. Shorten it, or load the model with a larger context, "
            "if it was made for one."
        )
        self.prompt_tokens, self.context = prompt_tokens, context

    @classmethod
    def check(cls, prompt_tokens: int, context: int) -> None:
        """Raise unless at least one token can follow."""
        if prompt_tokens + 1 > context:
            raise cls(prompt_tokens, context)
