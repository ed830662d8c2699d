"""What a tool is, and one use of it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from ouvert.serving.callers import Caller
from ouvert.serving.service import Service

Say = Callable[[str], Awaitable[None]]


class Arguments(BaseModel):
    """What a tool is given. What it does not know is refused."""

    model_config = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a person said to the call that a run of an agent waits with; None where they put the question away."""

    run: str
    call: str
    allowed: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """One call of a tool by `caller`. `arguments` are as the tool's class says; `say` tells the client how far it is;
    `verdict`: the same call is gone on with, after its question was answered."""

    service: Service
    caller: Caller
    arguments: Any
    say: Say
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """`scope`: what a key must be granted for it, of keys.SCOPES; None: any caller who may ask models. `reads`: it
    changes nothing. `gives`: the shape of its result. `carry_out` raises what `refusal_of` knows."""

    name: str
    description: str
    arguments: type[Arguments]
    gives: type[BaseModel]
    carry_out: Callable[[Use], Awaitable[BaseModel]]
    scope: str | None = None
    reads: bool = True

    def is_for(self, caller: Caller) -> bool:
        """Whether this caller may use it, and is told of it. Raises nothing."""
        return self.scope is None or caller.may(self.scope)
