"""What is asked: bodies of the requests, and the work that each means."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ouvert import inspection
from ouvert.assistant import Model
from ouvert.serving.causes.studies import Study
from ouvert.store import Directions

MOST_TOKENS, MOST_PROMPTS = 4096, 4096  # of a prompt; of a list of prompts
Prompt = str | Annotated[list[int], Field(min_length=1, max_length=MOST_TOKENS)]
Prompts = Annotated[list[Prompt], Field(min_length=1, max_length=MOST_PROMPTS)]


class Body(BaseModel):
    """Every field is honoured."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    model: str

    def read_by_model(self) -> list[Prompt]:
        """All that the model reads. Raises nothing."""
        raise NotImplementedError

    @property
    def words(self) -> str | None:
        """The texts of the prompts; None where one is token ids. Raises nothing."""
        prompts = self.read_by_model()
        texts = [each for each in prompts if isinstance(each, str)]
        return "\n".join(texts) if len(texts) == len(prompts) else None


class LogitDifferenceBody(BaseModel):
    """inspection.LogitDifference."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["logit_difference"] = "logit_difference"
    of: str
    less: str

    def metric(self) -> inspection.LogitDifference:
        """Raises nothing."""
        return inspection.LogitDifference(self.of, self.less)


class LogProbabilityBody(BaseModel):
    """inspection.LogProbability."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["log_probability"]
    of: str

    def metric(self) -> inspection.LogProbability:
        """Raises nothing."""
        return inspection.LogProbability(self.of)


class PatchBody(Body):
    """inspection.PatchRequest."""

    clean: Prompt
    corrupted: Prompt
    metric: LogitDifferenceBody | LogProbabilityBody
    over: str = "out"
    direction: Literal["denoise", "noise"] = "denoise"
    layers: list[int] | None = None
    alignment: list[tuple[int, int]] | None = None
    donors: int = Field(4, ge=0, le=32)
    seed: int = Field(0, ge=0, lt=1 << 63)

    def read_by_model(self) -> list[Prompt]:
        """See Body."""
        return [self.clean, self.corrupted]

    def work(self, models: Sequence[Model], study: Study) -> Mapping[str, Any]:
        """Raises what `inspection.patch` raises, and Stopped."""
        stated = self.model_dump(exclude={"model", "metric"})
        request = inspection.PatchRequest(**stated, metric=self.metric.metric())
        subject = inspection.subject_of(models[0])
        return inspection.patch(subject, request, price=study.price, progress=study.progress).json()


class TextLogProbabilityBody(BaseModel):
    """inspection.TextLogProbability."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["text_log_probability"]
    start: int = Field(1, ge=1)

    def metric(self) -> inspection.TextLogProbability:
        """Raises nothing."""
        return inspection.TextLogProbability(self.start)


class AblationBody(Body):
    """inspection.ablate."""

    prompt: Prompt
    metric: LogitDifferenceBody | LogProbabilityBody | TextLogProbabilityBody
    of: str = "heads"
    replaced_by: Literal["zero", "mean", "resample"] = "zero"
    layers: list[int] | None = None
    others: Annotated[list[Prompt], Field(max_length=64)] = []

    def read_by_model(self) -> list[Prompt]:
        """See Body."""
        return [self.prompt, *self.others]

    def work(self, models: Sequence[Model], study: Study) -> Mapping[str, Any]:
        """Raises what `inspection.ablate` raises, and Stopped."""
        return inspection.ablate(
            inspection.subject_of(models[0]),
            self.prompt,
            self.metric.metric(),
            of=self.of,
            replaced_by=self.replaced_by,
            layers=self.layers,
            others=self.others,
            progress=study.progress,
        ).json()


class MicroscopeBody(Body):
    """inspection.magnify. `against`: another model of this server; left out, the same weights computed exactly."""

    against: str | None = None
    texts: dict[str, str] | None = Field(None, min_length=1, max_length=16)
    most: int | None = Field(None, ge=2, le=1 << 20)

    def read_by_model(self) -> list[Prompt]:
        """See Body."""
        return list((self.texts or {}).values())

    def work(self, models: Sequence[Model], study: Study) -> Mapping[str, Any]:
        """Raises what `inspection.magnify` raises, and Stopped."""
        seen = inspection.subject_of(models[0])
        reference = inspection.exact(inspection.subject_of(models[1])) if len(models) > 1 else None
        return inspection.magnify(
            seen, reference, self.texts, most=self.most, price=study.price, progress=study.progress
        ).json()


class DirectionBody(Body):
    """inspection.mean_difference, kept under `name`."""

    name: str
    positive: Prompts
    negative: Prompts
    token: int = -1
    seed: int = Field(0, ge=0, lt=1 << 63)

    def read_by_model(self) -> list[Prompt]:
        """See Body."""
        return [*self.positive, *self.negative]

    def work(self, kept: Directions, models: Sequence[Model], study: Study) -> Mapping[str, Any]:
        """Raises what `inspection.mean_difference` raises, StoreError for a name that was taken, and Stopped."""
        made = inspection.mean_difference(
            inspection.subject_of(models[0]),
            self.positive,
            self.negative,
            token=self.token,
            seed=self.seed,
            price=study.price,
            progress=study.progress,
        )
        kept.put(self.name, partial(inspection.write_direction, made))
        return described(self.name, made)


class TrialBody(Body):
    """inspection.Trial, of a direction that is kept here."""

    prompts: Prompts
    of: Prompt
    less: Prompt
    strength: float | None = Field(None, ge=0, le=100)
    layer: int | None = None
    randoms: int = Field(8, ge=2, le=64)
    neutral: Prompt | None = None
    seed: int = Field(0, ge=0, lt=1 << 63)

    def read_by_model(self) -> list[Prompt]:
        """See Body."""
        return [*self.prompts, self.of, self.less, *([] if self.neutral is None else [self.neutral])]

    def work(self, direction: inspection.Direction, models: Sequence[Model], study: Study) -> Mapping[str, Any]:
        """Raises what `inspection.causal_test` raises, and Stopped."""
        trial = inspection.Trial(**self.model_dump(exclude={"model"}))
        subject = inspection.subject_of(models[0])
        return inspection.causal_test(subject, direction, trial, study.progress, study.price).json()


def described(name: str, direction: inspection.Direction) -> dict[str, Any]:
    """A direction for clients: what is known of it, and of which layers it has vectors. Raises nothing."""
    own = {"name": name, "object": "direction", "layers": sorted(direction.vectors), "width": direction.width}
    return {**direction.facts, **own, "chosen": direction.layer}
