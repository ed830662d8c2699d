"""The bodies of requests about rounds."""

import hashlib
import json
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

LONGEST_PROMPT = 20_000  # characters


class RoundRequest(BaseModel):
    """One of: `question`, the id of one of the comparison's; `prompt`, a question of the voter's own."""

    model_config = ConfigDict(extra="forbid")

    question: Annotated[str, Field(max_length=200)] | None = None
    prompt: Annotated[str, Field(min_length=1, max_length=LONGEST_PROMPT)] | None = None
    columns: Annotated[int, Field(ge=2, le=4, strict=True)] = 2

    @model_validator(mode="after")
    def one_of_them(self) -> Self:
        if (self.question is None) == (self.prompt is None):
            raise ValueError("one of question and prompt is expected")
        return self

    @property
    def digest(self) -> str:
        """Of a question of the voter's own: docs/formats/comparison.md says of what. Raises nothing."""
        messages = {"messages": [{"role": "user", "content": self.prompt}]}
        canonical = json.dumps(messages, sort_keys=True, separators=(",", ":")).encode("ascii")
        return "sha256:" + hashlib.sha256(canonical).hexdigest()


class Ballot(BaseModel):
    """A vote. `voter`: a label of their choice, or empty."""

    model_config = ConfigDict(extra="forbid")

    verdict: Literal["first", "second", "third", "fourth", "tie", "both_bad"]
    voter: Annotated[str, Field(max_length=60)] = ""
    reason: Annotated[str, Field(max_length=1000)] = ""


class RereadRequest(BaseModel):
    """`side`: whose answer is read, from 0 at the left; `by`: by whose model."""

    model_config = ConfigDict(extra="forbid")

    side: Annotated[int, Field(ge=0, le=3, strict=True)]
    by: Annotated[int, Field(ge=0, le=3, strict=True)]


class ContinuationRequest(RereadRequest):
    """`position`: how many tokens of the answer stay."""

    position: Annotated[int, Field(ge=0, le=1_000_000, strict=True)]
    max_tokens: Annotated[int, Field(ge=1, le=512, strict=True)] = 64
