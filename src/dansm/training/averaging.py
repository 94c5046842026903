"""The exponential moving average of weights, which is what is sampled from."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


class ExponentialMovingAverage:
    """An average of parameters that forgets the first steps sooner.

    After update n = 1, 2, … it keeps min(``decay``, n / (9 + n)) of what it was, after the first
    nothing: the warm-up of diffusers' ``EMAModel``, whose module takes as long to import as torch.

    Parameters
    ----------
    parameters
        What is averaged, where they are: the averages are on the same devices.
    decay
        In the long run.
    """

    def __init__(self, parameters: Iterable[Tensor], decay: float) -> None:
        self.decay = decay
        self.shadow_params = [parameter.detach().clone() for parameter in parameters]
        self.optimization_step = 0

    @torch.no_grad()
    def step(self, parameters: Iterable[Tensor]) -> None:
        """Take up the parameters after another step."""
        self.optimization_step += 1
        n = self.optimization_step
        decay = min(self.decay, n / (9 + n)) if n > 1 else 0.0
        away = torch._foreach_sub(self.shadow_params, list(parameters))
        torch._foreach_sub_(self.shadow_params, away, alpha=1 - decay)

    def state_dict(self) -> dict[str, Any]:
        """Return the averages and how many steps they are of."""
        return {
            "shadow_params": self.shadow_params,
            "optimization_step": self.optimization_step,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned."""
        self.optimization_step = state["optimization_step"]
        for mean, saved in zip(self.shadow_params, state["shadow_params"], strict=True):
            mean.copy_(saved)
