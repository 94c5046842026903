"""Stochastic interpolants (Albergo et al., 2023): rectified flow with noise of its own between."""

import torch
from torch import Tensor

from dansm.processes.base import Point, Process, column
from dansm.processes.rectified_flow import RectifiedFlow


class Interpolant(RectifiedFlow):
    """``x_t = t x + (1 − t) z + γ(t) w`` with ``γ² = γ₁² t (1 − t)`` and w drawn for each pair.

    The network regresses the velocity ``x − z + γ' w``, and is sampled as a rectified flow. Times
    of training end at 1 − ε, since γ' has no bound at either end.

    Parameters
    ----------
    gamma
        γ₁; 0 is rectified flow.
    epsilon
        Smallest time.
    """

    name = "interpolant"

    def __init__(self, gamma: float = 1.0, epsilon: float = 1e-3) -> None:
        super().__init__(epsilon)
        self.gamma = gamma

    def data_error(self, times: Tensor) -> Tensor:
        """See `Process.data_error`: the velocity is that of the noise between, too."""
        return Process.data_error(self, times)

    def draw_point(
        self, samples: Tensor, noise: Tensor, times: Tensor, stream: torch.Generator
    ) -> Point:
        """Return ``x_t``, ``999 t`` and ``x − z + γ' w``."""
        times = times.clamp(max=1 - self.epsilon)
        line = self.point(samples, noise, times)
        t = column(times, samples)
        spread = (t * (1 - t)).sqrt()
        between = self.gamma * torch.randn(samples.shape, generator=stream).to(samples)
        return Point(
            line.input + spread * between,
            line.condition,
            line.target + (1 - 2 * t) / (2 * spread) * between,
        )
