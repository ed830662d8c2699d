"""A step of AdamW: the rate on its schedule, the gradient cut to a norm, and a state that can be kept."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ouvert.tuning.error import TuningError
from ouvert.tuning.learner import Array
from ouvert.tuning.recipe import Optimise

if TYPE_CHECKING:
    import torch

BETAS, EPSILON = (0.9, 0.999), 1e-8


def share_of_rate(settings: Optimise, step: int, steps: int) -> float:
    """What the rate is multiplied by in step `step` (from 0 on) of `steps`: it rises to 1 over the warm-up, then falls
    towards 0, which the step behind the last would have. Raises nothing."""
    rising = math.ceil(settings.warm_up * steps)
    if step < rising:
        return (step + 1) / rising
    if settings.schedule == "constant":
        return 1.0
    done = (step - rising) / max(steps - rising, 1)
    return (1 + math.cos(math.pi * done)) / 2 if settings.schedule == "cosine" else 1 - done


class Optimiser:
    """AdamW (arXiv:1711.05101) over a learner's parameters: betas 0.9 and 0.999, epsilon 1e-8.

    The arithmetic is that of torch's fused step. Its class is not used: importing `torch.optim` takes two seconds and
    70 MB for what this does not need.
    """

    def __init__(self, parameters: "Mapping[str, torch.nn.Parameter]", settings: Optimise, steps: int) -> None:
        """Raises nothing."""
        import torch

        self._parameters, self._settings, self._steps = dict(parameters), settings, steps
        self._times = {name: settings.rate_of_b if name.endswith(".b") else 1.0 for name in self._parameters}
        self._done = 0
        self._moments = {name: Moments(*(torch.zeros_like(each.data) for _ in Moments._fields))
                         for name, each in self._parameters.items()}  # fmt: skip

    def begin(self) -> None:
        """No gradients yet. Raises nothing."""
        for each in self._parameters.values():
            each.grad = None

    def rate(self, step: int) -> float:
        """Of the parameters called a, in this step. Raises nothing."""
        return self._settings.rate * share_of_rate(self._settings, step, self._steps)

    def step(self, step: int) -> float:
        """Change the parameters by the gradients that have added up; the gradients' norm before it was cut. What no
        sequence reached (an expert that none took) has a gradient of 0.

        Raises TuningError where that is no number: nothing is changed then.
        """
        import torch
        from torch.nn.utils import clip_grad_norm_

        for each in self._parameters.values():
            if each.grad is None:
                each.grad = torch.zeros_like(each)
        most = self._settings.clip or math.inf
        norm = float(clip_grad_norm_(self._parameters.values(), most, foreach=False))
        if not math.isfinite(norm):
            raise TuningError(
                f"step {step + 1}: the gradient's norm is {norm}, expected a number. The run has diverged: begin again "
                f"with a smaller rate than {self._settings.rate:g}, or a longer warm-up."
            )
        self._done += 1
        for times in sorted(set(self._times.values())):
            self._adam([name for name in self._parameters if self._times[name] == times], self.rate(step) * times)
        return norm

    def state(self) -> dict[str, Array]:
        """The moments, "mean.<parameter>" and "square.<parameter>", float32; zeros before the first step. Raises
        nothing."""
        return {
            f"{which}.{name}": getattr(moments, which).numpy()
            for which in Moments._fields
            for name, moments in self._moments.items()
        }

    def restore(self, state: Mapping[str, Array], steps_done: int) -> None:
        """As it was when `state` was taken, behind so many steps. Raises KeyError for a moment that is missing."""
        import torch

        for name in self._parameters:
            self._moments[name] = Moments(*(torch.tensor(state[f"{which}.{name}"]) for which in Moments._fields))
        self._done = steps_done

    def _adam(self, names: Sequence[str], rate: float) -> None:
        import torch

        parameters = [self._parameters[name] for name in names]
        with torch.no_grad():
            torch._fused_adamw_(
                [each.data for each in parameters],
                [each.grad for each in parameters if each.grad is not None],
                [self._moments[name].mean for name in names],
                [self._moments[name].square for name in names],
                [],
                [torch.tensor(float(self._done)) for _ in names],
                lr=rate,
                beta1=BETAS[0],
                beta2=BETAS[1],
                weight_decay=self._settings.weight_decay,
                eps=EPSILON,
                amsgrad=False,
                maximize=False,
            )


class Moments(NamedTuple):
    """What Adam keeps of a parameter: the running means of its gradient and of that gradient's square."""

    mean: "torch.Tensor"
    square: "torch.Tensor"
