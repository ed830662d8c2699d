"""What a server is asked to find out and takes its time for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal

from ouvert import inspection
from ouvert.assistant import Model
from ouvert.serving.errors import Refusal
from ouvert.serving.long_work import LongWork, LongWorks

Kind = Literal["patch", "ablation", "microscope", "direction", "direction_test"]
MOST_KEPT = 32


class Study(LongWork):
    """One question: being looked into, answered, or failed. Its thread writes, the loop reads.

    `work(models, study)` finds out, with the models that were lent, and gives JSON. `words`: the texts in the question;
    None where some of them are token ids.
    """

    def __init__(self, kind: Kind, whose: str, work: "Work", words: str | None = None) -> None:
        super().__init__(kind, whose)
        self.kind, self._work, self._words = kind, work, words
        self.plan: inspection.PatchPrice | inspection.Price | None = None
        self.result: Mapping[str, Any] | None = None

    @property
    def words(self) -> str | None:
        """See LongWork."""
        return self._words

    def price(self, plan: inspection.PatchPrice | inspection.Price) -> None:
        """Told before the work. Raises Stopped if it was dropped."""
        self.plan = plan
        self.progress(0, plan.cells if isinstance(plan, inspection.PatchPrice) else self.total)

    def facts(self) -> dict[str, Any]:
        """For clients. `result` once it is done. Raises nothing."""
        facts: dict[str, Any] = {
            "id": self.id,
            "object": self.kind,
            "state": self.state,
            "plan": None if self.plan is None else asdict(self.plan),
            "progress": {"done": self.done, "total": self.total},
        }
        if self.refusal is not None:
            facts["fault"] = self.refusal.message
        return facts if self.result is None else {**facts, "result": self.result}

    def compute(self, models: Sequence[Model]) -> None:
        """Takes its time. Raises what the work raises, and Stopped."""
        self.progress(0, self.total)
        self.result = self._work(models, self)


Work = Callable[[Sequence[Model], Study], Mapping[str, Any]]


class Studies(LongWorks[Study]):
    """All studies of a server."""

    def __init__(self, most: int = MOST_KEPT) -> None:
        super().__init__(most)

    def of(self, study_id: str, kind: Kind, whose: str) -> Study:
        """Raises Refusal for a study that is not here, or another caller's."""
        study = self.kept.get(study_id)
        if study is None or study.whose != whose or study.kind != kind:
            raise Refusal(
                404,
                f"No {kind.replace('_', ' ')} {study_id!r:.60} is kept here. The last {self.most} are, while the "
                "server runs. Ask for it again.",
                code="not_found",
            )
        return study

    def all_of(self, kind: Kind, whose: str) -> list[Study]:
        """The latest last. Raises nothing."""
        return [study for study in self.kept.values() if (study.kind, study.whose) == (kind, whose)]
