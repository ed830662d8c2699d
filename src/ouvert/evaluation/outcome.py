"""What a contestant made of an item: its outcome, what that cost, and the receipt.

The outcome is what is scored and what a rerun has to give again, bit for bit; cost and receipt differ from run to run.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A tool call: `arguments` as the JSON text that was written."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """`text`: the final answer, thoughts not in it. `reason`: why it ended ("stop", "length", "tool_calls", ...).

    `ids`: the tokens of the whole answer; empty where another program does not say them. `logprobs`: natural
    logarithms; of a `Likelihood` one number a choice (the sum over its tokens), of a `Text` one number a token but the
    first, of a `Chat` one a token of the answer, where the contestant gives them. `refused`: why the contestant could
    not be asked this (no tools, prompt too long): such an outcome counts as wrong and is said apart.
    """

    text: str = ""
    thoughts: str = ""
    calls: tuple[Call, ...] = ()
    reason: str = ""
    ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    refused: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What an answer cost. Wall-clock seconds from the question: `whole`, to the last character; `visible`, to the
    first character of the final answer; `first`, to the first token. None where it is not known.

    `alone`: nothing else was asked of this machine meanwhile; only such costs are figures of speed.
    """

    whole: float
    first: float | None = None
    visible: float | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    thought_tokens: int | None = None
    joules: float | None = None
    alone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One answer as it stands in answers.jsonl. `sample`: which of several answers to the same item, from 0.

    `receipt`: the answer's, where Ouvert computed it (docs/formats/receipt.md); else what is known of the connection.
    `known`: the digest of the plan that it was first given under, where it was not asked again.
    """

    contestant: str  # its label
    row: str
    item: str
    sample: int
    outcome: Outcome
    cost: Cost
    receipt: Mapping[str, Any]
    known: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What a scorer says of an outcome. `value`: 0 to 1; `right`: whether it counts as right.

    `malformed`: no answer could be found in it, so that a zero may be one of form. `note`: why, in a few English words,
    for whoever looks at the item. `chosen`: of multiple choice, the letter of the choice that was taken, right or wrong
    ("A" is the first); "" where none could be told. `confidence`: 0 to 1, where the answer was asked how sure it is and
    said so. `label`: of a scorer that sorts answers into classes, the class.
    """

    value: float
    right: bool
    malformed: bool = False
    note: str = ""
    chosen: str = ""
    confidence: float | None = None
    label: str = ""
