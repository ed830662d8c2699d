"""A model of this machine as a contestant: computed by Ouvert, with a receipt for every answer."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from ouvert.assistant import (
    Answer,
    AssistantError,
    EngineError,
    EngineFailedError,
    EngineFaultError,
    EngineUnreachableError,
    Finished,
    Model,
    ReasoningDelta,
    ScoredText,
    TextDelta,
    ToolCallDelta,
)
from ouvert.chat import ChatError, Effort
from ouvert.evaluation.contestants.contestant import ContestantFacts
from ouvert.evaluation.error import EvaluationError
from ouvert.evaluation.item import Chat, Item, Likelihood, Text
from ouvert.evaluation.outcome import Answered, Call, Cost, Outcome

# Tokens for thoughts, on top of an item's own: by effort, of a model that thinks. "": where none was asked for.
THOUGHT_TOKENS = {"none": 0, "minimal": 512, "low": 1024, "medium": 4096, "high": 16384, "xhigh": 32768, "": 4096}
TRIAL_READ, TRIAL_WRITTEN = 128, 16  # tokens, to foresee how long questions take
# What is wrong with the engine, not with the question.
GONE = (EngineFailedError, EngineFaultError, EngineUnreachableError)


class Here:
    """A model that Ouvert computes. `ask` is safe from several threads: the engine computes their answers together,
    with the bits that each would have alone."""

    def __init__(
        self,
        model: Model,
        facts: ContestantFacts,
        *,
        effort: str = "",
        temperature: float = 0.0,
        release: Callable[[], None] | None = None,
    ) -> None:
        """`release` is called once, by `close`, instead of closing the model. `facts_of` makes the facts."""
        self.model, self.facts = model, facts
        self._effort, self._temperature = effort, temperature
        self._release = release or model.close

    def ask(self, item: Item, sample: int, seed: int) -> Answered:
        """As Contestant.ask."""
        asked = Asked(item, sample)
        try:
            match item.ask:
                case Chat():
                    self._converse(item.ask, asked, seed)
                case Likelihood():
                    self._judge(item.ask, asked)
                case Text():
                    self._read(item.ask, asked)
        except GONE as problem:
            raise EvaluationError(
                f"asking {self.facts.label} {item.row} {item.id}: {problem} What was answered so far is kept."
            ) from problem
        except (AssistantError, ChatError, EngineError, ValueError) as problem:
            if self._release is nothing:  # it was closed meanwhile
                raise EvaluationError(f"asking {self.facts.label} {item.row} {item.id}: {problem}") from problem
            asked.outcome = Outcome(refused=str(problem))
        return asked.answered(self.facts.label)

    def close(self) -> None:
        """As Contestant.close."""
        release, self._release = self._release, nothing
        release()

    def score_all(self, sequences: Sequence[Sequence[int]]) -> list[tuple[float, ...]]:
        """The log-probability of every token but the first of each sequence of ids. Raises EngineError for what does
        not fit."""
        return [
            tuple(float(cast("float", token.logprob)) for token in tokens) for tokens in self.model.score_all(sequences)
        ]

    def go_on(self, ids: Sequence[int], most: int) -> tuple[str, bool]:
        """What it writes behind these ids, at temperature 0, and whether that ended by itself within `most` tokens.
        Raises EngineError for what does not fit."""
        generation = self.model.generation(ids, temperature=0.0, max_tokens=most)
        written = [token.id for token in generation]
        return self.model.detokenize(written), generation.stopped.reason == "stop"

    def token_speeds(self) -> tuple[float, float]:
        """Tokens a second that it reads and writes, from some of each; no question is asked. Raises EngineError."""
        ids = [n % self.model.engine.vocabulary_size for n in range(TRIAL_READ)]
        generation = self.model.generation(ids, temperature=0.0, max_tokens=TRIAL_WRITTEN, stop_ids=frozenset())
        for _ in generation:
            pass
        stopped = generation.stopped
        return TRIAL_READ / stopped.seconds_prefill, max(1, stopped.output_tokens - 1) / stopped.seconds_decode

    def _converse(self, ask: Chat, asked: "Asked", seed: int) -> None:
        abilities = self.model.chat_format.abilities
        if ask.tools and not abilities.tools:
            raise AssistantError("this model has no way to be given tools.")
        thoughts = THOUGHT_TOKENS[self._effort] if abilities.thinks else 0
        answer = self.model.chat(
            [dict(message) for message in ask.messages],
            [dict(tool) for tool in ask.tools] or None,
            tool_choice=ask.tool_choice,
            response_schema=ask.schema,
            effort=cast("Effort", self._effort) if self._effort and abilities.efforts else None,
            thinking=thinks(self._effort) if self._effort and self._can_refrain else None,
            temperature=self._temperature,
            seed=seed,
            max_tokens=min(ask.max_tokens + thoughts, self.model.engine.context - 1),
            logprobs=0,
        )
        asked.listen(answer)

    def _judge(self, ask: Likelihood, asked: "Asked") -> None:
        """The sum of each choice's log-probabilities, behind the context."""
        thinking = thinks(self._effort) if ask.chat and self._effort and self._can_refrain else None
        found = self.model.choices(ask.context, ask.choices, chat=ask.chat, thinking=thinking)
        asked.prompt_tokens = found[0].before + sum(len(choice.tokens) for choice in found)
        asked.outcome = Outcome(reason="stop", logprobs=tuple(choice.logprob for choice in found))

    @property
    def _can_refrain(self) -> bool:
        """Whether it can be told to think or not, and nothing between."""
        return not self.model.chat_format.abilities.efforts

    def _read(self, ask: Text, asked: "Asked") -> None:
        [read] = self.model.read([ask.text])
        asked.prompt_tokens = len(read.ids)
        logprobs = tuple(float(cast("float", token.logprob)) for token in read.tokens)
        asked.outcome = Outcome(reason="stop", ids=read.ids, logprobs=logprobs)


@dataclass(slots=True)
class Asked:
    """One question on its way to an answer, with its clock."""

    item: Item
    sample: int
    began: float = field(default_factory=time.perf_counter)
    visible: float | None = None
    prompt_tokens: int = 0
    outcome: Outcome = field(default_factory=Outcome)
    finished: Finished | None = None

    def listen(self, answer: Answer) -> None:
        """Hear an answer to its end. Raises EngineError if it cannot go on."""
        text: list[str] = []
        thoughts: list[str] = []
        logprobs: list[float] = []
        for event in answer:
            match event:
                case TextDelta():
                    text.append(event.text)
                    self._seen()
                    if isinstance(event, ScoredText):
                        logprobs += [token.logprob for token in event.tokens]
                case ReasoningDelta():
                    thoughts.append(event.text)
                case ToolCallDelta():
                    self._seen()
                case Finished():
                    self.finished = event
        assert self.finished is not None  # noqa: S101 - the last event of every answer
        calls = tuple(Call(name=call.name, arguments=call.arguments) for call in self.finished.tool_calls)
        self.outcome = Outcome(
            text="".join(text), thoughts="".join(thoughts), calls=calls, reason=self.finished.reason,
            ids=tuple(answer.token_ids), logprobs=tuple(logprobs),
        )  # fmt: skip

    def _seen(self) -> None:
        if self.visible is None:
            self.visible = time.perf_counter() - self.began

    def answered(self, label: str) -> Answered:
        """As it goes into the evidence."""
        cost = Cost(whole=round(time.perf_counter() - self.began, 6), prompt_tokens=self.prompt_tokens or None)
        if self.finished is not None:
            cost = self._cost_of(self.finished, cost.whole)
        return Answered(
            contestant=label,
            row=self.item.row,
            item=self.item.id,
            sample=self.sample,
            outcome=self.outcome,
            cost=cost,
            receipt={} if self.finished is None else self.finished.receipt,
        )

    def _cost_of(self, finished: Finished, whole: float) -> Cost:
        usage, seconds = finished.usage, finished.receipt["seconds"]
        return Cost(
            whole=whole,
            first=round(seconds["queued"] + seconds["prefill"], 6),
            visible=None if self.visible is None else round(self.visible, 6),
            prompt_tokens=usage.prompt,
            output_tokens=usage.output,
            thought_tokens=usage.reasoning,
            joules=finished.receipt.get("joules"),
        )


def facts_of(
    model: Model, label: str, *, effort: str = "", temperature: float = 0.0, copy: int = 1, about: Mapping[str, Any]
) -> ContestantFacts:
    """What a loaded model is, as a contestant. `copy`: which of several of the same model in a comparison, from 1: they
    draw with other seeds. Raises what `Model.tokenizer` and `Model.fingerprint` raise."""
    numbers = model.engine.facts.of_variant(model.variant).identity.facts()
    writes = can_converse(model)
    identity: dict[str, Any] = {
        "engine": {name: value for name, value in numbers.items() if value is not None},
        "tokenizer": model.tokenizer.digest,
        "context": model.engine.context,
        "effort": effort,
        "sampling": {"temperature": temperature},
        "fingerprint": model.fingerprint,
    }
    if copy > 1:
        identity["copy"] = copy
    return ContestantFacts(
        label=label,
        name="+".join((model.info.name, *model.info.adapters)),
        where="here",
        identity=identity,
        about=about,
        asks=frozenset({"chat", "likelihood", "text"} if writes else {"likelihood", "text"}),
        tokenizer=model.tokenizer.digest,
    )


def can_converse(model: Model) -> bool:
    """Whether it has a chat format; without one only texts are read. Raises nothing."""
    try:
        return model.chat_format is not None
    except ChatError:
        return False


def thinks(effort: str) -> bool:
    """Whether a model that can only think or not does so, for a word of effort. Raises nothing."""
    return effort not in ("none", "minimal")


def nothing() -> None:
    """What a contestant that was closed does when it is closed again."""
