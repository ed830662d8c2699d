"""What `ouvert.Model` can do to find causes: change something inside, and measure what comes of it.

Beside ouvert/model.py, for which this is written. The work is `inspection`'s.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from ouvert import assistant, inspection


class FindsCauses(assistant.Model):
    """A loaded model whose causes can be looked for."""

    def patch(
        self,
        clean: str | Sequence[int],
        corrupted: str | Sequence[int],
        metric: Any,
        *,
        over: str = "out",
        direction: Literal["denoise", "noise"] = "denoise",
        layers: Sequence[int] | None = None,
        alignment: Sequence[tuple[int, int]] | None = None,
        donors: int = 4,
        seed: int = 0,
        price: Callable[[inspection.PatchPrice], None] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> inspection.Patching:
        """Which layer and token carries the difference between two prompts: values of one are put into the other.

        `metric`: `ouvert.LogitDifference(" Paris", " Rome")`, or another. The other parameters are those of
        `inspection.PatchRequest` and `inspection.patch`. Raises InspectionError for a model that cannot be looked into,
        prompts that cannot be aligned or do not differ in the metric, and values and layers that there are not.
        """
        request = inspection.PatchRequest(
            clean=clean,
            corrupted=corrupted,
            metric=metric,
            over=over,
            direction=direction,
            layers=layers,
            alignment=alignment,
            donors=donors,
            seed=seed,
        )
        return inspection.patch(self._subject(), request, price=price, progress=progress)

    def ablate(
        self,
        prompt: str | Sequence[int],
        metric: Any,
        *,
        of: str = "heads",
        replaced_by: Literal["zero", "mean", "resample"] = "zero",
        layers: Sequence[int] | None = None,
        others: Sequence[str | Sequence[int]] = (),
        progress: Callable[[int, int], None] | None = None,
    ) -> inspection.Ablation:
        """What a metric loses when a head, an expert or a layer is silenced: each in turn. See `inspection.ablate`.

        Raises InspectionError for a model that cannot be looked into or lacks such parts, and for missing texts.
        """
        subject = self._subject()
        return inspection.ablate(
            subject,
            prompt,
            metric,
            of=of,
            replaced_by=replaced_by,
            layers=layers,
            others=others,
            progress=progress,
        )

    def microscope(
        self,
        against: assistant.Model | None = None,
        texts: Mapping[str, str] | None = None,
        *,
        most: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> inspection.Microscope:
        """How far this model, as it serves, is from `against` computed exactly; left out, from its own weights computed
        exactly. `texts`: name -> text; left out, a page of English and one of French. `most`: tokens of each.

        Raises InspectionError for models that cannot be looked into, and for two that read texts differently.
        """
        seen = self._subject()
        reference = None if against is None else inspection.exact(inspection.subject_of(against))
        return inspection.magnify(seen, reference, texts, most=most, progress=progress)

    def direction(
        self,
        positive: Sequence[str | Sequence[int]],
        negative: Sequence[str | Sequence[int]],
        *,
        token: int = -1,
        seed: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> inspection.Direction:
        """The direction from one set of prompts to another, at every layer: see `inspection.mean_difference`.

        Raises InspectionError for a model that cannot be looked into, and for prompts that are too few or too short.
        """
        return inspection.mean_difference(
            self._subject(), positive, negative, token=token, seed=seed, progress=progress
        )

    def test_direction(
        self,
        direction: inspection.Direction,
        prompts: Sequence[str | Sequence[int]],
        *,
        of: str | Sequence[int],
        less: str | Sequence[int],
        strength: float | None = None,
        layer: int | None = None,
        randoms: int = 8,
        neutral: str | Sequence[int] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> inspection.DirectionTest:
        """Whether a direction changes how likely `of` is beside `less`, more than random directions do, and at what
        cost. The parameters are those of `inspection.Trial`.

        Raises InspectionError for a model that cannot be looked into, and for a direction of another model.
        """
        trial = inspection.Trial(
            prompts=prompts, of=of, less=less, strength=strength, layer=layer, randoms=randoms, neutral=neutral
        )
        return inspection.causal_test(self._subject(), direction, trial, progress)

    def _subject(self) -> inspection.Subject:
        return inspection.subject_of(self)
