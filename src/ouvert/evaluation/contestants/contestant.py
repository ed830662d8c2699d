"""What a contestant is: a configuration, not a name. gpt-oss at low and at high effort are two."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Literal, Protocol

from ouvert.evaluation.canonical import canonical_json
from ouvert.evaluation.item import Item
from ouvert.evaluation.outcome import Answered

# "here": computed by Ouvert. "local": another server of this machine. "remote": the question leaves the machine.
Where = Literal["here", "local", "remote"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContestantFacts:
    """What is known of a contestant. What is not known is absent or None, never guessed.

    `label`: unique in a comparison. `identity`: everything that decides its answers (weights, configuration, precision,
    tokenizer and template digests, effort, sampling, system prompt, engine build; of another server its address, the
    model's name there and what it says of itself). `about`: what people want to know and no answer depends on (licence,
    its address in plain language, parameters, bytes, context, languages, published date, release state). `asks`: the
    kinds of items it can be asked. `tokenizer`: digest; token views need two of the same.
    """

    label: str
    name: str
    where: Where
    identity: Mapping[str, Any]
    about: Mapping[str, Any] = field(default_factory=dict)
    asks: frozenset[str] = frozenset({"chat", "likelihood", "text"})
    tokenizer: str = ""
    host: str = ""  # of one that is not computed here
    replays: bool = True  # whether the same question gives the same bits again

    @property
    def digest(self) -> str:
        """Over `identity`: what cached evidence is found by. Raises nothing."""
        return "sha256:" + sha256(canonical_json(dict(self.identity))).hexdigest()


class Contestant(Protocol):
    """Who can be asked. Safe from several threads at once. Close it to give its memory back."""

    @property
    def facts(self) -> ContestantFacts:
        """Who it is. Raises nothing."""
        ...

    def ask(self, item: Item, sample: int, seed: int) -> Answered:
        """The answer to one item; `seed` is used where the sampling draws. An item that it cannot be asked, or that
        does not fit, is an outcome with `refused`.

        Raises EvaluationError where it is gone (a server that died, weights that are damaged): the run stops and can
        be resumed.
        """

    def close(self) -> None:
        """May be called twice. Raises nothing."""
