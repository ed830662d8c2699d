"""A step of AdamW: the rate on its schedule, the gradient cut to a norm, and a state that can be kept."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ouvert.tuning.error import TuningError
from ouvert.tuning.learner import Array
from ouvert.tuning.recipe import Optimise

if TYPE_CHECKING:
    import torch

MOMENTS = {"mean": "exp_avg", "square": "exp_avg_sq"}  # our name of each -> torch's


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
    """AdamW (arXiv:1711.05101) over a learner's parameters, as torch has it: betas 0.9 and 0.999, epsilon 1e-8."""

    def __init__(self, parameters: "Mapping[str, torch.nn.Parameter]", settings: Optimise, steps: int) -> None:
        """Raises nothing."""
        from torch.optim import AdamW

        self._parameters, self._settings, self._steps = dict(parameters), settings, steps
        self._times = {name: settings.rate_of_b if name.endswith(".b") else 1.0 for name in self._parameters}
        groups = [
            {"params": [each], "times": self._times[name], "name": name} for name, each in self._parameters.items()
        ]
        self._adam = AdamW(groups, lr=settings.rate, weight_decay=settings.weight_decay, fused=True)

    def begin(self) -> None:
        """No gradients yet. Raises nothing."""
        self._adam.zero_grad(set_to_none=True)

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
        for group in self._adam.param_groups:
            group["lr"] = self.rate(step) * group["times"]
        self._adam.step()
        return norm

    def state(self) -> dict[str, Array]:
        """The moments, "mean.<parameter>" and "square.<parameter>", float32; zeros before the first step. Raises
        nothing."""
        return {
            f"{ours}.{name}": self._moment(each, theirs)
            for ours, theirs in MOMENTS.items()
            for name, each in self._parameters.items()
        }

    def _moment(self, parameter: "torch.nn.Parameter", theirs: str) -> Array:
        state = self._adam.state.get(parameter)
        return state[theirs].numpy() if state else np.zeros(parameter.shape, "f4")

    def restore(self, state: Mapping[str, Array], steps_done: int) -> None:
        """As it was when `state` was taken, behind so many steps. Raises KeyError for a moment that is missing."""
        import torch

        for name, each in self._parameters.items():
            moments = {theirs: torch.tensor(state[f"{ours}.{name}"]) for ours, theirs in MOMENTS.items()}
            self._adam.state[each] = {"step": torch.tensor(float(steps_done)), **moments}
