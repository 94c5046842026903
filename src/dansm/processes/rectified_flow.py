"""Rectified flow in the paper's convention: noise z at t = 0, data x at t = 1.

``x_t = t x + (1 − t) z``; the network regresses the velocity ``x − z`` and is conditioned on
``999 t`` (Liu et al., 2022; paper, section 2).
"""

from fractions import Fraction

import torch
from torch import Tensor

from dansm.processes.base import Conditioned, Numbers, Point, Process, column
from dansm.processes.times import TimeDistribution

TIME_SCALE = 999.0


class RectifiedFlow(Process):
    """Straight paths, followed in t from ε to 1; see `dansm.processes.base.Process`.

    Parameters
    ----------
    epsilon
        Smallest time: uniform times are ``t ~ U(ε, 1)``.
    """

    name = "rectified_flow"

    def __init__(self, epsilon: float = 1e-3) -> None:
        self.epsilon = epsilon

    def draw_times(
        self, distribution: TimeDistribution, samples: Tensor, stream: torch.Generator
    ) -> Tensor:
        """Return t in [ε, 1], of the samples' dtype and device."""
        drawn = distribution.draw(len(samples), stream).to(samples)
        return self.epsilon + (1 - self.epsilon) * drawn

    def point(self, samples: Tensor, noise: Tensor, times: Tensor) -> Point:
        """Return ``x_t``, ``999 t`` and ``x − z``."""
        t = column(times, samples)
        return Point(t * samples + (1 - t) * noise, TIME_SCALE * times, samples - noise)

    def data_error(self, times: Tensor) -> Tensor:
        """Return 1 − t."""
        return 1 - times

    def coordinate(self, time: Fraction) -> float:
        """Return t, which runs from ε."""
        return self.epsilon + (1 - self.epsilon) * time.numerator / time.denominator

    def path(self, coordinate: float) -> tuple[float, float]:
        """Return t and 1 − t."""
        return coordinate, 1 - coordinate

    def velocity(self, network: Conditioned, points: Tensor, coordinate: Numbers) -> Tensor:
        """Return the network's answer at t."""
        return network(points, TIME_SCALE * coordinate)

    def euler(
        self, network: Conditioned, points: Tensor, time: Fraction, following: Fraction
    ) -> Tensor:
        """Return the paper's step: ``x + v(x, 999 t)/N`` for the i-th of N equal ones.

        There ``t = ε + (1 − ε) i/N``, so that the steps add up to 1, not to 1 − ε.
        """
        size = float(following - time)
        return points + size * self.velocity(network, points, self.coordinate(time))
