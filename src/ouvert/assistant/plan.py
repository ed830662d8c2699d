"""One answer, decided before its first token: what the model reads, and what its answer is held to."""

from dataclasses import dataclass

from ouvert.assistant.cited import Citer
from ouvert.assistant.meaning import Note
from ouvert.assistant.outline_constraint import OutlineConstraint
from ouvert.assistant.receipts.ended import Identity, Outcome
from ouvert.assistant.request import ChatRequest
from ouvert.assistant.truncation import LeftOut
from ouvert.assistant.watching import Watcher
from ouvert.chat import Conversation, Rendered
from ouvert.engine import Sampling


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerPlan:
    """`conversation` is what is sent of that of the `request`: without the messages `left_out`, and with thoughts put
    back into the messages `restored`. The variant of `request` has its edits at their tokens. `sampling` has the
    constraint and the chat format's end tokens; `own_stop_ids` are those it has beside them. `outcome` is
    told, while the answer is written, what becomes of holding it, and `watcher` what is seen; None where nothing is
    watched. `citer` reads its citations; None where no sources are put before it.
    """

    request: ChatRequest
    identity: Identity
    conversation: Conversation
    rendered: Rendered
    restored: frozenset[int]
    left_out: LeftOut
    constraint: OutlineConstraint | None
    sampling: Sampling
    own_stop_ids: frozenset[int]
    outcome: Outcome
    watcher: Watcher | None
    notes: tuple[Note, ...]
    citer: Citer | None = None
