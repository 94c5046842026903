"""Losses of second stages that look at more than one point of a path."""

import torch
from torch import Tensor

from dansm.couplings.registry import Pick
from dansm.processes.base import Conditioned, Counted, Network, Process
from dansm.processes.features import RandomFeatures
from dansm.processes.objective import Objective
from dansm.processes.samplers import Sampler
from dansm.processes.times import TimeDistribution


def squared_mmd(one: Tensor, other: Tensor) -> Tensor:
    """Return the unbiased squared maximum mean discrepancy with ``k(a, b) = (a·b/d + 1)³``.

    Its expectation is 0 where both are drawn from one distribution (Gretton et al., 2012, equation
    3); the kernel is the one of KID (Bińkowski et al., 2018).

    Parameters
    ----------
    one, other
        Features, shapes (n, d) and (m, d).
    """

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.T / a.shape[1] + 1) ** 3

    def within(a: Tensor) -> Tensor:
        values = kernel(a, a)
        return (values.sum() - values.diagonal().sum()) / (len(a) * (len(a) - 1))

    return within(one) + within(other) - 2 * kernel(one, other).mean()


class MMDFinetuning(Objective):
    """The discrepancy between samples of a few Euler steps and data (Aiello et al., 2023).

    Gradients go through all steps. Features are those of a network of random weights, where the
    authors take Inception's or CLIP's.

    Parameters
    ----------
    channels
        Of samples.
    steps
        Of Euler's method.
    """

    def __init__(
        self, process: Process, times: TimeDistribution, channels: int, steps: int = 4
    ) -> None:
        super().__init__(process, times, lambda prediction, target: prediction - target)
        self.steps = steps
        self.evaluations = 3.0 * steps
        self.sampler = Sampler(process, Pick("euler"))
        self.modules["features"] = RandomFeatures(channels)

    def loss(
        self, network: Network, samples: Tensor, noise: Tensor, stream: torch.Generator
    ) -> Tensor:
        """Return the loss of a batch; nothing is drawn."""
        features = self.modules["features"]
        made = self.sampler.sample(network, noise, self.steps).samples
        return squared_mmd(features(made), features(samples))


class FlowGuided(Objective):
    """SlimFlow's distillation of a teacher into one step (Zhu et al., 2024, section 3.3).

    The student's step from the noise is compared with the sample of the pair, and with two Euler
    steps of the teacher, the first of which ends at a time drawn uniformly from 0.2 to 0.8.

    Parameters
    ----------
    guide
        The teacher's network.
    """

    evaluations = 5.0  # three of the student, two of the teacher

    def __init__(self, process: Process, times: TimeDistribution, guide: Network) -> None:
        super().__init__(process, times, lambda prediction, target: prediction - target)
        self.guide = guide

    def loss(
        self, network: Network, samples: Tensor, noise: Tensor, stream: torch.Generator
    ) -> Tensor:
        """Return the mean of both squared errors together; see `Objective.loss`."""
        student = noise + self._velocity(network, noise, torch.zeros(len(noise)))
        middle = 0.2 + 0.6 * torch.rand(len(noise), generator=stream)
        with torch.no_grad():
            first = self._velocity(self.guide, noise, torch.zeros(len(noise)))
            share = middle.to(noise).reshape(-1, *[1] * (noise.ndim - 1))
            between = noise + share * first
            taught = between + (1 - share) * self._velocity(self.guide, between, middle)
        return (student - samples).square().mean() + (student - taught).square().mean()

    def _velocity(self, network: Network, points: Tensor, times: Tensor) -> Tensor:
        counted: Conditioned = Counted(network)
        coordinates = self.process.epsilon + (1 - self.process.epsilon) * times.double().numpy()
        return self.process.velocity(counted, points, coordinates)
