"""Where the tokens of a remote engine come from: one endpoint, or several that are one."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from ouvert.engine.remote.endpoint import Ask, Chunk


class Stream(Protocol):
    """Tokens as they come: `endpoint.TokenStream`, or whatever raises what that raises."""

    def __iter__(self) -> Iterator[Chunk]: ...

    def close(self) -> None:
        """From any thread, also while another iterates, which then comes to its end. Raises nothing."""


class TokenSource(Protocol):
    """`endpoint.TokenEndpoint`, or several members that stand in for each other. Safe from any thread.

    `counts_prompts`: whether presence and frequency penalties count the prompt's tokens like those of the answer, as
    ours do. Where they do not, an answer cannot be asked for in several pieces and be penalised alike.
    """

    counts_prompts: bool

    def generate(self, ask: Ask, deadline: float | None = None) -> Stream:
        """Raises EngineError at once for what cannot be asked."""

    def whole(self, ask: Ask, within: float | None = None) -> Mapping[str, Any]:
        """The answer as one JSON object. Raises as `generate` does."""
