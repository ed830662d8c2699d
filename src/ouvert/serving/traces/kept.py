"""The traces of a server."""

from collections.abc import Callable, Sequence
from typing import Any

from ouvert import inspection
from ouvert.assistant import Model
from ouvert.serving.errors import Refusal
from ouvert.serving.giving_way import giving_way
from ouvert.serving.loaded_models import Lease
from ouvert.serving.long_work import LongWork, LongWorks
from ouvert.serving.traces.request import MOST_BYTES, Asked

MOST_KEPT = 8


class KeptTrace(LongWork):
    """One trace: being made, made, or failed."""

    def __init__(self, whose: str, asked: Asked, plan: inspection.Price, with_lens: inspection.Price) -> None:
        super().__init__("trace", whose, plan.tokens)
        self.asked, self.plan, self.with_lens = asked, plan, with_lens
        self.trace: inspection.Trace | None = None
        self.model: Model | None = None  # whose weights it was computed with

    def made(self) -> inspection.Trace:
        """Raises Refusal while it is not done, and where it failed."""
        if self.refusal is not None:
            raise self.refusal
        if self.trace is None:
            raise Refusal(
                409, f"The trace {self.id} is {self.state}: {self.done} of {self.total} tokens. Ask again when it is "
                "done; its events say when.", code="trace_not_done", retry_after=1,
            )  # fmt: skip
        return self.trace

    @property
    def words(self) -> str | None:
        """All that was read and written in it; None where that is not known here. Raises nothing."""
        said = "" if self.trace is None else "".join(token.text for token in self.trace.tokens)
        return said or None

    def facts(self) -> dict[str, Any]:
        """For clients: the summary of docs/formats/trace.md, once it is done."""
        facts: dict[str, Any] = {
            "id": self.id,
            "object": "trace",
            "state": self.state,
            "plan": plan_facts(self.plan, self.with_lens),
            "progress": {"done": self.done, "total": self.total},
        }
        if self.refusal is not None:
            facts["fault"] = self.refusal.message
        return facts if self.trace is None else {**facts, **self.trace.json()}

    def compute(self, models: Sequence[Model]) -> None:
        """Takes its time. Raises what cannot be looked into, and Stopped."""
        [model] = models
        asked = self.asked
        self.progress(0, self.total)
        transcript = asked.transcript(model)
        subject = inspection.subject_of(model, transcript.variant)
        self.trace = inspection.trace_of(
            subject,
            transcript,
            record=asked.request.record,
            positions=asked.request.positions,
            max_bytes=asked.request.max_bytes,
            progress=self.progress,
        )
        self.model = model


class Traces(LongWorks[KeptTrace]):
    """All traces of a server."""

    def __init__(self, most: int = MOST_KEPT) -> None:
        super().__init__(most)

    @property
    def too_many(self) -> bool:
        """See LongWorks: traces have a room of their own as well. Raises nothing."""
        return super().too_many or sum(each.plan.bytes for each in self.kept.values()) > MOST_BYTES

    def of(self, trace_id: str, whose: str) -> KeptTrace:
        """Raises Refusal for a trace that is not here, or another caller's."""
        kept = self.kept.get(trace_id)
        if kept is None or kept.whose != whose:
            raise Refusal(
                404,
                f"No trace {trace_id!r:.60} is kept here. The last {self.most} are, while the server runs. Make it "
                "again: POST /ouvert/traces.",
                code="not_found",
            )
        return kept

    def all_of(self, whose: str) -> list[KeptTrace]:
        """The latest last. Raises nothing."""
        return [kept for kept in self.kept.values() if kept.whose == whose]


def plan_facts(plan: inspection.Price, with_lens: inspection.Price) -> dict[str, Any]:
    """`lens_seconds`: what the whole lens takes besides, when it is asked for."""
    lens = with_lens.seconds - plan.seconds
    return {
        "tokens": plan.tokens,
        "bytes": plan.bytes,
        "seconds": round(plan.seconds, 2),
        "lens_seconds": round(lens, 2),
    }


async def with_its_model(kept: KeptTrace, lease: Lease, look: Callable[[inspection.Trace], Any]) -> Any:
    """`look(trace)` in a thread, while its model is lent. Raises Refusal where the model was loaded anew since."""
    trace = kept.made()
    if lease.model is not kept.model:
        raise Refusal(
            410,
            f"The model of the trace {kept.id} was loaded anew since. Make the trace again: POST /ouvert/traces.",
            code="not_found",
        )
    return await giving_way(look, trace)
