"""A contestant that another server computes: what local and remote ones share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any

from ouvert.evaluation.contestants.contestant import ContestantFacts
from ouvert.evaluation.contestants.dialects.dialect import CannotAskError, Dialect, Question
from ouvert.evaluation.contestants.echoed import logprobs_of_choices, logprobs_of_text
from ouvert.evaluation.contestants.exchange import Exchange, RefusedError
from ouvert.evaluation.contestants.pieces import Gathering
from ouvert.evaluation.item import Chat, Item, Likelihood, Text
from ouvert.evaluation.outcome import Answered, Cost, Outcome

# Tokens for thoughts beside an item's own, by effort. "": the model thinks, and nobody said how much.
ROOM_FOR_THOUGHTS = {"low": 1024, "medium": 4096, "high": 16384, "": 4096}

MOST_SAID = 200  # characters of one thing that another server says of itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How every question is asked. `room`: tokens for thoughts, beside an item's own. `temperature` None: as the server
    chooses; then no seed is sent either. `context`: of an Ollama server, the tokens that it has to have room for."""

    model: str
    effort: str | None
    room: int
    temperature: float | None
    context: int | None = None

    def question(self, chat: Chat, seed: int) -> Question:
        """Raises nothing."""
        return Question(
            chat=chat, model=self.model, max_tokens=chat.max_tokens + self.room, effort=self.effort,
            temperature=self.temperature, seed=None if self.temperature is None else seed, context=self.context,
        )  # fmt: skip


class ServerContestant:
    """`Contestant`, asked over HTTP. `connections`: what a receipt says of them; called before an answer, it gives what
    is called behind it. Making one raises nothing."""

    def __init__(
        self,
        facts: ContestantFacts,
        exchange: Exchange,
        dialect: Dialect,
        manner: Manner,
        connections: Callable[[], Callable[[], Mapping[str, Any]]] = lambda: dict,
    ) -> None:
        self.facts = facts
        self._exchange, self._dialect, self._manner = exchange, dialect, manner
        self._connections = connections

    def ask(self, item: Item, sample: int, seed: int) -> Answered:
        """As `Contestant.ask`. Raises EvaluationError where the server is gone, or busy for too long."""
        ended = self._connections()
        said: dict[str, Any] = {}
        if item.kind not in self.facts.asks:
            outcome, cost = refused(f"this server cannot be asked for a {item.kind}"), Cost(whole=0.0)
        else:
            try:
                outcome, cost, said = self._answered(item.ask, seed)
            except (RefusedError, CannotAskError) as problem:
                outcome, cost = refused(str(problem)), Cost(whole=0.0)
        receipt = {"at": now(), "where": self.facts.where, "server": self.facts.host, **said}
        if connections := ended():
            receipt["connections"] = connections
        return Answered(
            contestant=self.facts.label, row=item.row, item=item.id, sample=sample, outcome=outcome, cost=cost,
            receipt=receipt,
        )  # fmt: skip

    def close(self) -> None:
        """Ends waiting for a busy server. May be called twice. Raises nothing."""
        self._exchange.closing.set()

    def _answered(self, ask: Chat | Likelihood | Text, seed: int) -> tuple[Outcome, Cost, dict[str, Any]]:
        if isinstance(ask, Chat):
            request = self._dialect.request(self._manner.question(ask, seed))
            gathering, attempts = self._exchange.stream(self._dialect, request)
            return gathering.outcome(), gathering.cost(), said_of(gathering, attempts)
        clock = Gathering()
        if isinstance(ask, Text):
            logprobs, read = logprobs_of_text(self._exchange, self._manner.model, ask)
            every = [read]
        else:
            logprobs, every = logprobs_of_choices(self._exchange, self._manner.model, ask)
        tokens, attempts = sum(each.tokens for each in every), sum(each.attempts for each in every)
        cost = replace(clock.cost(), prompt_tokens=tokens, output_tokens=0)
        return Outcome(logprobs=logprobs, reason="stop"), cost, {"attempts": attempts}


def said_of(gathering: Gathering, attempts: int) -> dict[str, Any]:
    said = present(gathering.said)
    if "model" in said:
        said["model"] = shown_name(said["model"])
    return {"attempts": attempts, **({"said": said} if said else {})}


def shown_name(model: str) -> str:
    """A model's name; of a file's (llama.cpp names models so) without its folders, which are nobody's business."""
    is_file = model.startswith(("/", "\\", "~")) or model[1:2] == ":" or model.lower().endswith(".gguf")
    return PurePath(model.replace("\\", "/")).name if is_file else model


def refused(why: str) -> Outcome:
    return Outcome(reason="refused", refused=why)


def present(stated: Mapping[str, Any]) -> dict[str, Any]:
    """What is not None: a plan's TOML has no null. Of what another server says, only what a plan can hold."""
    found = {name: plain(value) for name, value in stated.items()}
    return {name: value for name, value in found.items() if value is not None}


def plain(value: Any) -> Any:
    """A text of one line and at most MOST_SAID characters, a number, or these in an object or a list; else None."""
    match value:
        case str():
            return "".join(each if each.isprintable() else " " for each in value[:MOST_SAID]).strip()
        case bool():
            return value
        case int() | float():
            return value if abs(value) < 2**63 else None  # which no NaN is
        case Mapping():
            return present(value)
        case list() | tuple():
            return [each for each in map(plain, value) if each is not None]
        case _:
            return None


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
