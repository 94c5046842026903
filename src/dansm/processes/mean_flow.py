"""MeanFlow (Geng et al., 2025): the network predicts a mean velocity, for one step of any size.

In the convention of `dansm.processes.rectified_flow` the mean velocity from t to s ≥ t is
``u(x_t, t, s) = (x_s − x_t)/(s − t)``, and differentiating ``(s − t) u`` along the path at fixed s
gives ``u = v + (s − t) du/dt`` (their equation 6, whose time runs the other way).
"""

from fractions import Fraction

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from dansm.processes.base import Conditioned, Network, Numbers, Process, column
from dansm.processes.objective import Objective
from dansm.processes.rectified_flow import TIME_SCALE, RectifiedFlow
from dansm.processes.times import TimeDistribution


class MeanFlow(RectifiedFlow):
    """Rectified flow whose network is conditioned on ``999 t`` and ``999 (s − t)``, shape (n, 2).

    `euler` jumps by the mean velocity; other solvers see the velocity at s = t.
    """

    name = "mean_flow"

    def velocity(self, network: Conditioned, points: Tensor, coordinate: Numbers) -> Tensor:
        """Return the mean velocity over no time at all."""
        return network(points, _conditions(coordinate, np.zeros_like(coordinate)))

    def euler(
        self, network: Conditioned, points: Tensor, time: Fraction, following: Fraction
    ) -> Tensor:
        """Return the points after the mean velocity from one time to the other."""
        start, end = self.coordinate(time), self.coordinate(following)
        return points + float(following - time) * network(points, _conditions(start, end - start))


def _conditions(start: Numbers, span: Numbers) -> np.ndarray:
    return TIME_SCALE * np.stack([np.atleast_1d(start), np.atleast_1d(span)], axis=1)


class MeanVelocity(Objective):
    """The error of ``u = v + (s − t) du/dt``, whose right side is held fixed.

    Both times are drawn from the distribution and put in order; ``equal`` of the pairs have s = t,
    which is the loss of rectified flow. Each pair's squared error, a sum over dimensions, is
    divided by its own value plus 0.001 to the given power (Geng et al., 2025, section 4.3).

    Parameters
    ----------
    equal
        Share of pairs with s = t.
    power
        0: the squared error itself.
    """

    evaluations = 4.0  # a forward pass with its derivative, and a backward pass

    def __init__(
        self,
        process: Process,
        times: TimeDistribution,
        equal: float = 0.25,
        power: float = 0.75,
    ) -> None:
        super().__init__(process, times, lambda prediction, target: prediction - target)
        self.equal = equal
        self.power = power

    def loss(
        self, network: Network, samples: Tensor, noise: Tensor, stream: torch.Generator
    ) -> Tensor:
        """Return the loss; see `Objective.loss`."""
        drawn = [self.process.draw_times(self.times, samples, stream) for _ in range(2)]
        t, s = torch.stack(drawn).sort(dim=0).values
        same = torch.rand(len(t), generator=stream).to(t) < self.equal
        s = torch.where(same, t, s)
        point = self.process.point(samples, noise, t)

        def mean_velocity(points: Tensor, start: Tensor) -> Tensor:
            return network(points, TIME_SCALE * torch.stack([start, s - start], dim=1))

        # Fused attention has no forward derivative.
        with sdpa_kernel(SDPBackend.MATH):
            mean, slope = torch.func.jvp(
                mean_velocity, (point.input, t), (point.target, torch.ones_like(t))
            )
        target = point.target + column(s - t, samples) * slope.detach()
        error = (mean.float() - target).square().flatten(1).sum(dim=1)
        return (error / (error.detach() + 1e-3) ** self.power).mean()
