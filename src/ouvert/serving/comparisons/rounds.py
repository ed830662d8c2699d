"""One round: a question, answers whose writers are hidden, and at most one vote."""

import random
import secrets
import time
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Literal

from ouvert.assistant import Forgotten
from ouvert.serving.comparisons.opened import Competitor, Question
from ouvert.serving.errors import Refusal

MOST_KEPT = 2000
PLACES = ("first", "second", "third", "fourth")

State = Literal["answering", "answered", "failed", "voting", "voted", "revealed"]


class Side:
    """One column. `prompt_ids` and `ids`: the tokens that were read and written, where they are known."""

    def __init__(self, competitor: Competitor) -> None:
        self.competitor = competitor
        self.text, self.reason = "", ""
        self.prompt_ids: tuple[int, ...] = ()
        self.ids: tuple[int, ...] = ()
        self.failed = False


class Round:
    """Belongs to one event loop."""

    def __init__(self, whose: str, question: Question, sides: Sequence[Competitor]) -> None:
        self.id = f"round_{secrets.token_hex(12)}"
        self.whose, self.question = whose, question
        self.sides = [Side(each) for each in sides]
        self.state: State = "answering"
        self._answered = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the names are still hidden."""
        return self.state not in ("voted", "revealed")

    def end(self) -> None:
        """All answers are there, or one of them will never be."""
        self.state = "failed" if any(side.failed for side in self.sides) else "answered"
        self._answered = time.monotonic()

    def vote(self, verdict: str, voter: str, reason: str) -> dict[str, Any]:
        """The vote as docs/formats/comparison.md has it. Raises Refusal where this round takes none."""
        self._refuse_unless_answered("vote")
        allowed = (*PLACES[: len(self.sides)], "tie", "both_bad")
        if verdict not in allowed:
            raise Refusal(400, f"The verdict is {verdict!r:.40}, expected {', '.join(allowed)}.", param="verdict")
        return {
            "prompt": self.question.id,
            "row": self.question.row,
            "item": self.question.item,
            "shown": [side.competitor.label for side in self.sides],
            "answers": ["sha256:" + sha256(side.text.encode("utf-8", "replace")).hexdigest() for side in self.sides],
            "verdict": verdict,
            "voter": voter,
            "reason": reason,
            "seconds": round(time.monotonic() - self._answered, 1),
        }

    def reveal(self, state: State) -> None:
        """From now on the names are shown, and no vote is taken. Raises Refusal while it is answered."""
        if self.state == "answering":
            self._refuse_unless_answered("reveal")
        if self.is_open:
            self.state = state

    def revealed_side(self, number: int) -> Side:
        """Raises Refusal before the names are shown, and for a side that there is not."""
        if self.is_open:
            raise Refusal(
                409, "Who wrote which answer is hidden until there is a vote on it. Vote first, or reveal the names.",
                code="round_open",
            )  # fmt: skip
        if not 0 <= number < len(self.sides):
            raise Refusal(400, f"There is no side {number}, expected 0 to {len(self.sides) - 1}.", param="side")
        return self.sides[number]

    def facts(self) -> dict[str, Any]:
        """For clients: without names as long as they are hidden."""
        facts: dict[str, Any] = {
            "id": self.id,
            "object": "comparison.round",
            "state": self.state,
            "question": None if not self.question.row else self.question.id,
            "prompt": self.question.prompt,
            "columns": len(self.sides),
        }
        if self.state != "answering":
            facts["texts"] = [side.text for side in self.sides]
            facts["reasons"] = [side.reason for side in self.sides]
        if not self.is_open:
            facts["labels"] = [side.competitor.label for side in self.sides]
            facts["rereads"] = [side.competitor.model is not None for side in self.sides]
        return facts

    def _refuse_unless_answered(self, wish: str) -> None:
        reasons = {
            "answering": ("The answers are still being written. Wait until they are there", 1),
            "failed": (f"One side could not answer, so there is nothing to {wish} on. Ask again", None),
            "voting": ("Its vote is being kept", None),
            "voted": ("This round has its vote. Ask again for another one", None),
            "revealed": ("The names were shown before, so a vote would not be blind. Ask again for another one", None),
        }
        if self.state != "answered":
            why, retry_after = reasons[self.state]
            raise Refusal(409, f"{why}.", code="round_not_open", retry_after=retry_after)


class Rounds:
    """All rounds of a server, the last MOST_KEPT; and the draw of who stands where.

    Each draw is independent of those before: whoever has seen the names of one round knows nothing of the next.
    """

    def __init__(self, draws: random.Random | None = None) -> None:
        """`draws`: where chance comes from; left out, from the system, so that nobody can foresee it."""
        self._draws = secrets.SystemRandom() if draws is None else draws
        self._kept: OrderedDict[str, Round] = OrderedDict()

    def begin(self, whose: str, question: Question, able: Sequence[Competitor], columns: int) -> Round:
        """So many of them, in an order that is drawn. Raises Refusal where there are not two."""
        if len(able) < 2:
            raise Refusal(
                409,
                "This cannot be asked side by side: fewer than two of the compared models can answer it here. Choose "
                "one of the comparison's questions that were answered.",
                code="not_comparable",
            )
        made = Round(whose, question, self._draws.sample(list(able), min(columns, len(able))))
        self._kept[made.id] = made
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return made

    def of(self, round_id: str, whose: str) -> Round:
        """Raises Refusal for a round that is not here, or another caller's."""
        found = self._kept.get(round_id)
        if found is None or found.whose != whose:
            raise Refusal(404, f"No round {round_id!r:.60} is kept here. Ask again.", code="not_found")
        return found

    def forget(self, texts: Sequence[str] | None, whose: str) -> None:
        """Remove this caller's rounds with one of `texts`; all of them if that is None. Raises nothing."""
        gone = None if texts is None else Forgotten(texts)
        for each in [each for each in self._kept.values() if each.whose == whose]:
            said = "\n".join([each.question.prompt, *(side.text for side in each.sides)])
            if gone is None or (gone and gone.in_text(said)):
                del self._kept[each.id]
