"""What every process offers."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dansm.processes.times import TimeDistribution

# A network: (points (n, ...), conditions (n,)) -> prediction of the points' shape.
Network = Callable[[Tensor, Tensor], Tensor]
# A number for the whole batch, or one for each point, shape (n,).
Numbers = float | np.ndarray
# The same with such conditions.
Conditioned = Callable[[Tensor, Numbers], Tensor]


class Point(NamedTuple):
    """What a network is shown of pairs at times of their own, and what it should answer.

    Attributes
    ----------
    input
        Shape ``(n, ...)``.
    condition
        Shape ``(n,)``.
    target
        Of the input's shape.
    weight
        Of each pair's error, shape ``(n,)``; None: all count alike.
    """

    input: Tensor
    condition: Tensor
    target: Tensor
    weight: Tensor | None = None


class Process(ABC):
    """A path between noise and data: points to train on, and a differential equation to sample.

    Sampling counts time from 0 (noise) to 1 (data), in fractions, so that no grid depends on
    rounding. The differential equation is ``dy/du = velocity(y, u)`` in coordinates of the
    process's choice; every solver that knows `start`, `coordinate`, `velocity` and `finish` suits
    every process.

    Attributes
    ----------
    name
        Its entry in `dansm.processes.registry.PROCESSES`.
    times
        Number of its discrete times; None: time is continuous.
    last
        Last time at which the network is defined.
    """

    name: str
    times: int | None = None
    last = Fraction(1)

    @abstractmethod
    def draw_times(
        self, distribution: TimeDistribution, samples: Tensor, stream: torch.Generator
    ) -> Tensor:
        """Return a time for each sample, as `point` counts them, shape ``(n,)``."""

    @abstractmethod
    def point(self, samples: Tensor, noise: Tensor, times: Tensor) -> Point:
        """Return what training shows of pairs at times of their own.

        Parameters
        ----------
        samples, noise
            Pairs of one shape ``(n, ...)``.
        times
            Shape ``(n,)``, from `draw_times`.
        """

    def draw_point(
        self, samples: Tensor, noise: Tensor, times: Tensor, stream: torch.Generator
    ) -> Point:
        """Return `point`, of a process that draws more than times from a stream on the CPU."""
        return self.point(samples, noise, times)

    def data_error(self, times: Tensor) -> Tensor:
        """Return by what an error of the prediction is multiplied to be one of the data, (n,).

        Raises
        ------
        NotImplementedError
            If the prediction does not tell the data.
        """
        raise NotImplementedError(f"{self.name} predicts no data")

    @abstractmethod
    def coordinate(self, time: Fraction) -> float:
        """Return the integration variable u at a time."""

    @abstractmethod
    def path(self, coordinate: float) -> tuple[float, float]:
        """Return α and σ of the path ``y = α data + σ noise`` at u; both are linear in u."""

    def noise(self, noise: Tensor) -> Tensor:
        """Return the noise on the path of a Gaussian one."""
        return noise

    def begin(self, noise: Tensor, time: Fraction) -> Tensor:
        """Return the points themselves (not y) that a noise is taken for at a time."""
        return noise

    def start(self, noise: Tensor, time: Fraction) -> Tensor:
        """Return the coordinates y of `begin`."""
        return self.begin(noise, time)

    def to_noise(self, points: Tensor, time: Fraction) -> Tensor:
        """Return the noise of coordinates y at a time, the inverse of `start`."""
        return points

    @abstractmethod
    def velocity(self, network: Conditioned, points: Tensor, coordinate: Numbers) -> Tensor:
        """Return dy/du, at the price of one evaluation of the network."""

    def finish(self, points: Tensor) -> Tensor:
        """Return the samples at coordinates y of time 1."""
        return points

    def euler(
        self, network: Conditioned, points: Tensor, time: Fraction, following: Fraction
    ) -> Tensor:
        """Return the points themselves (not y) after the process's own first-order step.

        Unless a process has another, which it may where its points are not y, it is Euler's in u.
        """
        start, end = self.coordinate(time), self.coordinate(following)
        return points + (end - start) * self.velocity(network, points, start)


class Counted:
    """A network that counts the points it was evaluated on, and takes conditions of either form."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self.evaluations = 0

    def __call__(self, points: Tensor, condition: Numbers) -> Tensor:
        """Evaluate the network."""
        self.evaluations += len(points)
        conditions = torch.as_tensor(condition, dtype=torch.float32, device=points.device)
        # Of a process with two times a condition is two numbers, shape (1, 2) or (n, 2).
        shape = (len(points), *conditions.shape[1:])
        return self._network(points, conditions.expand(shape).contiguous())


def beside(numbers: Numbers, points: Tensor) -> float | Tensor:
    """Return numbers in a form that can be multiplied with points (n, ...), each with its own."""
    if np.ndim(numbers) == 0:
        return numbers
    return column(torch.from_numpy(numbers).to(points), points)


def column(numbers: Tensor, points: Tensor) -> Tensor:
    """Return a number for each point, shape (n,), as broadcasting over points (n, ...) wants it."""
    return numbers.reshape(-1, *[1] * (points.ndim - 1))
