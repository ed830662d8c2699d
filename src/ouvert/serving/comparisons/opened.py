"""What is compared, as values: who answers, what can be asked, and where votes go."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ouvert.assistant import ChatRequest, Model, Thinking, as_conversation

MOST_COLUMNS = 4
NOT_THINKING = ("none", "minimal")  # efforts, of a model that can only think or not
OWN_TOKENS = 400  # most of an answer to a question that a voter typed


@dataclass(frozen=True, slots=True, kw_only=True)
class Competitor:
    """Who answers. `model`: what the server calls it; None of one that cannot be asked here, of which only recorded
    answers are shown. `sampling`: fields of ouvert.Sampling. `thought_tokens`: what a model that thinks may write on
    top of an answer.
    """

    label: str
    model: str | None
    system: str = ""
    effort: str = ""
    thought_tokens: int = 4096
    sampling: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """An answer that was given before. `ids`: its tokens, where they are known."""

    text: str
    reason: str
    ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Something to ask. `id`: the digest of what is asked. `answers`: recorded ones, by the competitor's label."""

    id: str
    messages: tuple[Mapping[str, Any], ...]
    max_tokens: int = OWN_TOKENS
    row: str = ""
    item: str = ""
    language: str = ""
    answers: Mapping[str, Recorded] = field(default_factory=dict)

    @property
    def prompt(self) -> str:
        """What the last message says. Raises nothing."""
        content = self.messages[-1].get("content") if self.messages else ""
        return content if isinstance(content, str) else ""

    def request_to(self, competitor: Competitor, model: Model) -> ChatRequest:
        """What this competitor is asked; `model` is its own. Raises what `as_conversation` and `chat_format` raise."""
        abilities, effort = model.chat_format.abilities, competitor.effort
        system = [{"role": "system", "content": competitor.system}] if competitor.system else []
        return ChatRequest(
            conversation=as_conversation([*system, *self.messages]),
            thinking=Thinking(
                effort=effort if effort and abilities.efforts else None,
                enabled=effort not in NOT_THINKING if effort and not abilities.efforts else None,
            ),
            lenient=True,
            sampling={
                "max_tokens": self.max_tokens + (competitor.thought_tokens if abilities.thinks else 0),
                **competitor.sampling,
            },
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenComparison:
    """What `ouvert compare open` hands to a server.

    `cast` keeps a vote, which has the fields of docs/formats/comparison.md, and says whether it counts: a voter with a
    label has one for each prompt. `standings` gives what the votes show so far, as JSON. Both may be called from any
    thread, and may raise an error that has a message for the voter.
    """

    competitors: Sequence[Competitor]
    questions: Sequence[Question]
    cast: Callable[[Mapping[str, Any]], bool]
    standings: Callable[[], Mapping[str, Any]]

    @property
    def live(self) -> list[Competitor]:
        """Those that can be asked now. Raises nothing."""
        return [each for each in self.competitors if each.model is not None]

    def able(self, question: Question) -> list[Competitor]:
        """Those whose answer to this question can be shown. Raises nothing."""
        return [each for each in self.competitors if each.model is not None or each.label in question.answers]
